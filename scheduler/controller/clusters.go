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
	countAgain  = time.Second      // between two looks at how long nodes are idle
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
	maps.DeleteFunc(k.drilled, func(name string, _ time.Time) bool {
		return !slices.ContainsFunc(b.Clusters, func(c *muster.Cluster) bool { return c.Name == name })
	})
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
		if f.changes() {
			again = countAgain
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
	if err := f.publish(ctx, leaving); err != nil {
		return errors.Join(recorded, shrunk, left, err)
	}
	f.mu.Lock()
	f.scaled[f.cluster.Name] = true
	f.mu.Unlock()
	if f.cluster.Deleting && len(f.report.Machines) == 0 && !slices.ContainsFunc(f.nodes, func(n muster.NodeSnapshot) bool { return !f.down(n.ID) }) {
		return errors.Join(recorded, shrunk, left, f.ledger.DropCluster(ctx, f.cluster.Name))
	}
	return errors.Join(recorded, shrunk, left)
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
	f.mu.Lock()
	last := f.drilled[f.cluster.Name]
	f.drilled[f.cluster.Name] = f.now
	f.mu.Unlock()
	if d == nil || last.IsZero() || !f.tells() {
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
// that was late or machines that are still starting.
func (f *fleet) publish(ctx context.Context, leaving []muster.NodeRecord) error {
	nodes, old := f.scale.Nodes, f.cluster.Wanted
	if !f.tells() && old != nil {
		nodes = max(nodes, old.Nodes)
	}
	for _, n := range leaving {
		// One that cannot take runs did not count, unless its provider counts it.
		counted := slices.ContainsFunc(f.nodes, func(s muster.NodeSnapshot) bool { return s.ID == n.ID && s.Unfit })
		if n.AwaySince.IsZero() && slices.Contains(f.scale.Spare, n.ID) || counted {
			nodes--
		}
	}
	w := muster.Wanted{Nodes: max(nodes, 0), Reason: f.scale.Reason}
	if len(leaving) == 0 && old != nil && old.Nodes == w.Nodes && old.Reason == w.Reason {
		return nil
	}
	return f.ledger.Publish(ctx, f.cluster.Name, w, leaving)
}

// tells reports whether the provider takes only nodes that leave, and says what
// machines it has.
func (f *fleet) tells() bool { return f.cluster.Provider == muster.ProviderLocal }

// seen returns a node as Nomad lists it.
func (f *fleet) seen(nodeID string) muster.SeenNode {
	i := slices.IndexFunc(f.sight.Nodes, func(n muster.SeenNode) bool { return n.ID == nodeID })
	return f.sight.Nodes[i] // the snapshot is made of these
}

// down reports whether Nomad does not reach a node.
func (f *fleet) down(nodeID string) bool {
	status := f.seen(nodeID).Status
	return status == "down" || status == "disconnected"
}

// changes reports whether time alone may change something.
func (f *fleet) changes() bool {
	return f.cluster.Deleting || f.cluster.Drill != nil || slices.ContainsFunc(f.nodes, func(n muster.NodeSnapshot) bool {
		r := f.kept[n.ID]
		return r.Leave != muster.LeaveNot || !r.AwaySince.IsZero() || !r.IdleSince.IsZero() && f.scale.Nodes > f.cluster.Min
	})
}

// stopping reports whether the provider is taking a machine: it is too late to
// put it back.
func (f *fleet) stopping(name string) bool {
	return slices.ContainsFunc(f.report.Machines, func(m muster.Machine) bool { return m.Name == name && m.State == muster.MachineStopping })
}

// record keeps since when each node is idle or away, forgets those that are gone,
// and puts those back that were to leave and that nobody took.
func (f *fleet) record(ctx context.Context) error {
	var changed, gone []muster.NodeRecord
	var errs []error
	listed := map[string]bool{}
	for i := range f.nodes {
		n := &f.nodes[i]
		listed[n.ID] = true
		if f.vanished(n) {
			errs = append(errs, f.Engine.ForgetNode(ctx, n.ID))
			f.ring("look")
			continue
		}
		after, err := f.step(ctx, n)
		errs = append(errs, err)
		if before, known := f.kept[n.ID]; !known || after != before {
			changed = append(changed, after)
			f.kept[n.ID] = after
		}
	}
	for id, n := range f.kept {
		if n.Cluster == f.cluster.Name && !listed[id] {
			gone = append(gone, n)
		}
	}
	return errors.Join(append(errs, f.ledger.KeepNodes(ctx, changed), f.ledger.ForgetNodes(ctx, gone))...)
}

// step returns the record of a node as it is to be now. A node that leaves and
// that nobody took is put back in two steps: first nobody is told any more that it
// leaves, and only when no such answer can be acted upon it is opened.
func (f *fleet) step(ctx context.Context, n *muster.NodeSnapshot) (muster.NodeRecord, error) {
	before := f.kept[n.ID]
	after := before
	after.ID, after.Cluster, after.Name = n.ID, f.cluster.Name, n.Name
	after.IdleSince = since(n.Empty() && !n.Preparing, before.IdleSince, f.now)
	if !n.Leaving {
		after.AwaySince = since(!n.Ready && !n.Coming, before.AwaySince, f.now)
	}
	within := takenWithin
	if !f.tells() {
		within = cloudWithin
	}
	waited := f.now.Sub(before.LeaveAt)
	switch {
	case (!before.EvictAt.IsZero() || before.Leave == muster.LeaveGoing && f.sight.At.After(before.LeaveAt)) && f.seen(n.ID).Eligible: // another loop opened it meanwhile
		return after, f.Engine.SetEligible(ctx, n.ID, false)
	case f.stopping(n.Name) || f.seen(n.ID).Draining:
	case before.Leave == muster.LeaveGoing && waited > within:
		after.Leave, after.LeaveAt, after.Reason = muster.LeaveMarked, f.now, "its provider did not take it"
	case before.Leave == muster.LeaveMarked && waited > lastUse:
		if err := f.Engine.SetEligible(ctx, n.ID, !f.health[n.ID].Closed); err != nil {
			return before, err
		}
		after.Leave, after.LeaveAt = muster.LeaveNot, time.Time{}
	}
	return after, nil
}

// since returns when a thing that holds now began to hold; zero when it does not.
func since(holds bool, before, now time.Time) time.Time {
	switch {
	case !holds:
		return time.Time{}
	case before.IsZero():
		return now.UTC().Truncate(time.Microsecond)
	}
	return before
}

// vanished reports whether Nomad is to forget a node: it is away, its provider
// has it no more, and the launches that were on it have been told.
func (f *fleet) vanished(n *muster.NodeSnapshot) bool {
	kept := f.kept[n.ID]
	if !f.down(n.ID) || f.report.Machines == nil || f.launches[n.ID] {
		return false
	}
	return kept.Fate != muster.FateHere || !f.report.Lists(n.Name) && !kept.AwaySince.IsZero() && f.now.Sub(kept.AwaySince) > usableAgain
}

// mayGo says why a node may go, "" where it may not. Where the provider chooses
// among empty nodes, all of them are closed while it does.
func (f *fleet) mayGo(n *muster.NodeSnapshot) string {
	r := f.kept[n.ID]
	switch {
	case r.ID == "" || r.Leave != muster.LeaveNot || !r.EvictAt.IsZero() || r.Fate != muster.FateHere || n.Held && !f.cluster.Deleting:
		return ""
	case slices.Contains(f.scale.Spare, n.ID):
		return fmt.Sprintf("idle for %s", f.now.Sub(n.IdleSince).Round(time.Second))
	case !f.health[n.ID].DrainAt.IsZero():
		if n.Empty() {
			return "it was drained"
		}
	case !f.tells() && !n.Unfit:
		if len(f.scale.Spare) > 0 && n.Ready && n.Empty() {
			return "its provider chooses among the empty nodes"
		}
	case !r.AwaySince.IsZero() && n.Empty() && f.now.Sub(r.AwaySince) > usableAgain:
		return "it cannot take runs: " + unusable(n)
	}
	return ""
}

// leave marks the nodes that may go, makes them ineligible, and returns those on
// which nothing was placed meanwhile. The others are put back.
func (f *fleet) leave(ctx context.Context) (leaving []muster.NodeRecord, err error) {
	var marked []muster.NodeRecord
	for i := range f.nodes {
		if why := f.mayGo(&f.nodes[i]); why != "" {
			r := f.kept[f.nodes[i].ID]
			r.Leave, r.LeaveAt, r.Reason = muster.LeaveMarked, f.now, why
			marked = append(marked, r)
		}
	}
	if len(marked) == 0 {
		return nil, nil
	}
	if err := f.ledger.KeepNodes(ctx, marked); err != nil {
		return nil, err
	}
	var back []muster.NodeRecord
	var errs []error
	for _, r := range marked {
		free, err := f.free(ctx, r.ID)
		if err == nil && !free {
			err = f.Engine.SetEligible(ctx, r.ID, !f.health[r.ID].Closed)
		}
		switch {
		case err != nil: // the mark is taken back later
			errs = append(errs, err)
		case free:
			r.Leave, r.LeaveAt = muster.LeaveGoing, time.Now()
			leaving = append(leaving, r)
		default:
			r.Leave, r.LeaveAt, r.Reason = muster.LeaveNot, time.Time{}, "a run was placed on it"
			back = append(back, r)
		}
	}
	return leaving, errors.Join(append(errs, f.ledger.KeepNodes(ctx, back))...)
}

// free closes a node that is marked, and reports whether it is empty for good: an
// admission before the mark has written its reservation by now, and one after it
// is refused; what Nomad has placed before it heard is listed.
func (f *fleet) free(ctx context.Context, nodeID string) (bool, error) {
	if err := f.Engine.SetEligible(ctx, nodeID, false); err != nil {
		return false, err
	}
	live, err := f.ledger.ListLive(ctx)
	if err != nil {
		return false, err
	}
	for _, l := range live {
		if slices.ContainsFunc(l.Instances, func(in muster.Instance) bool { return in.NodeID == nodeID }) {
			return false, nil
		}
	}
	occupied, err := f.Engine.Occupied(ctx, nodeID)
	return !occupied, err
}

// unusable says why a node cannot take runs.
func unusable(n *muster.NodeSnapshot) string {
	if n.Lacks != "" {
		return n.Lacks
	}
	return "Nomad does not place work on it"
}
