package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/muster-ml/muster"
)

// TestETags holds that a reader hears of news alone, and that a change meets
// what its author has seen.
func TestETags(t *testing.T) {
	d := open(t)
	d.submit()
	for path, change := range map[string]string{"/workspaces/w": `{"description":"new"}`, "/workspaces/w/experiments/default": `{"description":"new"}`, "/workspaces/w/runs/r": `{"tags":{"a":"b"}}`, "/clusters/c": ""} {
		first, _ := d.call("GET", "/api/v1"+path, "")
		tag := first.Header.Get("ETag")
		if first.StatusCode != 200 || tag == "" {
			t.Errorf("%s: %s, ETag %q", path, first.Status, tag)
		}
		if resp, text := d.call("GET", "/api/v1"+path, "", "If-None-Match", `"x", W/`+tag); resp.StatusCode != 304 || text != "" || resp.Header.Get("ETag") != tag {
			t.Errorf("%s again: %s %s", path, resp.Status, text)
		}
		if change == "" {
			continue
		}
		resp, text := d.call("PATCH", "/api/v1"+path, change, "If-Match", tag)
		if resp.StatusCode != 200 || resp.Header.Get("ETag") == tag {
			t.Errorf("change %s: %s %s", path, resp.Status, text)
		}
		if news, _ := d.call("GET", "/api/v1"+path, "", "If-None-Match", tag); news.StatusCode != 200 || news.Header.Get("ETag") != resp.Header.Get("ETag") {
			t.Errorf("%s after the change: %s, ETag %s, want %s", path, news.Status, news.Header.Get("ETag"), resp.Header.Get("ETag"))
		}
		for _, method := range []string{"PATCH", "DELETE"} {
			for _, old := range []string{tag, `"what"`} {
				at := path
				if method == "DELETE" && path == "/workspaces/w" {
					at += "?confirm=w"
				}
				if resp, text := d.call(method, "/api/v1"+at, change, "If-Match", old); resp.StatusCode != 412 || !strings.Contains(text, `"code":"precondition"`) {
					t.Errorf("%s %s of old: %s %s", method, path, resp.Status, text)
				}
			}
		}
	}
	if resp, text := d.call("POST", runs+"/r/cancel", "", "If-Match", `"1-x"`); resp.StatusCode != 412 {
		t.Errorf("cancel what has changed: %s %s", resp.Status, text)
	}
	if r, err := d.store.FindRun(t.Context(), "w", "r"); err != nil || r.Stop != "" {
		t.Errorf("%+v, %v", r, err)
	}
	if resp, text := d.call("POST", runs+"/r/cancel", "", "If-Match", "*"); resp.StatusCode != 202 {
		t.Errorf("cancel whatever it is: %s %s", resp.Status, text)
	}
}

// TestChanges changes what people may change, and nothing else.
func TestChanges(t *testing.T) {
	d := open(t)
	d.submit()
	for _, c := range []struct{ path, body, says string }{
		{"/workspaces/w", `{"default_cluster":"","description":"d"}`, `"description":"d","default_cluster":""`},
		{"/workspaces/w", `{"default_cluster":"c"}`, `"description":"d","default_cluster":"c"`},
		{"/workspaces/w", `{"default_cluster":"none"}`, `"field":"default_cluster"`},
		{"/workspaces/w", `{"name":"x"}`, "name is not known"},
		{"/workspaces/w/experiments/default", `{"description":"e"}`, `"description":"e"`},
		{"/workspaces/w/experiments/none", `{"description":"e"}`, "there is no experiment none"},
		{"/workspaces/w/runs/r", `{"display_name":"n","description":"d","tags":{"a":"b"}}`, `"display_name":"n","description":"d","tags":{"a":"b"}`},
		{"/workspaces/w/runs/r", `{"tags":{}}`, `"display_name":"n","description":"d","cluster"`},
		{"/workspaces/w/runs/r", `{"spec":{}}`, "spec is not known"},
		{"/workspaces/w/runs/none", `{}`, "there is no run none"},
	} {
		if resp, text := d.call("PATCH", "/api/v1"+c.path, c.body); !strings.Contains(text, c.says) {
			t.Errorf("%s %s: %s %s", c.path, c.body, resp.Status, text)
		}
	}
}

// TestDelete takes a run, its experiment and the workspace away, each only when
// nothing of it lives.
func TestDelete(t *testing.T) {
	d := open(t)
	r := d.submit()
	d.must(d.store.CreateToken(t.Context(), &muster.Token{Name: "ours", Role: muster.RoleReader, Workspace: "w", Hash: muster.HashToken("ours")}))
	refuse := func(path, says string) {
		t.Helper()
		if resp, text := d.call("DELETE", path, ""); resp.StatusCode/100 != 4 || !strings.Contains(text, says) {
			t.Errorf("%s: %s %s", path, resp.Status, text)
		}
	}
	remove := func(path string) {
		t.Helper()
		if resp, text := d.call("DELETE", path, ""); resp.StatusCode != http.StatusNoContent {
			t.Errorf("%s: %s %s", path, resp.Status, text)
		}
	}
	const workspace = "/api/v1/workspaces/w"
	refuse(runs+"/r", "run r is queued")
	refuse(workspace+"?confirm=w", "1 run still to end")
	refuse(workspace, "confirm")
	refuse(workspace+"?confirm=x", "is confirmed")
	refuse(workspace+"/experiments/default", "has 1 run\"")
	l := d.lead()
	l.end(l.admit(r), muster.LaunchPurged, muster.OutcomeCancelled, muster.RunCancelled)
	remove(runs + "/r")
	refuse(runs+"/r", "there is no run r")
	for _, gone := range []string{runs + "/r", runs + "/r/artifacts", runs + "/r/events", runs + "/r/logs/stdout"} {
		if resp, text := d.call("GET", gone, ""); resp.StatusCode != 404 {
			t.Errorf("%s: %s %s", gone, resp.Status, text)
		}
	}
	if page := d.page("archived=all", ""); len(page.Runs) != 0 {
		t.Errorf("%d runs are listed", len(page.Runs))
	}
	if resp, text := d.call("POST", runs, `{"name":"r","spec":{"command":"a"}}`); resp.StatusCode != 409 {
		t.Errorf("the name of a deleted run: %s %s", resp.Status, text)
	}
	remove(workspace + "/experiments/default")
	refuse(workspace+"/experiments/default", "there is no experiment default")
	if resp, text := d.call("POST", runs, `{"name":"again","spec":{"command":"a"}}`); resp.StatusCode != 201 {
		t.Errorf("a run of a deleted experiment: %s %s", resp.Status, text)
	}
	if _, text := d.call("GET", workspace+"/experiments/default", ""); !strings.Contains(text, `"runs":1`) {
		t.Errorf("the experiment is %s", text)
	}
	d.must(d.store.RequestStop(t.Context(), "w", "again", muster.Origin{}))
	_, err := l.StopQueued(t.Context())
	d.must(err)
	remove(workspace + "?confirm=w")
	if resp, _ := d.call("GET", workspace, ""); resp.StatusCode != 404 {
		t.Errorf("the workspace: %s", resp.Status)
	}
	if resp, _ := d.as("ours", "GET", "/whoami", ""); resp.StatusCode != 401 {
		t.Errorf("its token: %s", resp.Status)
	}
	if resp, text := d.call("POST", "/api/v1/workspaces", `{"name":"w"}`); resp.StatusCode != 409 {
		t.Errorf("its name: %s %s", resp.Status, text)
	}
}
