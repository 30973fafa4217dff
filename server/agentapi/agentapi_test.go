package agentapi_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/server/agentapi"
)

// route is a request to a route that belongs to an instance.
type route struct{ method, path, body string }

// routes lists them for an instance of a launch.
func routes(launch string, i int) []route {
	base := "launches/" + launch + "/"
	report := fmt.Sprintf(`{"attempt":2,"instance":%d}`, i)
	return []route{
		{"POST", base + "report", report},
		{"POST", base + "metrics", report},
		{"GET", base + "uploads/" + digest(launch+" code"), ""},
		{"PUT", fmt.Sprintf("%sinstances/%d/logs/stdout/0", base, i), "line\n"},
		{"PUT", fmt.Sprintf("%sinstances/%d/artifacts/outputs/m", base, i), "model"},
		{"PUT", fmt.Sprintf("%sinstances/%d/artifacts/checkpoint/c", base, i), "saved"},
		{"GET", fmt.Sprintf("%sinstances/%d/checkpoint", base, i), ""},
		{"GET", fmt.Sprintf("%sinstances/%d/checkpoint/checkpoint/c", base, i), ""},
		{"DELETE", fmt.Sprintf("%sinstances/%d/checkpoint/checkpoint/c", base, i), ""},
		{"GET", fmt.Sprintf("%sinstances/%d/parts/%s", base, i, digest("large")), ""},
		{"PUT", fmt.Sprintf("%sinstances/%d/parts/%s/0", base, i, digest("large")), "part"},
		{"PUT", fmt.Sprintf("%sinstances/%d/artifacts/outputs/report", base, i), "not the route of that name"},
	}
}

// asks sends a route's request, with the digest that an artifact needs.
func asks(t *testing.T, server *httptest.Server, token string, r route) (int, string) {
	t.Helper()
	return ask(t, server, token, r.method, r.path, r.body, muster.ContentSHA256Header, digest(r.body))
}

// TestNodeRoutes holds that the agent of a node of the cluster may use its routes,
// and nobody else, that its log is kept once, and that orders come at once.
func TestNodeRoutes(t *testing.T) {
	m, _, server := door(t)
	m.orders = &muster.NodeOrders{Version: "v", Generation: "g"}
	for _, r := range []route{{"POST", "nodes/c/report", `{"state":"preparing"}`}, {"PUT", "nodes/c/logs/b-1/0", "line"}} {
		for token, want := range map[string]int{"": 401, "forged": 401, "a0": 403, "node d": 403, "node c": 200} {
			if got, body := asks(t, server, token, r); got != want {
				t.Errorf("%s %s as %q: %d, want %d: %s", r.method, r.path, token, got, want, body)
			}
		}
	}
	if got, _ := ask(t, server, "node c", "POST", "launches/a/claim", "{}"); got != 403 {
		t.Errorf("a node's agent claims: %d", got)
	}
	if got, body := ask(t, server, "node c", "PUT", "nodes/c/logs/b-1/0", "line and more"); got != 200 || body != `{"kept":4}`+"\n" {
		t.Errorf("the second try of a chunk: %d %s", got, body)
	}
	for _, bad := range []string{"nodes/c/logs/..b/0", "nodes/c/logs/b%2F1/0", "nodes/c/logs/b/-1", "nodes/c/logs/b/x"} {
		if got, _ := ask(t, server, "node c", "PUT", bad, "x"); got != 400 {
			t.Errorf("%s: %d", bad, got)
		}
	}
	began := time.Now()
	answered := make(chan string, 1)
	go func() {
		_, body := ask(t, server, "node c", "POST", "nodes/c/report", `{"generation":"g","heard":"v","state":"ready","wait_seconds":60}`)
		answered <- body
	}()
	select {
	case body := <-answered:
		t.Fatalf("a report that says nothing new is answered after %s: %s", time.Since(began), body)
	case <-time.After(100 * time.Millisecond):
	}
	m.do(func() { m.orders = &muster.NodeOrders{Version: "w", Generation: "g"} })
	if body := <-answered; !strings.Contains(body, `"version":"w"`) || !strings.Contains(body, `"servers":["http://one"`) || strings.Contains(body, `"now":"0001`) {
		t.Errorf("the new orders: %s", body)
	}
}

// TestClaimIsHeld holds that a claim whose node is made ready is answered when it
// is, and that it is answered anyway after a while.
func TestClaimIsHeld(t *testing.T) {
	m, _, server := door(t)
	m.waits = "its set-up runs"
	answered := make(chan string, 1)
	go func() {
		_, body := ask(t, server, "a0", "POST", "launches/a/claim", `{"boot_id":"b"}`)
		answered <- body
	}()
	select {
	case body := <-answered:
		t.Fatalf("it is answered at once: %s", body)
	case <-time.After(100 * time.Millisecond):
	}
	m.do(func() { m.waits = "" })
	if body := <-answered; !strings.Contains(body, `"run":"b"`) {
		t.Errorf("when the node is ready: %s", body)
	}
}

// TestWhoMay sends every route as everybody.
func TestWhoMay(t *testing.T) {
	m, _, server := door(t)
	for _, r := range append(routes("a", 0), route{"POST", "launches/a/claim", "{}"}) {
		for token, want := range map[string]int{"": 401, "forged": 401, "b0": 403, "b1": 403} {
			if got, body := asks(t, server, token, r); got != want {
				t.Errorf("%s %s as %q: %d, want %d: %s", r.method, r.path, token, got, want, body)
			}
		}
	}
	for _, r := range routes("a", 0) {
		if got, _ := asks(t, server, "a9", r); got != 403 {
			t.Errorf("%s %s before a claim: %d", r.method, r.path, got)
		}
		if got, _ := asks(t, server, "a1", r); got != 403 && r.method != "GET" {
			t.Errorf("%s %s of another instance: %d", r.method, r.path, got)
		}
		if got, body := asks(t, server, "a0", r); got >= 300 {
			t.Errorf("%s %s as its own: %d: %s", r.method, r.path, got, body)
		}
	}
	m.do(func() { m.launches["a"].Instances[0].Result = &muster.Result{} })
	for _, r := range routes("a", 0) {
		want := 403
		if r.path == "launches/a/report" {
			want = 200 // the answer to the last report may have been lost
		}
		if got, _ := asks(t, server, "a0", r); got != want {
			t.Errorf("%s %s after the result: %d, want %d", r.method, r.path, got, want)
		}
	}
	for _, state := range []muster.LaunchState{muster.LaunchOver, muster.LaunchPurged} {
		m.do(func() { m.launches["a"].State = state })
		for _, r := range routes("a", 0) {
			if got, body := asks(t, server, "a0", r); got != 403 || !strings.Contains(body, "the launch is over") {
				t.Errorf("%s %s when %s: %d %s", r.method, r.path, state, got, body)
			}
		}
	}
}

// TestIdentityCached looks how often identities are checked, and that a failed
// check is not remembered.
func TestIdentityCached(t *testing.T) {
	m, _, server := door(t)
	m.down = muster.Errorf(muster.CodeUnreachable, "Nomad does not answer")
	if got, _ := asks(t, server, "a0", routes("a", 0)[0]); got != 503 {
		t.Errorf("without Nomad: %d, want 503", got)
	}
	m.down = nil
	for range 5 {
		if got, _ := asks(t, server, "a0", routes("a", 0)[0]); got != 200 {
			t.Errorf("with Nomad: %d", got)
		}
	}
	if m.checks != 2 {
		t.Errorf("%d checks, want 2", m.checks)
	}
}

// TestFailureLogged holds that an error that the caller is not shown is in the
// log with what failed, and that both name the request.
func TestFailureLogged(t *testing.T) {
	log := &bytes.Buffer{}
	m, _, server := door(t, func(s *agentapi.Services) { s.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	m.down = errors.New("write the launch: disk full")
	status, body := ask(t, server, "a0", "POST", "launches/a/report", `{}`, "X-Request-Id", "request-1")
	if status != 500 || !strings.Contains(body, "request-1") || strings.Contains(body, "disk") {
		t.Errorf("%d %s", status, body)
	}
	for _, want := range []string{"path=/agent/v1/launches/a/report", `error="write the launch: disk full"`, "request_id=request-1"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %s:\n%s", want, log)
		}
	}
}

func TestClaim(t *testing.T) {
	_, _, server := door(t)
	status, body := ask(t, server, "a0", "POST", "launches/a/claim", `{"boot_id":"boot"}`)
	var got muster.Assignment
	if err := json.Unmarshal([]byte(body), &got); status != 200 || err != nil || got.Run != "boot" || len(got.Servers) != 2 {
		t.Errorf("%d %s", status, body)
	}
	status, body = ask(t, server, "a1", "POST", "launches/a/claim", `{}`)
	var p struct {
		Status              int
		Code, Detail, Title string
	}
	if err := json.Unmarshal([]byte(body), &p); status != 409 || err != nil || p.Code != "conflict" || p.Status != 409 || p.Title == "" || !strings.Contains(p.Detail, "another allocation") {
		t.Errorf("a refused claim: %d %s", status, body)
	}
	if status, _ := ask(t, server, "a0", "POST", "launches/a/claim", `{`); status != 400 {
		t.Errorf("no JSON: %d", status)
	}
}

// orders sends a report in the background.
func orders(t *testing.T, server *httptest.Server, body string) <-chan muster.Orders {
	t.Helper()
	got := make(chan muster.Orders, 1)
	go func() {
		status, text := ask(t, server, "a0", "POST", "launches/a/report", body)
		var o muster.Orders
		if err := json.Unmarshal([]byte(text), &o); err != nil || status != 200 {
			t.Errorf("%d %s", status, text)
		}
		got <- o
	}()
	return got
}

// told waits for n reports.
func (m *memory) told(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		m.mu.Lock()
		have := len(m.reports)
		m.mu.Unlock()
		if have >= n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d reports, want %d", have, n)
		}
		<-time.After(time.Millisecond)
	}
}

// TestReportHeld looks when the answer to a report comes.
func TestReportHeld(t *testing.T) {
	m, api, server := door(t)
	began := time.Now()
	o := <-orders(t, server, `{"attempt":2,"instance":0}`)
	if took := time.Since(began); took > 500*time.Millisecond || o.Stop != "" || len(o.Servers) != 2 {
		t.Errorf("an answer that may not be held took %s: %+v", took, o)
	}
	began = time.Now()
	<-orders(t, server, `{"attempt":2,"instance":0,"wait_seconds":1}`)
	if took := time.Since(began); took < 900*time.Millisecond || took > 3*time.Second {
		t.Errorf("an answer that may be held for 1 s took %s", took)
	}
	held := orders(t, server, `{"attempt":2,"instance":0,"wait_seconds":60}`)
	m.told(t, 3)
	began = time.Now()
	m.do(func() { m.launches["a"].Stop = muster.StopCancel })
	if o := <-held; o.Stop != muster.StopCancel || time.Since(began) > time.Second {
		t.Errorf("the order to stop came as %+v after %s", o, time.Since(began))
	}
	began = time.Now()
	<-orders(t, server, `{"attempt":2,"instance":0,"wait_seconds":1,"stopping":true}`)
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("one that knows the order was answered after %s", took)
	}
	began = time.Now()
	<-orders(t, server, `{"attempt":2,"instance":0,"wait_seconds":60,"stopping":true,"phases":[{"phase":"peers"}]}`)
	if took := time.Since(began); took > time.Second {
		t.Errorf("one that waits for its peers was answered after %s", took)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { api.Run(ctx); close(ended) }()
	held = orders(t, server, `{"attempt":2,"instance":0,"wait_seconds":60,"stopping":true}`)
	m.told(t, len(m.reports)+1)
	cancel()
	<-ended
	select {
	case <-held:
	case <-time.After(2 * time.Second):
		t.Error("a server that ends holds reports back")
	}
	if m.heard[muster.InstanceID{Launch: "a"}].IsZero() {
		t.Error("when the instance was heard of was not written at the end")
	}
}

// TestOutdatedReport looks at a report that comes after a newer one.
func TestOutdatedReport(t *testing.T) {
	m, _, server := door(t)
	m.do(func() { m.launches["a"].Instances[0].Phase = muster.PhaseCommand })
	<-orders(t, server, `{"attempt":2,"instance":0,"wait_seconds":60,"phases":[{"phase":"inputs"}]}`)
	m.do(func() { m.launches["a"].Instances[0].Result = &muster.Result{} })
	<-orders(t, server, `{"attempt":2,"instance":0,"wait_seconds":60,"phases":[{"phase":"uploading"}]}`)
	if len(m.reports) != 0 {
		t.Errorf("kept %+v", m.reports)
	}
}

// TestHeldReportOfEndedLaunch looks that a report that waits hears that its
// launch is over.
func TestHeldReportOfEndedLaunch(t *testing.T) {
	m, _, server := door(t)
	got := make(chan int, 1)
	go func() {
		status, _ := ask(t, server, "a0", "POST", "launches/a/report", `{"attempt":2,"instance":0,"wait_seconds":60}`)
		got <- status
	}()
	m.told(t, 1)
	m.do(func() { m.launches["a"].State = muster.LaunchOver })
	if status := <-got; status != 403 {
		t.Errorf("%d, want 403", status)
	}
}

func TestChunks(t *testing.T) {
	m, _, server := door(t)
	put := func(at, body string) (int, string) {
		return ask(t, server, "a1", "PUT", "launches/a/instances/1/logs/"+at, body)
	}
	for _, c := range []struct {
		at, body string
		status   int
		kept     int64
	}{
		{"stdout/0", "hello\n", 200, 6},
		{"stdout/0", "hello\nand more\n", 200, 6},
		{"stdout/6", "and more\n", 200, 9},
		{"stderr/0", strings.Repeat("x", muster.MaxChunk), 200, muster.MaxChunk},
		{"stderr/1048576", strings.Repeat("x", muster.MaxChunk+1), 413, 0},
		{"stdout/15", "", 400, 0},
		{"stdout/-1", "x", 400, 0},
		{"stdout/x", "x", 400, 0},
		{"stdlog/0", "x", 400, 0},
	} {
		status, body := put(c.at, c.body)
		var a muster.ChunkAnswer
		_ = json.Unmarshal([]byte(body), &a)
		if status != c.status || a.Kept != c.kept {
			t.Errorf("%s with %d bytes: %d %.200s, want %d and %d kept", c.at, len(c.body), status, body, c.status, c.kept)
		}
	}
	log := muster.LogID{RunID: 1, Attempt: 2, Instance: 1, Stream: muster.Stdout}
	if got := string(m.blobs[log.ChunkKey(0)]) + string(m.blobs[log.ChunkKey(6)]); got != "hello\nand more\n" {
		t.Errorf("kept %q", got)
	}
}

// TestChunkBrokenOff sends half of what it says it sends.
func TestChunkBrokenOff(t *testing.T) {
	m, _, server := door(t)
	before := len(m.blobs)
	for path, header := range map[string]string{"logs/stdout/0": "X-Nothing: 1", "artifacts/outputs/x": muster.ContentSHA256Header + ": " + digest("half")} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "PUT /agent/v1/launches/a/instances/0/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a0\r\n%s\r\nContent-Length: 100\r\n\r\nhalf", path, header)
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = bufio.NewReader(conn).ReadString('\n')
		_ = conn.Close()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.blobs) != before || len(m.files) != 0 {
		t.Errorf("something was kept: %d blobs, %d artifacts", len(m.blobs)-before, len(m.files))
	}
}

// TestChunkTwiceAtOnce sends two tries of one chunk while the first is written.
func TestChunkTwiceAtOnce(t *testing.T) {
	m, _, server := door(t)
	inside, go2 := make(chan struct{}), make(chan struct{})
	var first sync.Once
	m.put = func() { first.Do(func() { close(inside); <-go2 }) }
	kept := make(chan string, 2)
	send := func(body string) {
		_, text := ask(t, server, "a0", "PUT", "launches/a/instances/0/logs/stdout/0", body)
		kept <- strings.TrimSpace(text)
	}
	go send("short")
	<-inside
	go send("a longer try")
	close(go2)
	if one, two := <-kept, <-kept; one != `{"kept":5}` || two != one {
		t.Errorf("answers %s and %s", one, two)
	}
}

func TestArtifacts(t *testing.T) {
	m, _, server := door(t)
	put := func(path, body, sum string) (int, string) {
		return ask(t, server, "a0", "PUT", "launches/a/instances/0/artifacts/"+path, body, muster.ContentSHA256Header, sum)
	}
	for _, c := range []struct {
		path, body, sum string
		status          int
	}{
		{"outputs/model%20%C3%BC.bin", "model", digest("model"), 200},
		{"outputs/empty", "", digest(""), 200},
		{"outputs/bad", "model", digest("other"), 400},
		{"outputs/bad", "model", "", 400},
		{"outputs/large", strings.Repeat("x", 1<<20+1), digest(""), 413},
		{"..%2Foutside", "x", digest("x"), 400},
		{"a%2F..%2F..%2Fb", "x", digest("x"), 400},
		{"%2Fetc", "x", digest("x"), 400},
		{"a%5Cb", "x", digest("x"), 400},
	} {
		if status, body := put(c.path, c.body, c.sum); status != c.status {
			t.Errorf("%s: %d %s, want %d", c.path, status, body, c.status)
		}
	}
	a := m.files["outputs/model ü.bin"]
	if a == nil || a.Size != 5 || a.SHA256 != digest("model") || a.Attempt != 2 || a.Instance != 0 || a.CreatedAt.IsZero() {
		t.Errorf("the row is %+v", a)
	}
	if got := string(m.blobs[muster.ArtifactKey(1, 2, 0, "outputs/model ü.bin")]); got != "model" {
		t.Errorf("the bytes are %q", got)
	}
	if len(m.files) != 2 {
		t.Errorf("%d artifacts, want 2", len(m.files))
	}
}

// full is a store in which a file stands where a folder is needed.
type full struct{ muster.Blobs }

func (full) Put(context.Context, string, string, io.Reader) (int64, string, error) {
	return 0, "", muster.Errorf(muster.CodeInvalid, "runs/1 cannot be kept")
}

// TestArtifactInTheWay looks that a file that can never be kept is refused for
// good, by its own name.
func TestArtifactInTheWay(t *testing.T) {
	_, _, server := door(t, func(s *agentapi.Services) { s.Blobs = full{s.Blobs} })
	status, body := ask(t, server, "a0", "PUT", "launches/a/instances/0/artifacts/outputs/m", "model", muster.ContentSHA256Header, digest("model"))
	if status != 400 || !strings.Contains(body, "outputs/m cannot be kept beside") || !strings.Contains(body, "another name") {
		t.Errorf("%d %s", status, body)
	}
}

// TestUploads looks that a run gets its own uploads alone, though others of its
// workspace are kept.
func TestUploads(t *testing.T) {
	m, _, server := door(t)
	for name, want := range map[string]int{"a code": 200, "a input": 200, "b code": 403, "b input": 403, "none": 403} {
		status, body := ask(t, server, "a0", "GET", "launches/a/uploads/"+digest(name), "")
		if status != want || status == 200 && body != name {
			t.Errorf("%s: %d %q, want %d", name, status, body, want)
		}
	}
	delete(m.blobs, muster.UploadKey(9, digest("a code")))
	if status, _ := ask(t, server, "a0", "GET", "launches/a/uploads/"+digest("a code"), ""); status != 404 {
		t.Errorf("one that is gone: %d", status)
	}
}

func TestMetrics(t *testing.T) {
	m, _, server := door(t)
	status, body := ask(t, server, "a1", "POST", "launches/a/metrics", `{"attempt":2,"instance":1,"batch":4,"metrics":[{"name":"loss","value":1,"step":0,"time":"2026-01-02T03:04:05Z"}]}`)
	if status != 204 || body != "" {
		t.Errorf("%d %s", status, body)
	}
	if want := (muster.MetricsBatch{RunID: 1, Attempt: 2, Instance: 1, Batch: 4}); len(m.batches) != 1 || m.batches[0] != want {
		t.Errorf("batches %v", m.batches)
	}
	for _, body := range []string{`{"attempt":1,"instance":1}`, `{"attempt":2,"instance":0}`} {
		if status, _ := ask(t, server, "a1", "POST", "launches/a/metrics", body); status != 403 {
			t.Errorf("%s: %d, want 403", body, status)
		}
	}
}

func TestBinary(t *testing.T) {
	dir := t.TempDir()
	for _, file := range []string{filepath.Join(dir, digest("the agent")), filepath.Join(dir, "secret")} {
		if err := os.WriteFile(file, []byte("the agent"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	_, _, server := door(t, func(s *agentapi.Services) { s.Agents = dir })
	if status, body := ask(t, server, "", "GET", "binary/"+digest("the agent"), ""); status != 200 || body != "the agent" {
		t.Errorf("%d %s", status, body)
	}
	if status, body := ask(t, server, "", "GET", "binary/"+digest("the agent"), "", "Range", "bytes=4-"); status != 206 || body != "agent" {
		t.Errorf("a part: %d %s", status, body)
	}
	if status, _ := ask(t, server, "", "GET", "binary/"+digest("another"), ""); status != 404 {
		t.Errorf("another: %d", status)
	}
	if status, _ := ask(t, server, "", "GET", "binary/secret", ""); status != 404 {
		t.Errorf("a file that is no agent: %d", status)
	}
	if status, _ := ask(t, server, "", "GET", "nothing", ""); status != 404 {
		t.Errorf("no route: %d", status)
	}
}
