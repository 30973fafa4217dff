package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
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

	"golang.org/x/sync/errgroup"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/artifact"
	"github.com/muster-ml/muster/client"
	"github.com/muster-ml/muster/server/agentapi"
	"github.com/muster-ml/muster/server/api"
	"github.com/muster-ml/muster/store"
)

// site is both front doors over a real store and a real bucket, with a run whose
// agent is the only one that there is.
type site struct {
	*testing.T
	store   *store.Store
	bucket  *artifact.Bucket
	people  *client.Client
	agent   *client.Agent
	through func(w http.ResponseWriter, r *http.Request, door http.Handler) // what each call goes through; nil is the door itself
}

// Identify knows one allocation.
func (s *site) Identify(ctx context.Context, launch string) (*muster.Allocation, error) {
	l, err := s.store.FindLaunch(ctx, launch)
	if err != nil {
		return nil, err
	}
	return &muster.Allocation{ID: "alloc", Launch: launch, Group: "main", Token: l.Token(), NodeID: "n", NodeName: "node"}, nil
}

func (s *site) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request, door http.Handler) {
	if s.through != nil {
		s.through(w, r, door)
		return
	}
	door.ServeHTTP(w, r)
}

// aSite opens the doors, submits run r and claims its instance.
func aSite(t *testing.T) *site {
	s := &site{T: t}
	ctx := t.Context()
	var err error
	s.store, err = store.Open(ctx, t.TempDir())
	s.must(err)
	t.Cleanup(func() { s.store.Close() })
	s.bucket, err = artifact.OpenFolder(ctx, t.TempDir())
	s.must(err)
	t.Cleanup(func() { s.bucket.Close() })
	s.must(s.store.CreateToken(ctx, &muster.Token{Name: "anna", Role: muster.RoleAdministrator, Hash: muster.HashToken("secret")}))
	s.must(s.store.CreateCluster(ctx, &muster.Cluster{Name: "c", NodePool: "pool", Provider: muster.ProviderNone, Tier: muster.TierDedicated}, muster.Origin{}))
	s.must(s.store.CreateWorkspace(ctx, &muster.Workspace{Name: "w", DefaultCluster: "c"}))
	run := &muster.RunRequest{Name: "r", Spec: muster.Spec{Command: "true"}}
	run.Complete()
	r := &muster.Run{Workspace: "w", Experiment: "e", Name: "r", Cluster: "c", Spec: run.Spec}
	s.must(s.store.CreateRun(ctx, r, muster.Origin{Actor: "anna"}))
	lease, err := s.store.AcquireLease(ctx, "test", true)
	s.must(err)
	ledger := s.store.Lead(lease.Term)
	_, err = ledger.Apply(ctx, &muster.Decision{Starts: []muster.Start{{RunID: r.ID, Cluster: "c", Cores: 1000,
		Each: []muster.Resources{{MHz: 1000, MiB: 1000}}, Places: []muster.Place{{NodeID: "n", NodeName: "node"}}}}})
	s.must(err)
	all, err := ledger.Launches(ctx, muster.LaunchReserved)
	s.must(err)
	launch := all[0].Launch.ID

	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	agents := agentapi.New(agentapi.Services{Identities: s, Claims: s.store, Artifacts: s.store, Blobs: s.bucket, Metrics: s.store, FindRun: s.store.FindRunByID,
		Servers: func() []string { return nil }, Changed: func() <-chan struct{} { return nil }, Logger: log})
	people := api.New(api.Services{Workspaces: s.store, Experiments: s.store, Clusters: s.store, Runs: s.store, Attempts: s.store, Events: s.store,
		Artifacts: s.store, Archive: s.store, Blobs: s.bucket, Metrics: s.store, Tokens: s.store, Audit: s.store, Receipts: s.store, Site: muster.DefaultSite(), Wake: func() {}, Logger: log})
	mux := http.NewServeMux()
	mux.HandleFunc("/agent/", func(w http.ResponseWriter, r *http.Request) { s.ServeHTTP(w, r, agents) })
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) { s.ServeHTTP(w, r, people) })
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	s.people = client.New(web.URL, "secret")
	t.Cleanup(s.people.Close)
	s.agent = client.NewAgent(client.AgentConfig{Launch: launch, Servers: []string{web.URL}, Token: func() (string, error) { return launch, nil }})
	_, err = s.agent.Claim(ctx, &muster.ClaimRequest{BootID: "boot"})
	s.must(err)
	return s
}

// noise writes n bytes that no two places of a file share, and returns their
// digest.
func (s *site) noise(file string, n int64) string {
	f, err := os.Create(file)
	s.must(err)
	defer f.Close()
	hash, block := sha256.New(), make([]byte, 1<<20)
	for i := int64(0); n > 0; i++ {
		copy(block, fmt.Sprintf("%020d", i))
		piece := block[:min(n, int64(len(block)))]
		hash.Write(piece)
		_, err := f.Write(piece)
		s.must(err)
		n -= int64(len(piece))
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// send hands a file in as an artifact, as the agent does.
func (s *site) send(file, path, sum string) error {
	info, err := os.Stat(file)
	s.must(err)
	open := func() (io.ReadCloser, error) { return os.Open(file) }
	_, err = s.agent.PutArtifact(s.Context(), client.File{Path: path, Size: info.Size(), SHA256: sum, Open: open,
		OpenAt: func(p muster.Part) (io.ReadCloser, error) {
			f, err := os.Open(file)
			return struct {
				io.Reader
				io.Closer
			}{io.NewSectionReader(f, p.Offset, p.Size), f}, err
		}})
	return err
}

// sumOf returns the digest of a file.
func (s *site) sumOf(file string) string {
	f, err := os.Open(file)
	s.must(err)
	defer f.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, f)
	s.must(err)
	return hex.EncodeToString(hash.Sum(nil))
}

// TestLarge brings a file of 1.2 GB up as the agent does and down as people do.
func TestLarge(t *testing.T) {
	s := aSite(t)
	dir, size := t.TempDir(), int64(1_200_000_000)
	file := filepath.Join(dir, "large")
	sum := s.noise(file, size)
	began := time.Now()
	s.must(s.send(file, "outputs/large.bin", sum))
	up := time.Since(began)
	s.must(os.Remove(file))
	files, err := s.people.Artifacts(t.Context(), "w", "r", muster.ArtifactQuery{})
	if err != nil || len(files) != 1 || files[0].Size != size || files[0].SHA256 != sum {
		t.Fatalf("%+v, %v", files, err)
	}
	for o, err := range s.bucket.List(t.Context(), "") {
		if err != nil || o.Size != size {
			t.Errorf("beside the file there is %s, %v", o.Key, err)
		}
	}
	began = time.Now()
	var moved atomic.Int64
	s.must(s.people.Download(t.Context(), client.Download{Workspace: "w", Run: "r", Files: files, Dir: dir, Moved: func(n int64) { moved.Add(n) }}))
	down := time.Since(began)
	if got := s.sumOf(filepath.Join(dir, "outputs", "large.bin")); got != sum || moved.Load() != size {
		t.Errorf("%d bytes moved, the file is %s", moved.Load(), got)
	}
	t.Logf("1.2 GB: up %.0f MB/s, down %.0f MB/s", float64(size)/up.Seconds()/1e6, float64(size)/down.Seconds()/1e6)
}

// TestManySmall brings many files up and down, and looks at them by pages and
// by folders.
func TestManySmall(t *testing.T) {
	s := aSite(t)
	began := time.Now()
	var up errgroup.Group
	up.SetLimit(4)
	for i := range many {
		up.Go(func() error {
			text := fmt.Sprintf("file %d", i)
			sum := sha256.Sum256([]byte(text))
			_, err := s.agent.PutArtifact(t.Context(), client.File{Path: fmt.Sprintf("outputs/%02d/%05d", i%100, i), Size: int64(len(text)), SHA256: hex.EncodeToString(sum[:]),
				Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }})
			return err
		})
	}
	s.must(up.Wait())
	t.Logf("%d files up: %.0f/s", many, many/time.Since(began).Seconds())
	top, err := s.people.Artifacts(t.Context(), "w", "r", muster.ArtifactQuery{Folders: true})
	if err != nil || len(top) != 1 || top[0].Path != "outputs/" || top[0].Files != many {
		t.Errorf("the top: %+v, %v", top, err)
	}
	below, err := s.people.Artifacts(t.Context(), "w", "r", muster.ArtifactQuery{Folders: true, Prefix: "outputs/"})
	if err != nil || len(below) != 100 || below[42].Path != "outputs/42/" || below[42].Files != many/100 {
		t.Errorf("below it: %d, %v", len(below), err)
	}
	leaf, err := s.people.Artifacts(t.Context(), "w", "r", muster.ArtifactQuery{Folders: true, Prefix: "outputs/42/", After: "outputs/42/00142", Limit: 3})
	if err != nil || len(leaf) != 3 || leaf[0].Path != "outputs/42/00242" || leaf[0].Files != 0 || leaf[0].SHA256 == "" {
		t.Errorf("a page of files: %+v, %v", leaf, err)
	}
	all, err := s.people.Artifacts(t.Context(), "w", "r", muster.ArtifactQuery{})
	if err != nil || len(all) != many {
		t.Fatalf("%d files, %v", len(all), err)
	}
	began = time.Now()
	dir := t.TempDir()
	s.must(s.people.Download(t.Context(), client.Download{Workspace: "w", Run: "r", Files: all, Dir: dir}))
	t.Logf("%d files down: %.0f/s", many, many/time.Since(began).Seconds())
	got := 0
	s.must(filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		got++
		var i int
		if _, err := fmt.Sscanf(d.Name(), "%05d", &i); err != nil {
			return err
		}
		text, err := os.ReadFile(file)
		if string(text) != fmt.Sprintf("file %d", i) {
			t.Errorf("%s holds %q", file, text)
		}
		return err
	}))
	if got != many {
		t.Errorf("%d files are there", got)
	}
}

// dying is a server that answers three parts and breaks all others off, until it
// is mended. It counts the parts that it is asked for.
type dying struct {
	mu     sync.Mutex
	served sync.WaitGroup // of the three
	parts  int
	mended bool
}

// wrap is the door as long as the server does not die.
func (d *dying) wrap(w http.ResponseWriter, r *http.Request, door http.Handler) {
	if r.Header.Get("Range") == "" && (r.Method == http.MethodGet || !strings.Contains(r.URL.Path, "/parts/")) {
		door.ServeHTTP(w, r)
		return
	}
	d.mu.Lock()
	d.parts++
	n, mended := d.parts, d.mended
	d.mu.Unlock()
	if mended {
		door.ServeHTTP(w, r)
		return
	}
	if n <= 3 {
		defer d.served.Done()
		door.ServeHTTP(w, r)
		return
	}
	d.served.Wait() // what is under way would be broken off with this one
	panic(http.ErrAbortHandler)
}

// TestTransfersResume breaks transfers off in the middle, and counts what is sent
// again.
func TestTransfersResume(t *testing.T) {
	s := aSite(t)
	dir, size := t.TempDir(), int64(7*muster.PartSize+7)
	file := filepath.Join(dir, "file")
	sum := s.noise(file, size)
	twice := func(what string, f func() error) {
		t.Helper()
		d := &dying{}
		d.served.Add(3)
		s.through = d.wrap
		if err := f(); err == nil {
			t.Errorf("%s that breaks off ends well", what)
		}
		d.mu.Lock()
		d.parts, d.mended = 0, true
		d.mu.Unlock()
		s.must(f())
		if d.parts < 1 || d.parts > 6 {
			t.Errorf("%s: %d parts of 8 at the second try", what, d.parts)
		}
	}
	twice("an output", func() error { return s.send(file, "outputs/x", sum) })
	var moved atomic.Int64
	u := client.Upload{SHA256: sum, Size: size, Open: func() io.ReadCloser { f, _ := os.Open(file); return f }, Moved: func(n int64) { moved.Add(n) }}
	twice("an upload", func() error { moved.Store(0); _, err := s.people.PutUpload(t.Context(), "w", u); return err })
	if moved.Load() != size {
		t.Errorf("an upload of %d bytes tells of %d", size, moved.Load())
	}
	if sent, err := s.people.PutUpload(t.Context(), "w", u); sent != 0 || err != nil {
		t.Errorf("an upload that is there: %d bytes, %v", sent, err)
	}
	files, err := s.people.Artifacts(t.Context(), "w", "r", muster.ArtifactQuery{})
	s.must(err)
	what := client.Download{Workspace: "w", Run: "r", Files: files, Dir: dir, Parallel: 4, Moved: func(n int64) { moved.Add(n) }}
	twice("a download", func() error { moved.Store(0); return s.people.Download(t.Context(), what) })
	if moved.Load() != size {
		t.Errorf("a download of %d bytes tells of %d", size, moved.Load())
	}
	if got := s.sumOf(filepath.Join(dir, "outputs", "x")); got != sum {
		t.Error("the file is another")
	}
	left, err := os.ReadDir(filepath.Join(dir, "outputs"))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestWrongParts keeps nothing of parts that are not what they should be.
func TestWrongParts(t *testing.T) {
	s := aSite(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	sum := s.noise(file, muster.PartSize+1)
	other := strings.Repeat("0", 64)
	u := client.Upload{SHA256: other, Size: muster.PartSize + 1, Open: func() io.ReadCloser { f, _ := os.Open(file); return f }}
	if _, err := s.people.PutUpload(t.Context(), "w", u); muster.CodeOf(err) != muster.CodeInvalid || !strings.Contains(err.Error(), "another SHA-256") {
		t.Errorf("an upload of other bytes: %v", err)
	}
	if err := s.send(file, "outputs/x", other); muster.CodeOf(err) != muster.CodeInvalid {
		t.Errorf("an output of other bytes: %v", err)
	}
	u.SHA256, u.Open = sum, func() io.ReadCloser { return io.NopCloser(bytes.NewReader([]byte("short"))) }
	if _, err := s.people.PutUpload(t.Context(), "w", u); muster.CodeOf(err) != muster.CodeInvalid || !strings.Contains(err.Error(), "changed while it was read") {
		t.Errorf("an upload that became shorter: %v", err)
	}
	for o, err := range s.bucket.List(t.Context(), "") {
		t.Errorf("there is %s, %v", o.Key, err)
	}
}
