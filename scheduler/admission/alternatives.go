package admission

import (
	"slices"

	"github.com/muster-ml/muster"
)

// clusters are all of a snapshot.
type clusters []*cluster

// elsewhere stands in the place of the run of a wait that is none: it started on
// another cluster.
const elsewhere = -1

// find returns the cluster of that name, nil without one.
func (all clusters) find(name string) *cluster {
	i := slices.IndexFunc(all, func(c *cluster) bool { return c.in.Name == name })
	if i < 0 {
		return nil
	}
	return all[i]
}

// possible reports whether a run could ever start on one of its alternatives.
func (all *clusters) possible(w *muster.Waiting) bool {
	return slices.ContainsFunc(w.Alternatives, func(name string) bool {
		c := all.find(name)
		return c != nil && c.possible(w, asks(w, c.size))
	})
}

// startElsewhere starts runs that found no room on their first cluster on the
// next of their alternatives that has some: what the runs of that cluster's own
// queue have left.
func (all clusters) startElsewhere() {
	for _, c := range all {
		c.unmet = slices.DeleteFunc(c.unmet, func(u unmet) bool {
			if u.wait == untold || !slices.ContainsFunc(u.Alternatives, func(name string) bool { return all.find(name).take(u.Waiting) }) {
				return false
			}
			c.out.Waits[u.wait].RunID = elsewhere
			return true
		})
	}
}

// take starts a run of another queue where there is room for it now.
func (c *cluster) take(w *muster.Waiting) bool {
	if c == nil || c.closed(w) != nil || c.stuck[keyOf(w)] {
		return false
	}
	asks := asks(w, c.size)
	places := c.place(asks, available)
	if places == nil {
		c.stuck[keyOf(w)] = true
		return false
	}
	c.start(w, asks, places)
	return true
}

// scale says how many nodes each elastic cluster shall have. Runs are served in
// the order of the queue, each whole or not at all: the first for which the
// cluster may not grow far enough ends it, as nodes bought for those behind would
// be kept for it and stand idle until it has all. Runs that are not served, or
// whose provider gives nothing, are served by the next of their alternatives.
func (all clusters) scale() {
	plans := plans{}
	for _, c := range all {
		if c.in.Scale != nil {
			plans[c.in.Name] = newPlan(c)
		}
	}
	for _, c := range all {
		for _, u := range c.serveQueue(plans[c.in.Name]) {
			if p := plans[c.in.Name]; !plans.serveElsewhere(u) && p != nil && p.in.Scale.Failure != nil && c.closed(u.Waiting) == nil {
				p.serve(u) // its provider is asked again and again
			}
		}
	}
	for _, c := range all {
		if p := plans[c.in.Name]; p != nil {
			p.decide()
		}
	}
}

// plans are those of the elastic clusters, by name.
type plans map[string]*plan

// serveElsewhere has the first of a run's alternatives that can serve it.
func (all plans) serveElsewhere(u unmet) bool {
	return slices.ContainsFunc(u.Alternatives, func(name string) bool {
		p := all[name]
		return p != nil && p.in.Scale.Failure == nil && p.closed(u.Waiting) == nil && p.full == "" && p.serve(u) == servedRoom
	})
}

// serveQueue serves the cluster's own queue, and returns those with alternatives
// that it does nothing for.
func (c *cluster) serveQueue(p *plan) (left []unmet) {
	over := false
	for _, u := range c.unmet {
		others := len(u.Alternatives) > 0
		switch {
		case p == nil || others && p.in.Scale.Failure != nil || c.closed(u.Waiting) != nil:
		case over:
		default:
			result := p.serve(u)
			over = result == servedNobody && !others
			if result == servedRoom {
				continue
			}
		}
		if others {
			left = append(left, u)
		}
	}
	return left
}
