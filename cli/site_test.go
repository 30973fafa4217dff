package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadSite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "site.yml")
	for _, c := range []struct{ text, want string }{
		{"environments:\n  \"registry.example/ml/*\": node\n", ""},
		{"environments:\n  \"registry.example/ml/*\": nod\n", `"nod"`},
		{"environments:\n  \"registry.example/[\": node\n", "pattern"},
		{"environment:\n  a: node\n", "line 1"},
		{"environments:\n  a: [node]\n", "line 2"},
		{"", "EOF"},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		site, err := readSite(file)
		switch {
		case c.want == "" && err == nil:
			if _, _, err := site.Resolve("registry.example/ml/torch:2", false); err != nil {
				t.Error(err)
			}
			if _, _, err := site.Resolve("python:3.12", false); err == nil {
				t.Error("what the table does not name is offered")
			}
		case c.want == "" || err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), file):
			t.Errorf("%q: %v, want %s", c.text, err, c.want)
		}
	}
	if site, err := readSite("default"); err != nil || len(site) == 0 {
		t.Errorf("%v, %v", site, err)
	}
	if site, err := readSite(""); err != nil || len(site) != 0 {
		t.Errorf("%v, %v", site, err)
	}
}
