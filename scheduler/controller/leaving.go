package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/muster-ml/muster"
)

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
	if !n.Leaving && before.EvictAt.IsZero() {
		after.AwaySince = since(!n.Ready && !n.Coming, before.AwaySince, f.now)
	}
	waited, keeps := f.now.Sub(before.LeaveAt), f.keeps(n)
	switch {
	case (!before.EvictAt.IsZero() || before.Leave == muster.LeaveGoing && f.sight.At.After(before.LeaveAt)) && f.seen(n.ID).Eligible: // another loop opened it meanwhile
		return after, f.setEligible(ctx, n.ID, false)
	case f.stopping(n.Name) || f.seen(n.ID).Draining:
	case before.Leave == muster.LeaveGoing && keeps != "":
		after.Leave, after.LeaveAt, after.Reason = muster.LeaveMarked, f.now, keeps
	case before.Leave == muster.LeaveGoing && waited >= f.within() && !f.down(n.ID):
		after.Leave, after.LeaveAt, after.Reason = muster.LeaveMarked, f.now, "its provider did not take it"
	case before.Leave == muster.LeaveMarked && waited >= lastUse:
		if err := f.setEligible(ctx, n.ID, !f.health[n.ID].Closed); err != nil {
			return before, err
		}
		after.Leave, after.LeaveAt = muster.LeaveNot, time.Time{}
	}
	return after, nil
}

// within is how long a provider may take to take a node that leaves.
func (f *fleet) within() time.Duration {
	if f.tells() {
		return takenWithin
	}
	return cloudWithin
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

// vanished reports whether Nomad is to forget a node: its provider has it no more,
// and the launches that were on it have been told. Nomad may call it ready for
// minutes.
func (f *fleet) vanished(n *muster.NodeSnapshot) bool {
	kept := f.kept[n.ID]
	if f.report.Machines == nil || f.launches[n.ID] {
		return false
	}
	return kept.Fate != muster.FateHere || f.down(n.ID) && !f.report.Lists(n.Name) && !kept.AwaySince.IsZero() && f.now.Sub(kept.AwaySince) >= usableAgain
}

// stays reports whether a node is in nobody's hands that may take it.
func (f *fleet) stays(n *muster.NodeSnapshot) bool {
	r := f.kept[n.ID]
	return r.ID != "" && r.Leave == muster.LeaveNot && r.EvictAt.IsZero() && r.Fate == muster.FateHere
}

// mayGo says why a node may go, "" where it may not. A cloud's number cannot fall
// and rise at a time: there none goes while more are wanted.
func (f *fleet) mayGo(n *muster.NodeSnapshot) string {
	r := f.kept[n.ID]
	switch {
	case f.cluster.Paused || !f.stays(n) || n.Held && !f.cluster.Deleting:
		return ""
	case !f.tells() && f.scale.More > 0:
		return ""
	case f.cluster.Deleting && n.Empty() && (f.tells() || n.Unfit):
		return "its cluster is being deleted"
	case slices.Contains(f.scale.Spare, n.ID):
		return fmt.Sprintf("idle for %s", f.now.Sub(n.IdleSince).Round(time.Second))
	case !f.health[n.ID].DrainAt.IsZero():
		if n.Empty() {
			return "it was drained"
		}
	case !f.tells() && !n.Unfit: // one that is away or small is the cloud's to replace
	case !r.AwaySince.IsZero() && n.Empty() && f.now.Sub(r.AwaySince) >= usableAgain:
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
	if err := f.countUnfit(ctx, marked); err != nil {
		return nil, err
	}
	if marked = f.closeOthers(marked); len(marked) == 0 {
		return nil, nil
	}
	if err := f.ledger.KeepNodes(ctx, marked); err != nil {
		return nil, err
	}
	var back []muster.NodeRecord
	var errs []error
	for _, r := range marked {
		free, err := f.free(ctx, r.ID)
		switch {
		case err != nil: // the mark is taken back later
			errs = append(errs, err)
		case free:
			r.Leave, r.LeaveAt = muster.LeaveGoing, time.Now()
			leaving = append(leaving, r)
		default:
			back = append(back, r)
		}
	}
	if len(leaving) < len(marked) && !f.tells() { // it might choose the one that is not closed
		leaving, back = nil, append(back, leaving...)
	}
	var stay []muster.NodeRecord
	for _, r := range back {
		if err := f.setEligible(ctx, r.ID, !f.health[r.ID].Closed); err != nil {
			errs = append(errs, err) // it is still marked, and opened later
			continue
		}
		r.Leave, r.LeaveAt, r.AwaySince, r.Reason = muster.LeaveNot, time.Time{}, time.Time{}, "a run was placed on it"
		stay = append(stay, r)
	}
	return leaving, errors.Join(append(errs, f.ledger.KeepNodes(ctx, stay))...)
}

// countUnfit remembers nodes that go because they are not what their cluster wants:
// where that happens again and again, more are bought only after a while. What an
// agent says of its node was counted when it was said.
func (f *fleet) countUnfit(ctx context.Context, marked []muster.NodeRecord) error {
	for _, r := range marked {
		i := slices.IndexFunc(f.nodes, func(n muster.NodeSnapshot) bool { return n.ID == r.ID })
		if n := &f.nodes[i]; n.Lacks == "" || f.health[r.ID].Unfit() != "" {
			continue
		} else if next := f.cluster.Unready.Again(muster.FailUnfit, r, n.Lacks, f.now); next != f.cluster.Unready {
			f.cluster.Unready = next
			if err := f.ledger.KeepUnready(ctx, f.cluster.Name, next); err != nil {
				return err
			}
		}
	}
	return nil
}

// free closes a node that is marked, and reports whether it is empty for good: an
// admission before the mark has written its reservation by now, and one after it
// is refused; what Nomad has placed before it heard is listed.
func (f *fleet) free(ctx context.Context, nodeID string) (bool, error) {
	if err := f.setEligible(ctx, nodeID, false); err != nil {
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
