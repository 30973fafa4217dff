package controller

import (
	"fmt"
	"slices"

	"github.com/muster-ml/muster"
)

// room is what is taken on the nodes that were seen, by id.
type room struct {
	sight   *muster.Sight
	total   map[string]muster.Resources // without what is not well, and the node agent's
	used    map[string]muster.Resources // by launches
	foreign map[string]muster.Resources // by other Nomad jobs
	ending  map[string]muster.Resources // of used: what is free soon
	at      map[string]bool             // an instance is at work
	places  map[string][]string         // the nodes of a launch's instances, as far as they are known or held
}

// member is an instance of a launch.
type member struct {
	*muster.Instance
	launch *muster.Launch
}

// roomOf counts it. An allocation that was seen counts where it is, and an instance
// whose node is known there. The others were admitted to nodes that had room for
// them, but Nomad chooses by itself: where it has given one's place to another, or
// does not place anything any more, another place is held.
func roomOf(s *muster.Sight, b *muster.Backlog) *room {
	r := &room{sight: s, total: map[string]muster.Resources{}, used: map[string]muster.Resources{}, foreign: map[string]muster.Resources{}, ending: map[string]muster.Resources{},
		at: map[string]bool{}, places: map[string][]string{}}
	agents := map[string]bool{} // pools whose nodes have an agent
	for _, c := range b.Clusters {
		agents[c.NodePool] = c.Prepares()
	}
	for _, n := range s.Nodes {
		r.total[n.ID] = n.Total.Sub(muster.Resources{Devices: n.Unhealthy})
		if agents[n.Pool] {
			r.total[n.ID] = r.total[n.ID].Sub(muster.NodeAgentNeed)
		}
	}
	var displaced []member
	for _, in := range r.count(s, b) {
		at := slices.IndexFunc(s.Nodes, func(n muster.SeenNode) bool { return n.ID == in.NodeID })
		if at >= 0 && s.Nodes[at].Ready() && r.has(in.NodeID, in.need()) {
			r.hold(in, in.NodeID)
		} else {
			displaced = append(displaced, in)
		}
	}
	for _, in := range displaced {
		r.hold(in, r.elsewhere(in))
	}
	return r
}

// count counts the allocations that were seen and the instances whose node is known,
// and returns the others.
func (r *room) count(s *muster.Sight, b *muster.Backlog) (planned []member) {
	allocs := map[string]muster.SeenAlloc{} // by child, group and index
	for _, a := range s.Allocs {
		allocs[fmt.Sprint(a.JobID, " ", a.Group, " ", a.Index)] = a
		switch {
		case a.Ended(), a.NodeAgent:
		case a.Ours:
			r.used[a.NodeID] = r.used[a.NodeID].Add(a.Used)
		default:
			r.foreign[a.NodeID] = r.foreign[a.NodeID].Add(a.Used)
		}
	}
	for _, l := range b.Live {
		for i := range l.Instances {
			in := member{&l.Instances[i], l}
			r.at[in.NodeID] = r.at[in.NodeID] || !in.ClaimedAt.IsZero() && in.Result == nil
			key := fmt.Sprint(l.ChildID, " ", in.Group, " ", in.GroupIndex)
			alloc, seen := allocs[key]
			switch seen = seen && l.ChildID != ""; {
			case seen:
				r.places[l.ID] = append(r.places[l.ID], alloc.NodeID)
				if in.Result == nil {
					delete(allocs, key) // it goes on
				}
			case in.Placed || !in.ClaimedAt.IsZero():
				r.hold(in, in.NodeID)
			default:
				planned = append(planned, in)
			}
		}
	}
	for _, a := range allocs {
		if a.Ours && !a.NodeAgent && !a.Ended() {
			r.ending[a.NodeID] = r.ending[a.NodeID].Add(a.Used) // its command has ended, or its launch is known to be over
		}
	}
	return planned
}

// need is what the instance asks for.
func (m member) need() muster.Resources {
	return m.launch.Each[slices.IndexFunc(m.launch.Groups, func(g muster.Group) bool { return g.Name == m.Group })]
}

// free is what is left of a node.
func (r *room) free(node string) muster.Resources {
	return r.total[node].Sub(r.used[node]).Sub(r.foreign[node])
}

// has reports whether that is enough.
func (r *room) has(node string, need muster.Resources) bool {
	_, short := r.free(node).Take(need)
	return len(short) == 0
}

// hold counts an instance on a node.
func (r *room) hold(in member, node string) {
	bound := r.free(node).Bind(in.need())
	r.used[node] = r.used[node].Add(bound)
	if in.Result != nil {
		r.ending[node] = r.ending[node].Add(bound)
	}
	r.places[in.launch.ID] = append(r.places[in.launch.ID], node)
}

// elsewhere returns the node of the launch's pool that is held for an instance whose
// own is taken: one with room that is in use, or else an empty one, whose idle time
// this ends; never that of another instance of the launch. Without one it is its
// own, which has too little then.
func (r *room) elsewhere(in member) string {
	empty := ""
	for _, n := range r.sight.Nodes {
		if n.Pool != in.launch.NodePool || !n.Ready() || slices.Contains(r.places[in.launch.ID], n.ID) || !r.has(n.ID, in.need()) {
			continue
		}
		if r.used[n.ID].MiB > 0 {
			return n.ID
		}
		if empty == "" {
			empty = n.ID
		}
	}
	if empty != "" {
		return empty
	}
	return in.NodeID
}
