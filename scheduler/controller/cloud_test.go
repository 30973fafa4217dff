package controller_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// cloud makes the lab's cluster one whose provider chooses which node goes, of two
// that are idle.
func cloud(l *lab) {
	elastic(l)
	l.ledger.cluster.Provider = muster.ProviderAWS
	other := l.engine.sight.Nodes[0]
	other.ID, other.Name = "m", "other"
	l.engine.sight.Nodes = append(l.engine.sight.Nodes, other)
	l.ledger.health["m"] = muster.NodeHealth{NodeID: "m", Cluster: "c", Name: "other", Alloc: "b", State: muster.HealthReady}
	l.ledger.nodes["m"] = muster.NodeRecord{ID: "m", Cluster: "c", Name: "other", IdleSince: time.Now().Add(-50 * time.Second)}
}

// TestCloudChooses holds that all empty nodes are closed while a cloud chooses one
// of them, and that what it leaves is put back as soon as it has.
func TestCloudChooses(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		cloud(l)
		l.run()
		l.after(15*time.Second, func() {
			if n, w := l.kept(); n.Leave != muster.LeaveGoing || l.ledger.nodes["m"].Leave != muster.LeaveGoing || w.Nodes != 1 {
				t.Fatalf("%+v, wanted %+v", l.ledger.nodes, w)
			}
			l.engine.sight.Nodes[1].Draining = true
		})
		l.Wake()
		l.after(5*time.Second, func() {
			if n, _ := l.kept(); n.Leave != muster.LeaveMarked || n.Reason != "its provider has taken enough" || slices.Contains(l.engine.steps, "eligible n true") {
				t.Errorf("when the other is drained: %+v, %v", n, l.engine.steps)
			}
		})
		l.after(30*time.Second, func() {
			if n, w := l.kept(); n.Leave != muster.LeaveNot || !slices.Contains(l.engine.steps, "eligible n true") || w.Nodes != 1 {
				t.Errorf("half a minute later: %+v, wanted %+v, %v", n, w, l.engine.steps)
			}
		})
	})
}

// TestDrainedMachine holds that a node which a cloud has drained is not opened
// again while its machine ends: Nomad lists it as ready for that long.
func TestDrainedMachine(t *testing.T) {
	late := part("late", 1)
	bubble(t, 0, func(l *lab) {
		cloud(l)
		late.Stop = muster.StopCancel // it is not there yet
		l.run()
		l.after(15*time.Second, func() { l.engine.sight.Nodes[1].DrainedAt = time.Now() })
		l.Wake()
		l.after(5*time.Second, func() {
			if n, w := l.kept(); n.Leave != muster.LeaveMarked || l.ledger.nodes["m"].Leave != muster.LeaveGoing || w.Nodes != 1 {
				t.Errorf("%+v, wanted %+v", l.ledger.nodes, w)
			}
			late.State, late.Stop = muster.RunQueued, ""
		})
		l.Wake()
		l.after(40*time.Second, func() {
			if late.State == muster.RunQueued || slices.Contains(l.engine.steps, "eligible m true") || !slices.Contains(l.engine.steps, "eligible n true") {
				t.Errorf("the run is %s, %v", late.State, l.engine.steps)
			}
		})
	}, late)
}

// TestTakenMachine holds that a node whose machine has ended is not put back, and
// that it does not raise the number, however long Nomad lists it.
func TestTakenMachine(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		cloud(l)
		l.run()
		l.after(15*time.Second, func() { l.engine.sight.Nodes[1].Status = "down" })
		l.Wake()
		l.after(30*time.Minute, func() {
			if w := l.ledger.cluster.Wanted; l.ledger.nodes["m"].Leave != muster.LeaveGoing || w.Nodes > 1 || slices.Contains(l.engine.steps, "eligible m true") {
				t.Errorf("%+v, wanted %+v, %v", l.ledger.nodes, w, l.engine.steps)
			}
		})
	})
}

// TestCloudClosesAll holds that a cloud's number falls for no cause while an empty
// node is open, or one on which a run is about to be placed.
func TestCloudClosesAll(t *testing.T) {
	for _, reserved := range []bool{false, true} {
		bubble(t, 0, func(l *lab) {
			cloud(l)
			l.ledger.cluster.Idle = muster.Seconds(3600)
			l.ledger.health["m"] = muster.NodeHealth{NodeID: "m", Cluster: "c", Name: "other", Alloc: "b", State: muster.HealthUnusable, Reason: "sick"}
			if reserved {
				l.engine.onClose = func() {
					l.engine.sight.Allocs = []muster.SeenAlloc{{ID: "late", NodeID: "n", Client: "pending", Desired: "run", Used: muster.Resources{MHz: muster.Whole(100), MiB: muster.Whole(100)}}}
				}
			}
			l.run()
			l.after(61*time.Second, func() {
				n, w := l.kept()
				closed := n.Leave == muster.LeaveGoing && l.ledger.nodes["m"].Leave == muster.LeaveGoing
				if !reserved && (!closed || w.Nodes != 1) || reserved && closed {
					t.Errorf("reserved %v: %+v, wanted %+v", reserved, l.ledger.nodes, w)
				}
			})
		})
	}
}

// TestRunBesideClosedNodes holds that a run which comes while a cloud is to choose
// gets the nodes back that are closed for that, and that none is bought.
func TestRunBesideClosedNodes(t *testing.T) {
	late := part("late", 1)
	bubble(t, 0, func(l *lab) {
		cloud(l)
		late.Stop = muster.StopCancel // it is not there yet
		l.run()
		l.after(15*time.Second, func() {
			if n, w := l.kept(); n.Leave != muster.LeaveGoing || w.Nodes != 1 {
				t.Fatalf("%+v, wanted %+v", n, w)
			}
			late.State, late.Stop = muster.RunQueued, ""
		})
		l.Wake()
		l.after(5*time.Second, func() {
			if n, w := l.kept(); n.Leave != muster.LeaveMarked || n.Reason != "a run waits for room" || w.Nodes != 2 {
				t.Errorf("when a run waits: %+v, wanted %+v", n, w)
			}
		})
		l.after(30*time.Second, func() {
			if _, w := l.kept(); late.State == muster.RunQueued || w.Nodes != 2 {
				t.Errorf("half a minute later the run is %s (%+v), wanted %+v", late.State, late.WaitReason, w)
			}
		})
	}, late)
}

// TestDeletedCloud holds that a cluster whose provider does not tell what machines
// it has is kept until one that was ordered could have joined.
func TestDeletedCloud(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		elastic(l)
		l.engine.sight.Nodes = nil
		l.ledger.cluster.Provider, l.ledger.cluster.Deleting = muster.ProviderAWS, true
		l.ledger.cluster.Wanted = &muster.Wanted{Nodes: 2, At: time.Now()}
		l.run()
		l.after(10*time.Minute, func() {
			if _, w := l.kept(); w.Nodes != 0 || l.ledger.clusterGone {
				t.Errorf("wanted %+v, gone %v", w, l.ledger.clusterGone)
			}
		})
		l.after(6*time.Minute, func() {
			if !l.ledger.clusterGone {
				t.Error("it is kept for ever")
			}
		})
	})
}

// TestDesertedPool holds that a deserted cluster takes with it what Nomad has for
// it, before it goes, also where Nomad refuses; the operator's pool stays with its
// nodes.
func TestDesertedPool(t *testing.T) {
	for _, c := range []struct {
		pool  string
		fails bool
		away  bool
		steps []string
	}{
		{"muster-c", false, false, []string{"forget n", "drop pool muster-c true"}},
		{"muster-c", true, false, []string{"forget n", "drop pool muster-c true"}},
		{"muster-c", false, true, []string{"forget n", "drop pool muster-c true", "forget n", "drop pool muster-c true"}},
		{"theirs", false, false, []string{"drop pool theirs false"}},
	} {
		bubble(t, 0, func(l *lab) {
			elastic(l)
			l.engine.sight.Nodes[0].Status, l.engine.sight.Nodes[0].Pool = "down", c.pool
			l.ledger.cluster.NodePool = c.pool
			l.ledger.cluster.Provider, l.ledger.cluster.Deleting = muster.ProviderAWS, true
			if c.fails {
				l.engine.poolErr = muster.Errorf(muster.CodeRefused, "somebody else's job is there")
			}
			if c.away {
				l.engine.poolErr = muster.Errorf(muster.CodeUnreachable, "Nomad is away")
			}
			l.engine.onDrop = func() {
				if l.ledger.clusterGone {
					t.Errorf("pool %s: the cluster goes first", c.pool)
				}
				if n := strings.Count(strings.Join(l.engine.steps, ","), "drop pool"); c.away && n == 2 {
					l.engine.poolErr = nil
				}
			}
			l.run()
			l.after(16*time.Minute, func() {
				if !l.ledger.clusterGone || !slices.Equal(l.engine.steps, c.steps) || !slices.Contains(l.engine.jobs, "drop c") {
					t.Errorf("pool %s, fails %v: gone %v, steps %v, jobs %v", c.pool, c.fails, l.ledger.clusterGone, l.engine.steps, l.engine.jobs)
				}
			})
		})
	}
}

// TestNobodyJoins holds that nodes of a cloud which do not come are told of, so
// that runs with alternatives go on, and again when they still do not.
func TestNobodyJoins(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		elastic(l)
		l.engine.sight.Nodes = nil
		l.ledger.cluster.Provider, l.ledger.cluster.Min = muster.ProviderAWS, 2
		l.run()
		l.after(14*time.Minute, func() {
			if f := l.ledger.cluster.Failure; f != nil {
				t.Errorf("after 14 minutes: %+v", f)
			}
		})
		l.after(2*time.Minute, func() {
			if f := l.ledger.cluster.Failure; f == nil || f.Kind != muster.FailStart || f.Message != "0 of 2 nodes joined within 15m0s, and the log of its autoscaler says why" || !f.Until.After(time.Now()) {
				t.Errorf("after 16 minutes: %+v", f)
			}
			l.ledger.cluster.Failure = nil // its time is over
		})
		l.after(15*time.Minute, func() {
			if l.ledger.cluster.Failure == nil {
				t.Error("it is not told of again")
			}
		})
	})
}
