package controller_test

import (
	"slices"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// elastic makes the lab's cluster one whose nodes come and go.
func elastic(l *lab) {
	l.ledger.cluster = muster.Cluster{Name: "c", NodePool: "pool", Provider: muster.ProviderLocal,
		ClusterSettings: muster.ClusterSettings{Size: "local.small", Max: 3, Idle: muster.Seconds(60)}}
	l.engine.sight.Nodes[0].Total.DiskMiB = muster.Whole(10_000)
	l.engine.sight.Nodes[0].Total = l.engine.sight.Nodes[0].Total.Add(muster.NodeAgentNeed)
	l.ledger.health = map[string]muster.NodeHealth{"n": {NodeID: "n", Cluster: "c", Name: "node", Alloc: "a", State: muster.HealthReady}}
}

// kept returns what is remembered of the node, and what is wanted.
func (l *lab) kept() (muster.NodeRecord, muster.Wanted) {
	if l.ledger.cluster.Wanted == nil {
		return l.ledger.nodes["n"], muster.Wanted{Nodes: -1}
	}
	return l.ledger.nodes["n"], *l.ledger.cluster.Wanted
}

// TestIdleNodeLeaves holds that a node leaves when it was idle for the cluster's
// time, not before, and is made ineligible before anybody hears of it.
func TestIdleNodeLeaves(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		elastic(l)
		l.run()
		l.after(50*time.Second, func() {
			if n, w := l.kept(); n.Leave != muster.LeaveNot || w.Nodes != 1 || n.IdleSince.IsZero() {
				t.Errorf("after 50 s: %+v, wanted %+v", n, w)
			}
		})
		if !l.Scaled("c") {
			t.Error("the number is not known")
		}
		l.after(15*time.Second, func() {
			n, w := l.kept()
			if n.Leave != muster.LeaveGoing || w.Nodes != 0 || !slices.Equal(l.engine.steps, []string{"eligible n false"}) {
				t.Errorf("after 65 s: %+v, wanted %+v, steps %v", n, w, l.engine.steps)
			}
			// Its provider takes it: Nomad loses it, and the provider has it no more.
			l.engine.sight.Nodes[0].Status = "down"
			l.ledger.report = &muster.MachineReport{Machines: []muster.Machine{}}
			n.Fate = muster.FateGone
			l.ledger.nodes["n"] = n
		})
		l.Wake()
		l.after(5*time.Second, func() {
			if len(l.ledger.nodes) != 0 || !slices.Contains(l.engine.steps, "forget n") {
				t.Errorf("it is remembered: %v, steps %v", l.ledger.nodes, l.engine.steps)
			}
		})
	})
}

// TestShrink holds that a node in use above a cluster's max is emptied where runs
// are not to keep it, and leaves once it is empty, without the time of an idle
// one.
func TestShrink(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		elastic(l)
		l.ledger.cluster.OnShrink = muster.ShrinkRequeue
		l.run()
		l.after(2*time.Second, func() {
			if len(l.ledger.live) != 1 || !l.ledger.health["n"].DrainAt.IsZero() {
				t.Errorf("at first %+v", l.ledger.health)
			}
			l.ledger.cluster.Max = 0
		})
		l.Wake()
		l.after(3*time.Second, func() {
			if l.ledger.live[0].Launch.Stop != muster.StopDrain || l.ledger.health["n"].DrainAt.IsZero() {
				t.Fatalf("its run is not told to stop: %+v", l.ledger.live[0].Launch)
			}
			l.engine.sight.Allocs[0].Client = "complete"
		})
		l.Wake()
		l.after(3*time.Second, func() {
			if n, _ := l.kept(); n.Leave != muster.LeaveGoing || n.Reason != "it was drained" {
				t.Errorf("it stays: %+v", n)
			}
		})
	}, part("a", 1))
}

// TestUnfitOnACloud holds that a node that cannot be made ready does not keep a
// cluster from growing whose provider counts it, and leaves when it is empty and no
// more are wanted.
func TestUnfitOnACloud(t *testing.T) {
	waits := part("a", 1)
	bubble(t, 0, func(l *lab) {
		elastic(l)
		l.ledger.cluster.Provider = muster.ProviderAWS
		l.health(func(h *muster.NodeHealth) { h.State, h.Reason = muster.HealthUnusable, "its set-up failed" })
		l.run()
		l.after(5*time.Second, func() {
			if _, w := l.kept(); w.Nodes != 2 {
				t.Errorf("beside an unusable node %d are wanted for the run that waits", w.Nodes)
			}
		})
		l.after(2*time.Minute, func() {
			if n, _ := l.kept(); n.Leave != muster.LeaveNot {
				t.Errorf("it goes while the number must rise: %+v", n)
			}
			waits.Stop = muster.StopCancel
		})
		l.Wake()
		l.after(time.Minute, func() { // the first time the number falls by the one that never joined
			if n, w := l.kept(); n.Leave != muster.LeaveGoing || w.Nodes != 0 {
				t.Errorf("it stays: %+v, wanted %+v", n, w)
			}
		})
	}, waits)
}

// TestDrill holds that a drill takes about as many nodes as it says.
func TestDrill(t *testing.T) {
	taken := 0
	for range 60 {
		bubble(t, 0, func(l *lab) {
			elastic(l)
			l.ledger.cluster.Min, l.ledger.cluster.Drill = 1, &muster.Drill{PerHour: 0.5, Notice: muster.Seconds(10)}
			l.run()
			l.after(time.Hour, func() {
				if n, _ := l.kept(); !n.EvictAt.IsZero() {
					taken++
				}
			})
		})
	}
	// Of a node that is taken half a time an hour 39 in 100 are taken in one.
	if taken < 8 || taken > 42 {
		t.Errorf("%d of 60 were taken within an hour", taken)
	}
}

// TestPlacedMeanwhile holds that a node on which something is placed while it is
// made ineligible stays.
func TestPlacedMeanwhile(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		elastic(l)
		l.engine.onClose = func() {
			l.engine.sight.Allocs = []muster.SeenAlloc{{ID: "late", NodeID: "n", Client: "pending", Desired: "run", Used: muster.Resources{MHz: muster.Whole(100), MiB: muster.Whole(100)}}}
		}
		l.run()
		l.after(65*time.Second, func() {
			n, w := l.kept()
			if n.Leave != muster.LeaveNot || w.Nodes != 1 || !l.engine.sight.Nodes[0].Eligible {
				t.Errorf("a node in use leaves: %+v, wanted %+v, steps %v", n, w, l.engine.steps)
			}
		})
	})
}

// TestNobodyTakesIt holds that a node that leaves and that its provider does not
// take is put back, unless it is being taken.
func TestNobodyTakesIt(t *testing.T) {
	for _, stopping := range []bool{false, true} {
		bubble(t, 0, func(l *lab) {
			elastic(l)
			if stopping {
				l.ledger.report = &muster.MachineReport{Machines: []muster.Machine{{Name: "node", State: muster.MachineStopping}}}
			}
			l.run()
			l.after(65*time.Second, func() {})
			l.after(2*time.Minute+35*time.Second, func() {
				back := slices.Contains(l.engine.steps, "eligible n true")
				if back == stopping {
					t.Errorf("stopping %v: steps %v", stopping, l.engine.steps)
				}
			})
		})
	}
}

// TestUnknownIsNoNumber holds that while Nomad is away the number is not known.
func TestUnknownIsNoNumber(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		elastic(l)
		if l.Scaled("c") {
			t.Error("it is known before anybody looked")
		}
		l.run()
		l.after(time.Second, func() { l.engine.lookErr = muster.Errorf(muster.CodeUnreachable, "away") })
		if !l.Scaled("c") {
			t.Fatal("it is not known")
		}
		l.Wake()
		l.after(time.Second, func() {})
		if l.Scaled("c") {
			t.Error("it is known while Nomad is away")
		}
	})
}

// TestTooSmall holds that a node with less than its size promises takes no run,
// and is replaced after a while.
func TestTooSmall(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		elastic(l)
		l.engine.sight.Nodes[0].Total.MiB = muster.Whole(464) // 64 of these are the agent's
		l.run()
		l.after(30*time.Second, func() {
			if n, w := l.kept(); n.AwaySince.IsZero() || n.Leave != muster.LeaveNot || w.Nodes != 1 {
				t.Errorf("after 30 s: %+v, wanted %+v", n, w)
			}
		})
		l.after(35*time.Second, func() {
			if n, w := l.kept(); n.Leave != muster.LeaveGoing || w.Nodes != 0 || n.Reason != "it cannot take runs: it has 400 MiB memory for runs, and its size promises 512" {
				t.Errorf("after 65 s: %+v", n)
			}
			if f := l.ledger.cluster.Failure; f == nil || f.Kind != muster.FailUnfit || f.Message != "node node could not be used: it has 400 MiB memory for runs, and its size promises 512" {
				t.Errorf("that it cannot be used is not counted: %+v", f)
			}
		})
	})
}
