package server

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	otlp "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/muster-ml/muster"
)

// receiver is an OTLP receiver that keeps what it is sent.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	spans []*tracepb.Span
	got   chan struct{} // a value for each message
	fails int           // how many messages are refused first
}

// receive starts a receiver.
func receive(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{got: make(chan struct{}, 1000)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		var message otlp.ExportTraceServiceRequest
		if err != nil || q.URL.Path != "/v1/traces" || proto.Unmarshal(body, &message) != nil {
			t.Errorf("%s %s: %v", q.Method, q.URL, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.fails > 0 {
			r.fails--
			w.WriteHeader(http.StatusBadRequest) // one that its client does not try again
			return
		}
		for _, of := range message.ResourceSpans {
			for _, scope := range of.ScopeSpans {
				r.spans = append(r.spans, scope.Spans...)
			}
		}
		r.got <- struct{}{}
	}))
	t.Cleanup(r.Close)
	return r
}

// wait waits for a span of that name, and returns all by name.
func (r *receiver) wait(t *testing.T, name string) map[string]*tracepb.Span {
	t.Helper()
	for limit := time.After(20 * time.Second); ; {
		r.mu.Lock()
		all := map[string]*tracepb.Span{}
		for _, s := range r.spans {
			all[s.Name] = s
		}
		r.mu.Unlock()
		if all[name] != nil {
			return all
		}
		select {
		case <-r.got:
		case <-limit:
			t.Fatalf("there is no span %q among %d", name, len(all))
		}
	}
}

// post asks a server for something.
func post(t *testing.T, s *Server, path, body string, header http.Header) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header = header.Clone()
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, r)
	return w
}

// live submits a run and lives its life. It returns the run and what its agent
// was told.
func live(t *testing.T, s *Server, traceparent string) (*muster.Run, *muster.Assignment) {
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
	header := token(t, s)
	header.Set("traceparent", traceparent)
	if w := post(t, s, "/api/v1/workspaces/w/runs", `{"name":"r","spec":{"command":"true"}}`, header); w.Code != 201 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	r, err := s.store.FindRun(ctx, "w", "r")
	must(err)
	lease, err := s.store.AcquireLease(ctx, "test", true)
	must(err)
	ledger := s.store.Lead(lease.Term)
	_, err = ledger.Apply(ctx, &muster.Decision{Starts: []muster.Start{{RunID: r.ID, Cluster: "c", Each: []muster.Resources{{}}, Places: []muster.Place{{NodeID: "n", NodeName: "n"}}}}})
	must(err)
	x, err := ledger.Launches(ctx, muster.LaunchReserved)
	must(err)
	must(ledger.Move(ctx, x[0], &muster.Moves{Launch: muster.LaunchDispatched, JobID: "j", ChildID: "k", Runs: []muster.RunMove{{To: muster.RunStarting}}}))
	l := x[0].Launch
	held := &claims{Store: s.store, controller: s.controller, inTrace: s.putInTrace}
	told, err := held.Claim(ctx, &muster.Allocation{ID: "alloc", Namespace: l.Namespace, ChildID: "k", Token: l.Token(), Launch: l.ID, Group: l.Groups[0].Name, NodeID: "n", NodeName: "n"}, "boot", nil)
	must(err)
	now := time.Now().UTC()
	_, err = held.Report(ctx, l.ID, &muster.Report{Attempt: 1, Result: &muster.Result{Started: true}, Phases: []muster.PhaseChange{
		{Phase: muster.PhaseInputs, At: now}, {Phase: muster.PhaseCommand, At: now.Add(time.Second)}, {Phase: muster.PhaseUploading, At: now.Add(2 * time.Second)}, {Phase: muster.PhaseDone, At: now.Add(3 * time.Second)}}})
	must(err)
	if x, err = ledger.Launches(ctx, muster.LaunchDispatched); err != nil {
		t.Fatal(err)
	}
	must(ledger.Move(ctx, x[0], &muster.Moves{Launch: muster.LaunchOver, Outcome: muster.OutcomeSucceeded, Runs: []muster.RunMove{{To: muster.RunRunning}, {To: muster.RunSucceeded}}}))
	return r, told
}

// traced follows the events until the receiver has the run's own span.
func traced(t *testing.T, s *Server, r *receiver) map[string]*tracepb.Span {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.traceEvents(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	r.wait(t, spanSubmit)
	return r.wait(t, spanRun)
}

// fromStart makes a server trace from the first event on.
func fromStart(t *testing.T, s *Server) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.DataDir, "traced"), []byte("0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// parents are the spans of a run of one instance with those above them.
var parents = map[string]string{spanRun: spanSubmit, spanQueued: spanRun, spanAttempt: spanRun, spanLaunch: spanAttempt,
	spanInstance: spanAttempt, "inputs": spanInstance, "command": spanInstance, "uploading": spanInstance}

// TestTrace holds that a run is one trace, below its submitter's span, that its
// command works in it, and that a server that sends it again sends the same.
func TestTrace(t *testing.T) {
	const caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	r := receive(t)
	s := openServer(t, func(c *Config) { c.OTLP = r.URL })
	fromStart(t, s)
	_, told := live(t, s, caller)
	spans := traced(t, s, r)
	for name, above := range parents {
		below, up := spans[name], spans[above]
		if below == nil || up == nil || string(below.ParentSpanId) != string(up.SpanId) {
			t.Errorf("span %q is not below %q: %v", name, above, below)
			continue
		}
		if below.StartTimeUnixNano > below.EndTimeUnixNano || hex.EncodeToString(below.TraceId) != caller[3:35] {
			t.Errorf("span %q: %v", name, below)
		}
	}
	if got := hex.EncodeToString(spans[spanSubmit].GetParentSpanId()); got != caller[36:52] {
		t.Errorf("the submission is below %s", got)
	}
	if want := "00-" + caller[3:35] + "-" + hex.EncodeToString(spans["command"].GetSpanId()) + "-01"; told.TraceParent != want || told.OTLPEndpoint != r.URL {
		t.Errorf("the command works in %s at %s, want %s", told.TraceParent, told.OTLPEndpoint, want)
	}
	if in := spans["command"]; in.EndTimeUnixNano-in.StartTimeUnixNano != uint64(time.Second) {
		t.Errorf("the command took %d ns", in.EndTimeUnixNano-in.StartTimeUnixNano)
	}
	fromStart(t, s)
	r.mu.Lock()
	r.spans = r.spans[:0:0]
	r.mu.Unlock()
	page, err := s.store.ListEvents(t.Context(), muster.EventFilter{})
	if err == nil {
		err = s.trace(t.Context(), page)
	}
	if err != nil {
		t.Fatal(err)
	}
	again := r.wait(t, spanRun)
	for name := range parents {
		if string(again[name].GetSpanId()) != string(spans[name].GetSpanId()) {
			t.Errorf("span %q is another the second time", name)
		}
	}
}

// TestTraceOfItsOwn holds that a run whose submitter tells no trace has one of
// its own, that one whose submitter wants none has none, and that a receiver
// that refuses is asked again.
func TestTraceOfItsOwn(t *testing.T) {
	r := receive(t)
	s := openServer(t, func(c *Config) { c.OTLP = r.URL })
	run, told := live(t, s, "")
	if run.Properties[traceProperty] != "" {
		t.Errorf("properties: %v", run.Properties)
	}
	r.wait(t, spanSubmit)
	page, err := s.store.ListEvents(t.Context(), muster.EventFilter{})
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.fails = 1
	r.mu.Unlock()
	if err := s.trace(t.Context(), page); err == nil {
		t.Error("the receiver refused, and nobody says so")
	}
	if err := s.trace(t.Context(), page); err != nil {
		t.Error(err)
	}
	spans := r.wait(t, spanRun)
	if id := hex.EncodeToString(spans[spanRun].TraceId); id != told.TraceParent[3:35] || string(spans[spanSubmit].TraceId) != string(spans[spanRun].TraceId) {
		t.Errorf("trace %s, and the command works in %s", id, told.TraceParent)
	}
	unwanted := &muster.Run{ID: run.ID, Properties: map[string]string{traceProperty: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}}
	g := &gathered{}
	s.tracer.make(unwanted, []span{s.tracer.below(unwanted, [8]byte{}, spanRun, time.Now(), time.Now())}, g)
	if len(g.spans) > 0 {
		t.Error("a run is traced whose submitter wants no trace")
	}
}

// TestNoTrace holds that without a receiver nothing of traces is kept or told.
func TestNoTrace(t *testing.T) {
	s := openServer(t, nil)
	if err := s.store.CreateCluster(t.Context(), &muster.Cluster{Name: "c", NodePool: "pool", Provider: muster.ProviderNone, Tier: muster.TierDedicated}, muster.Origin{}); err != nil {
		t.Fatal(err)
	}
	if err := s.store.CreateWorkspace(t.Context(), &muster.Workspace{Name: "w", DefaultCluster: "c"}); err != nil {
		t.Fatal(err)
	}
	header := token(t, s)
	header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	w := post(t, s, "/api/v1/workspaces/w/runs", `{"name":"r","spec":{"command":"true"}}`, header)
	var r muster.Run
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil || w.Code != 201 || r.Properties != nil {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if _, err := Open(t.Context(), Config{DataDir: t.TempDir(), OTLP: "localhost:4318", Log: s.Log}); muster.CodeOf(err) != muster.CodeInvalid {
		t.Errorf("an endpoint that is no URL: %v", err)
	}
}
