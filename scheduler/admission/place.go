package admission

import (
	"cmp"
	"slices"

	"github.com/muster-ml/muster"
)

// ask is what one instance wants.
type ask struct {
	group  int // index into the run's groups
	need   muster.Resources
	engine bool // only a node with a container engine will do
}

// asks lists what the instances of a run want, in the order of their indexes,
// of a cluster whose nodes are of the size given.
func asks(w *muster.Waiting, size muster.Allocatable) []ask {
	var all []ask
	for i, g := range w.Groups {
		need := g.Need(size)
		for range g.Count {
			all = append(all, ask{i, need, w.Container})
		}
	}
	return all
}

// anywhere is what they want of nodes whose container engines all work.
func anywhere(asks []ask) []ask {
	all := slices.Clone(asks)
	for i := range all {
		all[i].engine = false
	}
	return all
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

// emptied is what a node would offer now, were nothing on it.
func emptied(n *node) (muster.Resources, bool) {
	return n.Size.Sub(muster.Resources{Devices: n.Unhealthy}), n.Ready
}

// ever is what an empty node offers once it and all its devices are well.
func ever(n *node) (muster.Resources, bool) { return n.Size.Resources, true }

// place finds a node for each ask, all different, or returns nil: never half a
// gang.
func (c *cluster) place(asks []ask, from room) []*node {
	if len(asks) > len(c.nodes) {
		return nil
	}
	places := c.match(asks, from)
	if slices.Contains(places, nil) {
		return nil
	}
	return places
}

// match finds different nodes for as many of the asks as can have one at once;
// the others' places are nil. Each instance has a node of its own, so whether a
// node has room for one does not depend on where the others go: that is a
// matching of asks and nodes, which can be found exactly, however many there
// are. The asks that fewest nodes have room for choose first, each the first
// node in the order of c.nodes; who finds none makes others move on.
func (c *cluster) match(asks []ask, from room) []*node {
	m := matching{asks: asks, fits: map[int][]int{}, owner: make([]int, len(c.nodes)), tried: make([]bool, len(c.nodes))}
	for j := range m.owner {
		m.owner[j] = nobody
	}
	order := make([]int, len(asks))
	for i, a := range asks {
		order[i] = i
		if _, known := m.fits[a.group]; !known {
			m.fits[a.group] = c.fits(a, from)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(len(m.fits[asks[a].group]), len(m.fits[asks[b].group]))
	})
	full := map[int]bool{} // groups of which one more found no node: nor will the next
	for _, i := range order {
		if g := asks[i].group; !full[g] {
			clear(m.tried)
			full[g] = !m.seat(i)
		}
	}
	places := make([]*node, len(asks))
	for j, i := range m.owner {
		if i != nobody {
			places[i] = &c.nodes[j]
		}
	}
	return places
}

// fits lists the nodes that have room for one ask.
func (c *cluster) fits(a ask, from room) []int {
	fits := []int{}
	for j := range c.nodes {
		free, usable := from(&c.nodes[j])
		if !usable || a.engine && !c.nodes[j].Engine {
			continue
		}
		if _, short := free.Take(a.need); short == nil {
			fits = append(fits, j)
		}
	}
	return fits
}

// matching is the search for a node for each ask.
type matching struct {
	asks  []ask
	fits  map[int][]int // the nodes with room for an instance, by group
	owner []int         // the ask that has a node, or nobody, by node
	tried []bool        // nodes whose owner was asked to move on, in one search
}

const nobody = -1

// seat gives ask i a node: one that is free, or else one whose owner finds
// another.
func (m *matching) seat(i int) bool {
	fits := m.fits[m.asks[i].group]
	for _, j := range fits {
		if m.owner[j] == nobody {
			m.owner[j] = i
			return true
		}
	}
	for _, j := range fits {
		if m.tried[j] {
			continue
		}
		m.tried[j] = true
		if m.seat(m.owner[j]) {
			m.owner[j] = i
			return true
		}
	}
	return false
}
