package server

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// openServer opens a server without Nomad and Consul; nothing of it serves.
func openServer(t *testing.T, change func(*Config)) *Server {
	t.Helper()
	agent := filepath.Join(t.TempDir(), "muster-agent")
	if err := os.WriteFile(agent, []byte("an agent"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := Config{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Agent: agent, Fence: time.Minute, NoConsul: true,
		Nomad: Nomad{Address: "http://127.0.0.1:1"}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if change != nil {
		change(&c)
	}
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// get asks a server without the network.
func get(t *testing.T, s *Server, path string, header http.Header) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	maps.Copy(r.Header, header)
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, r)
	return w
}

// token returns the server's first token as a header.
func token(t *testing.T, s *Server) http.Header {
	t.Helper()
	secret, err := os.ReadFile(filepath.Join(s.DataDir, "token"))
	if err != nil {
		t.Fatal(err)
	}
	return http.Header{"Authorization": {"Bearer " + strings.TrimSpace(string(secret))}}
}

// names returns the metrics of Muster's own in an answer to Prometheus.
func names(text string) map[string]bool {
	all := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (muster_\w+) `).FindAllStringSubmatch(text, -1) {
		all[m[1]] = true
	}
	return all
}

// work makes each metric have a value.
func work(t *testing.T, s *Server) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.store.CreateCluster(ctx, &muster.Cluster{Name: "c", NodePool: "pool", Provider: muster.ProviderNone, Tier: muster.TierDedicated}, muster.Origin{}))
	must(s.store.CreateWorkspace(ctx, &muster.Workspace{Name: "w", DefaultCluster: "c"}))
	for _, name := range []string{"a", "b"} {
		must(s.store.CreateRun(ctx, &muster.Run{Workspace: "w", Experiment: "e", Name: name, Cluster: "c", Spec: muster.Spec{Groups: []muster.Group{{Name: "main", Count: 1}}}}, muster.Origin{}))
	}
	a, err := s.store.FindRun(ctx, "w", "a")
	must(err)
	lease, err := s.store.AcquireLease(ctx, "test", true)
	must(err)
	ledger := s.store.Lead(lease.Term)
	_, err = ledger.Apply(ctx, &muster.Decision{Starts: []muster.Start{{RunID: a.ID, Cluster: "c", Each: []muster.Resources{{}}, Places: []muster.Place{{NodeID: "n", NodeName: "n"}}}}})
	must(err)
	x, err := ledger.Launches(ctx, muster.LaunchReserved)
	must(err)
	must(ledger.Move(ctx, x[0], &muster.Moves{Launch: muster.LaunchDispatched, JobID: "j", ChildID: "k", Runs: []muster.RunMove{{To: muster.RunStarting}, {To: muster.RunRunning}}}))
	if x, err = ledger.Launches(ctx, muster.LaunchDispatched); err != nil {
		t.Fatal(err)
	}
	must(ledger.Move(ctx, x[0], &muster.Moves{Launch: muster.LaunchOver, Outcome: muster.OutcomeSucceeded, Runs: []muster.RunMove{{To: muster.RunSucceeded}}}))
	page, err := s.store.ListEvents(ctx, muster.EventFilter{})
	must(err)
	must(s.count(ctx, page))
	_, err = s.nomad.Look(ctx)
	if err == nil {
		t.Error("there is a Nomad where none should be")
	}
	s.metrics.consul.observe("register service", time.Second, nil)
	s.metrics.turns.observe("look", time.Second, err)
	s.metrics.decision.Observe(1)
}

// TestMetricsAreDocumented holds that docs/monitoring.md tells of each metric
// that the server serves, and of no other.
func TestMetricsAreDocumented(t *testing.T) {
	s := openServer(t, nil)
	work(t, s)
	if w := get(t, s, "/api/v1/workspaces", token(t, s)); w.Code != 200 {
		t.Fatalf("list workspaces: %d %s", w.Code, w.Body)
	}
	w := get(t, s, "/metrics", nil)
	text, err := os.ReadFile("../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{"muster_nomad_seen_age_seconds": false} // Nomad was never seen here
	for _, m := range regexp.MustCompile("(?m)^\\| `(muster_\\w+)` \\|").FindAllStringSubmatch(string(text), -1) {
		told[m[1]] = true
	}
	have := names(w.Body.String())
	if len(have) < 25 || !told["muster_nomad_seen_age_seconds"] {
		t.Errorf("%d metrics are served:\n%s", len(have), w.Body)
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if !told[name] {
			t.Errorf("docs/monitoring.md does not tell of %s", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(told)) {
		if !have[name] && name != "muster_nomad_seen_age_seconds" {
			t.Errorf("docs/monitoring.md tells of %s, which is not served", name)
		}
	}
}

// TestMetricsCount holds what is counted of runs, queues and calls.
func TestMetricsCount(t *testing.T) {
	s := openServer(t, nil)
	work(t, s)
	get(t, s, "/api/v1/workspaces/w/runs/a", token(t, s))
	get(t, s, "/api/v1/workspaces/w/runs/a", nil)
	get(t, s, "/nothing/here", nil)
	text := get(t, s, "/metrics", nil).Body.String()
	for _, want := range []string{
		`muster_runs{state="succeeded"} 1`, `muster_runs{state="queued"} 1`, `muster_runs{state="failed"} 0`,
		`muster_queue_runs{cluster="c",reason="new",workspace="w"} 1`,
		`muster_runs_submitted_total{workspace="w"} 2`, `muster_runs_admitted_total{cluster="c"} 1`, `muster_runs_started_total{cluster="c"} 1`,
		`muster_runs_finished_total{outcome="succeeded",state="succeeded",workspace="w"} 1`,
		`muster_attempts_finished_total{cluster="c",outcome="succeeded"} 1`,
		`muster_run_admission_seconds_count{cluster="c"} 1`, `muster_run_launch_seconds_count{cluster="c"} 1`,
		`muster_run_duration_seconds_count{cluster="c",state="succeeded"} 1`,
		`muster_nomad_request_errors_total{operation="GET allocations"} 1`, `muster_loop_errors_total{loop="look"} 1`,
		`muster_store_write_seconds_count{operation="move run"} 2`, `muster_store_write_errors_total{operation="move run"} 0`,
		`muster_http_requests_total{method="GET",route="/api/v1/workspaces/{workspace}/runs/{run}",status="200"} 1`,
		`muster_http_requests_total{method="GET",route="/api/v1/workspaces/{workspace}/runs/{run}",status="401"} 1`,
		`muster_http_requests_total{method="GET",route="none",status="404"} 1`,
		`muster_leader 0`, `muster_sse_clients 0`, `muster_agents_heard 0`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("there is no %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// TestStreamsAreCounted holds that a stream counts while it is open, and that
// what it sends goes out at once.
func TestStreamsAreCounted(t *testing.T) {
	s := openServer(t, nil)
	work(t, s)
	web := httptest.NewServer(s.http.Handler)
	defer web.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, web.URL+"/api/v1/workspaces/w/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = token(t, s)
	r.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, 20)); err != nil {
		t.Fatal(err)
	}
	if text := get(t, s, "/metrics", nil).Body.String(); !strings.Contains(text, "\nmuster_sse_clients 1\n") {
		t.Error("the open stream does not count")
	}
	close(s.closing)
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
	web.Close() // it waits for the requests
	if text := get(t, s, "/metrics", nil).Body.String(); !strings.Contains(text, "\nmuster_sse_clients 0\n") {
		t.Error("the stream counts after its end")
	}
}

// TestMetricsApart holds that with a listener of their own the metrics are not
// with the API.
func TestMetricsApart(t *testing.T) {
	s := openServer(t, func(c *Config) { c.MetricsListen = "127.0.0.1:0" })
	if w := get(t, s, "/metrics", nil); w.Code != 404 {
		t.Errorf("with the API: %d", w.Code)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	resp, err := http.Get("http://" + s.scraped.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || !names(string(text))["muster_leader"] {
		t.Errorf("%v: %s", err, text)
	}
}
