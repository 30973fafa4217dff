package run

import (
	"reflect"
	"testing"

	"github.com/muster-ml/muster"
)

func TestReadChild(t *testing.T) {
	parent := &muster.RunView{Run: muster.Run{Name: "p", Experiment: "e", Spec: muster.Spec{Command: "old", Warnings: []string{"w"}, Inputs: map[string]muster.Input{"rate": {}}, Groups: []muster.Group{{Name: "main", Count: 2, Command: "x"}}}}}
	q, err := readChild([]string{"--name", "c", "--set", "rate=0.5", "--env", "A=b=c", "--instances", "1", "--cpus", "0.5", "--wait", "--", "sh", "-c", "it's"})
	if err != nil || !q.wait {
		t.Fatal(q, err)
	}
	got := q.request(parent)
	if s := got.Spec; got.Name != "c" || got.Parent != "p" || got.Experiment != "e" || s.Command != `'sh' '-c' 'it'\''s'` || s.Warnings != nil ||
		*s.Inputs["rate"].Literal != "0.5" || s.Variables["A"] != "b=c" ||
		!reflect.DeepEqual(s.Groups, []muster.Group{{Name: "main", Count: 1, Ask: &muster.Ask{Cores: 500, MiB: muster.Whole(1024)}}}) {
		t.Errorf("%+v", got)
	}
	if parent.Spec.Groups[0].Count != 2 || parent.Spec.Variables != nil {
		t.Errorf("the parent was changed: %+v", parent.Spec)
	}
	if err := q.check(parent); err != nil {
		t.Error(err)
	}
	for name, cure := range map[string]string{"nope": "it has rate", "rat": "did you mean rate?"} {
		q.inputs = pairs{name: "1"}
		if e, ok := q.check(parent).(*muster.Error); !ok || e.Code != muster.CodeInvalid || e.Cure != cure {
			t.Errorf("--set %s=1: %v", name, e)
		}
	}
	for _, args := range [][]string{{}, {"--name", "c"}, {"--set", "rate", "--", "x"}, {"--nothing", "x"}, {"--instances", "many", "x"}} {
		if _, err := readChild(args); muster.CodeOf(err) != muster.CodeInvalid {
			t.Errorf("%v: %v", args, err)
		}
	}
}
