package server

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/artifact"
	"github.com/muster-ml/muster/store"
)

// past is a site with runs that have ended, of which nothing is young.
type past struct {
	*testing.T
	*retention
	ledger muster.Ledger
	files  string            // the bucket's folder
	code   map[string]string // by run: the digest of its code
	later  time.Duration     // how far the clock is ahead
}

func aPast(t *testing.T) *past {
	s, err := store.Open(t.Context(), t.TempDir())
	p := &past{T: t, files: t.TempDir()}
	p.must(err)
	t.Cleanup(func() { s.Close() })
	b, err := artifact.OpenFolder(t.Context(), p.files)
	p.must(err)
	t.Cleanup(func() { b.Close() })
	p.retention = &retention{store: s, bucket: b, leading: func() bool { return true }, now: func() time.Time { return time.Now().Add(p.later) }, log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	p.must(s.CreateCluster(t.Context(), &muster.Cluster{Name: "c", NodePool: "pool", Provider: muster.ProviderNone, Tier: muster.TierDedicated}, muster.Origin{}))
	p.must(s.CreateWorkspace(t.Context(), &muster.Workspace{Name: "w", DefaultCluster: "c"}))
	lease, err := s.AcquireLease(t.Context(), "test", true)
	p.must(err)
	p.ledger = s.Lead(lease.Term)
	return p
}

func (p *past) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// keep says how long files and logs are kept.
func (p *past) keep(artifacts, logs time.Duration) {
	p.Helper()
	_, err := p.store.SetKeeping(p.Context(), "w", muster.Keeping{Artifacts: muster.Duration(artifacts), Logs: muster.Duration(logs)}, muster.Origin{})
	p.must(err)
}

// run makes a run that leaves a file and a log, and ends it if over.
func (p *past) run(name string, over bool) *muster.Run {
	p.Helper()
	ctx := p.Context()
	r := &muster.Run{Workspace: "w", Experiment: "e", Name: name, Cluster: "c", Spec: muster.Spec{Command: "true"}}
	if sum := p.code[name]; sum != "" {
		r.Spec.Code = muster.UploadRef(sum)
	}
	r.Spec.Complete()
	p.must(p.store.CreateRun(ctx, r, muster.Origin{}))
	_, err := p.ledger.Apply(ctx, &muster.Decision{Starts: []muster.Start{{RunID: r.ID, Cluster: "c", Cores: 1000,
		Each: []muster.Resources{{MHz: 1000, MiB: 1000}}, Places: []muster.Place{{NodeID: "n", NodeName: "node"}}}}})
	p.must(err)
	p.put(muster.ArtifactKey(r.ID, 1, 0, "outputs/odd.attrs/m"), "model")
	p.must(p.store.PutArtifact(ctx, r.ID, &muster.Artifact{Path: "outputs/odd.attrs/m", Size: 5, Attempt: 1}))
	p.put(muster.LogID{RunID: r.ID, Attempt: 1, Stream: muster.Stdout}.ChunkKey(0), "log")
	all, err := p.ledger.Launches(ctx, muster.LaunchReserved)
	p.must(err)
	for _, x := range all {
		if over && x.Run.ID == r.ID {
			p.must(p.ledger.Move(ctx, x, &muster.Moves{Launch: muster.LaunchOver, Outcome: muster.OutcomeSucceeded,
				Runs: []muster.RunMove{{To: muster.RunStarting}, {To: muster.RunRunning}, {To: muster.RunSucceeded}}}))
		}
	}
	return r
}

func (p *past) put(key, text string) {
	p.Helper()
	_, _, err := p.bucket.Put(p.Context(), key, "", strings.NewReader(text))
	p.must(err)
}

// kept lists what the bucket holds of a run: a for its file, l for its log.
func (p *past) kept(r *muster.Run) (what string) {
	for key, letter := range map[string]string{muster.ArtifactKey(r.ID, 1, 0, "outputs/odd.attrs/m"): "a", (muster.LogID{RunID: r.ID, Attempt: 1, Stream: muster.Stdout}).ChunkKey(0): "l"} {
		if _, err := p.bucket.Size(p.Context(), key); err == nil {
			what += letter
		}
	}
	if what == "la" {
		return "al"
	}
	return what
}

// TestRetention removes what is old, and nothing of a run that is young, goes on
// or is archived.
func TestRetention(t *testing.T) {
	p := aPast(t)
	ctx := t.Context()
	old, archived, going := p.run("old", true), p.run("archived", true), p.run("going", false)
	p.must(p.store.ArchiveRun(ctx, "w", "archived", true, muster.Origin{}))
	if err := p.store.ArchiveRun(ctx, "w", "going", true, muster.Origin{}); muster.CodeOf(err) != muster.CodeConflict {
		t.Errorf("a run that goes on is archived: %v", err)
	}
	p.retain(false)
	if got := p.kept(old) + p.kept(archived) + p.kept(going); got != "alalal" {
		t.Errorf("a workspace that keeps all for ever keeps %s", got)
	}
	p.keep(time.Hour, time.Minute)
	p.later = 10 * time.Minute
	if r := p.retain(true); len(r.Runs) != 1 || r.Runs[0].Run != "old" || r.Runs[0].Logs != 1 || r.Runs[0].Artifacts != 0 || r.Bytes != 3 || !r.DryRun {
		t.Errorf("a dry run tells %+v", r)
	}
	if p.kept(old) != "al" {
		t.Error("a dry run removed something")
	}
	p.retain(false)
	if got := p.kept(old); got != "a" {
		t.Errorf("of logs kept a minute and files kept an hour there is %s", got)
	}
	p.keep(time.Minute, time.Minute)
	p.retain(false)
	if got := []string{p.kept(old), p.kept(archived), p.kept(going)}; !slices.Equal(got, []string{"", "al", "al"}) {
		t.Errorf("what is kept of old, archived and going: %q", got)
	}
	a, err := p.store.FindArtifact(ctx, old.ID, "outputs/odd.attrs/m")
	if err != nil || a.DeletedAt.IsZero() {
		t.Errorf("the row of a file that was removed: %+v, %v", a, err)
	}
	if all, err := p.store.ListArtifacts(ctx, old.ID, muster.ArtifactQuery{Limit: 9}); len(all) != 0 || err != nil {
		t.Errorf("it is listed: %v, %v", all, err)
	}
	p.put(muster.ArtifactKey(old.ID, 1, 0, "outputs/late"), "a server died before it was removed")
	p.retain(false)
	if _, err := p.bucket.Size(ctx, muster.ArtifactKey(old.ID, 1, 0, "outputs/late")); muster.CodeOf(err) != muster.CodeNotFound {
		t.Errorf("what an earlier pass left: %v", err)
	}
	p.must(p.store.ArchiveRun(ctx, "w", "archived", false, muster.Origin{}))
	if p.retain(false); p.kept(archived) != "" {
		t.Error("a run that was restored is kept")
	}
}

// retain runs retention.
func (p *past) retain(dryRun bool) *muster.RetentionReport {
	p.Helper()
	r, err := p.Retain(context.WithoutCancel(p.Context()), "w", dryRun)
	p.must(err)
	return r
}

// TestOldUploads removes uploads that no run names which is kept, once they are
// old, and what broken ones left.
func TestOldUploads(t *testing.T) {
	p := aPast(t)
	w, err := p.store.FindWorkspace(t.Context(), "w")
	p.must(err)
	sums := map[string]string{}
	for i, name := range []string{"nobody's", "kept", "gone", "archived"} {
		sums[name] = strings.Repeat(string("abcd"[i]), 64)
		p.put(muster.UploadKey(w.ID, sums[name]), name)
	}
	p.put(muster.UploadPartsKey(w.ID, sums["kept"])+"0000000000000000", "a part")
	p.code = map[string]string{"kept": sums["kept"], "gone": sums["gone"], "archived": sums["archived"]}
	p.run("kept", false)
	p.run("gone", true)
	p.run("archived", true)
	p.must(p.store.ArchiveRun(t.Context(), "w", "archived", true, muster.Origin{}))
	p.keep(time.Hour, 0)
	p.later = muster.KeepUploads - time.Minute
	p.retain(false)
	left := func() (names []string) {
		for name, sum := range sums {
			if _, err := p.bucket.Size(t.Context(), muster.UploadKey(w.ID, sum)); err == nil {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
	if got := left(); len(got) != 4 {
		t.Errorf("young uploads are removed: left are %q", got)
	}
	p.later = muster.KeepUploads + time.Minute
	if r := p.retain(false); r.Uploads != 3 {
		t.Errorf("%d uploads and parts were removed", r.Uploads)
	}
	if got := left(); !slices.Equal(got, []string{"archived", "kept"}) {
		t.Errorf("left are %q", got)
	}
}

// TestStatsOfDeletedRuns holds that statistics go with a run that was deleted, and
// with no other.
func TestStatsOfDeletedRuns(t *testing.T) {
	p := aPast(t)
	ctx := t.Context()
	for _, name := range []string{"deleted", "old"} {
		r := p.run(name, true)
		p.must(p.ledger.KeepStats(ctx, []muster.StatSample{{RunID: r.ID, Attempt: 1, At: time.Now(), Readings: []muster.Reading{{Name: "cpu", Unit: "%", Value: 1}}}}))
	}
	deleted, old := p.find("deleted"), p.find("old")
	p.must(p.store.DeleteRun(ctx, "w", "deleted", muster.Origin{}))
	p.keep(time.Minute, time.Minute)
	p.later = time.Hour
	count := func(r *muster.Run) int {
		all, err := p.store.ListStats(ctx, r.ID, muster.StatQuery{})
		p.must(err)
		return len(all)
	}
	if p.retain(true); count(deleted) != 1 {
		t.Error("a dry run removes statistics")
	}
	if p.retain(false); count(deleted) != 0 || count(old) != 1 {
		t.Errorf("of the deleted run %d samples are left, of the other %d", count(deleted), count(old))
	}
}

// find finds a run.
func (p *past) find(name string) *muster.Run {
	p.Helper()
	r, err := p.store.FindRun(p.Context(), "w", name)
	p.must(err)
	return r
}

// TestNodeLogs holds that the log of a node's last set-up stays for as long as the
// node, and others go after a week.
func TestNodeLogs(t *testing.T) {
	p := aPast(t)
	_, err := p.store.ReportNode(t.Context(), &muster.Allocation{ID: "a", Cluster: "c", NodeID: "here", NodeName: "here"}, &muster.NodeReport{Generation: "g", State: muster.HealthReady, Log: "last"})
	p.must(err)
	for _, key := range []string{muster.NodeLogKey("here", "last", 0), muster.NodeLogKey("here", "before", 0), muster.NodeLogKey("gone", "last", 0)} {
		_, _, err := p.bucket.Put(t.Context(), key, "", strings.NewReader("x"))
		p.must(err)
	}
	for _, step := range []struct {
		later time.Duration
		left  int
	}{{6 * 24 * time.Hour, 3}, {8 * 24 * time.Hour, 1}} {
		p.later = step.later
		p.retainAll(t.Context())
		var left []string
		for b, err := range p.bucket.List(t.Context(), muster.NodeLogsPrefix) {
			p.must(err)
			left = append(left, b.Key)
		}
		if len(left) != step.left || left[len(left)-1] != muster.NodeLogKey("here", "last", 0) {
			t.Errorf("after %s there are %q", step.later, left)
		}
	}
}
