package controller_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/scheduler/controller"
)

// fakeEngine is a Nomad in memory. Each dispatch makes a job on node n.
type fakeEngine struct {
	fakeMeter
	mu         sync.Mutex
	sight      muster.Sight
	looks      []time.Time
	dispatches map[string]int // by token
	full       bool           // nothing is placed
	stops      []string
	dropped    []string
	steps      []string // what was done to nodes
	jobs       []string // what was done to jobs of node agents
	openErr    error    // of the next nodes that are to be opened
	onClose    func()   // called with the lock when a node becomes ineligible
	onDrop     func()   // called with the lock when a pool is dropped
	wake       func()
	onStop     func() // called before a job is stopped

	lookErr, dispatchErr, poolErr error
	hang                          bool // Dispatch waits until its context ends
}

func (e *fakeEngine) Look(context.Context) (*muster.Sight, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.looks = append(e.looks, time.Now())
	if e.lookErr != nil {
		return nil, e.lookErr
	}
	s := e.sight
	s.At, s.Nodes, s.Jobs, s.Allocs, s.NodeJobs = time.Now(), slices.Clone(s.Nodes), slices.Clone(s.Jobs), slices.Clone(s.Allocs), slices.Clone(s.NodeJobs)
	return &s, nil
}

func (e *fakeEngine) Watch(ctx context.Context, wake func()) error {
	e.mu.Lock()
	e.wake = wake
	e.mu.Unlock()
	<-ctx.Done()
	return ctx.Err()
}

func (e *fakeEngine) Dispatch(ctx context.Context, l *muster.Launch) (string, string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dispatches[l.Token()]++
	if e.hang {
		e.mu.Unlock()
		<-ctx.Done()
		e.mu.Lock()
		return "", "", ctx.Err()
	}
	if e.dispatchErr != nil {
		return "", "", e.dispatchErr
	}
	child := "shape/" + l.ID
	if !slices.ContainsFunc(e.sight.Jobs, func(j muster.SeenJob) bool { return j.ID == child }) {
		e.sight.Jobs = append(e.sight.Jobs, muster.SeenJob{ID: child, Namespace: l.Namespace, Launch: l.ID, Status: "running"})
		if e.full {
			return "shape", child, nil
		}
		e.sight.Allocs = append(e.sight.Allocs, muster.SeenAlloc{ID: "alloc-" + l.ID, JobID: child, Namespace: l.Namespace, Ours: true, Group: "main", NodeID: "n", NodeName: "node",
			Client: "running", Desired: "run", Used: l.Each[0], Created: time.Now()})
	}
	return "shape", child, nil
}

func (e *fakeEngine) WhyUnplaced(context.Context, string, string) (string, error) {
	return "its node is full", nil
}

func (e *fakeEngine) StopJob(_ context.Context, _, child string, purge bool) error {
	if e.onStop != nil {
		e.onStop()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stops = append(e.stops, child)
	for i := range e.sight.Allocs {
		if e.sight.Allocs[i].JobID == child {
			e.sight.Allocs[i].Client, e.sight.Allocs[i].Desired = "complete", "stop"
		}
	}
	for i := range e.sight.Jobs {
		if e.sight.Jobs[i].ID == child {
			e.sight.Jobs[i].Stopped, e.sight.Jobs[i].Status = true, "dead"
		}
	}
	e.sight.Jobs = slices.DeleteFunc(e.sight.Jobs, func(j muster.SeenJob) bool { return j.ID == child && purge })
	return nil
}

func (e *fakeEngine) DropNamespace(_ context.Context, namespace string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dropped = append(e.dropped, namespace)
	return nil
}

func (e *fakeEngine) SetEligible(_ context.Context, node string, eligible bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if eligible && e.openErr != nil {
		return e.openErr
	}
	for i := range e.sight.Nodes {
		if e.sight.Nodes[i].ID == node {
			e.sight.Nodes[i].Eligible = eligible
		}
	}
	e.steps = append(e.steps, fmt.Sprint("eligible ", node, " ", eligible))
	if e.onClose != nil && !eligible {
		e.onClose()
	}
	return nil
}

func (e *fakeEngine) KeepNodeJob(_ context.Context, c *muster.Cluster, seen *muster.SeenNodeJob) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if seen == nil || seen.Stopped {
		e.jobs = append(e.jobs, "keep "+c.Name)
		e.sight.NodeJobs = []muster.SeenNodeJob{{Cluster: c.Name}}
	}
	return nil
}

func (e *fakeEngine) DropNodeJob(_ context.Context, cluster string, _ bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.jobs = append(e.jobs, "drop "+cluster)
	e.sight.NodeJobs = nil
	return nil
}

func (e *fakeEngine) DropPool(_ context.Context, pool string, own bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.steps = append(e.steps, fmt.Sprint("drop pool ", pool, " ", own))
	if e.onDrop != nil {
		e.onDrop()
	}
	return e.poolErr
}

func (e *fakeEngine) Occupied(_ context.Context, node string) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.sight.Allocs, func(a muster.SeenAlloc) bool { return a.NodeID == node && !a.NodeAgent && !a.Ended() }), nil
}

func (e *fakeEngine) ForgetNode(_ context.Context, node string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.steps = append(e.steps, "forget "+node)
	e.sight.Nodes = slices.DeleteFunc(e.sight.Nodes, func(n muster.SeenNode) bool { return n.ID == node })
	return nil
}

// fakeLedger keeps one cluster and some runs in memory, as the store would. It
// is both Leases and Ledger: SQLite's own goroutines would stand outside the
// test's clock.
type fakeLedger struct {
	mu            sync.Mutex
	holder        string
	term          int64
	leaseErr, err error
	runs          []*muster.Run
	live          []*muster.Execution
	turns         int // of the admit loop
	applied       []time.Time
	notes         []string
	conflicts     int
	onPublish     func()   // called once, before a number is published
	left          bool     // a node was published as leaving
	numbers       []int    // that were published since
	whys          []string // why launches are told to stop
	forsaken      []string // namespaces
	cluster       muster.Cluster
	clusterGone   bool
	nodes         map[string]muster.NodeRecord
	health        map[string]muster.NodeHealth
	report        *muster.MachineReport
	samples       []muster.StatSample
	batches       int // the most samples that came together
}

func (g *fakeLedger) AcquireLease(_ context.Context, holder string, fresh bool) (*muster.Lease, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.leaseErr != nil {
		return nil, g.leaseErr
	}
	if g.holder == "" || g.holder == holder && fresh {
		g.holder = holder
		g.term++
	}
	return &muster.Lease{Holder: g.holder, Term: g.term, Until: time.Now().Add(muster.LeaseLength)}, nil
}

func (g *fakeLedger) Lead(term int64) muster.Ledger { return &termLedger{g, term} }

// termLedger refuses once another term has begun.
type termLedger struct {
	*fakeLedger
	term int64
}

func (g *termLedger) enter() error {
	g.mu.Lock()
	if g.fakeLedger.term != g.term {
		return muster.ErrNotLeader
	}
	return g.err
}

func (g *termLedger) Backlog(context.Context) (*muster.Backlog, error) {
	err := g.enter()
	defer g.mu.Unlock()
	g.turns++
	b := &muster.Backlog{Clusters: []*muster.Cluster{new(g.cluster)}, Waiting: map[string][]muster.Waiting{}, Nodes: maps.Clone(g.nodes), Health: maps.Clone(g.health), Machines: map[string]muster.MachineReport{}}
	if g.report != nil {
		b.Machines["c"] = *g.report
	}
	for _, r := range g.runs {
		if r.State == muster.RunQueued && r.Stop == "" {
			b.Waiting["c"] = append(b.Waiting["c"], muster.Waiting{RunID: r.ID, Run: "w/" + r.Name, NotBefore: r.NotBefore, Groups: r.Spec.Groups})
		}
	}
	for _, x := range g.live {
		if !x.Launch.State.Ended() {
			b.Live = append(b.Live, copyOf(x).Launch)
		}
	}
	return b, err
}

func (g *termLedger) KeepNodes(_ context.Context, nodes []muster.NodeRecord) error {
	err := g.enter()
	defer g.mu.Unlock()
	for _, n := range nodes {
		g.nodes[n.ID] = n
	}
	return err
}

func (g *termLedger) ForgetNodes(_ context.Context, nodes []muster.NodeRecord) error {
	err := g.enter()
	defer g.mu.Unlock()
	for _, n := range nodes {
		delete(g.nodes, n.ID)
	}
	return err
}

func (g *termLedger) Publish(_ context.Context, _ string, old *muster.Wanted, w muster.Wanted, leaving []muster.NodeRecord) error {
	err := g.enter()
	defer g.mu.Unlock()
	if f := g.onPublish; f != nil {
		g.onPublish = nil
		f()
	}
	if old != nil && g.cluster.Wanted.Nodes != old.Nodes {
		g.conflicts++
		return muster.Errorf(muster.CodeConflict, "a node was taken meanwhile")
	}
	g.cluster.Wanted = &w
	g.left = g.left || len(leaving) > 0
	if g.left {
		g.numbers = append(g.numbers, w.Nodes)
	}
	for _, n := range leaving {
		g.nodes[n.ID] = n
	}
	return err
}

func (g *termLedger) ListLive(context.Context) (live []*muster.Launch, err error) {
	err = g.enter()
	defer g.mu.Unlock()
	for _, x := range g.live {
		if !x.Launch.State.Ended() {
			live = append(live, copyOf(x).Launch)
		}
	}
	return live, err
}

func (g *termLedger) ListRecords(context.Context) (map[string]muster.NodeRecord, error) {
	err := g.enter()
	defer g.mu.Unlock()
	return maps.Clone(g.nodes), err
}

func (g *termLedger) ListClusters(context.Context) ([]*muster.Cluster, error) {
	err := g.enter()
	defer g.mu.Unlock()
	if g.clusterGone {
		return nil, err
	}
	c := g.cluster
	return []*muster.Cluster{&c}, err
}

func (g *termLedger) ListHealth(context.Context) (map[string]muster.NodeHealth, error) {
	err := g.enter()
	defer g.mu.Unlock()
	return maps.Clone(g.health), err
}

func (g *termLedger) ExpectAgents(_ context.Context, nodes []muster.NodeRecord) error {
	err := g.enter()
	defer g.mu.Unlock()
	for _, n := range nodes {
		if g.health[n.ID].NodeID == "" {
			if g.health == nil {
				g.health = map[string]muster.NodeHealth{}
			}
			g.health[n.ID] = muster.NodeHealth{NodeID: n.ID, Cluster: n.Cluster, Name: n.Name, State: muster.HealthPreparing, Since: time.Now()}
		}
	}
	return err
}

func (g *termLedger) CloseNodes(_ context.Context, closed bool, ids ...string) error {
	err := g.enter()
	defer g.mu.Unlock()
	for _, id := range ids {
		h := g.health[id]
		h.Closed = closed
		g.health[id] = h
	}
	return err
}

func (g *termLedger) DrainNodes(_ context.Context, nodes []muster.NodeRecord, _ string, _ bool) error {
	err := g.enter()
	defer g.mu.Unlock()
	for _, n := range nodes {
		g.health[n.ID] = muster.NodeHealth{NodeID: n.ID, DrainAt: time.Now()}
	}
	return err
}

func (g *termLedger) TakeNodes(_ context.Context, _ string, ids []string, at time.Time) error {
	err := g.enter()
	defer g.mu.Unlock()
	for _, id := range ids {
		n := g.nodes[id]
		n.EvictAt = at
		g.nodes[id] = n
	}
	return err
}

func (g *termLedger) ForgetHealth(_ context.Context, ids []string) error {
	err := g.enter()
	defer g.mu.Unlock()
	for _, id := range ids {
		delete(g.health, id)
	}
	return err
}

func (g *termLedger) KeepUnready(_ context.Context, _ string, f *muster.BuyFailure) error {
	err := g.enter()
	defer g.mu.Unlock()
	g.cluster.Failure = f
	return err
}

func (g *termLedger) DropCluster(context.Context, string) error {
	err := g.enter()
	defer g.mu.Unlock()
	g.clusterGone = true
	return err
}

func (g *termLedger) Forsaken(context.Context) ([]string, error) {
	err := g.enter()
	defer g.mu.Unlock()
	return slices.Clone(g.forsaken), err
}

func (g *termLedger) Dropped(_ context.Context, namespace string) error {
	err := g.enter()
	defer g.mu.Unlock()
	g.forsaken = slices.DeleteFunc(g.forsaken, func(n string) bool { return n == namespace })
	return err
}

func (g *termLedger) Apply(_ context.Context, d *muster.Decision) (int, error) {
	err := g.enter()
	defer g.mu.Unlock()
	if err != nil {
		return 0, err
	}
	g.applied = append(g.applied, time.Now())
	for _, w := range d.Waits {
		g.runs[w.RunID].WaitReason = &w.Reason
	}
	for _, s := range d.Starts {
		r := g.runs[s.RunID]
		r.State = muster.RunAdmitted
		id := r.Name + string(rune('0'+len(g.live)))
		l := &muster.Launch{ID: id, RunID: r.ID, Run: r.Name, Cluster: "c", NodePool: "pool", Namespace: "ns", State: muster.LaunchReserved,
			ReservedAt: time.Now(), Groups: r.Spec.Groups, Each: s.Each, Instances: []muster.Instance{{Group: "main", NodeID: s.Places[0].NodeID}}}
		g.live = append(g.live, &muster.Execution{Launch: l, Attempt: &muster.Attempt{Number: 1}, Run: r})
	}
	return len(d.Starts), nil
}

// copyOf returns an execution as it is now, as a read of the store would.
func copyOf(x *muster.Execution) *muster.Execution {
	l, r, a := *x.Launch, *x.Run, *x.Attempt
	l.Instances = slices.Clone(l.Instances)
	return &muster.Execution{Launch: &l, Attempt: &a, Run: &r}
}

func (g *termLedger) Launches(_ context.Context, states ...muster.LaunchState) ([]*muster.Execution, error) {
	err := g.enter()
	defer g.mu.Unlock()
	var all []*muster.Execution
	for _, x := range g.live {
		if slices.Contains(states, x.Launch.State) {
			all = append(all, copyOf(x))
		}
	}
	return all, err
}

func (g *termLedger) FindExecution(_ context.Context, launch string) (*muster.Execution, error) {
	err := g.enter()
	defer g.mu.Unlock()
	for _, x := range g.live {
		if x.Launch.ID == launch {
			return copyOf(x), err
		}
	}
	return nil, errors.Join(err, muster.Errorf(muster.CodeNotFound, "no launch %s", launch))
}

func (g *termLedger) Move(_ context.Context, x *muster.Execution, m *muster.Moves) error {
	err := g.enter()
	defer g.mu.Unlock()
	if err != nil {
		return err
	}
	for _, now := range g.live {
		if now.Launch.ID != x.Launch.ID || now.Launch.State != x.Launch.State || now.Run.State != x.Run.State {
			continue
		}
		if m.Launch != "" {
			now.Launch.State = m.Launch
		}
		if m.ChildID != "" {
			now.Launch.ChildID, now.Launch.DispatchedAt = m.ChildID, time.Now()
		}
		for _, placed := range m.Placed {
			now.Launch.Instances[placed.Index] = placed
		}
		if m.Stop != "" {
			now.Launch.Stop, now.Launch.StopAt = m.Stop, time.Now()
			g.whys = append(g.whys, m.StopWhy)
		}
		for _, step := range m.Runs {
			now.Run.State, now.Run.Reason = step.To, step.Reason
		}
		now.Run.Losses += m.Losses
		if !m.NotBefore.IsZero() {
			now.Run.NotBefore = m.NotBefore
		}
		g.notes = append(g.notes, m.Notes...)
		break
	}
	return nil
}

func (g *termLedger) StopQueued(context.Context) (n int, err error) {
	err = g.enter()
	defer g.mu.Unlock()
	for _, r := range g.runs {
		if r.State == muster.RunQueued && r.Stop != "" {
			r.State = muster.RunCancelled
			n++
		}
	}
	return n, err
}

// lab is a controller between the two.
type lab struct {
	*testing.T
	engine *fakeEngine
	ledger *fakeLedger
	*controller.Controller
	stop func() // ends the controller and returns once it has
}

// start runs a controller inside a synctest bubble.
func start(t *testing.T, tick time.Duration, runs ...*muster.Run) *lab {
	t.Helper()
	node := muster.SeenNode{ID: "n", Name: "node", Pool: "pool", Status: "ready", Eligible: true, Cores: muster.Whole(2),
		Total: muster.Resources{MHz: muster.Whole(2000), MiB: muster.Whole(2000), DiskMiB: muster.Whole(100)}}
	l := &lab{T: t, engine: &fakeEngine{fakeMeter: fakeMeter{asked: map[string]int{}}, dispatches: map[string]int{}, sight: muster.Sight{Nodes: []muster.SeenNode{node}}}, ledger: &fakeLedger{cluster: muster.Cluster{Name: "c", NodePool: "pool"}, nodes: map[string]muster.NodeRecord{}}}
	for i, r := range runs {
		r.ID, r.State = int64(i), muster.RunQueued
		r.Spec.Complete()
	}
	l.ledger.runs = runs
	l.Controller = controller.New(controller.Config{Leases: l.ledger, Engine: l.engine, Sizes: muster.BuiltinSizes(), Holder: "me", Fence: time.Minute, Tick: tick, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	return l
}

// run begins to run the controller.
func (l *lab) run() {
	ctx, cancel := context.WithCancel(l.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = l.Controller.Run(ctx) // that it was cancelled
	}()
	l.stop = func() { cancel(); <-done }
}
