package agentapi_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"iter"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/server/agentapi"
)

// memory keeps two launches, a and b, with two instances each, of two runs.
// The token of instance 1 of a is "a1".
type memory struct {
	mu       sync.Mutex
	launches map[string]*muster.Launch
	runs     map[int64]*muster.Run
	blobs    map[string][]byte
	files    map[string]*muster.Artifact
	batches  []muster.MetricsBatch
	heard    map[muster.InstanceID]time.Time
	changed  chan struct{}
	checks   int   // identities that were checked
	down     error // of Identify
	reports  []muster.Report
	put      func() // called in the middle of a Put
	waits    string // for what claims wait
	orders   *muster.NodeOrders
}

// door makes a front door before the memory, with the server that opens it.
func door(t *testing.T, change ...func(*agentapi.Services)) (*memory, *agentapi.API, *httptest.Server) {
	t.Helper()
	m := &memory{launches: map[string]*muster.Launch{}, runs: map[int64]*muster.Run{}, blobs: map[string][]byte{}, files: map[string]*muster.Artifact{},
		heard: map[muster.InstanceID]time.Time{}, changed: make(chan struct{})}
	for i, id := range []string{"a", "b"} {
		m.launches[id] = &muster.Launch{ID: id, RunID: int64(i + 1), Attempt: 2, State: muster.LaunchDispatched, Instances: []muster.Instance{
			{Index: 0, Group: "main", AllocID: id + "0"}, {Index: 1, Group: "main", AllocID: id + "1"}}}
		m.runs[int64(i+1)] = &muster.Run{ID: int64(i + 1), WorkspaceID: 9, Spec: muster.Spec{Code: muster.UploadRef(digest(id + " code")),
			Inputs: map[string]muster.Input{"x": {Ref: muster.UploadRef(digest(id + " input"))}}}}
		for _, what := range []string{" code", " input"} {
			m.blobs[muster.UploadKey(9, digest(id+what))] = []byte(id + what)
		}
	}
	s := agentapi.Services{Identities: m, Claims: m, Healths: m, Artifacts: m, Blobs: m, Metrics: m, FindRun: m.findRun, Changed: m.wake,
		Servers: func() []string { return []string{"http://one", "http://two"} }, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), MaxArtifact: 1 << 20}
	for _, c := range change {
		c(&s)
	}
	api := agentapi.New(s)
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	return m, api, server
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// do changes something, and wakes who waits.
func (m *memory) do(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *memory) wake() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

func (m *memory) findRun(_ context.Context, id int64) (*muster.Run, error) { return m.runs[id], nil }

func (m *memory) Identify(_ context.Context, token string) (*muster.Allocation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checks++
	if m.down != nil {
		return nil, m.down
	}
	if cluster, ok := strings.CutPrefix(token, "node "); ok {
		return &muster.Allocation{ID: token, Cluster: cluster, NodeID: "n1", NodeName: "node1"}, nil
	}
	if !slices.Contains([]string{"a0", "a1", "a9", "b0", "b1"}, token) {
		return nil, muster.Errorf(muster.CodeUnauthenticated, "forged")
	}
	return &muster.Allocation{ID: token, Launch: token[:1], Group: "main"}, nil
}

func (m *memory) FindLaunch(_ context.Context, id string) (*muster.Launch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := *m.launches[id]
	l.Instances = slices.Clone(l.Instances)
	return &l, nil
}

func (m *memory) Claim(_ context.Context, a *muster.Allocation, boot string, _ []string) (*muster.Assignment, error) {
	if !strings.HasSuffix(a.ID, "0") {
		return nil, muster.Errorf(muster.CodeConflict, "instance 0 belongs to another allocation")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waits != "" {
		return &muster.Assignment{Waits: m.waits}, nil
	}
	return &muster.Assignment{Launch: a.Launch, Attempt: 2, Run: boot}, nil
}

func (m *memory) ReportNode(context.Context, *muster.Allocation, *muster.NodeReport) (*muster.NodeOrders, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	orders := *m.orders
	return &orders, nil
}

func (m *memory) Report(_ context.Context, launch string, r *muster.Report) (*muster.Orders, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reports = append(m.reports, *r)
	if r.Result != nil {
		m.launches[launch].Instances[r.Instance].Result = r.Result
	}
	return &muster.Orders{Stop: m.launches[launch].Stop, Go: true}, nil
}

func (m *memory) Heard(_ context.Context, at map[muster.InstanceID]time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, t := range at {
		m.heard[id] = t
	}
	return nil
}

func (m *memory) PutArtifact(_ context.Context, runID int64, a *muster.Artifact) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[a.Path] = a
	return nil
}
func (m *memory) FindArtifact(_ context.Context, _ int64, path string) (*muster.Artifact, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.files[path]; a != nil {
		return a, nil
	}
	return nil, muster.Errorf(muster.CodeNotFound, "there is no file %s", path)
}
func (m *memory) DropArtifact(_ context.Context, _ int64, _ int, path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.files, path)
	return nil
}
func (m *memory) ListArtifacts(_ context.Context, _ int64, q muster.ArtifactQuery) (all []*muster.Artifact, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, path := range slices.Sorted(maps.Keys(m.files)) {
		if strings.HasPrefix(path, q.Prefix) && path > q.After && len(all) < q.Limit {
			all = append(all, m.files[path])
		}
	}
	return all, nil
}
func (m *memory) SumArtifacts(context.Context, int64) (map[string]muster.OutputSum, error) {
	return nil, nil
}

func (m *memory) Put(_ context.Context, key, want string, r io.Reader) (int64, string, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return 0, "", err
	}
	if sum := sha256.Sum256(data); want != "" && hex.EncodeToString(sum[:]) != want {
		return 0, "", muster.ErrDigest
	}
	if m.put != nil {
		m.put()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs[key] = data
	return int64(len(data)), digest(string(data)), nil
}

func (m *memory) Open(_ context.Context, key string, offset int64) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.blobs[key]
	if !ok {
		return nil, muster.Errorf(muster.CodeNotFound, "no %s", key)
	}
	return io.NopCloser(bytes.NewReader(data[offset:])), nil
}

func (m *memory) Size(_ context.Context, key string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.blobs[key]
	if !ok {
		return 0, muster.Errorf(muster.CodeNotFound, "no %s", key)
	}
	return int64(len(data)), nil
}

func (m *memory) List(_ context.Context, prefix string) iter.Seq2[muster.Blob, error] {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []muster.Blob
	for _, key := range slices.Sorted(maps.Keys(m.blobs)) {
		if strings.HasPrefix(key, prefix) {
			all = append(all, muster.Blob{Key: key, Size: int64(len(m.blobs[key]))})
		}
	}
	return func(yield func(muster.Blob, error) bool) {
		for _, b := range all {
			if !yield(b, nil) {
				return
			}
		}
	}
}

func (m *memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.blobs, key)
	return nil
}

func (m *memory) LogMetrics(_ context.Context, at muster.MetricsBatch, _ []muster.Metric, _ []muster.Parameter) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.batches = append(m.batches, at)
	return nil
}
func (m *memory) ListMetrics(context.Context, int64, muster.MetricQuery) ([]muster.Metric, error) {
	return nil, nil
}
func (m *memory) LatestMetrics(context.Context, []int64) (map[int64]map[string]float64, error) {
	return nil, nil
}
func (m *memory) ListParameters(context.Context, []int64) (map[int64]map[string]string, error) {
	return nil, nil
}

// ask sends a request and returns status and body.
func ask(t *testing.T, server *httptest.Server, token, method, path, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, server.URL+"/agent/v1/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.StatusCode, err.Error()
	}
	if resp.StatusCode >= 400 && resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s %s: %d comes as %q", method, path, resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	return resp.StatusCode, string(text)
}
