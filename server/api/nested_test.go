package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/muster-ml/muster"
)

// TestRunsOwnCode calls as the code of run r: its children are below it, and
// what is not below it is as closed as another workspace.
func TestRunsOwnCode(t *testing.T) {
	d := open(t)
	d.submit()
	for _, body := range []string{`{"name":"other","spec":{"command":"x"}}`, `{"name":"below-other","parent":"other","spec":{"command":"x"}}`} {
		if resp, text := d.call("POST", runs, body); resp.StatusCode != 201 {
			t.Fatal(text)
		}
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"POST", "/workspaces/w/runs", `{"name":"child","spec":{"command":"x"}}`, 201, `"parent":"r"`},
		{"POST", "/workspaces/w/runs", `{"name":"grandchild","parent":"child","spec":{"command":"x"}}`, 201, `"parent":"child"`},
		{"POST", "/workspaces/w/runs", `{"name":"z","parent":"other","spec":{"command":"x"}}`, 403, "run other is neither itself nor below it"},
		{"POST", "/workspaces/w/runs", `{"name":"z","parent":"none","spec":{"command":"x"}}`, 403, "run none is neither"},
		{"GET", "/workspaces/w/runs/grandchild", "", 200, `"name":"grandchild"`},
		{"GET", "/workspaces/w/runs/other", "", 403, "neither itself nor below it"},
		{"GET", "/workspaces/w/runs?parent=other", "", 403, "neither itself nor below it"},
		{"POST", "/workspaces/w/runs/below-other/cancel", "", 403, "neither itself nor below it"},
		{"POST", "/workspaces/w/runs/child/cancel", "", 202, `"stop":"cancel"`},
		{"GET", "/workspaces/w/events", "", 403, "sees to its own run and those below it"},
		{"GET", "/workspaces/default/runs", "", 403, "it takes a reader of workspace default"},
	} {
		resp, text := d.as(ofRunR, c.method, c.path, c.body)
		if resp.StatusCode != c.status || !strings.Contains(text, c.says) {
			t.Errorf("%s %s %s: %s %s", c.method, c.path, c.body, resp.Status, text)
		}
	}
	_, text := d.as(ofRunR, "GET", "/workspaces/w/runs", "")
	var page muster.RunPage
	d.must(json.Unmarshal([]byte(text), &page))
	if len(page.Runs) != 1 || page.Runs[0].Name != "child" {
		t.Errorf("the run lists %s", text)
	}
}
