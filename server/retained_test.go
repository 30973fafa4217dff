package server

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// stuck is a bucket that cannot remove what is below a prefix.
type stuck struct {
	shelf
	at string
}

func (s *stuck) Purge(ctx context.Context, prefix string, which func(muster.Blob) bool, dryRun bool) (int, int64, error) {
	if s.at != "" && strings.HasPrefix(prefix, s.at) {
		return 0, 0, muster.Errorf(muster.CodeUnreachable, "%s is stuck", prefix)
	}
	return s.shelf.Purge(ctx, prefix, which, dryRun)
}

// TestOneStuckRun holds that what cannot be removed of one run stands in the way
// of no other, nor of uploads, and is tried until it is gone, however long the
// server was away meanwhile.
func TestOneStuckRun(t *testing.T) {
	p := aPast(t)
	bad, good := p.run("bad", true), p.run("good", true)
	w, err := p.store.FindWorkspace(t.Context(), "w")
	p.must(err)
	upload := muster.UploadKey(w.ID, strings.Repeat("a", 64))
	p.put(upload, "nobody's")
	p.keep(time.Minute, time.Minute)
	p.later = muster.KeepUploads + time.Minute
	s := &stuck{p.bucket, fmt.Sprintf("runs/%d/1/0/artifacts/", bad.ID)}
	p.bucket = s
	r, err := p.Retain(t.Context(), "w", false)
	if err == nil || !strings.Contains(err.Error(), "run bad: ") || r == nil || len(r.Runs) != 2 || r.Uploads != 1 {
		t.Errorf("with a run that is stuck: %+v, %v", r, err)
	}
	if got := p.kept(bad) + "," + p.kept(good); got != "a," {
		t.Errorf("of the run that is stuck and of the other there is %q", got)
	}
	s.at, p.later = "", p.later+10*retentionAgain
	if p.retain(false); p.kept(bad) != "" {
		t.Error("a server that was away for long leaves what it had marked")
	}
	left, err := p.store.ListLeft(t.Context(), w.ID)
	if err != nil || len(left) != 0 {
		t.Errorf("what is known to be gone is looked at again: %+v, %v", left, err)
	}
}

// TestEveryInstance removes and counts what each instance of each attempt left.
func TestEveryInstance(t *testing.T) {
	p := aPast(t)
	ctx := t.Context()
	r := &muster.Run{Workspace: "w", Experiment: "e", Name: "r", Cluster: "c", Spec: muster.Spec{Command: "true"}}
	r.Spec.Complete()
	p.must(p.store.CreateRun(ctx, r, muster.Origin{}))
	var keys []string
	for attempt, to := range [][]muster.RunMove{{{To: muster.RunQueued, Reason: "again"}}, {{To: muster.RunStarting}, {To: muster.RunRunning}, {To: muster.RunSucceeded}}} {
		one, place := muster.Resources{MHz: 1000, MiB: 1000}, muster.Place{NodeID: "n", NodeName: "node"}
		_, err := p.ledger.Apply(ctx, &muster.Decision{Starts: []muster.Start{{RunID: r.ID, Cluster: "c", Cores: 2000,
			Each: []muster.Resources{one, one}, Places: []muster.Place{place, place}}}})
		p.must(err)
		for i := range 2 {
			keys = append(keys, muster.ArtifactKey(r.ID, attempt+1, i, "outputs/m"), muster.ArtifactPartsKey(r.ID, attempt+1, i, strings.Repeat("a", 64))+"0000000000000000",
				muster.LogID{RunID: r.ID, Attempt: attempt + 1, Instance: i, Stream: muster.Stderr}.ChunkKey(0))
		}
		all, err := p.ledger.Launches(ctx, muster.LaunchReserved)
		p.must(err)
		if len(all) != 1 {
			t.Fatalf("%d launches", len(all))
		}
		outcome := muster.OutcomeLost
		if attempt == 1 {
			outcome = muster.OutcomeSucceeded
		}
		p.must(p.ledger.Move(ctx, all[0], &muster.Moves{Launch: muster.LaunchOver, Outcome: outcome, Runs: to}))
	}
	for _, key := range keys {
		p.put(key, "x")
	}
	p.keep(time.Minute, time.Minute)
	p.later = time.Hour
	for _, dryRun := range []bool{true, false} {
		if got := p.retain(dryRun); len(got.Runs) != 1 || got.Runs[0].Artifacts != 8 || got.Runs[0].Logs != 4 || got.Bytes != 12 {
			t.Errorf("of 2 attempts of 2 instances goes %+v", got)
		}
	}
	for _, key := range keys {
		if _, err := p.bucket.Size(ctx, key); muster.CodeOf(err) != muster.CodeNotFound {
			t.Errorf("%s is left: %v", key, err)
		}
	}
}

// TestUploadsThatAreWanted holds that an old upload stays that somebody was told
// of lately, and one that a run names since retention began.
func TestUploadsThatAreWanted(t *testing.T) {
	p := aPast(t)
	w, err := p.store.FindWorkspace(t.Context(), "w")
	p.must(err)
	sums := map[string]string{}
	for i, name := range []string{"first", "named", "seen"} {
		sums[name] = strings.Repeat(string("abc"[i]), 64)
		key := muster.UploadKey(w.ID, sums[name])
		p.put(key, name)
		long := time.Now().Add(-2 * muster.KeepUploads)
		p.must(os.Chtimes(filepath.Join(p.files, key), long, long))
	}
	p.must(p.store.SeeUpload(t.Context(), w.ID, sums["seen"]))
	p.code = map[string]string{"late": sums["named"]}
	p.store.Observe = func(operation string, _ time.Duration, err error) {
		if operation == "drop upload" && err == nil {
			p.store.Observe = nil
			p.run("late", false)
		}
	}
	if r := p.retain(false); r.Uploads != 1 {
		t.Errorf("%d uploads go", r.Uploads)
	}
	for name, sum := range sums {
		if _, err := p.bucket.Size(t.Context(), muster.UploadKey(w.ID, sum)); (err == nil) != (name != "first") {
			t.Errorf("the upload %s: %v", name, err)
		}
	}
}

// TestDeletedRun tells of what goes since its run was deleted that it was, though
// its workspace keeps everything.
func TestDeletedRun(t *testing.T) {
	p := aPast(t)
	p.run("kept", true)
	p.run("gone", true)
	p.must(p.store.DeleteRun(t.Context(), "w", "gone", muster.Origin{}))
	for _, dryRun := range []bool{true, false} {
		if r := p.retain(dryRun); len(r.Runs) != 1 || r.Runs[0].Run != "gone" || !r.Runs[0].Deleted {
			t.Errorf("%+v", r.Runs)
		}
	}
}
