package controller

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/muster-ml/muster"
)

// A cloud's own target is told a number and nothing else. It takes whichever nodes
// Nomad lists as empty, and says nothing of its machines. So the number falls only
// while every empty node is closed, and whoever is left is put back.

// tells reports whether the provider takes only nodes that leave, and says what
// machines it has.
func (f *fleet) tells() bool { return f.cluster.Provider == muster.ProviderLocal }

// closeOthers adds every empty node to those that leave a cloud, and closes those
// that become empty while it has yet to choose.
func (f *fleet) closeOthers(marked []muster.NodeRecord) []muster.NodeRecord {
	chooses := len(marked) > 0 || f.anyIs(muster.LeaveGoing) && f.cluster.Wanted != nil && f.up() > f.cluster.Wanted.Nodes
	if f.tells() || !chooses || f.scale.More > 0 {
		return marked
	}
	for i := range f.nodes {
		n := &f.nodes[i]
		already := slices.ContainsFunc(marked, func(r muster.NodeRecord) bool { return r.ID == n.ID })
		if already || !f.stays(n) || !n.Ready || !n.Empty() {
			continue
		}
		r := f.kept[n.ID]
		r.Leave, r.LeaveAt, r.Reason = muster.LeaveMarked, f.now, "its provider chooses among the empty nodes"
		marked = append(marked, r)
	}
	return marked
}

// keeps says why a node stays that was closed while a cloud chooses, "" where it
// may still go.
func (f *fleet) keeps(n *muster.NodeSnapshot) string {
	kept := f.kept[n.ID]
	switch {
	case f.tells() || f.cluster.Deleting || f.cluster.Wanted == nil || f.down(n.ID) || f.taken(n.ID) || !f.sight.At.After(kept.LeaveAt):
		return ""
	case f.scale.More > 0:
		return "a run waits for room"
	case f.up() <= f.cluster.Wanted.Nodes:
		return "its provider has taken enough"
	}
	return ""
}

// skew is how much Nomad's clock may be behind.
const skew = time.Minute

// taken reports whether a cloud has begun to take a node: it is drained, or was
// since it leaves, and its machine ends.
func (f *fleet) taken(id string) bool {
	n, kept := f.seen(id), f.kept[id]
	return n.Draining || kept.Leave == muster.LeaveGoing && !n.Eligible && n.DrainedAt.After(kept.LeaveAt.Add(-skew)) && f.now.Sub(kept.LeaveAt) < cloudWithin
}

// up counts the nodes that a cloud has and that it has not begun to take.
func (f *fleet) up() (n int) {
	for i := range f.nodes {
		if id := f.nodes[i].ID; !f.down(id) && !f.taken(id) {
			n++
		}
	}
	return n
}

// anyIs reports whether a node that Nomad reaches is on that step of its leave.
func (f *fleet) anyIs(step muster.Leave) bool {
	return slices.ContainsFunc(f.nodes, func(n muster.NodeSnapshot) bool { return f.kept[n.ID].Leave == step && !f.down(n.ID) })
}

// floor is the least that a cloud's number may be now, beside what it was: those
// that are put back are wanted again, and where a machine never joined another is
// ordered in its place.
func (f *fleet) floor() (nodes int) {
	if f.anyIs(muster.LeaveMarked) {
		nodes = f.up()
	}
	if f.missing > 0 {
		nodes = max(nodes, min(f.scale.Nodes+f.missing, f.cluster.Max))
	}
	return nodes
}

// miss finds nodes that were wanted and did not join a cloud in time, and tells of
// them where somebody waits.
func (f *fleet) miss(ctx context.Context) error {
	w, began := f.cluster.Wanted, f.short[f.cluster.Name]
	switch {
	case began.IsZero() || f.now.Sub(began) < cloudWithin || w == nil || f.up() >= w.Nodes:
		return nil
	case f.scale.More == 0 && f.up() >= f.cluster.Min: // nobody waits for them
		return nil
	case f.cluster.Failure.OfNodes(): // no more are bought
		return nil
	}
	f.short[f.cluster.Name] = f.now // the next have as long
	f.missing = w.Nodes - f.up()
	if f.cluster.Failure != nil {
		return nil
	}
	return f.ledger.KeepUnready(ctx, f.cluster.Name, &muster.BuyFailure{Kind: muster.FailStart, Since: began, Tries: 1, Until: f.now.Add(cloudWithin),
		Message: fmt.Sprintf("%d of %s joined within %s, and the log of its autoscaler says why", f.up(), muster.Counted(w.Nodes, "node"), cloudWithin)})
}

// expect keeps since when a cloud has fewer nodes than is wanted.
func (f *fleet) expect() {
	name, w := f.cluster.Name, f.cluster.Wanted
	if f.tells() || f.cluster.Deleting || f.cluster.Paused || w == nil || f.up() >= w.Nodes {
		delete(f.short, name)
		return
	}
	f.short[name] = since(true, f.short[name], f.now)
}
