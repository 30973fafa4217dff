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
		l.engine.sight.Nodes[0].Total.MiB = muster.Whole(400)
		l.run()
		l.after(30*time.Second, func() {
			if n, w := l.kept(); n.AwaySince.IsZero() || n.Leave != muster.LeaveNot || w.Nodes != 0 {
				t.Errorf("after 30 s: %+v, wanted %+v", n, w)
			}
		})
		l.after(35*time.Second, func() {
			if n, _ := l.kept(); n.Leave != muster.LeaveGoing || n.Reason != "it cannot take runs: it has 400 MiB memory for runs, and its size promises 512" {
				t.Errorf("after 65 s: %+v", n)
			}
		})
	})
}
