package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// document reads what the OpenAPI document says of routes.
func (d *door) document() (text string, paths map[string]map[string]struct {
	Parameters []struct{ Name, In string }
	Responses  map[string]struct{ Content map[string]any }
}) {
	d.Helper()
	_, text = d.call("GET", "/api/v1/openapi.json", "", "Authorization", "")
	doc := struct{ Paths any }{&paths}
	d.must(json.Unmarshal([]byte(text), &doc))
	return text, paths
}

// TestDocumentIsComplete holds what generated clients need: no list may be
// null, every answer has a type, quantities have units, and it does not change.
func TestDocumentIsComplete(t *testing.T) {
	d := open(t)
	text, paths := d.document()
	if again, _ := d.document(); again != text {
		t.Error("the document is another when it is read again")
	}
	if other, _ := open(t).document(); other != text {
		t.Error("the document of a second server is another")
	}
	if strings.Contains(text, `"null"`) {
		t.Error("something may be null")
	}
	for path, methods := range paths {
		for method, operation := range methods {
			if r, ok := operation.Responses["200"]; ok && len(r.Content) == 0 {
				t.Errorf("%s %s does not say what it answers", method, path)
			}
		}
	}
	for _, says := range []string{`"description":"Memory in MiB."`, `"description":"Seconds between the stop signal`, `"text/event-stream"`, `"application/octet-stream"`, `"Chunk":{`} {
		if !strings.Contains(text, says) {
			t.Errorf("the document lacks %s", says)
		}
	}
}

// TestCures holds what a caller is told to do about a wrong request.
func TestCures(t *testing.T) {
	d := open(t)
	for body, want := range map[string]string{
		`{"spec":{"comand":"x","command":"x"}}`:                                                           "spec.comand is not known: did you mean spec.command?",
		`{"nmae":"x","spec":{"command":"x"}}`:                                                             "nmae is not known: did you mean name?",
		`{"spec":{"command":"x","groups":[{"resources":{"cpu":2,"cpus":2}}]}}`:                            "spec.groups[0].resources.cpu is not known: did you mean spec.groups[0].resources.cpus?",
		`{"spec":{"command":"x","inputs":{"a":{"pth":"x"}}}}`:                                             "spec.inputs.a.pth is not known: did you mean spec.inputs.a.path?",
		`{"spec":{"command":"x","outputs":{"a":{"somewhere":"x"}}}}`:                                      "spec.outputs.a.somewhere is not known: what is known there: mode, type",
		`{"spec":{"command":"x","groups":[{"resources":{"cpus":"2","memory_mib":4096}}]}}`:                "spec.groups[0].resources.cpus must be a number",
		`{"spec":{"command":"x","groups":[{"resources":{"cpus":0.5}}]}}`:                                  "spec.groups[0].resources.memory_mib is missing",
		`{"spec":{"command":"x","groups":[{"resources":{"cpus":0.5,"memory_mib":1.5}}]}}`:                 "asks for 1.5 MiB of memory: use 16 to 1073741824",
		`{"spec":{"command":"x","groups":[{"resources":{"cpus":1e308,"memory_mib":16}}]}}`:                "asks for more than 1000000 cpus: use 0.001 to 1000000",
		`{"spec":{"command":"x","groups":[{"resources":{"cpus":1,"memory_mib":-3}}]}}`:                    "asks for -3 MiB of memory: use 16 to 1073741824",
		`{"spec":{"command":"x","groups":[{"resources":{"cpus":1,"memory_mib":16,"gpu_model":"V100"}}]}}`: "names the model V100, and asks for no gpus: say how many: gpus: 1",
		`{"spec":{"command":"x","environment":"azureml:foo@latest"}}`:                                     "environment azureml:foo@latest is registered in Azure ML, and mapped to nothing on this site: name an image, or let the operator map it (muster server --site); mapped are azureml:AzureML-*, azureml:acpt-*, azureml:lightgbm-*, azureml:minimal-*, azureml:python-*, azureml:sklearn-*, azureml:tensorflow-*, continuumio/miniconda3:*, library/alpine:*, library/busybox:*, library/debian:*, library/python:*, library/python@*, library/ubuntu:*, mcr.microsoft.com/azureml/*",
		`{"spec":{"command":"x","groups":[{"name":"a"},{"name":"a"}]}}`:                                   "two groups are named a: give each its own name",
		`{"spec":{"command":"x","tier":"spot"}}`:                                                          `"spot" is not a tier: use dedicated or low_priority`,
		`{"spec":{"command":"x","outputs":{"logs":{}}}}`:                                                  `the name "logs" of an output is reserved: files of that name are kept of every run: give it another name`,
		`{"spec":{"command":"x","outputs":{"a":{"mode":"mount"}}}}`:                                       `output "a" has mode "mount": use rw_mount, upload or direct`,
		`{"spec":{"command":"x","inputs":{"a":{"path":"http://x/y","mode":"stream"}}}}`:                   `input "a" has mode "stream": use ro_mount, download or direct`,
		`{"spec":{"command":"x","inputs":{"a":{"path":"http://x/y","type":"mltable"}}}}`:                  `input "a" has type "mltable": use uri_file or uri_folder`,
		`{"spec":{"command":"x","environment_variables":{"1x":"y"}}}`:                                     `"1x" is not a name of an environment variable: use letters, digits and '_', and no digit first`,
		`{"spec":{"command":"x\u0000"}}`:                                                                  "command holds a zero byte: take it out",
		`{"spec":{"command":"x","environment_variables":{"A":"\u0000"}}}`:                                 "environment_variables.A holds a zero byte: take it out",
		`{"spec":{"command":"x","timeout":1e300}}`:                                                        "timeout is 1000000000: use 1 to 604800",
		`{"experiment":"a b","spec":{"command":"x"}}`:                                                     `"a b" is not a name for an experiment: use 1 to 64 of letters, digits, '_' and '-', and begin with a letter or digit, such as a-b`,
		`{"parent":"none","spec":{"command":"x"}}`:                                                        "there is no run none in workspace w: muster run list shows what there is",
		`null`: "the body must be an object",
		``:     "this call needs a body: send JSON; /api/v1/docs shows what is in it",
	} {
		resp, text := d.call("POST", runs, body)
		var p struct{ Detail, Cure, Field string }
		d.must(json.Unmarshal([]byte(text), &p))
		if got := strings.TrimSuffix(p.Detail+": "+p.Cure, ": "); got != want || resp.StatusCode/100 != 4 {
			t.Errorf("%s\n got %s\nwant %s", body, got, want)
		}
		if strings.Contains(body, "cpus\":1e308") && p.Field != "spec.groups[0].resources.cpus" {
			t.Errorf("%s: the field is %q", body, p.Field)
		}
		if strings.Contains(body, "a b") && p.Field != "experiment" || strings.Contains(body, "parent") && p.Field != "parent" {
			t.Errorf("%s: the field is %q", body, p.Field)
		}
	}
}

// TestUnknownWords refuses what a query or a body holds that the route does not
// know, with what it does know, and nothing that others know.
func TestUnknownWords(t *testing.T) {
	d := open(t)
	for call, want := range map[string]string{
		"GET /workspaces/w/runs?stat=failed": `the route takes no parameter "stat": did you mean state?`,
		"GET /workspaces/w/runs?limit=3&x=1": `the route takes no parameter "x": it takes experiment, parent, state, name, tag, cluster, created_after, ended_after, archived, sort, limit, cursor`,
		"GET /workspaces/w?x=1":              `the route takes no parameter "x": it takes none`,
		"GET /login?x=1":                     `the route takes no parameter "x": it takes none`,
		"POST /workspaces/w/runs?x=1 {}":     `the route takes no parameter "x": it takes none`,
		"PUT /workspaces/w/retention {\"keep_artifacts\":1,\"keep_logs\":1,\"colour\":1}": "colour is not known: what is known there: keep_artifacts, keep_logs",
		"PATCH /workspaces/w {\"nmae\":\"x\"}":                                            "nmae is not known: what is known there: default_cluster, description",
		"PATCH /workspaces/w {\"descripton\":\"x\"}":                                      "descripton is not known: did you mean description?",
	} {
		words := strings.SplitN(call, " ", 3)
		resp, text := d.call(words[0], "/api/v1"+words[1], strings.Join(words[2:], ""))
		var p struct{ Detail, Cure string }
		d.must(json.Unmarshal([]byte(text), &p))
		if got := p.Detail + ": " + p.Cure; resp.StatusCode != 400 || got != want {
			t.Errorf("%s: %s\n got %s\nwant %s", call, resp.Status, got, want)
		}
	}
}

// TestRefusalsLeaveNothing holds that a run that is refused leaves no run, no
// experiment and no event.
func TestRefusalsLeaveNothing(t *testing.T) {
	d := open(t)
	d.must(d.store.CreateWorkspace(t.Context(), &muster.Workspace{Name: "poor"}))
	r, l := d.submit(), d.lead()
	l.end(l.admit(r), muster.LaunchPurged, muster.OutcomeCancelled, muster.RunCancelled)
	before := d.everything()
	for _, c := range []struct {
		workspace, body string
		status          int
	}{
		{"poor", `{"name":"x","experiment":"new","spec":{"command":"a"}}`, 422},
		{"w", `{"name":"x","experiment":"new","spec":{"command":"a","compute":"none"}}`, 404},
		{"w", `{"name":"x","experiment":"new","spec":{"command":"a","environment":"azureml:mine@latest"}}`, 422},
		{"w", `{"name":"x","experiment":"new","spec":{"command":"a","inputs":{"i":{"path":"upload:sha256:` + strings.Repeat("0", 64) + `"}}}}`, 400},
		{"w", `{"name":"r","experiment":"new","spec":{"command":"a"}}`, 409},
		{"w", `{"name":"x","experiment":"new","parent":"none","spec":{"command":"a"}}`, 404},
		{"w", `{"name":"x","experiment":"new","parent":"r","spec":{"command":"a"}}`, 409},
		{"w", `{"name":"x","experiment":"new","spec":{"command":" "}}`, 400},
		{"none", `{"name":"x","experiment":"new","spec":{"command":"a"}}`, 404},
	} {
		resp, text := d.call("POST", "/api/v1/workspaces/"+c.workspace+"/runs", c.body)
		if resp.StatusCode != c.status {
			t.Errorf("%s %s: %s %s", c.workspace, c.body, resp.Status, text)
		}
	}
	if after := d.everything(); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}

// everything is all that the workspaces hold.
func (d *door) everything() string {
	d.Helper()
	var all strings.Builder
	for _, path := range []string{"w/runs", "w/experiments", "w/events", "poor/runs", "poor/experiments", "poor/events"} {
		_, text := d.call("GET", "/api/v1/workspaces/"+path, "")
		all.WriteString(text)
	}
	return all.String()
}

// TestEmptyIsNotNull asks for everything of a server that has nothing.
func TestEmptyIsNotNull(t *testing.T) {
	d := open(t)
	d.submit()
	for path, want := range map[string]string{"workspaces/w/experiments": `[{"id":"1",`, "queue?cluster=c": `[{"workspace":"w",`, "workspaces/w/runs?state=failed": `{"runs":[]}`,
		"workspaces/w/runs/r/artifacts": `{"artifacts":[]}`, "workspaces/w/runs/r/metrics": `[]`, "workspaces/w/runs/r/stats": `[]`, "workspaces/w/events?after=99": `[]`, "workspaces/w/runs/r": `{"workspace":"w",`,
		"workspaces/w/runs": `{"runs":[{`, "clusters": `[{`} {
		if _, text := d.call("GET", "/api/v1/"+path, ""); !strings.HasPrefix(text, want) || strings.Contains(text, "null") {
			t.Errorf("%s: %s", path, text)
		}
	}
	if resp, text := d.call("POST", runs+"/r/cancel", ""); resp.StatusCode != http.StatusAccepted || !strings.Contains(text, `"stop":"cancel"`) {
		t.Errorf("cancel: %s %s", resp.Status, text)
	}
	if _, err := d.lead().StopQueued(t.Context()); err != nil {
		t.Fatal(err)
	}
	if resp, text := d.call("POST", runs+"/r/cancel", ""); resp.StatusCode != http.StatusConflict || !strings.Contains(text, "run r has ended (cancelled)") {
		t.Errorf("cancel twice: %s %s", resp.Status, text)
	}
	if _, text := d.call("GET", "/api/v1/queue", ""); strings.TrimSpace(text) != "[]" {
		t.Errorf("the empty queue is %s", text)
	}
}

// TestBeginningOfQueue holds that a queue which is not listed whole says how
// long it is.
func TestBeginningOfQueue(t *testing.T) {
	d := open(t)
	for _, name := range []string{"a", "b", "c"} {
		d.call("POST", runs, `{"name":"`+name+`","spec":{"command":"true"}}`)
	}
	resp, text := d.call("GET", "/api/v1/queue?limit=2", "")
	var queue []muster.Run
	d.must(json.Unmarshal([]byte(text), &queue))
	if resp.Header.Get("Muster-Total") != "3" || len(queue) != 2 || queue[1].Name != "b" || queue[1].Position != 2 {
		t.Errorf("%s of %s", text, resp.Header.Get("Muster-Total"))
	}
	if resp, text := d.call("GET", "/api/v1/queue?limit=1001", ""); resp.StatusCode < 400 {
		t.Errorf("too many: %s %s", resp.Status, text)
	}
}

// TestPagesStand reads pages while runs are added: every run that was there at
// the first page comes once.
func TestPagesStand(t *testing.T) {
	d := open(t)
	add := func() {
		if resp, text := d.call("POST", runs, `{"spec":{"command":"a"}}`); resp.StatusCode != 201 {
			t.Fatal(text)
		}
	}
	for range 7 {
		add()
	}
	seen := map[string]int{}
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		_, text := d.call("GET", runs+"?limit=3&cursor="+cursor, "")
		var page muster.RunPage
		d.must(json.Unmarshal([]byte(text), &page))
		for _, r := range page.Runs {
			seen[r.Name]++
			if seen[r.Name] > 1 || r.CreatedAt.Nanosecond()%int(time.Microsecond) != 0 {
				t.Errorf("run %s came %d times, made %s", r.Name, seen[r.Name], r.CreatedAt)
			}
		}
		cursor = page.Next
		add()
	}
	if len(seen) != 7 {
		t.Errorf("%d runs on the pages, want 7", len(seen))
	}
	for _, cursor := range []string{"r-5", "r0", "rx"} {
		if resp, text := d.call("GET", runs+"?cursor="+cursor, ""); resp.StatusCode != 400 {
			t.Errorf("%s: %s %s", cursor, resp.Status, text)
		}
	}
}
