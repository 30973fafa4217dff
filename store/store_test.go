package store

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// open opens a new store with a cluster and a workspace.
func open(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "a folder"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	must(t, s.CreateCluster(t.Context(), &muster.Cluster{Name: "c", NodePool: "pool", Provider: muster.ProviderNone, Tier: muster.TierDedicated}, muster.Origin{}))
	must(t, s.CreateWorkspace(t.Context(), &muster.Workspace{Name: "w", DefaultCluster: "c"}))
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantCode fails unless err carries the code.
func wantCode(t *testing.T, err error, code muster.Code) {
	t.Helper()
	if muster.CodeOf(err) != code {
		t.Fatalf("got %v, want code %s", err, code)
	}
}

// submit makes a run of one instance.
func submit(t testing.TB, s *Store, name, parent string) *muster.Run {
	t.Helper()
	spec := muster.Spec{Command: "true"}
	spec.Complete()
	r := &muster.Run{Workspace: "w", Experiment: "e", Name: name, Parent: parent, Cluster: "c", Spec: spec}
	must(t, s.CreateRun(t.Context(), r, muster.Origin{Actor: "anna", RequestID: "q1"}))
	return r
}

// lead makes the test the leader.
func lead(t testing.TB, s *Store) muster.Ledger {
	t.Helper()
	l, err := s.AcquireLease(t.Context(), "test", true)
	must(t, err)
	return s.Lead(l.Term)
}

// start takes a run to a dispatched launch.
func start(t testing.TB, s *Store, g muster.Ledger, r *muster.Run) *muster.Execution {
	t.Helper()
	n, err := g.Apply(t.Context(), &muster.Decision{Starts: []muster.Start{{RunID: r.ID, Cluster: "c", Cores: 1000, Each: []muster.Resources{{MHz: 1000, MiB: 1000}},
		Places: []muster.Place{{NodeID: "n1", NodeName: "node1"}}}}})
	must(t, err)
	if n != 1 {
		t.Fatalf("admitted %d runs, want 1", n)
	}
	all, err := g.Launches(t.Context(), muster.LaunchReserved)
	must(t, err)
	x := all[len(all)-1]
	must(t, g.Move(t.Context(), x, &muster.Moves{Launch: muster.LaunchDispatched, JobID: "shape", ChildID: "child-" + x.Launch.ID, Runs: []muster.RunMove{{To: muster.RunStarting}}}))
	x, err = g.FindExecution(t.Context(), x.Launch.ID)
	must(t, err)
	return x
}

// allocation is one that may claim the launch.
func allocation(x *muster.Execution, id string) *muster.Allocation {
	return &muster.Allocation{ID: id, ChildID: x.Launch.ChildID, Token: x.Launch.Token(), Launch: x.Launch.ID, Group: "main", NodeID: "n2", NodeName: "node2"}
}

func state(t *testing.T, s *Store, name string) *muster.Run {
	t.Helper()
	r, err := s.FindRun(t.Context(), "w", name)
	must(t, err)
	return r
}

func TestNames(t *testing.T) {
	s := open(t)
	submit(t, s, "a", "")
	err := s.CreateRun(t.Context(), &muster.Run{Workspace: "w", Experiment: "e2", Name: "a", Cluster: "c"}, muster.Origin{Actor: "anna"})
	wantCode(t, err, muster.CodeConflict)
	if _, err := s.FindExperiment(t.Context(), "w", "e2"); muster.CodeOf(err) != muster.CodeNotFound {
		t.Errorf("a refused run left its experiment behind: %v", err)
	}
	wantCode(t, s.CreateWorkspace(t.Context(), &muster.Workspace{Name: "w"}), muster.CodeConflict)
	wantCode(t, s.CreateWorkspace(t.Context(), &muster.Workspace{Name: "v", DefaultCluster: "nope"}), muster.CodeNotFound)
	wantCode(t, s.CreateCluster(t.Context(), &muster.Cluster{Name: "d", NodePool: "pool", Tier: muster.TierDedicated}, muster.Origin{}), muster.CodeConflict)
	_, err = s.FindRun(t.Context(), "nowhere", "a")
	wantCode(t, err, muster.CodeNotFound)
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), dir)
	must(t, err)
	_, err = Open(t.Context(), dir)
	wantCode(t, err, muster.CodeConflict)
	id := s.Installation
	must(t, s.Close())
	s, err = Open(t.Context(), dir)
	must(t, err)
	defer s.Close()
	if s.Installation != id {
		t.Errorf("the installation's id was %s and is %s after a restart", id, s.Installation)
	}
}

func TestLifeOfARun(t *testing.T) {
	s := open(t)
	g := lead(t, s)
	r := submit(t, s, "a", "")
	x := start(t, s, g, r)
	won, err := s.Claim(t.Context(), allocation(x, "alloc-1"), "boot", []string{"not root"})
	must(t, err)
	if won.Run != "a" || won.Attempt != 1 || won.InstanceCount != 1 || won.ExperimentID == "" {
		t.Errorf("assignment = %+v", won)
	}
	phases := []muster.PhaseChange{{Phase: muster.PhaseCommand, At: time.Now().UTC()}}
	orders, err := s.Report(t.Context(), x.Launch.ID, &muster.Report{Attempt: 1, Phases: phases})
	must(t, err)
	if !orders.News || !orders.Go || orders.Stop != "" {
		t.Errorf("orders = %+v", orders)
	}
	if orders, _ = s.Report(t.Context(), x.Launch.ID, &muster.Report{Attempt: 1, Phases: phases}); orders.News {
		t.Error("the same report is news twice")
	}
	_, err = s.Report(t.Context(), x.Launch.ID, &muster.Report{Attempt: 1, Phases: phases, Result: &muster.Result{Started: true, ExitCode: 3, PeakMiB: 7}})
	must(t, err)
	x, err = g.FindExecution(t.Context(), x.Launch.ID)
	must(t, err)
	must(t, g.Move(t.Context(), x, &muster.Moves{Launch: muster.LaunchOver, Outcome: muster.OutcomeFailed, Reason: "exit code 3", Failures: 1,
		Runs: []muster.RunMove{{To: muster.RunRunning}, {To: muster.RunFailed, Reason: "exit code 3"}}}))
	r = state(t, s, "a")
	if r.State != muster.RunFailed || r.ExitCode == nil || *r.ExitCode != 3 || r.Failures != 1 || r.EndedAt.IsZero() || r.StartedAt.IsZero() {
		t.Errorf("run = %+v", r)
	}
	attempts, err := s.ListAttempts(t.Context(), r.ID)
	must(t, err)
	if a := attempts[0]; a.PeakMiB != 7 || a.Outcome != muster.OutcomeFailed || a.StartedAt.IsZero() || len(a.Instances) != 1 || a.Instances[0].NodeName != "node2" || len(a.PhaseTimes) != 1 {
		t.Errorf("attempt = %+v", a)
	}
	events, err := s.ListEvents(t.Context(), muster.EventFilter{Workspace: "w", Run: "a"})
	must(t, err)
	last := int64(0)
	for _, e := range events {
		if e.Seq <= last || e.Message == "" && e.Kind != muster.EventState || e.Actor == "" {
			t.Errorf("event %+v after %d", e, last)
		}
		last = e.Seq
	}
	if len(events) < 9 {
		t.Errorf("%d events", len(events))
	}
}

// TestClaims is the fence: one allocation wins an instance, every other is
// refused, each with an event.
func TestClaims(t *testing.T) {
	s := open(t)
	g := lead(t, s)
	x := start(t, s, g, submit(t, s, "a", ""))
	const racers = 8
	var wins sync.Map
	var wait sync.WaitGroup
	for i := range racers {
		wait.Go(func() {
			if _, err := s.Claim(context.Background(), allocation(x, string(rune('a'+i))), "boot", nil); err == nil {
				wins.Store(i, true)
			} else if muster.CodeOf(err) != muster.CodeConflict {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	n, winner := 0, 0
	wins.Range(func(k, _ any) bool { n++; winner = k.(int); return true })
	if n != 1 {
		t.Fatalf("%d allocations won the instance", n)
	}
	if _, err := s.Claim(t.Context(), allocation(x, string(rune('a'+winner))), "boot", nil); err != nil {
		t.Errorf("the winner's second try: %v", err)
	}
	copied := allocation(x, "copy")
	copied.ChildID, copied.Token = "child-copy", ""
	_, err := s.Claim(t.Context(), copied, "boot", nil)
	wantCode(t, err, muster.CodeConflict)
	events, _ := s.ListEvents(t.Context(), muster.EventFilter{Workspace: "w", Run: "a"})
	refused := 0
	for _, e := range events {
		if e.Kind == muster.EventRefused {
			refused++
		}
	}
	if refused != racers {
		t.Errorf("%d events of refused claims, want %d", refused, racers)
	}
}

func TestStopCascades(t *testing.T) {
	s := open(t)
	g := lead(t, s)
	submit(t, s, "a", "")
	submit(t, s, "b", "a")
	submit(t, s, "c", "b")
	submit(t, s, "other", "")
	must(t, s.RequestStop(t.Context(), "w", "a", muster.Origin{Actor: "anna"}))
	err := s.CreateRun(t.Context(), &muster.Run{Workspace: "w", Experiment: "e", Name: "late", Parent: "c", Cluster: "c"}, muster.Origin{})
	wantCode(t, err, muster.CodeConflict)
	n, err := g.StopQueued(t.Context())
	must(t, err)
	if n != 3 || state(t, s, "c").State != muster.RunCancelled || state(t, s, "other").State != muster.RunQueued {
		t.Errorf("%d stopped, c is %s, other is %s", n, state(t, s, "c").State, state(t, s, "other").State)
	}
	wantCode(t, s.RequestStop(t.Context(), "w", "a", muster.Origin{}), muster.CodeConflict)
}

// TestTerms proves that what a former leader writes is not taken.
func TestTerms(t *testing.T) {
	s := open(t)
	old := lead(t, s)
	r := submit(t, s, "a", "")
	lead(t, s)
	_, err := old.Apply(t.Context(), &muster.Decision{Refusals: []muster.Refusal{{RunID: r.ID, Reason: "never"}}})
	wantCode(t, err, muster.CodeConflict)
	if state(t, s, "a").State != muster.RunQueued {
		t.Error("a former leader moved a run")
	}
	l, err := s.AcquireLease(t.Context(), "rival", true)
	must(t, err)
	if l.Holder != "test" {
		t.Errorf("%s took a lease that is held", l.Holder)
	}
}

// TestMoveIsCompareAndSet proves that moves from a state that has passed
// change nothing.
func TestMoveIsCompareAndSet(t *testing.T) {
	s := open(t)
	g := lead(t, s)
	x := start(t, s, g, submit(t, s, "a", ""))
	over := &muster.Moves{Launch: muster.LaunchOver, Outcome: muster.OutcomeLost, Losses: 1, Runs: []muster.RunMove{{To: muster.RunQueued, Reason: "lost"}}}
	must(t, g.Move(t.Context(), x, over))
	must(t, g.Move(t.Context(), x, over))
	if r := state(t, s, "a"); r.Losses != 1 || r.State != muster.RunQueued {
		t.Errorf("losses %d, state %s", r.Losses, r.State)
	}
}

func TestWaitReasonsAreWrittenOnChange(t *testing.T) {
	s := open(t)
	g := lead(t, s)
	r := submit(t, s, "a", "")
	count := func() int {
		events, err := s.ListEvents(t.Context(), muster.EventFilter{Workspace: "w", Run: "a"})
		must(t, err)
		return len(events)
	}
	before := count()
	for _, message := range []string{"1 MHz free", "1 MHz free", "2 MHz free"} {
		_, err := g.Apply(t.Context(), &muster.Decision{Waits: []muster.Wait{{RunID: r.ID, Reason: muster.WaitReason{Code: muster.WaitCapacity, Message: message}}}})
		must(t, err)
	}
	if n := count() - before; n != 1 {
		t.Errorf("%d events for one change of kind", n)
	}
	if got := state(t, s, "a"); got.WaitReason.Message != "2 MHz free" || got.Position != 1 {
		t.Errorf("reason %+v, position %d", got.WaitReason, got.Position)
	}
}

func TestMetricsAreKeptOnce(t *testing.T) {
	s := open(t)
	r := submit(t, s, "a", "")
	start(t, s, lead(t, s), r)
	at := muster.MetricsBatch{RunID: r.ID, Attempt: 1}
	log := func(batch int64, value float64, step int64) {
		at.Batch = batch
		must(t, s.LogMetrics(t.Context(), at, []muster.Metric{{Name: "loss", Value: value, Step: step, Time: time.UnixMicro(step)}}, []muster.Parameter{{Name: "lr", Value: "0.1"}}))
	}
	log(0, 5, 1)
	log(0, 99, 9)
	log(1, 4, 2)
	latest, err := s.LatestMetrics(t.Context(), []int64{r.ID})
	must(t, err)
	all, err := s.ListMetrics(t.Context(), r.ID, muster.MetricQuery{Name: "loss"})
	must(t, err)
	params, err := s.ListParameters(t.Context(), []int64{r.ID})
	must(t, err)
	if latest[r.ID]["loss"] != 4 || len(all) != 2 || params[r.ID]["lr"] != "0.1" {
		t.Errorf("latest %v, all %v, params %v", latest, all, params)
	}
}

// TestFollowersMissNothing proves that a reader who follows by number misses
// nothing while others write.
func TestFollowersMissNothing(t *testing.T) {
	s := open(t)
	const runs = 40
	var wait sync.WaitGroup
	for w := range 4 {
		wait.Go(func() {
			for i := range runs / 4 {
				r := &muster.Run{Workspace: "w", Experiment: "e", Name: string(rune('a'+w)) + string(rune('a'+i)), Cluster: "c"}
				if err := s.CreateRun(context.Background(), r, muster.Origin{Actor: "anna"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	seen, after := 0, int64(0)
	deadline := time.After(30 * time.Second)
	for seen < runs {
		changed := s.EventsChanged()
		events, err := s.ListEvents(t.Context(), muster.EventFilter{After: after, Limit: 7})
		must(t, err)
		for _, e := range events {
			after = e.Seq
			seen++
		}
		if len(events) == 0 && seen < runs {
			select {
			case <-changed:
			case <-deadline:
				t.Fatalf("saw %d of %d events", seen, runs)
			}
		}
	}
	wait.Wait()
}
