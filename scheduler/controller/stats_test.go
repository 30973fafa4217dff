package controller_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/scheduler/controller"
)

// fakeMeter answers for every node and allocation but those that hang, and
// counts what it was asked.
type fakeMeter struct {
	mu     sync.Mutex
	asked  map[string]int
	hangs  map[string]bool
	atOnce int // the most calls at a time
	now    int
}

func (m *fakeMeter) read(ctx context.Context, id, name string) ([]muster.Reading, error) {
	m.mu.Lock()
	m.asked[id]++
	m.now++
	m.atOnce = max(m.atOnce, m.now)
	hangs := m.hangs[id]
	m.mu.Unlock()
	defer func() { m.mu.Lock(); m.now--; m.mu.Unlock() }()
	if hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(time.Millisecond):
	}
	if strings.HasPrefix(id, "ended") {
		return nil, errors.New("unknown allocation")
	}
	return []muster.Reading{{Name: name, Unit: "%", Value: 1}}, nil
}

func (m *fakeMeter) ReadNode(ctx context.Context, node string) (*muster.NodeReadings, error) {
	all, err := m.read(ctx, node, "node_cpu")
	return &muster.NodeReadings{Node: all, Devices: map[string][]muster.Reading{"given": {{Name: "gpu.given.power"}}, "other": {{Name: "gpu.other.power"}}}}, err
}

func (m *fakeMeter) ReadAlloc(ctx context.Context, _, alloc string) ([]muster.Reading, error) {
	return m.read(ctx, alloc, "cpu")
}

func (g *termLedger) KeepStats(_ context.Context, samples []muster.StatSample) error {
	err := g.enter()
	defer g.mu.Unlock()
	if err == nil {
		g.samples = append(g.samples, samples...)
		g.batches = max(g.batches, len(samples))
	}
	return err
}

// measured is a controller that samples, with instances whose commands run.
func measured(l *lab, every time.Duration) {
	l.Controller = controller.New(controller.Config{Leases: l.ledger, Engine: l.engine, Sizes: muster.BuiltinSizes(), Holder: "me", Fence: time.Minute, StatsEvery: every,
		Log: slog.New(slog.NewTextHandler(l.Output(), nil))})
}

// commanded puts an instance into the ledger whose command runs.
func (l *lab) commanded(name, node string) *muster.Launch {
	launch := &muster.Launch{ID: name, RunID: int64(len(l.ledger.live)), Attempt: 1, Run: name, Cluster: "c", NodePool: "pool", Namespace: "ns", ChildID: "shape/" + name, State: muster.LaunchDispatched,
		DispatchedAt: time.Now(), Instances: []muster.Instance{{Group: "main", NodeID: node, AllocID: name, ClaimedAt: time.Now(), ReportedAt: time.Now(), Phase: muster.PhaseCommand}}}
	run := part(name, 1)
	run.State = muster.RunRunning
	run.Spec.Complete()
	launch.Groups = run.Spec.Groups
	l.ledger.live = append(l.ledger.live, &muster.Execution{Launch: launch, Attempt: &muster.Attempt{Number: 1}, Run: run})
	l.engine.sight.Jobs = append(l.engine.sight.Jobs, muster.SeenJob{ID: launch.ChildID, Namespace: "ns", Launch: name, Status: "running"})
	l.engine.sight.Allocs = append(l.engine.sight.Allocs, muster.SeenAlloc{ID: name, JobID: launch.ChildID, Namespace: "ns", Ours: true, Group: "main", NodeID: node, Client: "running", Desired: "run", Devices: []string{"given"}, Created: time.Now()})
	return launch
}

// ofInstance counts the samples of a launch's run.
func (g *fakeLedger) ofInstance(l *muster.Launch) (n int) {
	for _, s := range g.samples {
		if s.RunID == l.RunID && s.Attempt == 1 && len(s.Readings) == 3 && s.Readings[2].Name == "gpu.given.power" {
			n++
		}
	}
	return n
}

// TestStats samples a command within a second of its begin and then at its
// interval, and asks a node once however many run there.
func TestStats(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		measured(l, 10*time.Second)
		a, b := l.commanded("a", "n"), l.commanded("b", "n")
		ended := l.commanded("ended", "n")
		b.Instances[0].Phase = muster.PhaseInputs
		l.run()
		l.after(2*time.Second, func() {
			if l.ledger.ofInstance(a) != 1 || l.ledger.ofInstance(b) != 0 {
				t.Errorf("at first: %+v", l.ledger.samples)
			}
			b.Instances[0].Phase = muster.PhaseCommand
		})
		l.Wake()
		l.after(time.Second, func() {
			if l.ledger.ofInstance(a) != 1 || l.ledger.ofInstance(b) != 1 {
				t.Errorf("a second after the other's begin: %+v", l.ledger.samples)
			}
		})
		l.after(time.Minute, func() {
			if n := l.ledger.ofInstance(a); n != 7 || l.ledger.ofInstance(b) != 7 || l.ledger.ofInstance(ended) != 0 || l.engine.asked["n"] != 8 {
				t.Errorf("in a minute %d and %d samples, the node was asked %d times", n, l.ledger.ofInstance(b), l.engine.asked["n"])
			}
			a.State, b.State, ended.State = muster.LaunchPurged, muster.LaunchPurged, muster.LaunchPurged
		})
		var asked int
		l.after(20*time.Second, func() { asked = l.engine.asked["n"] })
		l.after(time.Hour, func() {
			if l.engine.asked["n"] != asked {
				t.Error("a node is asked though nothing runs")
			}
		})
	})
}

// TestStatsOfManyNodes holds that nodes that are away or do not answer cost the
// others nothing, that only a few are asked at a time, and that what comes is
// kept in small transactions.
func TestStatsOfManyNodes(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		measured(l, 10*time.Second)
		var all []*muster.Launch
		for i := range 400 {
			all = append(all, l.commanded(fmt.Sprint("run-", i), fmt.Sprint("n", i%40)))
		}
		for i := range 40 {
			n := l.engine.sight.Nodes[0]
			if n.ID = fmt.Sprint("n", i); i == 1 {
				n.Status = "disconnected"
			}
			l.engine.sight.Nodes = append(l.engine.sight.Nodes, n)
		}
		l.engine.hangs = map[string]bool{"n0": true, "run-2": true}
		l.run()
		l.after(8*time.Second, func() {
			if n := len(l.ledger.samples); n < 370 || n > 379 || l.ledger.batches > 100 || l.engine.atOnce > 8 || l.engine.atOnce < 2 || l.engine.asked["n1"] > 1 {
				t.Errorf("%d samples, at most %d together, %d calls at once, a node that is away was asked %d times", n, l.ledger.batches, l.engine.atOnce, l.engine.asked["n1"])
			}
			if l.ledger.ofInstance(all[0]) != 0 || !slices.ContainsFunc(l.ledger.samples, func(s muster.StatSample) bool { return s.RunID == all[39].RunID }) {
				t.Error("the wrong instances were sampled")
			}
		})
	})
}
