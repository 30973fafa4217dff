package controller_test

import (
	"slices"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// TestNodeJobs holds that the agents of a cluster's nodes are kept where it wants
// them, made again when somebody stops them, and removed when it wants them no
// more.
func TestNodeJobs(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		elastic(l)
		l.run()
		l.after(time.Second, func() {
			if !slices.Equal(l.engine.jobs, []string{"keep c"}) {
				t.Errorf("at first: %v", l.engine.jobs)
			}
			l.engine.sight.NodeJobs[0].Stopped = true
		})
		l.Wake()
		l.after(time.Second, func() {
			if !slices.Equal(l.engine.jobs, []string{"keep c", "keep c"}) {
				t.Errorf("after somebody stopped it: %v", l.engine.jobs)
			}
			l.ledger.cluster.Provider = muster.ProviderNone
		})
		l.Wake()
		l.after(time.Second, func() {
			if !slices.Equal(l.engine.jobs[2:], []string{"drop c"}) {
				t.Errorf("when nobody wants it: %v", l.engine.jobs)
			}
		})
	})
}

// TestAgentComesBack holds that a closed node that has lost its agent is opened for
// it, as Nomad places it nowhere else, and closed again when it says that it is not
// fit; one that a person took out of service stays closed.
func TestAgentComesBack(t *testing.T) {
	for _, excluded := range []string{"", "it is loud"} {
		bubble(t, 0, func(l *lab) {
			elastic(l)
			l.ledger.cluster.Provider = muster.ProviderNone
			l.ledger.cluster.ClusterSettings = muster.ClusterSettings{Health: &muster.Health{}}
			agent := muster.SeenAlloc{ID: "agent", NodeID: "n", Ours: true, NodeAgent: true, Client: "running", Desired: "run"}
			l.engine.sight.Allocs = []muster.SeenAlloc{agent}
			l.health(func(h *muster.NodeHealth) { h.State, h.Reason, h.Excluded = muster.HealthUnusable, "a check", excluded })
			l.run()
			l.after(time.Second, func() {
				if l.engine.sight.Nodes[0].Eligible {
					t.Fatal("an unusable node is eligible")
				}
				l.engine.sight.Allocs = nil // the machine was rebooted, and Nomad gave the agent up
			})
			l.Wake()
			l.after(time.Second, func() {
				if got := l.engine.sight.Nodes[0].Eligible; got != (excluded == "") {
					t.Errorf("excluded %q: without its agent it is eligible: %v", excluded, got)
				}
				l.engine.sight.Allocs = []muster.SeenAlloc{agent}
			})
			l.Wake()
			l.after(time.Second, func() {
				if l.engine.sight.Nodes[0].Eligible {
					t.Error("with its agent, and still unusable, it is eligible")
				}
			})
		})
	}
}

// health changes what is known of the node.
func (l *lab) health(f func(h *muster.NodeHealth)) {
	h := l.ledger.health["n"]
	f(&h)
	l.ledger.health["n"] = h
}

// TestUnfitNodes holds that a node that is not fit for runs is not eligible in
// Nomad, and again when it is; one that somebody else closed stays closed.
func TestUnfitNodes(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		elastic(l)
		l.ledger.cluster.Idle = muster.Seconds(3600)
		l.engine.sight.Allocs = []muster.SeenAlloc{{ID: "agent", NodeID: "n", Ours: true, NodeAgent: true, Client: "running", Desired: "run"}}
		l.run()
		l.after(time.Second, func() {
			l.health(func(h *muster.NodeHealth) { h.State, h.Reason = muster.HealthUnusable, "check scratch: exit code 1" })
		})
		l.Wake()
		l.after(time.Second, func() {
			if l.engine.sight.Nodes[0].Eligible || !l.ledger.health["n"].Closed {
				t.Errorf("an unusable node is eligible: %v", l.engine.steps)
			}
			l.health(func(h *muster.NodeHealth) { h.State, h.Reason = muster.HealthReady, "" })
		})
		l.Wake()
		l.after(time.Second, func() {
			if !l.engine.sight.Nodes[0].Eligible || l.ledger.health["n"].Closed {
				t.Errorf("it stays closed when it is well again: %v", l.engine.steps)
			}
			l.engine.sight.Nodes[0].Eligible = false // by somebody's hand
			l.engine.steps = nil
			l.health(func(h *muster.NodeHealth) { h.State = muster.HealthUnusable })
		})
		l.Wake()
		l.after(time.Second, func() { l.health(func(h *muster.NodeHealth) { h.State = muster.HealthReady }) })
		l.Wake()
		l.after(time.Second, func() {
			if len(l.engine.steps) != 0 {
				t.Errorf("somebody else's node is opened: %v", l.engine.steps)
			}
		})
	})
}

// TestPreparingIsNotIdle holds that a node that is made ready is not idle,
// however long that takes, and that one whose agent never reports is unusable.
func TestPreparingIsNotIdle(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		elastic(l)
		l.health(func(h *muster.NodeHealth) { h.State, h.Reason = muster.HealthPreparing, "its set-up runs" })
		l.run()
		l.after(10*time.Minute, func() {
			if n, _ := l.kept(); n.Leave != muster.LeaveNot || !n.IdleSince.IsZero() || len(l.engine.steps) != 0 {
				t.Errorf("it leaves while it is made ready: %+v %v", n, l.engine.steps)
			}
		})
	})
	bubble(t, time.Second, func(l *lab) {
		elastic(l)
		l.ledger.health = map[string]muster.NodeHealth{}
		l.run()
		l.after(9*time.Minute, func() {
			if n, _ := l.kept(); n.Leave != muster.LeaveNot {
				t.Errorf("it leaves before its agent had time: %+v", n)
			}
		})
		l.after(3*time.Minute, func() {
			if n, _ := l.kept(); n.Leave != muster.LeaveGoing {
				t.Errorf("a node whose agent never reports stays: %+v", n)
			}
		})
	})
}

// TestDrainNode holds that a node that is drained takes no run at once, and that
// what runs on it is told to stop when its time has come, and not before.
func TestDrainNode(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		elastic(l)
		l.run()
		l.after(2*time.Second, func() {
			l.health(func(h *muster.NodeHealth) { h.Excluded, h.DrainAt = "drained by anna", time.Now().Add(time.Minute) })
		})
		l.Wake()
		l.after(50*time.Second, func() {
			if l.engine.sight.Nodes[0].Eligible || len(l.ledger.live) != 1 || l.ledger.live[0].Launch.Stop != "" {
				t.Errorf("before its time: eligible %v, %+v", l.engine.sight.Nodes[0].Eligible, l.ledger.live)
			}
		})
		l.after(15*time.Second, func() {
			if l.ledger.live[0].Launch.Stop != muster.StopDrain {
				t.Errorf("what runs on it is not told to stop: %+v", l.ledger.live[0].Launch)
			}
		})
	}, part("long", 1))
}

// TestPoolOfNoProvider holds that the shapes of a cluster without a provider are
// forgotten once when it is deleted, again where Nomad was away, and that its pool
// stays.
func TestPoolOfNoProvider(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		l.ledger.cluster.Provider = muster.ProviderNone
		l.run()
		l.after(time.Second, func() {
			if len(l.engine.steps) != 0 {
				t.Errorf("while it is there: %v", l.engine.steps)
			}
			l.ledger.clusterGone = true
			l.engine.poolErr = muster.Errorf(muster.CodeUnreachable, "Nomad is away")
		})
		l.Wake()
		l.after(100*time.Millisecond, func() { l.engine.poolErr = nil })
		l.after(time.Minute, func() {})
		l.Wake()
		l.after(time.Second, func() {
			if want := "drop pool pool false"; !slices.Equal(l.engine.steps, []string{want, want}) {
				t.Errorf("once it is gone: %v", l.engine.steps)
			}
		})
	})
}
