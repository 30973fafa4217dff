// Package admission decides which waiting runs start, on which nodes room is
// held for them, and why the others wait. It is pure: no clock, no I/O, no
// randomness; the same snapshot gives the same decision.
package admission

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/muster-ml/muster"
)

// detailed is how many runs of a queue get a reason with numbers. Those behind
// get one that does not change while they wait, so that a deep queue costs no
// writes.
const detailed = 100

// Decide says for every waiting run whether it starts, waits or can never run.
//
// Runs are taken by priority, then first come. The first run of a cluster that
// does not fit keeps the nodes it will need from the runs behind it, so that
// nothing starves; the runs behind it may use the other nodes.
func Decide(s *muster.Snapshot) *muster.Decision {
	d := &muster.Decision{}
	for i := range s.Clusters {
		newCluster(s, &s.Clusters[i], d).decide()
	}
	return d
}

// cluster is the work on one cluster.
type cluster struct {
	now   *muster.Snapshot
	in    *muster.ClusterSnapshot
	out   *muster.Decision
	nodes []node
	ready int
	size  muster.NodeSize // the smallest ready node; without one, the smallest
	head  *muster.Waiting // the first run that does not fit
}

// node is a node while room on it is given away.
type node struct {
	muster.NodeSnapshot
	free muster.Resources
	kept bool // for the head
}

func newCluster(s *muster.Snapshot, in *muster.ClusterSnapshot, out *muster.Decision) *cluster {
	c := &cluster{now: s, in: in, out: out}
	var seen []*muster.Node
	for _, n := range in.Nodes {
		c.nodes = append(c.nodes, node{NodeSnapshot: n, free: n.Size.Sub(n.Used).Sub(n.Foreign)})
		if n.Ready {
			c.ready++
		}
		seen = append(seen, &muster.Node{State: muster.NodeIdle, Allocatable: n.Size})
	}
	for i, n := range in.Nodes {
		if c.ready > 0 && !n.Ready {
			seen[i].State = muster.NodeUnusable
		}
	}
	if size := muster.SizeOf(seen); size != nil {
		c.size = *size
	}
	// Nomad fills the fullest node first; holding room there too keeps plan and
	// placement alike.
	slices.SortFunc(c.nodes, func(a, b node) int {
		return cmp.Or(cmp.Compare(a.free.MiB, b.free.MiB), cmp.Compare(a.free.MHz, b.free.MHz), cmp.Compare(a.ID, b.ID))
	})
	return c
}

// decide goes through the queue once.
func (c *cluster) decide() {
	queue := slices.Clone(c.in.Queue)
	slices.SortFunc(queue, func(a, b muster.Waiting) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.QueuedAt.Compare(b.QueuedAt), cmp.Compare(a.RunID, b.RunID))
	})
	for i := range queue {
		w := &queue[i]
		if reason := c.blocked(w); reason != nil {
			c.wait(w, *reason)
			continue
		}
		asks := c.asks(w)
		if places := c.place(asks, available); places != nil {
			c.start(w, asks, places)
			continue
		}
		if len(c.nodes) > 0 && c.place(asks, ever) == nil {
			c.out.Refusals = append(c.out.Refusals, muster.Refusal{RunID: w.RunID, Reason: c.never(asks)})
			continue
		}
		reason := c.why(w, asks)
		if i >= detailed {
			reason = muster.WaitReason{Code: reason.Code, Message: fmt.Sprintf("more than %d runs are before it in the queue", detailed)}
		}
		c.wait(w, reason)
		c.keepFor(w, asks)
	}
}

// blocked says what other than capacity keeps a run from starting.
func (c *cluster) blocked(w *muster.Waiting) *muster.WaitReason {
	switch {
	case w.Held != "":
		return &muster.WaitReason{Code: muster.WaitHeld, Message: "held by " + w.Held}
	case w.Depends != "":
		return &muster.WaitReason{Code: muster.WaitRuns, Message: "waits for run " + w.Depends, Ahead: w.Depends}
	case w.NotBefore.After(c.now.Now):
		return &muster.WaitReason{Code: muster.WaitBackOff, Message: "tried again at " + w.NotBefore.Format("15:04:05") + " UTC: " + w.BackOff, Until: w.NotBefore}
	}
	return nil
}

// ask is what one instance wants.
type ask struct {
	group int // index into the run's groups
	need  muster.Resources
}

// asks lists what the instances of a run want, in the order of their indexes.
func (c *cluster) asks(w *muster.Waiting) []ask {
	var asks []ask
	for i, g := range w.Groups {
		need := g.Need(c.size)
		for range g.Count {
			asks = append(asks, ask{i, need})
		}
	}
	return asks
}

// room says what a placement may count on.
type room func(n *node) (free muster.Resources, usable bool)

// available is what may be given away now.
func available(n *node) (muster.Resources, bool) { return n.free, n.Ready && !n.kept }

// withKept is what is free, were nothing kept for the head.
func withKept(n *node) (muster.Resources, bool) { return n.free, n.Ready }

// withoutForeign is what would be free without other Nomad jobs.
func withoutForeign(n *node) (muster.Resources, bool) {
	return n.free.Add(n.Foreign), n.Ready && !n.kept
}

// ever is what an empty node offers, ready or not.
func ever(n *node) (muster.Resources, bool) { return n.Size.Resources, true }

// place finds a node for each ask, all different, or returns nil: never half a
// gang. The largest asks choose first.
func (c *cluster) place(asks []ask, from room) []*node {
	if len(asks) > len(c.nodes) {
		return nil
	}
	order := make([]int, len(asks))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(asks[b].need.MiB, asks[a].need.MiB), cmp.Compare(asks[b].need.MHz, asks[a].need.MHz))
	})
	places := make([]*node, len(asks))
	taken := make([]bool, len(c.nodes))
	for _, i := range order {
		for j := range c.nodes {
			if free, usable := from(&c.nodes[j]); usable && !taken[j] {
				if _, short := free.Take(asks[i].need); short == nil {
					places[i], taken[j] = &c.nodes[j], true
					break
				}
			}
		}
		if places[i] == nil {
			return nil
		}
	}
	return places
}

// start gives room away.
func (c *cluster) start(w *muster.Waiting, asks []ask, places []*node) {
	s := muster.Start{RunID: w.RunID, Cluster: c.in.Name}
	for _, g := range w.Groups {
		s.Each = append(s.Each, g.Need(c.size))
	}
	for i, n := range places {
		n.free, _ = n.free.Take(asks[i].need)
		s.Places = append(s.Places, muster.Place{Group: asks[i].group, NodeID: n.ID, NodeName: n.Name})
		s.Cores = s.Cores.Add(c.size.Cores.Times(asks[i].need.MHz, max(c.size.MHz, 1)))
	}
	c.out.Starts = append(c.out.Starts, s)
}

func (c *cluster) wait(w *muster.Waiting, reason muster.WaitReason) {
	c.out.Waits = append(c.out.Waits, muster.Wait{RunID: w.RunID, Reason: reason})
}

// keepFor keeps nodes from the runs behind w, when it is the first that does
// not fit: those on which it would fit were they empty, the emptiest first.
func (c *cluster) keepFor(w *muster.Waiting, asks []ask) {
	if c.head != nil || c.ready == 0 {
		return
	}
	c.head = w
	slices.Reverse(c.nodes)
	defer slices.Reverse(c.nodes)
	for _, n := range c.place(asks, func(n *node) (muster.Resources, bool) { return n.Size.Resources, n.Ready }) {
		n.kept = true
	}
}
