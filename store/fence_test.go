package store

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// TestFence holds that what an agent hands in once its launch is over changes
// nothing, however far the request had come before: neither while the run waits
// nor at its next attempt. What the next attempt hands in counts.
func TestFence(t *testing.T) {
	s := open(t)
	g := lead(t, s)
	x := start(t, s, g, submit(t, s, "a", ""))
	_, err := s.Claim(t.Context(), allocation(x, "alloc-1"), "boot", nil)
	must(t, err)
	l, err := s.FindLaunch(t.Context(), x.Launch.ID)
	must(t, err)
	hand := func(attempt int) map[string]error {
		errs := map[string]error{}
		l := *l // read while the launch went on
		_, errs["report"] = s.keepReport(t.Context(), &l, &muster.Report{Attempt: attempt, Phases: []muster.PhaseChange{{Phase: muster.PhaseDone, At: time.Now()}},
			Notes: []string{"late"}, Result: &muster.Result{Started: true, ExitCode: 9, PeakMiB: 9}})
		errs["artifact"] = s.PutArtifact(t.Context(), x.Run.ID, &muster.Artifact{Path: "outputs/x", SHA256: "late", Attempt: attempt})
		errs["metrics"] = s.LogMetrics(t.Context(), muster.MetricsBatch{RunID: x.Run.ID, Attempt: attempt}, []muster.Metric{{Name: "loss", Value: 9}}, []muster.Parameter{{Name: "lr", Value: "9"}})
		return errs
	}
	nothing := func(when string) {
		t.Helper()
		for what, err := range hand(1) {
			if muster.CodeOf(err) != muster.CodeForbidden {
				t.Errorf("%s, %s: %v", when, what, err)
			}
		}
		r := state(t, s, "a")
		attempts, _ := s.ListAttempts(t.Context(), r.ID)
		if first := attempts[0]; r.ExitCode != nil || first.ExitCode != nil || first.PeakMiB != 0 || first.Instances[0].Result != nil {
			t.Errorf("%s: run %+v, attempt %+v", when, r.ExitCode, first)
		}
		latest, _ := s.LatestMetrics(t.Context(), []int64{r.ID})
		if len(latest[r.ID]) > 0 {
			t.Errorf("%s: metrics %v", when, latest)
		}
		events, _ := s.ListEvents(t.Context(), muster.EventFilter{Workspace: "w", Run: "a"})
		if slices.ContainsFunc(events, func(e *muster.Event) bool { return e.Message == "late" }) {
			t.Errorf("%s: the note is an event", when)
		}
	}
	must(t, g.Move(t.Context(), x, &muster.Moves{Launch: muster.LaunchOver, Outcome: muster.OutcomeLost, Losses: 1, Runs: []muster.RunMove{{To: muster.RunQueued, Reason: "lost"}}}))
	nothing("the run waits")
	again := start(t, s, g, state(t, s, "a"))
	nothing("its next attempt runs")
	if again.Attempt.Number != 2 {
		t.Fatalf("attempt %d", again.Attempt.Number)
	}
	must(t, s.PutArtifact(t.Context(), x.Run.ID, &muster.Artifact{Path: "outputs/x", SHA256: "new", Attempt: 2}))
	nothing("it has left a file")
	if a, err := s.FindArtifact(t.Context(), x.Run.ID, "outputs/x"); err != nil || a.SHA256 != "new" {
		t.Errorf("the file is %+v, %v", a, err)
	}
	// The row of the first launch is as if it went on: the number alone refuses.
	_, err = s.write.ExecContext(t.Context(), `UPDATE launches SET state = 'dispatched' WHERE id = ?`, x.Launch.ID)
	must(t, err)
	nothing("an older attempt whose launch goes on")
}

// TestRestartedNode holds that an instance is not executed again on a node that
// was restarted, where Nomad starts the same allocation once more.
func TestRestartedNode(t *testing.T) {
	s := open(t)
	g := lead(t, s)
	x := start(t, s, g, submit(t, s, "a", ""))
	for range 2 { // the first answer was lost on its way
		_, err := s.Claim(t.Context(), allocation(x, "alloc-1"), "first", nil)
		must(t, err)
	}
	_, err := s.Claim(t.Context(), allocation(x, "alloc-1"), "second", nil)
	wantCode(t, err, muster.CodeConflict)
	events, err := s.ListEvents(t.Context(), muster.EventFilter{Workspace: "w", Run: "a"})
	must(t, err)
	last := events[len(events)-1]
	if last.Kind != muster.EventRefused || !strings.Contains(last.Message, "node node2 was restarted") {
		t.Errorf("the last event is %s: %s", last.Kind, last.Message)
	}
}

// TestExitCodeOfTheLastAttempt holds that a run that is tried again shows no
// exit code before its next attempt has one.
func TestExitCodeOfTheLastAttempt(t *testing.T) {
	s := open(t)
	g := lead(t, s)
	x := start(t, s, g, submit(t, s, "a", ""))
	_, err := s.Claim(t.Context(), allocation(x, "alloc-1"), "boot", nil)
	must(t, err)
	_, err = s.Report(t.Context(), x.Launch.ID, &muster.Report{Attempt: 1, Result: &muster.Result{Started: true, ExitCode: 3}})
	must(t, err)
	if r := state(t, s, "a"); r.ExitCode == nil || *r.ExitCode != 3 {
		t.Fatalf("the first attempt's exit code is %v", r.ExitCode)
	}
	must(t, g.Move(t.Context(), x, &muster.Moves{Launch: muster.LaunchOver, Outcome: muster.OutcomeFailed, Failures: 1, Runs: []muster.RunMove{{To: muster.RunQueued}}}))
	if r := state(t, s, "a"); r.ExitCode != nil {
		t.Errorf("while it waits the exit code is %d", *r.ExitCode)
	}
	if attempts, err := s.ListAttempts(t.Context(), x.Run.ID); err != nil || attempts[0].ExitCode == nil {
		t.Errorf("the attempt has lost its exit code: %v", err)
	}
}
