package admission

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/muster-ml/muster"
)

// unmet is a run that waits for room, and where its reason stands among the
// waits.
type unmet struct {
	*muster.Waiting
	wait int
}

// untold is where the reason stands of a run so far behind that it is not told of
// nodes that come.
const untold = -1

// plan is how a cluster would look, were nodes bought for those who wait.
type plan struct {
	*cluster
	nodes []node          // those that there are, then those to buy
	here  int             // how many of nodes there are
	held  int             // more that are there, take no run and stay
	used  map[string]bool // nodes that somebody waits for, by id
	rooms int             // runs that find room on them
	full  string          // why the next run does not
}

// sizeless reports whether nobody knows what a new node of an elastic cluster
// would have: its size is not in the catalogue any more.
func (c *cluster) sizeless() bool { return c.in.Scale != nil && c.in.Scale.Offer.Cores == 0 }

// couldBuy reports whether a cluster of nothing but new nodes has room for all
// instances at once.
func (c *cluster) couldBuy(asks []ask) bool {
	if c.in.Scale == nil || len(asks) > c.in.Scale.Max {
		return false
	}
	return !slices.ContainsFunc(asks, func(a ask) bool { return !c.offers(a) })
}

// offers reports whether a new node has room for an ask.
func (c *cluster) offers(a ask) bool {
	_, short := c.offer().Take(a.need)
	return short == nil
}

// offer is what a new node has: what those of the cluster have, and before there
// is one what its size promises.
func (c *cluster) offer() muster.Resources {
	if len(c.in.Nodes) > 0 && len(c.whole.Devices) >= len(c.in.Scale.Offer.Devices) {
		return c.whole.Resources
	}
	return c.in.Scale.Offer.Resources
}

// newPlan begins the plan of an elastic cluster.
func newPlan(c *cluster) *plan {
	p := &plan{cluster: c, used: map[string]bool{}}
	for _, n := range c.nodes {
		if (n.Held || n.Unfit) && !n.Leaving {
			p.held++
			continue
		}
		if n.Leaving || !n.Ready && !n.Coming {
			continue
		}
		n.free = n.free.Add(n.Ending)
		p.nodes = append(p.nodes, n)
	}
	p.here = len(p.nodes)
	return p
}

// decide says how many nodes the cluster shall have.
func (p *plan) decide() {
	nodes := max(len(p.nodes), min(p.in.Scale.Min, p.in.Scale.Max-p.held))
	more := len(p.nodes) - p.here
	if p.in.Paused || p.nodesFail() {
		nodes, more = p.here, 0
	}
	s := muster.Scale{Cluster: p.in.Name, Nodes: nodes + p.held, More: more, Reason: p.reason(nodes), Spare: p.spare(nodes)}
	s.Over = p.over(p.here - len(s.Spare) - p.in.Scale.Max)
	p.out.Scales = append(p.out.Scales, s)
}

// nodesFail reports whether the nodes that came cannot be used: no more are bought
// for a while.
func (p *plan) nodesFail() bool {
	return p.in.Scale.Failure.OfNodes()
}

// over lists nodes in use from which runs are to go, as many as there are above
// the cluster's max: those with least on them.
func (p *plan) over(many int) (ids []string) {
	if p.in.Paused || !p.in.Scale.Shrinks || many <= 0 {
		return nil
	}
	used := slices.DeleteFunc(p.ready(), func(n node) bool { return n.Empty() && !n.taken })
	slices.SortFunc(used, func(a, b node) int { return cmp.Or(cmp.Compare(a.Used.MHz, b.Used.MHz), cmp.Compare(a.ID, b.ID)) })
	for _, n := range used[:min(many, len(used))] {
		ids = append(ids, n.ID)
	}
	return ids
}

// served is what a plan does for a run.
type served int

const (
	servedNot    served = iota // it waits for a node that is there and in use, and no new one would do
	servedRoom                 // it has room, or nodes come for it
	servedNobody               // nobody behind it is served either: see scale
)

// serve finds room for all instances of a run, on nodes that are there, that come
// or that are bought for it.
func (p *plan) serve(u unmet) served {
	asks := asks(u.Waiting, p.size)
	within := &cluster{nodes: p.nodes}
	places := within.match(asks, func(n *node) (muster.Resources, bool) { return n.free, true })
	more := len(asks) - found(places)
	for i, place := range places {
		if place != nil {
			continue
		}
		if !p.offers(asks[i]) {
			return servedNot
		}
		if lacking := p.engineless(); asks[i].engine && lacking != "" {
			p.used[lacking] = true // it stays, so that this is known for as long as somebody wants an engine
			return servedNot
		}
	}
	for _, place := range places {
		if place != nil {
			p.used[place.ID] = true
		}
	}
	if more > 0 && len(p.nodes)+p.held+more > p.in.Scale.Max {
		p.full = fmt.Sprintf("%d more would be needed, and its max is %d", more, p.in.Scale.Max)
		if u.wait != untold && p.nodesFail() {
			p.tell(&p.out.Waits[u.wait].Reason, more)
		} else if u.wait != untold {
			p.out.Waits[u.wait].Reason.Message += fmt.Sprintf("; %s more would be needed, and the max of cluster %s is %d", muster.Counted(more, "node"), p.in.Name, p.in.Scale.Max)
		}
		return servedNobody
	}
	coming, bought := more > 0, []node{}
	for i, place := range places {
		if place == nil {
			left, _ := p.offer().Take(asks[i].need)
			bought = append(bought, node{free: left, NodeSnapshot: muster.NodeSnapshot{ID: fmt.Sprint("new ", len(p.nodes)+len(bought)), Engine: true, Coming: true}})
			continue
		}
		coming = coming || place.Coming
		place.free, _ = place.free.Take(asks[i].need)
	}
	p.nodes = append(p.nodes, bought...)
	p.rooms++
	if coming && u.wait != untold {
		p.tell(&p.out.Waits[u.wait].Reason, more)
	}
	return servedRoom
}

// engineless returns a node where none has a container engine that works, "" where
// one has or none is there: those to come will not have one, either.
func (p *plan) engineless() string {
	ready := slices.DeleteFunc(p.ready(), func(n node) bool { return n.Preparing }) // its set-up may bring one
	if len(ready) == 0 || slices.ContainsFunc(ready, func(n node) bool { return n.Engine }) {
		return ""
	}
	return ready[0].ID
}

// tell gives a run for which nodes come that reason.
func (p *plan) tell(reason *muster.WaitReason, more int) {
	if f := p.in.Scale.Failure; f != nil && more > 0 {
		why := "its provider gives none"
		if p.nodesFail() {
			why = "none is bought"
		}
		*reason = muster.WaitReason{Code: muster.WaitProvider, Until: f.Until,
			Message: fmt.Sprintf("cluster %s needs %s more for it, and %s: %s; it is tried again at %s UTC", p.in.Name, muster.Counted(more, "node"), why, f.Message, f.Until.UTC().Format("15:04:05"))}
		return
	}
	*reason = muster.WaitReason{Code: muster.WaitScaling, Message: fmt.Sprintf("cluster %s grows from %s to %d", p.in.Name, muster.Counted(len(p.ready()), "node"), len(p.nodes))}
}

// ready lists the nodes that take runs now.
func (p *plan) ready() (all []node) {
	for _, n := range p.nodes[:p.here] {
		if n.Ready {
			all = append(all, n)
		}
	}
	return all
}

// reason puts the number into words.
func (p *plan) reason(nodes int) string {
	switch {
	case p.in.Paused:
		return "the cluster is paused"
	case p.nodesFail():
		return fmt.Sprintf("no more before %s UTC: %s", p.in.Scale.Failure.Until.UTC().Format("15:04:05"), p.in.Scale.Failure.Message)
	case p.full != "":
		return p.full
	case len(p.nodes) > p.here:
		return fmt.Sprintf("%d more for %s", len(p.nodes)-p.here, muster.Counted(p.rooms, "waiting run"))
	}
	why := "no run needs more now"
	if p.in.Scale.Min > 0 && nodes <= p.in.Scale.Min {
		why = fmt.Sprintf("its min is %d", p.in.Scale.Min)
	}
	if p.held > 0 {
		why += fmt.Sprintf("; %d of them can take no run", p.held)
	}
	return why
}

// spare lists the nodes that may leave: empty, idle for long enough, waited for
// by nobody, and not among the least that stay. Above the cluster's max they need
// not have been idle for long.
func (p *plan) spare(nodes int) (ids []string) {
	if p.in.Paused {
		return nil
	}
	idle := slices.DeleteFunc(p.ready(), func(n node) bool { return !n.Empty() || n.taken || p.used[n.ID] || n.IdleSince.IsZero() })
	slices.SortStableFunc(idle, func(a, b node) int {
		return cmp.Or(a.IdleSince.Compare(b.IdleSince), cmp.Compare(a.ID, b.ID))
	})
	for _, n := range idle {
		left := nodes - len(ids)
		if left > p.in.Scale.Min && (left > p.in.Scale.Max || p.now.Now.Sub(n.IdleSince) >= p.in.Scale.Idle) {
			ids = append(ids, n.ID)
		}
	}
	return ids
}
