package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/scheduler/admission"
)

// Times of a cluster's nodes.
const (
	takenWithin = 2 * time.Minute  // for a provider to take a node that leaves, before it is put back
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
	b, err := ledger.Backlog(ctx)
	if err != nil || !slices.ContainsFunc(b.Clusters, func(c *muster.Cluster) bool { return c.Provider.Elastic() }) {
		return 0, err
	}
	now := time.Now()
	snapshot := Snapshot(seen.Sight, b, k.Sizes, now)
	scales := admission.Decide(snapshot).Scales
	var errs []error
	again := time.Duration(0)
	for i, c := range b.Clusters {
		at := slices.IndexFunc(scales, func(s muster.Scale) bool { return s.Cluster == c.Name })
		if at < 0 {
			continue
		}
		launches := map[string]bool{}
		for _, l := range b.Live {
			for _, in := range l.Instances {
				launches[in.NodeID] = true
			}
		}
		f := &fleet{Controller: k, ledger: ledger, cluster: c, scale: scales[at], nodes: snapshot.Clusters[i].Nodes, kept: b.Nodes, report: b.Machines[c.Name], sight: seen.Sight, launches: launches, now: now}
		errs = append(errs, f.turn(ctx))
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
	report   muster.MachineReport
	sight    *muster.Sight
	launches map[string]bool // nodes with launches that go on, by id
	now      time.Time
}

// turn brings the records up to date, puts back what nobody took, forgets what is
// gone, lets go what is spare, and publishes the number.
func (f *fleet) turn(ctx context.Context) error {
	if err := f.record(ctx); err != nil {
		return fmt.Errorf("cluster %s: %w", f.cluster.Name, err)
	}
	leaving, err := f.leave(ctx)
	if err != nil {
		return fmt.Errorf("cluster %s: %w", f.cluster.Name, err)
	}
	nodes := f.scale.Nodes
	for _, n := range leaving {
		if n.AwaySince.IsZero() { // one that cannot take runs did not count
			nodes--
		}
	}
	w := muster.Wanted{Nodes: max(nodes, 0), Reason: f.scale.Reason}
	if old := f.cluster.Wanted; len(leaving) > 0 || old == nil || old.Nodes != w.Nodes || old.Reason != w.Reason {
		if err := f.ledger.Publish(ctx, f.cluster.Name, w, leaving); err != nil {
			return fmt.Errorf("cluster %s: %w", f.cluster.Name, err)
		}
	}
	f.mu.Lock()
	f.scaled[f.cluster.Name] = true
	f.mu.Unlock()
	if f.cluster.Deleting && len(f.nodes) == 0 && len(f.report.Machines) == 0 {
		return f.ledger.DropCluster(ctx, f.cluster.Name)
	}
	return nil
}

// changes reports whether time alone may change something.
func (f *fleet) changes() bool {
	return f.cluster.Deleting || slices.ContainsFunc(f.nodes, func(n muster.NodeSnapshot) bool {
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
	listed := map[string]bool{}
	for i := range f.nodes {
		n := &f.nodes[i]
		listed[n.ID] = true
		if f.vanished(n) {
			if err := f.Engine.ForgetNode(ctx, n.ID); err != nil {
				return err
			}
			f.ring("look")
			continue
		}
		before, known := f.kept[n.ID]
		after := muster.NodeRecord{ID: n.ID, Cluster: f.cluster.Name, Name: n.Name, Leave: before.Leave, Reason: before.Reason, LeaveAt: before.LeaveAt, Fate: before.Fate, EvictAt: before.EvictAt,
			IdleSince: since(n.Empty(), before.IdleSince, f.now), AwaySince: since(!n.Ready && !n.Coming && !n.Leaving, before.AwaySince, f.now)}
		if n.Leaving {
			after.AwaySince = before.AwaySince
		}
		if !before.EvictAt.IsZero() && f.eligible(n.ID) {
			if err := f.Engine.SetEligible(ctx, n.ID, false); err != nil {
				return err
			}
		}
		if before.Leave == muster.LeaveMarked || before.Leave == muster.LeaveGoing && f.now.Sub(before.LeaveAt) > takenWithin && !f.stopping(n.Name) {
			// A mark alone is from a turn that broke off.
			if err := f.Engine.SetEligible(ctx, n.ID, true); err != nil {
				return err
			}
			after.Leave, after.LeaveAt, after.Reason = muster.LeaveNot, time.Time{}, "its provider did not take it"
		}
		if !known || after != before {
			changed = append(changed, after)
			f.kept[n.ID] = after
		}
	}
	for id, n := range f.kept {
		if n.Cluster == f.cluster.Name && !listed[id] {
			gone = append(gone, n)
		}
	}
	if err := f.ledger.KeepNodes(ctx, changed); err != nil {
		return err
	}
	return f.ledger.ForgetNodes(ctx, gone)
}

// eligible reports whether Nomad may place work on a node.
func (f *fleet) eligible(nodeID string) bool {
	return slices.ContainsFunc(f.sight.Nodes, func(n muster.SeenNode) bool { return n.ID == nodeID && n.Eligible })
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
	i := slices.IndexFunc(f.sight.Nodes, func(s muster.SeenNode) bool { return s.ID == n.ID })
	seen, kept := f.sight.Nodes[i], f.kept[n.ID]
	if seen.Status != "down" && seen.Status != "disconnected" || f.report.Machines == nil || f.launches[n.ID] {
		return false
	}
	listed := slices.ContainsFunc(f.report.Machines, func(m muster.Machine) bool { return m.Name == n.Name })
	return kept.Fate != muster.FateHere || !listed && !kept.AwaySince.IsZero() && f.now.Sub(kept.AwaySince) > usableAgain
}

// leave marks the nodes that may go, makes them ineligible, and returns those on
// which nothing was placed meanwhile. The others are put back.
func (f *fleet) leave(ctx context.Context) (leaving []muster.NodeRecord, err error) {
	var marked []muster.NodeRecord
	for _, n := range f.nodes {
		r := f.kept[n.ID]
		switch {
		case r.Leave != muster.LeaveNot || r.ID == "" || !r.EvictAt.IsZero() || r.Fate != muster.FateHere:
			continue
		case slices.Contains(f.scale.Spare, n.ID):
			r.Reason = fmt.Sprintf("idle for %s", f.now.Sub(n.IdleSince).Round(time.Second))
		case !r.AwaySince.IsZero() && n.Empty() && f.now.Sub(r.AwaySince) > usableAgain:
			r.Reason = "it cannot take runs: " + unusable(&n)
		default:
			continue
		}
		r.Leave, r.LeaveAt = muster.LeaveMarked, f.now
		marked = append(marked, r)
	}
	if len(marked) == 0 {
		return nil, nil
	}
	if err := f.ledger.KeepNodes(ctx, marked); err != nil {
		return nil, err
	}
	var back []muster.NodeRecord
	for _, r := range marked {
		free, err := f.free(ctx, r.ID)
		if err != nil {
			return nil, err // the marks are taken back in the next turn
		}
		if !free {
			if err := f.Engine.SetEligible(ctx, r.ID, true); err != nil {
				return nil, err
			}
			r.Leave, r.LeaveAt, r.Reason = muster.LeaveNot, time.Time{}, "a run was placed on it"
			back = append(back, r)
			continue
		}
		r.Leave, r.LeaveAt = muster.LeaveGoing, time.Now()
		leaving = append(leaving, r)
	}
	return leaving, f.ledger.KeepNodes(ctx, back)
}

// free closes a node that is marked, and reports whether it is empty for good: an
// admission before the mark has written its reservation by now, and one after it
// is refused; what Nomad has placed before it heard is listed.
func (f *fleet) free(ctx context.Context, nodeID string) (bool, error) {
	if err := f.Engine.SetEligible(ctx, nodeID, false); err != nil {
		return false, err
	}
	b, err := f.ledger.Backlog(ctx)
	if err != nil {
		return false, err
	}
	for _, l := range b.Live {
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
