package run_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/host"
	"github.com/muster-ml/muster/agent/run"
	"github.com/muster-ml/muster/bundle"
	"github.com/muster-ml/muster/server/agentapi"
)

// TestMain makes the test's program the agent, too: it starts itself.
func TestMain(m *testing.M) {
	verbs := map[string]func(args []string) int{
		"run": func([]string) int { return run.Execute() }, host.GuardVerb: func([]string) int { return host.Guard() },
		"metric": func(args []string) int { return host.Told(run.LogMetric(args)) }, "param": func(args []string) int { return host.Told(run.LogParam(args)) },
	}
	if len(os.Args) > 1 && verbs[os.Args[1]] != nil {
		syscall.Exit(verbs[os.Args[1]](os.Args[2:])) // os.Exit takes a second of each process under the race detector
	}
	os.Exit(m.Run())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !condition(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// platform is the real front door for agents over services in memory, which
// hold one launch of one instance.
type platform struct {
	t      *testing.T
	dir    string // the node's Muster folder
	exe    string // the agent
	addr   string
	door   *agentapi.API
	server *http.Server

	mu      sync.Mutex
	alloc   string
	launch  muster.Launch
	spec    muster.Spec
	gang    int // instances, if more than one
	refuse  error
	unkept  string // an artifact that the server refuses to keep
	changed chan struct{}
	blobs   map[string][]byte
	files   map[string]*muster.Artifact
	metrics []muster.Metric
	params  map[string]string
	batches map[int64]bool
	reports []muster.Report
	notes   []string // of the claim
}

// newPlatform starts the front door.
func newPlatform(t *testing.T, spec muster.Spec) *platform {
	t.Helper()
	p := &platform{t: t, dir: openDir(t), alloc: "alloc-" + muster.RandomID(4), spec: spec, changed: make(chan struct{}),
		blobs: map[string][]byte{}, files: map[string]*muster.Artifact{}, params: map[string]string{}, batches: map[int64]bool{}}
	p.spec.Complete()
	p.launch = muster.Launch{ID: "launch1", RunID: 7, Attempt: 1, State: muster.LaunchDispatched, Instances: []muster.Instance{{Group: "main"}}}
	p.exe = filepath.Join(p.dir, "agent")
	must(t, copyFile(p.exe))
	p.door = agentapi.New(agentapi.Services{Identities: p, Claims: p, Artifacts: p, Blobs: p, Metrics: p, FindRun: p.findRun,
		Servers: func() []string { return []string{"http://" + p.addr} }, Changed: p.wake, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	p.addr = "127.0.0.1:0"
	p.listen()
	t.Cleanup(func() { _ = p.server.Close() })
	return p
}

// openDir makes a folder that every user may pass through.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	return dir
}

// copyFile copies the test's program to where every user may execute it.
func copyFile(to string) error {
	text, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o755)
}

// listen opens the door, at the address where it was before.
func (p *platform) listen() {
	p.t.Helper()
	l, err := net.Listen("tcp", p.addr)
	must(p.t, err)
	p.addr = l.Addr().String()
	server := &http.Server{Handler: p.door}
	go func() { _ = server.Serve(l) }()
	p.server = server
}

// upload keeps a bundle of the files.
func (p *platform) upload(files map[string]string) muster.Ref {
	p.t.Helper()
	dir := p.t.TempDir()
	for name, text := range files {
		must(p.t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		must(p.t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
	}
	b, err := bundle.Pack(dir)
	must(p.t, err)
	data, err := io.ReadAll(b.Open())
	must(p.t, err)
	p.blobs[muster.UploadKey(3, b.SHA256)] = data
	return muster.UploadRef(b.SHA256)
}

// do changes what is wanted, and wakes the reports that wait.
func (p *platform) do(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *platform) wake() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

func (p *platform) findRun(context.Context, int64) (*muster.Run, error) {
	return &muster.Run{ID: 7, WorkspaceID: 3, Spec: p.spec}, nil
}

// Identify knows one token, and what it is renewed to.
func (p *platform) Identify(_ context.Context, token string) (*muster.Allocation, error) {
	if token != "token of "+p.alloc && token != "token of "+p.alloc+" renewed" {
		return nil, muster.Errorf(muster.CodeUnauthenticated, "forged")
	}
	return &muster.Allocation{ID: p.alloc, Launch: "launch1", Group: "main"}, nil
}

func (p *platform) FindLaunch(context.Context, string) (*muster.Launch, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.launch
	l.Instances = slices.Clone(l.Instances)
	return &l, nil
}

func (p *platform) Claim(_ context.Context, a *muster.Allocation, boot string, notes []string) (*muster.Assignment, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse != nil {
		return nil, p.refuse
	}
	p.notes = notes
	p.launch.Instances[0].AllocID, p.launch.Instances[0].BootID = a.ID, boot
	return &muster.Assignment{Launch: "launch1", Workspace: "default", Experiment: "iris", ExperimentID: "5", Run: "brave-otter", Attempt: p.launch.Attempt,
		InstanceCount: max(p.gang, 1), Group: "main", Spec: p.spec}, nil
}

func (p *platform) Report(_ context.Context, _ string, r *muster.Report) (*muster.Orders, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Result != nil || p.launch.Instances[0].Result == nil && len(r.Phases) >= len(p.lastLocked().Phases) {
		p.reports = append(p.reports, *r)
		p.launch.Instances[0].Result = r.Result
	}
	return &muster.Orders{Stop: p.launch.Stop, Go: p.gang == 0}, nil
}

func (p *platform) Heard(context.Context, map[muster.InstanceID]time.Time) error { return nil }

func (p *platform) PutArtifact(_ context.Context, _ int64, a *muster.Artifact) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files[a.Path] = a
	return nil
}
func (p *platform) List(_ context.Context, prefix string) iter.Seq2[muster.Blob, error] {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []muster.Blob
	for _, key := range slices.Sorted(maps.Keys(p.blobs)) {
		if strings.HasPrefix(key, prefix) {
			all = append(all, muster.Blob{Key: key, Size: int64(len(p.blobs[key]))})
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
func (p *platform) Delete(_ context.Context, key string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.blobs, key)
	return nil
}
func (p *platform) FindArtifact(_ context.Context, _ int64, path string) (*muster.Artifact, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.files[path]; a != nil {
		return a, nil
	}
	return nil, muster.Errorf(muster.CodeNotFound, "there is no file %s", path)
}
func (p *platform) DropArtifact(_ context.Context, _ int64, _ int, path string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.files, path)
	return nil
}
func (p *platform) ListArtifacts(_ context.Context, _ int64, q muster.ArtifactQuery) (all []*muster.Artifact, _ error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, path := range slices.Sorted(maps.Keys(p.files)) {
		if strings.HasPrefix(path, q.Prefix) && path > q.After && len(all) < q.Limit {
			all = append(all, p.files[path])
		}
	}
	return all, nil
}
func (p *platform) SumArtifacts(context.Context, int64) (map[string]muster.OutputSum, error) {
	return nil, nil
}

func (p *platform) Put(_ context.Context, key, want string, r io.Reader) (int64, string, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return 0, "", err
	}
	if sum := sha256.Sum256(data); want != "" && hex.EncodeToString(sum[:]) != want {
		return 0, "", muster.ErrDigest
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unkept != "" && strings.HasSuffix(key, p.unkept) {
		return 0, "", muster.Errorf(muster.CodeInvalid, "it stands in the way")
	}
	p.blobs[key] = data
	sum := sha256.Sum256(data)
	return int64(len(data)), hex.EncodeToString(sum[:]), nil
}

func (p *platform) Open(_ context.Context, key string, offset int64) (io.ReadCloser, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	data, ok := p.blobs[key]
	if !ok {
		return nil, muster.Errorf(muster.CodeNotFound, "no %s", key)
	}
	return io.NopCloser(bytes.NewReader(data[offset:])), nil
}

func (p *platform) Size(_ context.Context, key string) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	data, ok := p.blobs[key]
	if !ok {
		return 0, muster.Errorf(muster.CodeNotFound, "no %s", key)
	}
	return int64(len(data)), nil
}

func (p *platform) LogMetrics(_ context.Context, at muster.MetricsBatch, metrics []muster.Metric, params []muster.Parameter) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.batches[at.Batch] {
		return nil
	}
	p.batches[at.Batch] = true
	p.metrics = append(p.metrics, metrics...)
	for _, k := range params {
		p.params[k.Name] = k.Value
	}
	return nil
}
func (p *platform) ListMetrics(context.Context, int64, muster.MetricQuery) ([]muster.Metric, error) {
	return nil, nil
}
func (p *platform) LatestMetrics(context.Context, []int64) (map[int64]map[string]float64, error) {
	return nil, nil
}
func (p *platform) ListParameters(context.Context, []int64) (map[int64]map[string]string, error) {
	return nil, nil
}

// log puts a stream's chunks together, and fails where one is missing.
func (p *platform) log(stream muster.Stream) string {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	id := muster.LogID{RunID: 7, Attempt: p.launch.Attempt, Stream: stream}
	var text []byte
	for {
		chunk, ok := p.blobs[id.ChunkKey(int64(len(text)))]
		if !ok {
			break
		}
		text = append(text, chunk...)
	}
	prefix, kept := strings.TrimSuffix(id.ChunkKey(0), "0000000000000000"), 0
	for key, chunk := range p.blobs {
		if strings.HasPrefix(key, prefix) && !strings.HasSuffix(key, ".times") {
			kept += len(chunk)
		}
	}
	if kept != len(text) {
		p.t.Errorf("%s: %d bytes are kept, %d hang together", stream, kept, len(text))
	}
	return string(text)
}

// file returns an artifact's content; "(none)" without it.
func (p *platform) file(name string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.files[name] == nil {
		return "(none)"
	}
	return string(p.blobs[muster.ArtifactKey(7, p.files[name].Attempt, 0, name)])
}

// fileNames lists the artifacts.
func (p *platform) fileNames() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.files))
}

// last returns the last report.
func (p *platform) last() muster.Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lastLocked()
}

// lastLocked is last for those who hold the lock.
func (p *platform) lastLocked() muster.Report {
	if len(p.reports) == 0 {
		return muster.Report{}
	}
	return p.reports[len(p.reports)-1]
}

// noted reports whether some note holds the text.
func (p *platform) noted(text string) bool {
	return slices.ContainsFunc(p.last().Notes, func(n string) bool { return strings.Contains(n, text) })
}

// phases lists the phases that were told.
func (p *platform) phases() (list []muster.Phase) {
	for _, c := range p.last().Phases {
		list = append(list, c.Phase)
	}
	return list
}

// started is an agent that runs.
type started struct {
	*exec.Cmd
	t    *testing.T
	said bytes.Buffer
	done chan struct{}
}

// who is whom the agent runs as.
type who struct {
	name string
	uid  uint32
}

// users are those whom the agent can be started as here.
func users(t *testing.T) []who {
	if os.Geteuid() != 0 {
		t.Log("not root: the agent is tested as this user alone")
		return []who{{"user", uint32(os.Geteuid())}}
	}
	return []who{{"root", 0}, {"user", 4242}}
}

// eachUser runs a test once for every user.
func eachUser(t *testing.T, f func(t *testing.T, as who)) {
	for _, as := range users(t) {
		t.Run(as.name, func(t *testing.T) { f(t, as) })
	}
}

// start starts an agent.
func (p *platform) start(as who, env ...string) *started {
	p.t.Helper()
	secrets := openDir(p.t)
	must(p.t, os.WriteFile(filepath.Join(secrets, "nomad_muster.jwt"), []byte("token of "+p.alloc+"\n"), 0o644))
	a := &started{Cmd: exec.Command(p.exe, "run"), t: p.t, done: make(chan struct{})}
	a.Env = append([]string{"PATH=" + os.Getenv("PATH"), "NOMAD_ALLOC_ID=" + p.alloc, "NOMAD_SECRETS_DIR=" + secrets, "NOMAD_TOKEN=secret",
		"NOMAD_META_" + muster.LaunchMeta + "=launch1", muster.AgentServersVar + "=http://" + p.addr, muster.AgentDirVar + "=" + p.musterDir(as),
		muster.AgentNodeVar + "=node1", "NVIDIA_VISIBLE_DEVICES=void"}, env...)
	a.Stderr = &a.said
	if as.uid != uint32(os.Geteuid()) {
		a.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: as.uid, Gid: as.uid}}
	}
	must(p.t, a.Start())
	go func() {
		_ = a.Cmd.Wait()
		close(a.done)
	}()
	p.t.Cleanup(func() {
		_ = a.Process.Kill()
		<-a.done
		if strings.Contains(a.said.String()+p.log(muster.Stderr), "DATA RACE") {
			p.t.Error("the race detector has found something")
		}
		if p.t.Failed() {
			p.t.Logf("the agent said:\n%s", a.said.String())
		}
	})
	return a
}

// musterDir returns the Muster folder for agents of a user, who owns it.
func (p *platform) musterDir(as who) string {
	dir := filepath.Join(p.dir, "muster-"+as.name)
	if err := os.Mkdir(dir, 0o755); err == nil && as.uid != uint32(os.Geteuid()) {
		must(p.t, os.Chown(dir, int(as.uid), int(as.uid)))
	}
	return dir
}

// runFolder is where the agent's run works.
func (p *platform) runFolder(as who) string {
	return filepath.Join(p.musterDir(as), "node1", "runs", p.alloc)
}

// exit waits for the agent's end and returns its exit code.
func (a *started) exit() int {
	a.t.Helper()
	select {
	case <-a.done:
	case <-time.After(60 * time.Second):
		a.t.Fatal("the agent does not end")
	}
	return a.ProcessState.ExitCode()
}

// begun waits until the command has written to stdout.
func (p *platform) begun() {
	p.t.Helper()
	eventually(p.t, "the command writes", func() bool { return p.log(muster.Stdout) != "" })
}

// living lists the processes of the platform's allocation.
func (p *platform) living() (list []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err == nil && bytes.Contains(text, []byte("_ALLOC_ID="+p.alloc)) {
			cmd, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "cmdline"))
			list = append(list, fmt.Sprintf("%s %q", filepath.Base(filepath.Dir(f)), cmd))
		}
	}
	return list
}

// gone fails unless nothing is left of the run on the node.
func (p *platform) gone(as who) {
	p.t.Helper()
	if left := p.living(); left != nil {
		p.t.Errorf("processes are left: %q", left)
	}
	if _, err := os.Stat(p.runFolder(as)); !os.IsNotExist(err) {
		p.t.Errorf("the run's folder is left: %v", err)
	}
	if _, err := os.Stat(filepath.Join("/run/muster", p.alloc)); !os.IsNotExist(err) {
		p.t.Errorf("the place that the folder was bound to is left: %v", err)
	}
}
