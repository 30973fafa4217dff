package controller

import (
	"fmt"
	"slices"

	"github.com/muster-ml/muster"
)

// room is what is taken on the nodes that were seen, by id.
type room struct {
	total   map[string]muster.Resources // without what is not well, and the node agent's
	used    map[string]muster.Resources // by launches
	foreign map[string]muster.Resources // by other Nomad jobs
	ending  map[string]muster.Resources // of used: what is free soon
	at      map[string]bool             // an instance is at work
}

// unseen is an instance whose allocation was not seen yet.
type unseen struct {
	*muster.Instance
	launch *muster.Launch
}

// roomOf counts it. An allocation that was seen counts where it is, and an instance
// whose node is known there. The others were admitted to nodes that had room for
// them, but Nomad chooses by itself: where it has given one's place to another,
// another place is held.
func roomOf(s *muster.Sight, b *muster.Backlog) *room {
	r := &room{map[string]muster.Resources{}, map[string]muster.Resources{}, map[string]muster.Resources{}, map[string]muster.Resources{}, map[string]bool{}}
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
	var displaced []unseen
	for _, in := range r.count(s, b) {
		if r.has(in.NodeID, in.need()) {
			r.hold(in, in.NodeID)
		} else {
			displaced = append(displaced, in)
		}
	}
	for _, in := range displaced {
		r.hold(in, r.elsewhere(in, s))
	}
	return r
}

// count counts the allocations that were seen and the instances whose node is known,
// and returns the others.
func (r *room) count(s *muster.Sight, b *muster.Backlog) (planned []unseen) {
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
			in := &l.Instances[i]
			r.at[in.NodeID] = r.at[in.NodeID] || !in.ClaimedAt.IsZero() && in.Result == nil
			key := fmt.Sprint(l.ChildID, " ", in.Group, " ", in.GroupIndex)
			_, was := allocs[key]
			switch {
			case (l.ChildID == "" || !was) && !in.Placed && in.ClaimedAt.IsZero():
				planned = append(planned, unseen{in, l})
			case l.ChildID == "" || !was:
				r.hold(unseen{in, l}, in.NodeID)
			case in.Result == nil:
				delete(allocs, key) // it goes on
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
func (u unseen) need() muster.Resources {
	return u.launch.Each[slices.IndexFunc(u.launch.Groups, func(g muster.Group) bool { return g.Name == u.Group })]
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
func (r *room) hold(in unseen, node string) {
	bound := r.free(node).Bind(in.need())
	r.used[node] = r.used[node].Add(bound)
	if in.Result != nil {
		r.ending[node] = r.ending[node].Add(bound)
	}
}

// elsewhere returns the node of the launch's pool that is held for an instance whose
// own is taken: the first with room, but none of another instance of the launch;
// without one its own, which has too little then.
func (r *room) elsewhere(in unseen, s *muster.Sight) string {
	for _, n := range s.Nodes {
		mates := slices.ContainsFunc(in.launch.Instances, func(mate muster.Instance) bool { return mate.NodeID == n.ID })
		if n.Pool == in.launch.NodePool && n.Ready() && !mates && r.has(n.ID, in.need()) {
			return n.ID
		}
	}
	return in.NodeID
}
