package api_test

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/server/api"
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
		{"POST", "/workspaces/w/runs:bulk", `{"runs":[{"spec":{"command":"x"}},{"parent":"other","spec":{"command":"x"}}]}`, 403, "run other is neither itself nor below it"},
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

// fill names things in the path of a route: run for its run, and else what is in
// the tests' workspace or nowhere.
func fill(path, run string) string {
	return regexp.MustCompile(`\{[^}]*\}`).ReplaceAllStringFunc(path, func(name string) string {
		switch name {
		case "{workspace}":
			return "w"
		case "{run}":
			return run
		case "{stream}":
			return "stdout"
		case "{sha256}":
			return noSum
		case "{offset}":
			return "0"
		}
		return "x"
	})
}

// TestRunsOwnCodeEverywhere calls every operation of the document as the code of
// run r, which has all roles here: what keeps it to itself is that it is a run.
func TestRunsOwnCodeEverywhere(t *testing.T) {
	var d *door
	d = open(t, func(s *api.Services) {
		s.RunOf = func(ctx context.Context, token string) (*muster.Principal, error) {
			p, err := d.runOf(ctx, token)
			if err == nil {
				p.Grants = []muster.Grant{{Role: muster.RoleAdministrator}}
			}
			return p, err
		}
	})
	d.submit()
	for _, body := range []string{`{"name":"other","spec":{"command":"x"}}`, `{"name":"child","parent":"r","spec":{"command":"x"}}`} {
		if resp, text := d.call("POST", runs, body); resp.StatusCode != 201 {
			t.Fatal(text)
		}
	}
	_, text := d.call("GET", "/api/v1/openapi.json", "", "Authorization", "")
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string
			Security    []map[string][]string
		}
	}
	d.must(json.Unmarshal([]byte(text), &doc))
	seen := map[string]bool{}
	for path, methods := range doc.Paths {
		for method, o := range methods {
			if len(o.Security) == 1 && len(o.Security[0]) == 0 {
				continue // it asks nobody who he is
			}
			seen[o.OperationID] = true
			for run, own := range map[string]bool{"r": true, "child": true, "other": false, "none": false} {
				want, says := 0, ""
				switch ofRun := strings.Contains(path, "{run}"); {
				case !api.ForRuns[o.OperationID]:
					want, says = 403, "the code of a run sees to its own run"
				case ofRun && !own:
					want, says = 403, "run "+run+" is neither itself nor below it"
				}
				resp, text := d.as(ofRunR, strings.ToUpper(method), strings.TrimPrefix(fill(path, run), "/api/v1")+"?follow=false", "")
				if method == "head" {
					says = ""
				}
				if refused(resp.StatusCode) != want || !strings.Contains(text, says) {
					t.Errorf("%s of run %s: %s, want %d\n%s", o.OperationID, run, resp.Status, want, text)
				}
			}
		}
	}
	for id := range api.ForRuns {
		if !seen[id] {
			t.Errorf("a run may do %s, which is no operation", id)
		}
	}
}
