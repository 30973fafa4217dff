package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/artifact"
	"github.com/muster-ml/muster/server/api"
	"github.com/muster-ml/muster/store"
)

// platform is a real store behind the real API. The test plays the scheduler
// and the agents.
type platform struct {
	*testing.T
	store    *store.Store
	bucket   *artifact.Bucket
	ledger   muster.Ledger
	url      string
	received atomic.Int64 // bytes of bodies that the server was sent
	drop     atomic.Int64 // how many answers are still to be cut off in the middle
}

const testToken = "a-secret"

// open opens a platform with workspace default and cluster local.
func open(t *testing.T) *platform {
	t.Helper()
	p := &platform{T: t}
	ctx := t.Context()
	var err error
	p.store, err = store.Open(ctx, t.TempDir())
	p.must(err)
	t.Cleanup(func() { p.store.Close() })
	p.bucket, err = artifact.OpenFolder(ctx, t.TempDir())
	p.must(err)
	t.Cleanup(func() { p.bucket.Close() })
	p.must(p.store.CreateToken(ctx, &muster.Token{Name: "anna", Role: muster.RoleAdministrator, Hash: muster.HashToken(testToken)}))
	p.must(p.store.CreateCluster(ctx, &muster.Cluster{Name: "local", NodePool: "pool", Provider: muster.ProviderNone, Tier: muster.TierDedicated}, muster.Origin{}))
	p.must(p.store.CreateWorkspace(ctx, &muster.Workspace{Name: "default", DefaultCluster: "local"}))
	lease, err := p.store.AcquireLease(ctx, "test", true)
	p.must(err)
	p.ledger = p.store.Lead(lease.Term)
	people := api.New(api.Services{Workspaces: p.store, Experiments: p.store, Clusters: p.store, Nodes: twoNodes{p.store}, Sizes: muster.BuiltinSizes(), Runs: p.store, Attempts: p.store,
		Events: p.store, Artifacts: p.store, Blobs: p.bucket, Archive: p.store, Retention: nothingGoes{}, Metrics: p.store, Stats: p.store, Tokens: p.store, Audit: p.store, Changes: p.store, Receipts: p.store, Registries: p.store, Fitness: p.store, ClusterSecrets: p.store, Vault: deaf{}, Policies: func(context.Context) (*muster.Policies, error) {
			return &muster.Policies{Installation: "0a1b2c", Mode: muster.NomadManage, Nomad: "node {}\n", Consul: "service {}\n", Namespaces: []string{"ws-0a1b2c-default-1"}}, nil
		}, Site: muster.DefaultSite(), Wake: func() {},
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = &counted{r.Body, &p.received}
		if r.Method == http.MethodGet && p.drop.Load() > 0 && strings.Contains(r.URL.Path, "/logs") && p.drop.Add(-1) >= 0 {
			w = &cut{ResponseWriter: w, left: 3000}
		}
		people.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

// counted counts what is read of a body.
type counted struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// cut is an answer whose connection breaks after some bytes.
type cut struct {
	http.ResponseWriter
	left int
}

func (c *cut) Write(p []byte) (int, error) {
	if len(p) <= c.left {
		c.left -= len(p)
		return c.ResponseWriter.Write(p)
	}
	_, _ = c.ResponseWriter.Write(p[:c.left])
	c.Flush()
	panic(http.ErrAbortHandler)
}

func (c *cut) Flush() { c.ResponseWriter.(http.Flusher).Flush() }

// deaf is a vault that keeps nothing: no node of this platform fetches images.
type deaf struct{}

func (deaf) KeepSecrets(context.Context, string, map[string]muster.Secret) error { return nil }

func (deaf) KeepClusterSecrets(context.Context, string, map[string]muster.Secret, int64) error {
	return nil
}

// nothingGoes is retention where nothing is old.
type nothingGoes struct{}

func (nothingGoes) Retain(_ context.Context, _ string, dryRun bool) (*muster.RetentionReport, error) {
	return &muster.RetentionReport{DryRun: dryRun, Runs: []muster.Removal{}}, nil
}

// twoNodes are the nodes that Nomad would list, and what people said of them.
type twoNodes struct{ store *store.Store }

func (t twoNodes) ListNodes(ctx context.Context) ([]*muster.Node, error) {
	size := muster.Allocatable{Cores: muster.Whole(2), Resources: muster.Resources{MHz: muster.Whole(4000), MiB: muster.Whole(2048)}}
	all := []*muster.Node{
		{ID: "11111111-aaaa", Name: "node1", Cluster: "local", NodePool: "pool", State: muster.NodeIdle, Status: "ready", Allocatable: size},
		{ID: "22222222-bbbb", Name: "node2", Cluster: "local", NodePool: "pool", State: muster.NodeUnusable, Status: "down", Allocatable: size, Notes: []string{"not root"}},
	}
	health, err := t.store.ListHealth(ctx)
	for _, n := range all {
		n.Excluded, n.DrainAt, n.Log = health[n.ID].Excluded, health[n.ID].DrainAt, health[n.ID].Log
	}
	return all, err
}

func (p *platform) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// outcome is what a command did.
type outcome struct {
	code     int
	out, err string
}

// safeBuffer can be read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// try runs a command against the platform.
func (p *platform) try(args ...string) outcome {
	p.Helper()
	return try(p.Context(), "", append([]string{"--addr", p.url, "--token", testToken}, args...)...)
}

// try runs a command with stdin.
func try(ctx context.Context, stdin string, args ...string) outcome {
	var out, errs safeBuffer
	code := Run(ctx, append([]string{"muster"}, args...), Streams{strings.NewReader(stdin), &out, &errs})
	return outcome{code, out.String(), errs.String()}
}

// do runs a command that must succeed.
func (p *platform) do(args ...string) outcome {
	p.Helper()
	o := p.try(args...)
	if o.code != 0 {
		p.Fatalf("muster %s: exit code %d\n%s%s", strings.Join(args, " "), o.code, o.out, o.err)
	}
	return o
}

// file writes a job file and returns its path.
func (p *platform) file(text string) string {
	p.Helper()
	path := filepath.Join(p.TempDir(), "job.yml")
	p.must(os.WriteFile(path, []byte(text), 0o644))
	return path
}

// run finds a run.
func (p *platform) run(name string) *muster.Run {
	p.Helper()
	r, err := p.store.FindRun(p.Context(), "default", name)
	p.must(err)
	return r
}

// start takes a run to where its command has begun.
func (p *platform) start(name string) *muster.Execution {
	p.Helper()
	ctx, r := p.Context(), p.run(name)
	_, err := p.ledger.Apply(ctx, &muster.Decision{Starts: []muster.Start{{RunID: r.ID, Cluster: "local", Cores: 1000, Each: []muster.Resources{{MHz: 1000, MiB: 1000}},
		Places: []muster.Place{{NodeID: "11111111-aaaa", NodeName: "node1"}}}}})
	p.must(err)
	reserved, err := p.ledger.Launches(ctx, muster.LaunchReserved)
	p.must(err)
	x := reserved[len(reserved)-1]
	p.must(p.ledger.Move(ctx, x, &muster.Moves{Launch: muster.LaunchDispatched, JobID: "shape", ChildID: "child-" + x.Launch.ID, Runs: []muster.RunMove{{To: muster.RunStarting}}}))
	p.must(p.store.LogMetrics(ctx, muster.MetricsBatch{RunID: r.ID, Attempt: x.Launch.Attempt}, []muster.Metric{
		{Name: "accuracy", Value: 0.5, Step: 1, Time: time.Now()}, {Name: "accuracy", Value: 0.96875, Step: 2, Time: time.Now()}}, []muster.Parameter{{Name: "rows", Value: "150"}}))
	alloc := &muster.Allocation{ID: "alloc-" + x.Launch.ID, ChildID: "child-" + x.Launch.ID, Token: x.Launch.Token(), Launch: x.Launch.ID, Group: "main", NodeID: "11111111-aaaa", NodeName: "node1"}
	_, err = p.store.Claim(ctx, alloc, "boot", []string{"not root"})
	p.must(err)
	_, err = p.store.Report(ctx, x.Launch.ID, &muster.Report{Attempt: x.Launch.Attempt, Phases: []muster.PhaseChange{{Phase: muster.PhaseCode, At: time.Now()}, {Phase: muster.PhaseCommand, At: time.Now()}}})
	p.must(err)
	p.sample(x)
	return p.move(x, &muster.Moves{Runs: []muster.RunMove{{To: muster.RunRunning}}})
}

// sample keeps statistics of a minute.
func (p *platform) sample(x *muster.Execution) {
	p.Helper()
	began := time.Now().Add(-time.Minute)
	var all []muster.StatSample
	for i := range 7 {
		all = append(all, muster.StatSample{RunID: x.Run.ID, Attempt: x.Launch.Attempt, At: began.Add(time.Duration(10*i) * time.Second), Readings: []muster.Reading{
			{Name: "cpu", Unit: "%", Value: float64(25 * i)}, {Name: "memory", Unit: "MiB", Value: 512.5}, {Name: "gpu.sim-V100-0.utilization", Unit: "%", Value: 20}, {Name: "gpu.sim-V100-0.ecc_corrected", Value: 0}}})
	}
	p.must(p.ledger.KeepStats(p.Context(), all))
}

// move moves an execution on and reads it anew.
func (p *platform) move(x *muster.Execution, m *muster.Moves) *muster.Execution {
	p.Helper()
	x, err := p.ledger.FindExecution(p.Context(), x.Launch.ID)
	p.must(err)
	p.must(p.ledger.Move(p.Context(), x, m))
	x, err = p.ledger.FindExecution(p.Context(), x.Launch.ID)
	p.must(err)
	return x
}

// log keeps a chunk of a log.
func (p *platform) log(x *muster.Execution, stream muster.Stream, offset int, text string) {
	p.Helper()
	id := muster.LogID{RunID: x.Run.ID, Attempt: x.Launch.Attempt, Stream: stream}
	_, _, err := p.bucket.Put(p.Context(), id.ChunkKey(int64(offset)), "", strings.NewReader(text))
	p.must(err)
}

// leave keeps an artifact.
func (p *platform) leave(x *muster.Execution, path, text string) {
	p.Helper()
	key := muster.ArtifactKey(x.Run.ID, x.Launch.Attempt, 0, path)
	size, _, err := p.bucket.Put(p.Context(), key, "", strings.NewReader(text))
	p.must(err)
	sum := sha256.Sum256([]byte(text))
	p.must(p.store.PutArtifact(p.Context(), x.Run.ID, &muster.Artifact{Path: path, Size: size, SHA256: hex.EncodeToString(sum[:]), Attempt: x.Launch.Attempt}))
}

// end ends a run.
func (p *platform) end(x *muster.Execution, to muster.RunState, reason string) {
	p.Helper()
	result := muster.Outcome(to)
	p.move(x, &muster.Moves{Launch: muster.LaunchOver, Outcome: result, Reason: reason, Runs: []muster.RunMove{{To: to, Reason: reason}}})
}

// eventually waits for a condition.
func (p *platform) eventually(what string, ok func() bool) {
	p.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			p.Fatalf("waited in vain for %s", what)
		}
		select {
		case <-p.store.EventsChanged():
		case <-time.After(10 * time.Millisecond):
		}
	}
}
