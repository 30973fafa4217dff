// Package admission decides which waiting runs start, on which nodes room is
// held for them, and why the others wait. It is pure: no clock, no I/O, no
// randomness; the same snapshot gives the same decision.
package admission

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/muster-ml/muster"
)

// detailed is how many runs of a queue get a reason of their own. Those behind
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
	all := clusters{}
	for i := range s.Clusters {
		all = append(all, newCluster(s, &s.Clusters[i], d, &all))
	}
	for _, c := range all {
		c.decide()
	}
	all.startElsewhere()
	all.scale()
	d.Waits = slices.DeleteFunc(d.Waits, func(w muster.Wait) bool { return w.RunID == elsewhere })
	return d
}

// cluster is the work on one cluster.
type cluster struct {
	now   *muster.Snapshot
	in    *muster.ClusterSnapshot
	out   *muster.Decision
	all   *clusters
	nodes []node
	ready int
	size  muster.Allocatable // the smallest ready node; without one, the smallest
	whole muster.Allocatable // the smallest node, were all ready
	head  *muster.Waiting    // the first run that does not fit
	unmet []unmet            // who waits for room, in the order of the queue
	stuck map[string]bool    // what found no room: while room only shrinks, neither will its equal
}

// node is a node while room on it is given away.
type node struct {
	muster.NodeSnapshot
	free  muster.Resources
	kept  bool // for the head
	taken bool // by a run that starts
}

func newCluster(s *muster.Snapshot, in *muster.ClusterSnapshot, out *muster.Decision, siblings *clusters) *cluster {
	c := &cluster{now: s, in: in, out: out, all: siblings, stuck: map[string]bool{}}
	var ready, all []*muster.Node
	for _, n := range in.Nodes {
		c.nodes = append(c.nodes, node{NodeSnapshot: n, free: n.Size.Sub(n.Used).Sub(n.Foreign).Sub(muster.Resources{Devices: n.Unhealthy})})
		one := &muster.Node{State: muster.NodeIdle, Allocatable: n.Size}
		if in.Scale == nil || n.Lacks == "" { // what is replaced says nothing of what comes
			all = append(all, one)
		}
		if n.Ready {
			ready = append(ready, one)
		}
	}
	c.ready = len(ready)
	if in.Scale != nil {
		c.size, c.whole = in.Scale.Offer, in.Scale.Offer
	}
	if size := muster.SizeOf(all); size != nil {
		c.size, c.whole = *size, *size
	}
	if size := muster.SizeOf(ready); size != nil {
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
		if reason := c.backsOff(w); reason != nil {
			c.wait(w, *reason)
			continue
		}
		if reason := c.closed(w); reason != nil {
			if len(w.Alternatives) > 0 && i < detailed {
				c.unmet = append(c.unmet, unmet{w, len(c.out.Waits)})
			}
			c.wait(w, *reason)
			continue
		}
		key := keyOf(w)
		if !c.stuck[key] {
			asks := asks(w, c.size)
			if places := c.place(asks, available); places != nil {
				c.start(w, asks, places)
				continue
			}
			if !c.possible(w, asks) && !c.all.possible(w) {
				c.out.Refusals = append(c.out.Refusals, muster.Refusal{RunID: w.RunID, Reason: c.never(anywhere(asks))})
				continue
			}
			c.stuck[key] = true
		}
		if i < detailed {
			c.unmet = append(c.unmet, unmet{w, len(c.out.Waits)})
			c.wait(w, c.why(w))
		} else {
			c.unmet = append(c.unmet, unmet{w, untold})
			c.wait(w, muster.WaitReason{Code: muster.WaitAhead, Message: fmt.Sprintf("more than %d runs are before it in the queue", detailed)})
		}
		c.keepFor(w)
	}
}

// keyOf is the same for runs that want the same.
func keyOf(w *muster.Waiting) string {
	key := strconv.AppendBool(nil, w.Container)
	for _, g := range w.Groups {
		key = strconv.AppendInt(key, int64(g.Count), 10)
		if a := g.Ask; a != nil {
			key = fmt.Appendf(key, " %d %d %d %q", a.Cores, a.MiB, a.GPUs, a.GPUModel)
		}
		key = append(key, ';')
	}
	return string(key)
}

// closed says why the cluster takes no run of that workspace now, whatever room
// it has.
func (c *cluster) closed(w *muster.Waiting) *muster.WaitReason {
	if c.in.Paused {
		return &muster.WaitReason{Code: muster.WaitPaused, Message: fmt.Sprintf("cluster %s is paused", c.in.Name)}
	}
	if c.in.Closing {
		return &muster.WaitReason{Code: muster.WaitClosed, Message: fmt.Sprintf("cluster %s is being deleted", c.in.Name)}
	}
	workspace, _, _ := strings.Cut(w.Run, "/")
	if !muster.Admits(c.in.Workspaces, workspace) {
		return &muster.WaitReason{Code: muster.WaitClosed, Message: fmt.Sprintf("cluster %s is not for workspace %s any more", c.in.Name, workspace)}
	}
	return nil
}

// backsOff says how long a run waits after a failure of the platform.
func (c *cluster) backsOff(w *muster.Waiting) *muster.WaitReason {
	if w.NotBefore.After(c.now.Now) {
		return &muster.WaitReason{Code: muster.WaitBackOff, Message: "tried again at " + w.NotBefore.Format("15:04:05") + " UTC: " + w.BackOff, Until: w.NotBefore}
	}
	return nil
}

// possible reports whether a run could start, were every node of the cluster
// ready, well and empty, with a container engine. What it asks for is measured by the nodes, and those
// that are away have a say in that, so it may fit by either measure. Without a
// node nothing is known, unless a cluster is elastic: it might have only new ones.
func (c *cluster) possible(w *muster.Waiting, now []ask) bool {
	unknown := len(c.nodes) == 0 && c.in.Scale == nil || c.sizeless()
	return unknown || c.couldBuy(now) || c.place(anywhere(now), ever) != nil || c.place(anywhere(asks(w, c.whole)), ever) != nil
}

// start gives room away.
func (c *cluster) start(w *muster.Waiting, asks []ask, places []*node) {
	s := muster.Start{RunID: w.RunID, Cluster: c.in.Name}
	for _, g := range w.Groups {
		s.Each = append(s.Each, g.Need(c.size))
	}
	for i, n := range places {
		n.free, _ = n.free.Take(asks[i].need)
		n.taken = true
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
func (c *cluster) keepFor(w *muster.Waiting) {
	if c.head != nil || c.ready == 0 {
		return
	}
	c.head = w
	slices.Reverse(c.nodes)
	defer slices.Reverse(c.nodes)
	places := c.match(asks(w, c.size), emptied)
	if slices.Contains(places, nil) && c.in.Scale == nil {
		return // nodes that are away will have to come back: until then nothing is kept
	}
	for _, n := range places {
		if n != nil { // the others are to be bought
			n.kept = true
		}
	}
}
