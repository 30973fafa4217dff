package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/artifact"
	"github.com/muster-ml/muster/server/api"
	"github.com/muster-ml/muster/store"
)

// door is the API over a real store.
type door struct {
	*testing.T
	store  *store.Store
	bucket *artifact.Bucket
	vault  *vault
	url    string
	woken  atomic.Int64
}

const secret = "a-secret"

func open(t *testing.T, change ...func(*api.Services)) *door {
	t.Helper()
	d := &door{T: t, vault: &vault{kept: map[string]muster.Secret{}}}
	var err error
	d.store, err = store.Open(t.Context(), t.TempDir())
	d.must(err)
	t.Cleanup(func() { d.store.Close() })
	d.bucket, err = artifact.OpenFolder(t.Context(), t.TempDir())
	d.must(err)
	t.Cleanup(func() { d.bucket.Close() })
	d.must(d.store.CreateToken(t.Context(), &muster.Token{Name: "anna", Role: muster.RoleAdministrator, Hash: muster.HashToken(secret)}))
	d.must(d.store.CreateCluster(t.Context(), &muster.Cluster{Name: "c", NodePool: "pool", Provider: muster.ProviderNone, Tier: muster.TierDedicated}, muster.Origin{}))
	d.must(d.store.CreateWorkspace(t.Context(), &muster.Workspace{Name: "w", DefaultCluster: "c"}))
	services := api.Services{Workspaces: d.store, Experiments: d.store, Clusters: d.store, Nodes: noNomad{}, Sizes: muster.BuiltinSizes(), Autoscaling: unscaled{d.store}, Runs: d.store,
		Attempts: d.store, Events: d.store, Artifacts: d.store, Blobs: d.bucket, Archive: d.store, Retention: nothingGoes{}, Metrics: d.store, Stats: d.store, Tokens: d.store, Audit: d.store, Changes: d.store, Receipts: d.store, Registries: d.store, Fitness: d.store, ClusterSecrets: d.store, Vault: d.vault, RunOf: d.runOf, Policies: func(context.Context) (*muster.Policies, error) { return &muster.Policies{Namespaces: []string{}}, nil },
		Site: muster.DefaultSite(), Wake: func() { d.woken.Add(1) }, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	for _, f := range change {
		f(&services)
	}
	server := httptest.NewServer(api.New(services))
	t.Cleanup(server.Close)
	d.url = server.URL
	return d
}

// unscaled is an autoscaling whose leader has not looked yet.
type unscaled struct{ *store.Store }

func (u unscaled) FindScaling(ctx context.Context, cluster string) (*muster.Scaling, error) {
	if _, err := u.FindCluster(ctx, cluster); err != nil {
		return nil, err
	}
	return nil, muster.Errorf(muster.CodeConflict, "it is not known")
}

func (u unscaled) ReportMachines(ctx context.Context, cluster string, r muster.MachineReport) error {
	_, err := u.Store.ReportMachines(ctx, cluster, r)
	return err
}

// vault keeps the secrets of one namespace in the place of Nomad.
type vault struct {
	kept map[string]muster.Secret
	away bool
}

func (v *vault) KeepSecrets(_ context.Context, _ string, secrets map[string]muster.Secret) error {
	if v.away {
		return muster.Errorf(muster.CodeUnreachable, "Nomad is away")
	}
	for key, secret := range secrets {
		v.kept[key] = secret
		if secret.Reveal() == "" {
			delete(v.kept, key)
		}
	}
	return nil
}

func (v *vault) KeepClusterSecrets(ctx context.Context, cluster string, secrets map[string]muster.Secret, _ int64) error {
	return v.KeepSecrets(ctx, cluster, secrets)
}

// ofRunR is a workload identity that says it is an allocation's: that of run r.
var ofRunR = "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"nomad_allocation_id":"a"}`)) + ".signature"

// runOf knows one workload identity in the place of Nomad.
func (d *door) runOf(ctx context.Context, token string) (*muster.Principal, error) {
	r, err := d.store.FindRun(ctx, "w", "r")
	if err != nil || token != ofRunR {
		return nil, muster.Errorf(muster.CodeUnauthenticated, "this workload identity is none").WithCure("take another")
	}
	return &muster.Principal{Name: "run r", Run: "r", RunID: r.ID, Grants: []muster.Grant{{Role: muster.RoleContributor, Workspace: "w"}}}, nil
}

// nothingGoes is retention where nothing is old.
type nothingGoes struct{}

func (nothingGoes) Retain(_ context.Context, _ string, dryRun bool) (*muster.RetentionReport, error) {
	return &muster.RetentionReport{DryRun: dryRun, Runs: []muster.Removal{}}, nil
}

// noNomad is what the server knows of nodes before Nomad has answered.
type noNomad struct{}

func (noNomad) ListNodes(context.Context) ([]*muster.Node, error) {
	return nil, muster.Errorf(muster.CodeUnreachable, "Nomad has not answered yet")
}

func (d *door) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

// call sends a request and returns the answer with its body.
func (d *door) call(method, path, body string, header ...string) (*http.Response, string) {
	d.Helper()
	req, err := http.NewRequestWithContext(d.Context(), method, d.url+path, strings.NewReader(body))
	d.must(err)
	req.Header.Set("Authorization", "Bearer "+secret)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	d.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	d.must(err)
	return resp, string(text)
}

// runs is where the runs of workspace w are.
const runs = "/api/v1/workspaces/w/runs"

// TestProblems proves that every error has one shape.
func TestProblems(t *testing.T) {
	d := open(t)
	if resp, text := d.call("POST", runs, `{"name":"r","spec":{"command":"a"}}`); resp.StatusCode != 201 {
		t.Fatalf("%s: %s", resp.Status, text)
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		code               muster.Code
		field, says        string
	}{
		{"GET", "/api/v1/nothing", "", 404, muster.CodeNotFound, "", "there is no route /api/v1/nothing"},
		{"GET", "/", "", 404, muster.CodeNotFound, "", "there is no route /"},
		{"PUT", runs + "/r", "x", 405, muster.CodeInvalid, "", "takes GET or HEAD or PATCH or DELETE, not PUT"},
		{"GET", runs + "/none", "", 404, muster.CodeNotFound, "", "there is no run none in workspace w"},
		{"GET", "/api/v1/workspaces/none/runs", "", 404, muster.CodeNotFound, "", "there is no workspace none"},
		{"POST", runs, ``, 400, muster.CodeInvalid, "", "body"},
		{"POST", runs, `{`, 400, muster.CodeInvalid, "body", "the body is not JSON: unexpected end"},
		{"POST", runs, `[]`, 400, muster.CodeInvalid, "body", "the body must be an object"},
		{"POST", runs, `{"name":"x","spec":{"command":"a"},"colour":"red"}`, 400, muster.CodeInvalid, "colour", "colour is not known"},
		{"POST", runs, `{"name":"x","spec":{"command":"a","comand":"b"}}`, 400, muster.CodeInvalid, "spec.comand", "spec.comand is not known"},
		{"POST", runs, `{"name":"x","spec":{"command":7}}`, 400, muster.CodeInvalid, "spec.command", "spec.command must be a string"},
		{"POST", runs, `{"name":"x","spec":{}}`, 400, muster.CodeInvalid, "spec.command", "spec.command is missing"},
		{"POST", runs, `{"name":"a b","spec":{"command":"a"}}`, 400, muster.CodeInvalid, "name", "is not a name for a run"},
		{"POST", runs, `{"name":"r","spec":{"command":"a"}}`, 409, muster.CodeConflict, "name", "run r exists already"},
		{"POST", runs, `{"spec":{"command":"a","compute":"none"}}`, 404, muster.CodeNotFound, "spec.compute", "there is no cluster none"},
		{"POST", runs, `{"spec":{"command":"a","environment":"azureml:mine@latest"}}`, 422, muster.CodeRefused, "spec.environment", "mapped to nothing"},
		{"POST", runs, `{"spec":{"command":"a","code":"upload:sha256:` + strings.Repeat("a", 64) + `"}}`, 400, muster.CodeInvalid, "spec.code", "is not uploaded"},
		{"POST", runs, `{"spec":{"command":"a","code":"../../etc"}}`, 400, muster.CodeInvalid, "", "is not a reference"},
		{"POST", runs, `{"spec":{"command":"` + strings.Repeat("a", 5<<20) + `"}}`, 413, muster.CodeTooLarge, "", "larger than 4 MiB"},
		{"GET", runs + "?limit=0", "", 400, muster.CodeInvalid, "limit", "limit must be a number >= 1"},
		{"GET", runs + "?limit=many", "", 400, muster.CodeInvalid, "limit", "limit must be an integer, not \"many\""},
		{"GET", runs + "?cursor=x", "", 400, muster.CodeInvalid, "cursor", "is no cursor"},
		{"GET", runs + "?state=dying", "", 400, muster.CodeInvalid, "state", "is no state"},
		{"POST", runs + "/none/cancel", "", 404, muster.CodeNotFound, "", "there is no run none"},
		{"GET", runs + "/r/artifacts/none", "", 404, muster.CodeNotFound, "", "the run has no file none"},
		{"GET", runs + "/r/artifacts/..%2f..%2fx", "", 400, muster.CodeInvalid, "", "is not a path"},
		{"GET", runs + "/r/logs/stdin", "", 400, muster.CodeInvalid, "stream", "stream must be one of \"stdout, stderr\""},
		{"GET", runs + "/r/logs?attempt=3", "", 404, muster.CodeNotFound, "attempt", "no attempt 3"},
		{"GET", "/api/v1/nodes", "", 503, muster.CodeUnreachable, "", "Nomad has not answered yet"},
		{"POST", "/api/v1/workspaces/w/uploads/" + strings.Repeat("a", 64) + "/complete?size=9223372036854775806", "", 413, muster.CodeTooLarge, "size", "is larger than"},
		{"PUT", "/api/v1/workspaces/w/uploads/short", "x", 400, muster.CodeInvalid, "sha256", "is not a SHA-256"},
		{"PUT", "/api/v1/workspaces/w/uploads/" + strings.Repeat("a", 64), "x", 400, muster.CodeInvalid, "sha256", "the bytes have SHA-256 2d71"},
	} {
		resp, text := d.call(c.method, c.path, c.body)
		var p struct {
			Type, Title, Detail, Field, Cure string
			Status                           int
			Code                             muster.Code
		}
		if err := json.Unmarshal([]byte(text), &p); err != nil || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %s is no problem: %v\n%s", c.method, c.path, resp.Header.Get("Content-Type"), err, text)
			continue
		}
		if resp.StatusCode != c.status || p.Status != c.status || p.Code != c.code || p.Field != c.field || !strings.Contains(p.Detail, c.says) || p.Type != "about:blank" || p.Title == "" {
			t.Errorf("%s %s %.80s: got %d %s", c.method, c.path, c.body, resp.StatusCode, text)
		}
	}
}

func TestWhoCalls(t *testing.T) {
	d := open(t)
	for header, says := range map[string]string{"": "needs a token", "Bearer ": "needs a token", "Basic x": "needs a token", "Bearer wrong": "not known here"} {
		if resp, text := d.call("GET", runs, "", "Authorization", header); resp.StatusCode != 401 || !strings.Contains(text, says) || !strings.Contains(text, `"cure":`) {
			t.Errorf("%q: %s %s", header, resp.Status, text)
		}
	}
	for _, path := range []string{"/api/v1/openapi.json", "/api/v1/openapi.yaml"} {
		if resp, text := d.call("GET", path, "", "Authorization", ""); resp.StatusCode != 200 || len(text) < 100 {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	resp, text := d.call("POST", runs, `{"name":"r","spec":{"command":"a"}}`, "X-Request-Id", "req-7")
	if resp.StatusCode != 201 || resp.Header.Get("X-Request-Id") != "req-7" || d.woken.Load() != 1 {
		t.Fatalf("%s %s %d", resp.Status, text, d.woken.Load())
	}
	if resp, _ := d.call("GET", runs, ""); len(resp.Header.Get("X-Request-Id")) != 16 {
		t.Errorf("request id %q", resp.Header.Get("X-Request-Id"))
	}
	events, err := d.store.ListEvents(t.Context(), muster.EventFilter{Workspace: "w", Run: "r"})
	if err != nil || events[0].Actor != "anna" || events[0].RequestID != "req-7" {
		t.Errorf("events = %+v, %v", events, err)
	}
}

// TestDocument holds that the document is OpenAPI 3.1 and names every route.
func TestDocument(t *testing.T) {
	_, text := open(t).call("GET", "/api/v1/openapi.json", "")
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			Responses   map[string]struct{ Content map[string]any }
		}
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Fatalf("openapi %q: %v", doc.OpenAPI, err)
	}
	for path, method := range map[string]string{"/workspaces": "post", "/clusters/{cluster}": "get", "/nodes/{node}": "get", "/queue": "get",
		"/workspaces/{workspace}/runs": "post", "/workspaces/{workspace}/runs/{run}": "get", "/workspaces/{workspace}/runs/{run}/cancel": "post",
		"/workspaces/{workspace}/runs/{run}/events": "get", "/workspaces/{workspace}/runs/{run}/logs": "get", "/workspaces/{workspace}/events": "get",
		"/workspaces/{workspace}/runs/{run}/metrics": "get", "/workspaces/{workspace}/uploads/{sha256}": "put"} {
		operation, ok := doc.Paths["/api/v1"+path][method]
		if !ok || operation.OperationID == "" {
			t.Errorf("%s %s is missing", method, path)
		}
		if _, ok := operation.Responses["404"].Content["application/problem+json"]; !ok {
			t.Errorf("%s %s does not tell of problems", method, path)
		}
	}
}

func TestUploads(t *testing.T) {
	d := open(t)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // more than a JSON body may be
	sum := sha256.Sum256(data)
	at := "/api/v1/workspaces/w/uploads/" + hex.EncodeToString(sum[:])
	if resp, _ := d.call("HEAD", at, ""); resp.StatusCode != 404 {
		t.Errorf("before: %s", resp.Status)
	}
	if resp, text := d.call("PUT", at, string(data[1:])); resp.StatusCode != 400 {
		t.Errorf("other bytes: %s %s", resp.Status, text)
	}
	if resp, _ := d.call("HEAD", at, ""); resp.StatusCode != 404 {
		t.Errorf("other bytes are kept: %s", resp.Status)
	}
	for range 2 {
		if resp, text := d.call("PUT", at, string(data)); resp.StatusCode != 204 {
			t.Errorf("%s %s", resp.Status, text)
		}
	}
	if resp, _ := d.call("HEAD", at, ""); resp.StatusCode != 204 {
		t.Errorf("after: %s", resp.Status)
	}
	if resp, _ := d.call("HEAD", strings.Replace(at, "/w/", "/none/", 1), ""); resp.StatusCode != 404 {
		t.Errorf("another workspace: %s", resp.Status)
	}
}

func TestRangesOfArtifacts(t *testing.T) {
	d := open(t)
	r := d.submit()
	d.lead().admit(r)
	size, sum, err := d.bucket.Put(t.Context(), muster.ArtifactKey(r.ID, 1, 0, "outputs/x"), "", strings.NewReader("0123456789"))
	d.must(err)
	d.must(d.store.PutArtifact(t.Context(), r.ID, &muster.Artifact{Path: "outputs/x", Size: size, SHA256: sum, Attempt: 1}))
	for ranges, want := range map[string]string{"": "0123456789", "bytes=4-": "456789", "bytes=2-3": "23", "bytes=-1": "9", "bytes=20-": ""} {
		resp, text := d.call("GET", runs+"/r/artifacts/outputs/x", "", "Range", ranges)
		if ranges == "bytes=20-" {
			if resp.StatusCode != 416 {
				t.Errorf("%s: %s", ranges, resp.Status)
			}
			continue
		}
		if text != want || resp.Header.Get("ETag") != `"`+sum+`"` || ranges != "" && resp.StatusCode != 206 {
			t.Errorf("%s: %s %q", ranges, resp.Status, text)
		}
	}
}

// TestEventsResume reads a stream in two halves.
func TestEventsResume(t *testing.T) {
	d := open(t)
	if resp, text := d.call("POST", runs, `{"name":"r","spec":{"command":"a","warnings":["one","two"]}}`); resp.StatusCode != 201 {
		t.Fatal(text)
	}
	d.must(d.store.RequestStop(t.Context(), "w", "r", muster.Origin{Actor: "anna"}))
	lease, err := d.store.AcquireLease(t.Context(), "test", true)
	d.must(err)
	_, err = d.store.Lead(lease.Term).StopQueued(t.Context())
	d.must(err)
	resp, all := d.call("GET", runs+"/r/events", "", "Accept", "text/event-stream")
	if resp.Header.Get("Content-Type") != "text/event-stream" || strings.Count(all, "event: event\n") != 5 || !strings.HasSuffix(all, "event: end\ndata: {}\n\n") {
		t.Fatalf("%s\n%s", resp.Status, all)
	}
	id, _, _ := strings.Cut(strings.TrimPrefix(all[strings.Index(all, "\n\n")+2:], "id: "), "\n")
	_, rest := d.call("GET", runs+"/r/events", "", "Accept", "text/event-stream", "Last-Event-ID", id)
	if strings.Count(rest, "event: event\n") != 3 || !strings.HasSuffix(all, rest) {
		t.Errorf("after %s:\n%s\nof\n%s", id, rest, all)
	}
	_, page := d.call("GET", runs+"/r/events?after="+id, "")
	var events []*muster.Event
	if err := json.Unmarshal([]byte(page), &events); err != nil || len(events) != 3 {
		t.Errorf("%d events: %v", len(events), err)
	}
}

func TestPages(t *testing.T) {
	d := open(t)
	for _, name := range []string{"a", "b", "c"} {
		if resp, text := d.call("POST", runs, `{"name":"`+name+`","experiment":"e","spec":{"command":"a","inputs":{"x":{"literal":"1"}}}}`); resp.StatusCode != 201 {
			t.Fatal(text)
		}
	}
	var names []string
	for cursor, pages := "", 0; ; pages++ {
		_, text := d.call("GET", runs+"?limit=2&experiment=e&cursor="+cursor, "")
		var page muster.RunPage
		d.must(json.Unmarshal([]byte(text), &page))
		for _, r := range page.Runs {
			names = append(names, r.Name+r.Inputs["x"])
		}
		if cursor = page.Next; cursor == "" {
			break
		}
		if pages > 3 {
			t.Fatal("the pages do not end")
		}
	}
	if got := strings.Join(names, " "); got != "c1 b1 a1" {
		t.Errorf("got %s", got)
	}
}
