package admission

import (
	"fmt"
	"slices"
	"strings"

	"github.com/muster-ml/muster"
)

// why says why a run does not start now. The first case that matches tells.
func (c *cluster) why(w *muster.Waiting) muster.WaitReason {
	asks := asks(w, c.size)
	if c.ready == 0 {
		return muster.WaitReason{Code: muster.WaitNodes, Message: fmt.Sprintf("cluster %s has no ready node (%d registered)", c.in.Name, len(c.nodes))}
	}
	if w.Container && !slices.ContainsFunc(c.nodes, func(n node) bool { return n.Ready && n.Engine }) {
		return muster.WaitReason{Code: muster.WaitNodes, Message: fmt.Sprintf("none of the %d ready nodes of cluster %s has a container engine that works", c.ready, c.in.Name)}
	}
	if c.head != nil && c.place(asks, withKept) != nil {
		return muster.WaitReason{Code: muster.WaitAhead, Ahead: c.head.Run, Message: "there is room, kept for a run that is before it in the queue"}
	}
	places := c.match(asks, available)
	nearest, shortage := c.nearest(asks[max(slices.Index(places, nil), 0)])
	if c.place(asks, withoutForeign) != nil {
		var uses []string
		for _, n := range c.nodes {
			if n.Foreign.MHz > 0 || n.Foreign.MiB > 0 {
				uses = append(uses, fmt.Sprintf("%s MHz and %s MiB on node %s", n.Foreign.MHz, n.Foreign.MiB, n.Name))
			}
		}
		slices.Sort(uses)
		return muster.WaitReason{Code: muster.WaitForeign, Shortage: shortage,
			Message: fmt.Sprintf("other Nomad jobs use %s; without them it would start: %s", strings.Join(uses, ", "), describe(nearest, shortage))}
	}
	reason := muster.WaitReason{Code: muster.WaitCapacity, Shortage: shortage, Message: describe(nearest, shortage)}
	if len(asks) > 1 {
		reason.Message = fmt.Sprintf("%d of its %d instances would find a node now: %s", found(places), len(asks), reason.Message)
	}
	if c.head != nil {
		reason.Ahead = c.head.Run
	}
	return reason
}

// nearest returns the usable node that lacks least for an ask, and what it
// lacks.
func (c *cluster) nearest(a ask) (name string, shortage []muster.Shortage) {
	var best float64
	for i := range c.nodes {
		n := &c.nodes[i]
		_, short := n.free.Take(a.need)
		if !n.Ready || short == nil || a.engine && !n.Engine {
			continue
		}
		missing := 0.0
		for _, s := range short {
			missing += float64(s.Asked-s.Free) / float64(s.Asked)
		}
		if shortage == nil || missing < best {
			name, shortage, best = n.Name, short, missing
		}
	}
	return name, shortage
}

// describe puts a shortage into words.
func describe(node string, shortage []muster.Shortage) string {
	if len(shortage) == 0 {
		return "not enough nodes have room at once"
	}
	var parts []string
	for _, s := range shortage {
		parts = append(parts, s.String())
	}
	return fmt.Sprintf("on node %s: %s", node, strings.Join(parts, "; "))
}

// found counts the places that are one.
func found(places []*node) int {
	n := 0
	for _, p := range places {
		if p != nil {
			n++
		}
	}
	return n
}

// never says, with numbers, why a run can never start on the cluster.
func (c *cluster) never(asks []ask) string {
	if len(asks) > len(c.nodes) {
		return fmt.Sprintf("it can never start: it asks for %d instances, each on a node of its own, and cluster %s has %d nodes", len(asks), c.in.Name, len(c.nodes))
	}
	places := c.match(asks, ever)
	need := asks[max(slices.Index(places, nil), 0)].need
	var best muster.Resources
	var name string
	for _, node := range c.nodes {
		if name == "" || node.Size.MiB > best.MiB {
			best, name = node.Size.Resources, node.Name
		}
	}
	_, shortage := best.Take(need)
	text := fmt.Sprintf("it can never start: an instance asks for %s", amounts(need))
	if len(shortage) == 0 {
		return fmt.Sprintf("%s, and cluster %s has nodes for only %d of its %d instances at once", text, c.in.Name, found(places), len(asks))
	}
	return fmt.Sprintf("%s, and the largest node of cluster %s, %s, has %s", text, c.in.Name, name, amounts(best))
}

// amounts puts resources into words.
func amounts(r muster.Resources) string {
	text := fmt.Sprintf("%s MHz and %s MiB", r.MHz, r.MiB)
	for _, d := range r.Devices {
		text += fmt.Sprintf(" and %s %s", d.Count, strings.TrimSpace(d.Type+" "+d.Name))
	}
	return text
}
