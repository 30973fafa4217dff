package admission

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/muster-ml/muster"
)

// why says why a run does not start now. The first case that matches tells.
func (c *cluster) why(w *muster.Waiting) muster.WaitReason {
	asks := asks(w, c.size)
	if c.sizeless() {
		return muster.WaitReason{Code: muster.WaitProvider, Message: fmt.Sprintf("cluster %s gets no nodes: its size is not in the server's catalogue", c.in.Name)}
	}
	if c.ready == 0 {
		reason := muster.WaitReason{Code: muster.WaitNodes, Message: fmt.Sprintf("cluster %s has no ready node (%d registered)", c.in.Name, len(c.nodes))}
		if i := slices.IndexFunc(c.nodes, func(n node) bool { return n.Lacks != "" }); i >= 0 {
			reason.Message += fmt.Sprintf("; node %s: %s", c.nodes[i].Name, c.nodes[i].Lacks)
		}
		return reason
	}
	if w.Container && !slices.ContainsFunc(c.nodes, func(n node) bool { return n.Ready && n.Engine }) {
		return muster.WaitReason{Code: muster.WaitNodes, Message: fmt.Sprintf("no node of cluster %s has a container engine that works (%d ready)", c.in.Name, c.ready)}
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
				uses = append(uses, fmt.Sprintf("%s and %s MiB on node %s", cores(n.Foreign.MHz, n.Size), n.Foreign.MiB, n.Name))
			}
		}
		slices.Sort(uses)
		return muster.WaitReason{Code: muster.WaitForeign, Shortage: shortage,
			Message: fmt.Sprintf("other Nomad jobs use %s; without them it would start: %s", strings.Join(uses, ", "), c.describe(nearest, shortage))}
	}
	reason := muster.WaitReason{Code: muster.WaitCapacity, Shortage: shortage, Message: c.describe(nearest, shortage)}
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
func (c *cluster) describe(node string, shortage []muster.Shortage) string {
	if len(shortage) == 0 {
		return "not enough nodes have room at once"
	}
	var parts []string
	for _, s := range shortage {
		free := max(s.Free, 0)
		switch {
		case s.Dimension == "MHz":
			parts = append(parts, fmt.Sprintf("%s asked, %s free", cores(s.Asked, c.size), cores(free, c.size)))
		case strings.HasPrefix(s.Dimension, "MiB"):
			parts = append(parts, s.String())
		case free == 0:
			parts = append(parts, devices(s.Asked, s.Dimension)+" asked, none free")
		default:
			parts = append(parts, fmt.Sprintf("%s asked, %s free", devices(s.Asked, s.Dimension), free))
		}
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
	if c.in.Scale != nil {
		return c.neverBought(asks)
	}
	if len(asks) > len(c.nodes) {
		return fmt.Sprintf("it can never start: it asks for %s, each on a node of its own, and cluster %s has %s", muster.Counted(len(asks), "instance"), c.in.Name, muster.Counted(len(c.nodes), "node"))
	}
	places := c.match(asks, ever)
	need := asks[max(slices.Index(places, nil), 0)].need
	var best muster.Allocatable
	var name string
	for _, node := range c.nodes {
		if name == "" || node.Size.MiB > best.MiB {
			best, name = node.Size, node.Name
		}
	}
	_, shortage := best.Take(need)
	text := fmt.Sprintf("it can never start: an instance asks for %s", amounts(need, c.size))
	if len(shortage) == 0 {
		return fmt.Sprintf("%s, and cluster %s has nodes for only %d of its %d instances at once", text, c.in.Name, found(places), len(asks))
	}
	has := amounts(best.Resources, best)
	if len(need.Devices) > 0 && len(best.Devices) == 0 {
		has += ", and has no " + need.Devices[0].Type
	}
	return fmt.Sprintf("%s, and the largest node of cluster %s, %s, has %s", text, c.in.Name, name, has)
}

// neverBought says so of a cluster whose nodes come: what a new one would offer
// tells.
func (c *cluster) neverBought(asks []ask) string {
	if most := c.in.Scale.Max; len(asks) > most {
		return fmt.Sprintf("it can never start: it asks for %s, each on a node of its own, and cluster %s may have %s at the most", muster.Counted(len(asks), "instance"), c.in.Name, muster.Counted(most, "node"))
	}
	need := asks[max(0, slices.IndexFunc(asks, func(a ask) bool { return !c.offers(a) }))].need
	offer := muster.Allocatable{Cores: c.in.Scale.Offer.Cores, Resources: c.offer()}
	has := amounts(offer.Resources, offer)
	if len(need.Devices) > 0 && len(offer.Devices) == 0 {
		has += ", and has no " + need.Devices[0].Type
	}
	return fmt.Sprintf("it can never start: an instance asks for %s, and a node of cluster %s has %s", amounts(need, c.size), c.in.Name, has)
}

// amounts puts resources into words, cores as the nodes of a size have them.
func amounts(r muster.Resources, size muster.Allocatable) string {
	text := fmt.Sprintf("%s and %s MiB", cores(r.MHz, size), r.MiB)
	for _, d := range r.Devices {
		text += " and " + devices(d.Count, strings.TrimSpace(d.Type+" "+d.Name))
	}
	return text
}

// cores puts processor time into words: in cores, as users ask for it, of a node
// of that size, and in MHz, as Nomad counts it.
func cores(mhz muster.Amount, size muster.Allocatable) string {
	if size.MHz <= 0 || size.Cores <= 0 {
		return mhz.String() + " MHz"
	}
	n := math.Round(float64(mhz) / float64(size.MHz) * float64(size.Cores) / 10) // hundredths of a core
	word := "cores"
	if n == 100 {
		word = "core"
	}
	return fmt.Sprintf("%s %s (%s MHz)", muster.Amount(n*10), word, mhz)
}

// devices puts a number of devices of a kind, such as gpu H200, into words.
func devices(n muster.Amount, kind string) string {
	if of, model, named := strings.Cut(kind, " "); named {
		kind = model + " " + of
	}
	if n != muster.Whole(1) && strings.HasSuffix(kind, "gpu") {
		kind += "s"
	}
	return n.String() + " " + kind
}
