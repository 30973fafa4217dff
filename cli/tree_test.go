package cli

import (
	"strings"
	"testing"

	"github.com/muster-ml/muster"
)

func TestTreeOf(t *testing.T) {
	run := func(name, parent string) *muster.RunView {
		return &muster.RunView{Run: muster.Run{Name: name, Parent: parent}}
	}
	// As a list comes: the newest first.
	runs := []*muster.RunView{run("alone", ""), run("c", "b"), run("b2", "a"), run("b", "a"), run("a", ""), run("child of one that is not listed", "z")}
	var lines []string
	for _, b := range treeOf(runs) {
		lines = append(lines, b.before+b.run.Name)
	}
	want := "child of one that is not listed\na\n├─ b\n│  └─ c\n└─ b2\nalone"
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
