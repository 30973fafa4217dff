package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/muster-ml/muster"
)

// account reads a page of the audit as the caller.
func (d *door) account(key, query string) (page muster.AuditPage, text string) {
	d.Helper()
	_, text = d.as(key, "GET", "/audit"+query, "")
	d.must(json.Unmarshal([]byte(text), &page))
	return page, text
}

// TestAudit holds that every write is written down once, with its outcome, and
// no read; and who may read it.
func TestAudit(t *testing.T) {
	d := open(t)
	callers := d.callers()
	d.as(callers["c"], "POST", "/workspaces/w/runs", `{"name":"r","spec":{"command":"echo hunter2"}}`)
	d.as(callers["c"], "POST", "/workspaces/w/runs", `{"name":"r","spec":{"command":"a"}}`)
	d.as(callers["r"], "POST", "/workspaces/w/runs/r/cancel", "")
	d.as(callers["f"], "POST", "/workspaces/w/runs", "")
	d.as(callers["f"], "POST", "/workspaces/none/runs", "")
	d.as(callers["none"], "POST", "/workspaces/w/runs", "")
	d.as(callers["c"], "GET", "/workspaces/w/runs", "")
	_, text := d.as(callers["o"], "POST", "/tokens", `{"name":"ci","role":"reader","workspace":"w"}`)
	var k muster.NewToken
	d.must(json.Unmarshal([]byte(text), &k))
	d.as(callers["a"], "POST", "/clusters", `{"name":"a b","node_pool":"x"}`)
	d.as(callers["o"], "DELETE", "/tokens/ci", "")
	want := []string{
		"of-o revoke-token w /tokens/ci done",
		"anna create-cluster  /clusters invalid",
		"of-o create-token w /tokens/ci done",
		"of-f create-run none /workspaces/none/runs forbidden",
		"of-f create-run w /workspaces/w/runs forbidden",
		"of-r cancel-run w /workspaces/w/runs/r/cancel forbidden",
		"of-c create-run w /workspaces/w/runs conflict",
		"of-c create-run w /workspaces/w/runs/r done",
	}
	page, text := d.account(callers["a"], "")
	var got []string
	for _, e := range page.Entries {
		got = append(got, strings.Join([]string{e.Actor, e.Action, e.Workspace, e.Target, e.Outcome}, " "))
		if e.RequestID == "" || e.At.IsZero() || e.Seq == 0 {
			t.Errorf("entry %+v", e)
		}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if strings.Contains(text, k.Secret) || strings.Contains(text, "hunter2") {
		t.Errorf("the audit tells secrets:\n%s", text)
	}
	if page, text := d.account(callers["o"], ""); len(page.Entries) != 6 || strings.Contains(text, "/clusters") || strings.Contains(text, "none") {
		t.Errorf("an owner of w reads %s", text)
	}
	if page, text := d.account(callers["f"], ""); len(page.Entries) != 0 || strings.Contains(text, "null") {
		t.Errorf("an owner elsewhere reads %s", text)
	}
	if resp, text := d.as(callers["f"], "GET", "/audit?workspace=w", ""); resp.StatusCode != 403 {
		t.Errorf("an owner elsewhere asks for w: %s %s", resp.Status, text)
	}
}

// TestAuditOfReports keeps of what the autoscaler tells again and again only what
// is refused.
func TestAuditOfReports(t *testing.T) {
	d := open(t)
	callers := d.callers()
	d.as(callers["a"], "POST", "/clusters", `{"name":"e","provider":"local","size":"local.small","max":4}`)
	for range 3 {
		if resp, text := d.as(callers["a"], "PUT", "/clusters/e/machines", `{"machines":[]}`); resp.StatusCode != 204 {
			t.Fatalf("%s %s", resp.Status, text)
		}
	}
	d.as(callers["r"], "PUT", "/clusters/e/machines", `{"machines":[]}`)
	page, text := d.account(callers["a"], "")
	if len(page.Entries) != 2 || page.Entries[0].Action != "put-machines" || page.Entries[0].Outcome != "forbidden" {
		t.Errorf("%s", text)
	}
}

// TestAuditPages reads the account page by page while it grows.
func TestAuditPages(t *testing.T) {
	d := open(t)
	for range 5 {
		d.call("POST", runs, `{"spec":{"command":"a"}}`)
	}
	seen, query := map[int64]int{}, "?limit=2"
	for pages := 0; query != "" && pages < 9; pages++ {
		page, _ := d.account(secret, query)
		for _, e := range page.Entries {
			seen[e.Seq]++
		}
		d.call("POST", runs, `{"spec":{"command":"a"}}`)
		query = ""
		if page.Next != "" {
			query = "?limit=2&cursor=" + page.Next
		}
	}
	if len(seen) != 5 {
		t.Errorf("seen %v", seen)
	}
	if resp, text := d.call("GET", "/api/v1/audit?cursor=x", ""); resp.StatusCode != 400 || !strings.Contains(text, "is no cursor") {
		t.Errorf("%s %s", resp.Status, text)
	}
}
