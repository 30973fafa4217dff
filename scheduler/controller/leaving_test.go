package controller_test

import (
	"slices"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// TestReopenFails holds that a node which is to be put back, and that Nomad does not
// open, is opened later.
func TestReopenFails(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		elastic(l)
		l.engine.onClose = func() { // a run is placed on it, and Nomad goes away
			l.engine.sight.Allocs = []muster.SeenAlloc{{ID: "late", NodeID: "n", Client: "pending", Desired: "run", Used: muster.Resources{MHz: muster.Whole(100), MiB: muster.Whole(100)}}}
			l.engine.openErr = muster.Errorf(muster.CodeUnreachable, "no leader")
		}
		l.run()
		l.after(65*time.Second, func() {
			if n, _ := l.kept(); n.Leave != muster.LeaveMarked || l.engine.sight.Nodes[0].Eligible {
				t.Fatalf("%+v, steps %v", n, l.engine.steps)
			}
			l.engine.openErr = nil
		})
		l.after(time.Minute, func() {
			if n, _ := l.kept(); n.Leave != muster.LeaveNot || !l.engine.sight.Nodes[0].Eligible {
				t.Errorf("it stays closed: %+v, steps %v", n, l.engine.steps)
			}
		})
	})
}

// TestPausedNodesStay holds that a pause leaves nodes as they are, also one that
// cannot take runs.
func TestPausedNodesStay(t *testing.T) {
	for _, paused := range []bool{false, true} {
		bubble(t, 0, func(l *lab) {
			elastic(l)
			l.ledger.cluster.Paused, l.ledger.cluster.Min = paused, 1
			l.engine.sight.Nodes[0].Eligible = false
			l.run()
			l.after(3*time.Minute, func() {
				if n, _ := l.kept(); (n.Leave == muster.LeaveNot) != paused {
					t.Errorf("paused %v: %+v", paused, n)
				}
			})
		})
	}
}

// TestWellAgain holds that a node which was unusable and is well now does not leave
// for what it was while it waits to be opened.
func TestWellAgain(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		elastic(l)
		l.ledger.cluster.Min = 1
		l.engine.sight.Allocs = []muster.SeenAlloc{{ID: "agent", NodeID: "n", Ours: true, NodeAgent: true, Client: "running", Desired: "run"}}
		l.health(func(h *muster.NodeHealth) { h.State, h.Reason = muster.HealthUnusable, "check flag: exit code 1" })
		l.engine.openErr = muster.Errorf(muster.CodeUnreachable, "no leader")
		l.run()
		l.after(30*time.Second, func() {
			l.health(func(h *muster.NodeHealth) { h.State, h.Reason = muster.HealthReady, "" })
		})
		l.Wake()
		l.after(time.Minute, func() {
			if n, w := l.kept(); n.Leave != muster.LeaveNot || w.Nodes != 1 || l.engine.sight.Nodes[0].Eligible {
				t.Errorf("%+v, wanted %+v, steps %v", n, w, l.engine.steps)
			}
			l.engine.openErr = nil
		})
		l.after(time.Minute, func() {
			if !l.engine.sight.Nodes[0].Eligible {
				t.Errorf("it stays closed: %v", l.engine.steps)
			}
		})
	})
}

// TestDeletedWithUnusable holds that a node which cannot be used leaves a cluster
// that is being deleted at once.
func TestDeletedWithUnusable(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		elastic(l)
		l.ledger.cluster.Deleting = true
		l.health(func(h *muster.NodeHealth) { h.State, h.Reason = muster.HealthUnusable, "its set-up failed" })
		l.run()
		l.after(5*time.Second, func() {
			if n, w := l.kept(); n.Leave != muster.LeaveGoing || w.Nodes != 0 {
				t.Errorf("%+v, wanted %+v", n, w)
			}
		})
	})
}

// TestDeletedWantsNone holds that a cluster that is being deleted wants no node from
// the moment in which its last one may be taken: another would be bought for it.
func TestDeletedWantsNone(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		elastic(l)
		l.ledger.cluster.Deleting = true
		l.run()
		l.after(5*time.Second, func() {
			if !l.ledger.left || slices.ContainsFunc(l.ledger.numbers, func(n int) bool { return n != 0 }) {
				t.Errorf("leaving: %v, and the numbers since are %v", l.ledger.left, l.ledger.numbers)
			}
		})
	})
}

// TestLoweredMeanwhile holds that a number which was lowered while another was decided
// stays, until the next look has seen why.
func TestLoweredMeanwhile(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		elastic(l)
		l.ledger.cluster.Wanted = &muster.Wanted{Nodes: 3, Reason: "of before"}
		l.ledger.onPublish = func() { l.ledger.cluster.Wanted = &muster.Wanted{Nodes: 2, Reason: "one was taken"} }
		l.run()
		l.after(time.Second, func() {
			if _, w := l.kept(); w.Nodes != 1 || l.ledger.conflicts != 1 {
				t.Errorf("after %d conflicts %+v is wanted", l.ledger.conflicts, w)
			}
		})
	})
}

// TestExcludedAndGone holds that a node out of service whose machine a cloud has no
// more is not counted: the number would rise for ever.
func TestExcludedAndGone(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		cloud(l)
		l.ledger.cluster.Idle = muster.Seconds(3600)
		l.health(func(h *muster.NodeHealth) { h.Excluded = "its fan is loud" })
		l.engine.sight.Nodes[0].Status = "down"
		l.run()
		l.after(time.Minute, func() {
			if _, w := l.kept(); w.Nodes != 1 || slices.Contains(l.engine.steps, "eligible m false") {
				t.Errorf("wanted %+v, steps %v", w, l.engine.steps)
			}
		})
	})
}
