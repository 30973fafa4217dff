package store

import (
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// TestRetentionPlans holds that retention does not go through what is gone.
func TestRetentionPlans(t *testing.T) {
	s := open(t)
	for _, query := range []string{leftRuns, leftAttempts} {
		steps := plan(t, s, query, 1)
		if len(steps) == 0 || !strings.Contains(steps[0], "SEARCH r USING INDEX runs_left") {
			t.Errorf("%s\n%q", query, steps)
		}
		for _, step := range steps {
			if strings.HasPrefix(step, "SCAN ") {
				t.Errorf("%s\n%s", query, step)
			}
		}
	}
}

// TestDropUpload holds that an upload goes only when nothing wants it, and that
// nobody sees it while it goes.
func TestDropUpload(t *testing.T) {
	s, ctx := open(t), t.Context()
	const named, free = "aa", "bb"
	r := submit(t, s, "r", "")
	_, err := s.write.ExecContext(ctx, `INSERT INTO run_data (run_id, direction, name, ref) VALUES (?, 'input', 'i', ?)`, r.ID, muster.UploadRef(named))
	must(t, err)
	since := time.Now().Add(-time.Hour)
	drop := func(sum string) (called bool) {
		t.Helper()
		dropped, err := s.DropUpload(ctx, r.WorkspaceID, sum, since, func() error { called = true; return nil })
		if err != nil || dropped != called {
			t.Errorf("drop %s: %v, %v", sum, dropped, err)
		}
		return called
	}
	if drop(named) {
		t.Error("an upload goes that a run names")
	}
	must(t, s.SeeUpload(ctx, r.WorkspaceID, free))
	if drop(free) {
		t.Error("an upload goes that was seen a moment ago")
	}
	since = time.Now().Add(time.Minute)
	seen := make(chan error)
	_, err = s.DropUpload(ctx, r.WorkspaceID, free, since, func() error {
		go func() { seen <- s.SeeUpload(ctx, r.WorkspaceID, free) }()
		kept, err := s.KeptUploads(ctx, r.WorkspaceID, time.Time{})
		if kept[muster.UploadRef(free)] || !kept[muster.UploadRef(named)] {
			t.Errorf("while one is removed these are kept: %v", kept)
		}
		return err
	})
	must(t, err)
	must(t, <-seen)
}

// TestSetKeepingOfOld refuses a change that is meant for another version.
func TestSetKeepingOfOld(t *testing.T) {
	s, ctx := open(t), t.Context()
	submit(t, s, "r", "")
	w, err := s.FindWorkspace(ctx, "w")
	must(t, err)
	k := muster.Keeping{Logs: muster.Duration(time.Hour)}
	changed, err := s.SetKeeping(ctx, "w", k, muster.Origin{Versions: []int64{w.Version}})
	must(t, err)
	if changed.Keeping != k || changed.Version == w.Version {
		t.Errorf("changed to %+v", changed)
	}
	_, err = s.SetKeeping(ctx, "w", muster.Keeping{}, muster.Origin{Versions: []int64{w.Version}})
	wantCode(t, err, muster.CodePrecondition)
}
