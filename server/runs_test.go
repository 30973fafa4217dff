package server

import (
	"testing"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/store"
)

// TestNomadAwayIsRead holds that who waits says so in every reading while Nomad
// is away, that its row keeps its own reason, and that who ended says nothing.
func TestNomadAwayIsRead(t *testing.T) {
	ctx := t.Context()
	s, err := store.Open(ctx, t.TempDir())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(err)
	defer s.Close()
	must(s.CreateCluster(ctx, &muster.Cluster{Name: "c", NodePool: "pool", Provider: muster.ProviderNone, Tier: muster.TierDedicated}, muster.Origin{}))
	must(s.CreateWorkspace(ctx, &muster.Workspace{Name: "w", DefaultCluster: "c"}))
	for _, name := range []string{"waits", "ended"} {
		must(s.CreateRun(ctx, &muster.Run{Workspace: "w", Experiment: "e", Name: name, Cluster: "c"}, muster.Origin{}))
	}
	must(s.RequestStop(ctx, "w", "ended", muster.Origin{}))
	lease, err := s.AcquireLease(ctx, "test", true)
	must(err)
	_, err = s.Lead(lease.Term).StopQueued(ctx)
	must(err)
	away := &muster.WaitReason{Code: muster.WaitNomad, Message: "Nomad does not answer"}
	r := &runs{s, func() *muster.WaitReason { return away }}
	for _, want := range []muster.WaitCode{muster.WaitNomad, muster.WaitNew} {
		found, err := r.FindRun(ctx, "w", "waits")
		must(err)
		listed, _, err := r.ListRuns(ctx, muster.RunFilter{Workspace: "w"})
		must(err)
		queue, _, err := r.ListQueue(ctx, "c", 10)
		must(err)
		if found.WaitReason.Code != want || listed[1].WaitReason.Code != want || queue[0].WaitReason.Code != want || listed[0].WaitReason != nil {
			t.Errorf("want %s: found %+v, listed %+v and %+v, in the queue %+v", want, found.WaitReason, listed[0].WaitReason, listed[1].WaitReason, queue[0].WaitReason)
		}
		away = nil
	}
}
