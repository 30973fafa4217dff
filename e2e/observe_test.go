package e2e

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	otlp "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/dev"
)

// spans keeps the spans that come by OTLP, by name.
type spans struct {
	mu   sync.Mutex
	seen map[string]*tracepb.Span
}

// ServeHTTP is the receiver.
func (s *spans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var message otlp.ExportTraceServiceRequest
	body, err := io.ReadAll(r.Body)
	if err != nil || proto.Unmarshal(body, &message) != nil {
		http.Error(w, "this is no OTLP", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range message.ResourceSpans {
		for _, scope := range of.ScopeSpans {
			for _, span := range scope.Spans {
				s.seen[span.Name] = span
			}
		}
	}
}

// get returns the span of that name, nil where it has not come.
func (s *spans) get(name string) *tracepb.Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[name]
}

// TestObserve runs a job whose submitter is within a trace, while the server dies
// in between: all of it is in that trace, in order, and its command works in it.
// It is counted, and who asked for it is in the access log.
func TestObserve(t *testing.T) {
	const trace = "0af7651916cd43dd8448eb211c80319c"
	got := &spans{seen: map[string]*tracepb.Span{}}
	receiver := httptest.NewServer(got)
	defer receiver.Close()
	p := open(t, dev.Config{}, "--otlp-endpoint", receiver.URL, "--access-log", "on")
	arrives := func(name string) *tracepb.Span {
		t.Helper()
		p.eventually("the span "+name, func() bool { return got.get(name) != nil }, func() string { return "it has not come" })
		return got.get(name)
	}
	signal := counter(t)
	submit := p.command("run", "submit", p.file(small("echo $TRACEPARENT $OTEL_EXPORTER_OTLP_ENDPOINT; until test -s "+signal+"; do sleep 0.1; done", "")))
	submit.Env = append(submit.Env, "TRACEPARENT=00-"+trace+"-b7ad6b7169203331-01")
	out, err := submit.Output()
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimSpace(string(out))
	p.running(name)
	arrives("submit")
	arrives("queued")
	p.eventually("the agent to be heard", func() bool { return strings.Contains(p.metrics(), "\nmuster_agents_heard 1\n") }, p.metrics)
	p.kill(dev.Server)
	p.start(dev.Server)
	if err := os.WriteFile(signal, []byte("end"), 0o666); err != nil {
		t.Fatal(err)
	}
	p.ends(name, muster.RunSucceeded)
	arrives("run")
	order := []string{"submit", "run", "queued", "attempt", "launch", "instance", "command", "uploading"}
	above := map[string]string{"run": "submit", "queued": "run", "attempt": "run", "launch": "attempt", "instance": "attempt", "command": "instance", "uploading": "instance"}
	last := uint64(0)
	for _, span := range order {
		s := arrives(span)
		if hex.EncodeToString(s.TraceId) != trace || s.StartTimeUnixNano > s.EndTimeUnixNano {
			t.Errorf("span %s: %v", span, s)
		}
		if up := above[span]; up != "" && string(s.ParentSpanId) != string(got.get(up).SpanId) {
			t.Errorf("span %s is not below %s", span, up)
		}
		if s.StartTimeUnixNano < last {
			t.Errorf("span %s begins before the one before it", span)
		}
		last = s.StartTimeUnixNano
	}
	want := "00-" + trace + "-" + hex.EncodeToString(got.get("command").SpanId) + "-01 " + receiver.URL
	if log := p.muster("run", "logs", name); !strings.Contains(log, want) {
		t.Errorf("the command works in %s, want %s", log, want)
	}
	p.eventually("the end to be counted", func() bool {
		return strings.Contains(p.metrics(), `muster_runs_finished_total{outcome="succeeded",state="succeeded",workspace="default"} 1`)
	}, p.metrics)
	for _, want := range []string{"muster_leader 1", `muster_nomad_request_seconds_count{operation="GET allocations"}`, `muster_store_write_seconds_count{operation="move run"}`,
		`muster_consul_request_seconds_count{operation="register service"}`, `muster_run_duration_seconds_count{cluster="local",state="succeeded"} 1`, `muster_decision_seconds_count`, "muster_leader_term 2", `muster_loop_seconds_count{loop="track"}`} {
		if !strings.Contains(p.metrics(), "\n"+want) {
			t.Errorf("there is no metric %s", want)
		}
	}
	text, err := os.ReadFile(filepath.Join(p.DataDir, "log", "server.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"principal=admin method=POST route=/api/v1/workspaces/{workspace}/runs status=201", `principal="agent `, "route=/agent/v1/launches/{launch}/claim status=200"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the access log does not say %s", want)
		}
	}
	if strings.Contains(string(text), p.Token) {
		t.Error("a token is in the log")
	}
}

// metrics returns what Prometheus reads of the server.
func (p *platform) metrics() string {
	p.t.Helper()
	resp, err := http.Get(p.Addr + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		p.t.Fatalf("metrics: %s %v", resp.Status, err)
	}
	return string(text)
}
