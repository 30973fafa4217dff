package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/scheduler/admission"
)

// Times of a cluster's nodes.
const (
	takenWithin = 2 * time.Minute  // for a provider that tells of its machines to take one that leaves, before it is put back
	cloudWithin = 15 * time.Minute // for one that does not
	lastUse     = 30 * time.Second // in which an answer that said a node leaves may still be acted upon
	usableAgain = 60 * time.Second // for a node that cannot take runs to recover, before it is replaced
	countAgain  = time.Second      // the least between two looks for what time changes
	drillAgain  = 5 * time.Second  // between two draws of a drill
)

// clusters says how many nodes each elastic cluster shall have, and lets those
// go that nobody needs. It hurts no run: see muster.Scaling for the steps.
func (k *Controller) clusters(ctx context.Context, ledger muster.Ledger) (time.Duration, error) {
	seen := k.sight.Load()
	if seen == nil || seen.stale != nil {
		return 0, nil
	}
	all, err := ledger.ListClusters(ctx)
	if err != nil || !slices.ContainsFunc(all, func(c *muster.Cluster) bool { return c.Provider.Elastic() }) {
		return 0, err // without those the queue is not read for nothing
	}
	b, err := ledger.Backlog(ctx)
	if err != nil {
		return 0, err
	}
	for _, byName := range []map[string]time.Time{k.drilled, k.short} {
		maps.DeleteFunc(byName, func(name string, _ time.Time) bool {
			return !slices.ContainsFunc(b.Clusters, func(c *muster.Cluster) bool { return c.Name == name })
		})
	}
	now := time.Now()
	snapshot := Snapshot(seen.Sight, b, k.Sizes, now)
	scales := admission.Decide(snapshot).Scales
	launches := map[string]bool{}
	for _, l := range b.Live {
		for _, in := range l.Instances {
			launches[in.NodeID] = true
		}
	}
	var errs []error
	again := time.Duration(0)
	for i, c := range b.Clusters {
		at := slices.IndexFunc(scales, func(s muster.Scale) bool { return s.Cluster == c.Name })
		if at < 0 {
			continue
		}
		f := &fleet{Controller: k, ledger: ledger, cluster: c, scale: scales[at], nodes: snapshot.Clusters[i].Nodes, kept: b.Nodes, health: b.Health,
			report: b.Machines[c.Name], sight: seen.Sight, launches: launches, now: now}
		if err := f.turn(ctx); err != nil {
			errs = append(errs, fmt.Errorf("cluster %s: %w", c.Name, err))
		}
		if due := f.due(); due > 0 {
			again = sooner(again, due)
		}
	}
	return again, errors.Join(errs...)
}

// Scaled reports whether the number of a cluster's nodes was looked at since this
// server leads, and is still news.
func (k *Controller) Scaled(cluster string) bool {
	seen := k.sight.Load()
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.leading && k.scaled[cluster] && seen != nil && seen.stale == nil
}

// fleet is one turn of one cluster.
type fleet struct {
	*Controller
	ledger   muster.Ledger
	cluster  *muster.Cluster
	scale    muster.Scale
	nodes    []muster.NodeSnapshot
	kept     map[string]muster.NodeRecord
	health   map[string]muster.NodeHealth
	report   muster.MachineReport
	sight    *muster.Sight
	launches map[string]bool // nodes with launches that go on, by id
	missing  int             // nodes that were wanted and have not joined in time
	now      time.Time
}

// turn brings the records up to date, puts back what nobody took, forgets what is
// gone, lets go what is spare, and publishes the number. What cannot be done with
// one node stands in the way of nothing else.
func (f *fleet) turn(ctx context.Context) error {
	recorded := f.record(ctx)
	if errors.Is(recorded, muster.ErrNotLeader) {
		return recorded
	}
	shrunk := errors.Join(f.shrink(ctx), f.drill(ctx))
	leaving, left := f.leave(ctx)
	missed := f.miss(ctx)
	if err := f.publish(ctx, leaving); muster.CodeOf(err) == muster.CodeConflict && !errors.Is(err, muster.ErrNotLeader) {
		f.ring("admit") // a node was taken meanwhile
		return errors.Join(recorded, shrunk, left, missed)
	} else if err != nil {
		return errors.Join(recorded, shrunk, left, missed, err)
	}
	f.expect()
	f.mu.Lock()
	f.scaled[f.cluster.Name] = true
	f.mu.Unlock()
	if f.cluster.Deleting && f.deserted() {
		refused, err := f.clear(ctx)
		if err == nil { // otherwise the next turn tries again
			err = f.ledger.DropCluster(ctx, f.cluster.Name)
		}
		return errors.Join(recorded, shrunk, left, missed, refused, err)
	}
	return errors.Join(recorded, shrunk, left, missed)
}

// clear takes out of Nomad what is there for a deserted cluster: the nodes first, as
// their agents' job comes back for as long as there are some. What Nomad refuses,
// such as a pool with a job of somebody else's, is told and left.
func (f *fleet) clear(ctx context.Context) (refused, err error) {
	own := f.cluster.OwnsPool()
	var steps []func() error
	for i := range f.nodes {
		if own { // Nomad keeps a pool with a node, if it is one without a machine
			steps = append(steps, func() error { return f.Engine.ForgetNode(ctx, f.nodes[i].ID) })
		}
	}
	steps = append(steps, func() error { return f.Engine.DropNodeJob(ctx, f.cluster.Name, true) }, func() error { return f.Engine.DropPool(ctx, f.cluster.NodePool, own) })
	for _, step := range steps {
		if err := step(); err != nil && muster.CodeOf(err) != muster.CodeRefused {
			return refused, err
		} else if err != nil {
			refused = errors.Join(refused, err)
		}
	}
	return refused, nil
}

// deserted reports whether a cluster has no node left, and none comes. Where the
// provider does not say what machines it has, one that was ordered may join for a
// while after none is wanted.
func (f *fleet) deserted() bool {
	switch w := f.cluster.Wanted; {
	case slices.ContainsFunc(f.nodes, func(n muster.NodeSnapshot) bool { return !f.down(n.ID) }):
		return false
	case f.tells():
		return len(f.report.Machines) == 0
	default:
		return w != nil && w.Nodes == 0 && f.now.Sub(w.At) > cloudWithin
	}
}

// shrink takes runs from the nodes above the cluster's max, where it is not to
// wait for them.
func (f *fleet) shrink(ctx context.Context) error {
	var over []muster.NodeRecord
	for _, id := range f.scale.Over {
		if r := f.kept[id]; r.ID != "" {
			over = append(over, r)
		}
	}
	if len(over) == 0 {
		return nil
	}
	defer f.ring("nodes", "track")
	why := fmt.Sprintf("its cluster may have %s now", muster.Counted(f.cluster.Max, "node"))
	return f.ledger.DrainNodes(ctx, over, why, f.cluster.OnShrink == muster.ShrinkTerminate)
}

// drill announces the losses of a drill that goes on: of each node in service by
// chance, as many in an hour as it says.
func (f *fleet) drill(ctx context.Context) error {
	d := f.cluster.Drill
	last := f.drilled[f.cluster.Name]
	f.drilled[f.cluster.Name] = f.now
	if d == nil || last.IsZero() || !f.tells() || f.cluster.Paused {
		return nil
	}
	chance := d.PerHour * min(f.now.Sub(last), time.Minute).Hours()
	var ids []string
	for i := range f.nodes {
		if n := &f.nodes[i]; n.Ready && rand.Float64() < chance {
			ids = append(ids, n.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return f.ledger.TakeNodes(ctx, f.cluster.Name, ids, f.now.Add(time.Duration(d.Notice)))
}

// publish writes the number together with the nodes that leave for it. A provider
// that tells nothing of its machines takes whichever are empty: there the number
// falls by nodes that were closed, and for no other reason, such as a heartbeat
// that was late or machines that are still starting. It rises again with those
// that are put back.
func (f *fleet) publish(ctx context.Context, leaving []muster.NodeRecord) error {
	nodes, old := f.scale.Nodes, f.cluster.Wanted
	if !f.tells() && old != nil && !f.cluster.Deleting {
		nodes = max(nodes, old.Nodes, f.floor())
	}
	for _, n := range leaving {
		// One that cannot take runs did not count, unless its provider counts it.
		counted := slices.ContainsFunc(f.nodes, func(s muster.NodeSnapshot) bool { return s.ID == n.ID && s.Unfit })
		if n.AwaySince.IsZero() && slices.Contains(f.scale.Spare, n.ID) || counted {
			nodes--
		}
	}
	reason := f.scale.Reason
	if f.cluster.Deleting && f.tells() { // its provider takes only those that leave
		nodes, reason = 0, "it is being deleted"
	}
	w := muster.Wanted{Nodes: max(nodes, 0), Reason: reason, At: f.now.UTC().Truncate(time.Microsecond)}
	if old != nil && old.Nodes == w.Nodes {
		w.At = old.At
	}
	if len(leaving) == 0 && old != nil && old.Nodes == w.Nodes && old.Reason == w.Reason {
		return nil
	}
	f.cluster.Wanted = &w
	return f.ledger.Publish(ctx, f.cluster.Name, old, w, leaving)
}

// seen returns a node as Nomad lists it.
func (f *fleet) seen(nodeID string) muster.SeenNode {
	i := slices.IndexFunc(f.sight.Nodes, func(n muster.SeenNode) bool { return n.ID == nodeID })
	return f.sight.Nodes[i] // the snapshot is made of these
}

// down reports whether Nomad does not reach a node.
func (f *fleet) down(nodeID string) bool {
	n := f.seen(nodeID)
	return n.Down()
}

// stopping reports whether the provider is taking a machine: it is too late to
// put it back.
func (f *fleet) stopping(name string) bool {
	return slices.ContainsFunc(f.report.Machines, func(m muster.Machine) bool { return m.Name == name && m.State == muster.MachineStopping })
}

// due returns when time alone may change something, 0 for never.
func (f *fleet) due() (next time.Duration) {
	at := func(t time.Time) {
		if d := t.Sub(f.now); d > 0 {
			next = sooner(next, max(d, countAgain))
		}
	}
	switch {
	case f.cluster.Deleting:
		return countAgain
	case f.cluster.Drill != nil:
		next = drillAgain
	}
	if began := f.short[f.cluster.Name]; !began.IsZero() {
		at(began.Add(cloudWithin))
	}
	if f.cluster.Failure != nil {
		at(f.cluster.Failure.Until)
	}
	for i := range f.nodes {
		r := f.kept[f.nodes[i].ID]
		at(f.health[r.ID].AgentDue())
		switch {
		case r.Leave == muster.LeaveGoing:
			at(r.LeaveAt.Add(f.within()))
		case r.Leave == muster.LeaveMarked:
			at(r.LeaveAt.Add(lastUse))
		case !r.AwaySince.IsZero():
			at(r.AwaySince.Add(usableAgain))
		case !r.IdleSince.IsZero() && f.scale.Nodes > f.cluster.Max && !f.cluster.Paused:
			return countAgain
		case !r.IdleSince.IsZero():
			at(r.IdleSince.Add(time.Duration(f.cluster.Idle)))
		}
	}
	return next
}
