package controller

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/scheduler/admission"
)

// admit decides who starts, and writes it down. What it reads of Nomad is older
// than what it reads of the store: a launch made in between is a reservation.
func (k *Controller) admit(ctx context.Context, ledger muster.Ledger) (time.Duration, error) {
	seen := k.sight.Load()
	if seen == nil || seen.stale != nil {
		return 0, nil // Away says so; the look that is answered rings
	}
	backlog, err := ledger.Backlog(ctx)
	if err != nil {
		return 0, err
	}
	now := time.Now()
	snapshot := Snapshot(seen.Sight, backlog, k.Sizes, now)
	decision := admission.Decide(snapshot)
	k.Decided(time.Since(now))
	admitted, err := ledger.Apply(ctx, decision)
	if err != nil {
		return 0, err
	}
	if admitted > 0 {
		k.ring("launch")
	}
	if len(decision.Scales) > 0 {
		k.ring("clusters")
	}
	return nextBackOff(backlog, now), nil
}

// Away is what every run waits for while Nomad does not answer, and nil while
// it does, or another server leads. It is one fact and kept in one place: to
// write it into each waiting run, and out again, would hold up a deep queue's
// store for minutes.
func (k *Controller) Away() *muster.WaitReason {
	if !k.Leading() {
		return nil
	}
	switch seen := k.sight.Load(); {
	case seen == nil:
		return &muster.WaitReason{Code: muster.WaitNomad, Message: "Nomad has not answered yet"}
	case seen.stale != nil:
		return &muster.WaitReason{Code: muster.WaitNomad, Message: fmt.Sprintf("Nomad does not answer; it did last at %s UTC", seen.At.UTC().Format("15:04:05"))}
	}
	return nil
}

// nextBackOff returns how long it is until the first back-off ends, 0 for none.
func nextBackOff(b *muster.Backlog, now time.Time) time.Duration {
	var next time.Duration
	for _, waiting := range b.Waiting {
		for _, w := range waiting {
			if d := w.NotBefore.Sub(now); d > 0 && (next == 0 || d < next) {
				next = d
			}
		}
	}
	return next
}

// Snapshot puts together what was seen of Nomad and what the store knows. An
// allocation that was seen counts where it is; an instance whose allocation was
// not seen yet holds its reservation.
func Snapshot(s *muster.Sight, b *muster.Backlog, sizes muster.Sizes, now time.Time) *muster.Snapshot {
	used, foreign := map[string]muster.Resources{}, map[string]muster.Resources{}
	seen := map[string]bool{} // by child, group and index
	for _, a := range s.Allocs {
		seen[fmt.Sprint(a.JobID, " ", a.Group, " ", a.Index)] = true
		switch {
		case a.Ended():
		case a.Ours:
			used[a.NodeID] = used[a.NodeID].Add(a.Used)
		default:
			foreign[a.NodeID] = foreign[a.NodeID].Add(a.Used)
		}
	}
	total := map[string]muster.Resources{}
	for _, n := range s.Nodes {
		total[n.ID] = n.Total.Sub(muster.Resources{Devices: n.Unhealthy})
	}
	for _, l := range b.Live {
		for _, in := range l.Instances {
			if l.ChildID != "" && seen[fmt.Sprint(l.ChildID, " ", in.Group, " ", in.GroupIndex)] {
				continue
			}
			group := slices.IndexFunc(l.Groups, func(g muster.Group) bool { return g.Name == in.Group })
			free := total[in.NodeID].Sub(used[in.NodeID]).Sub(foreign[in.NodeID])
			used[in.NodeID] = used[in.NodeID].Add(free.Bind(l.Each[group]))
		}
	}
	snapshot := &muster.Snapshot{Now: now}
	for _, c := range b.Clusters {
		cs := muster.ClusterSnapshot{Name: c.Name, Queue: b.Waiting[c.Name], Paused: c.Paused, Scale: scaleOf(c, sizes)}
		for _, n := range s.Nodes {
			if n.Pool == c.NodePool {
				one := muster.NodeSnapshot{ID: n.ID, Name: n.Name, Ready: n.Ready(), Coming: n.Status == "initializing",
					Size: muster.Allocatable{Cores: n.Cores, Resources: n.Total}, Unhealthy: n.Unhealthy, Engine: n.Engine, Used: used[n.ID], Foreign: foreign[n.ID]}
				if cs.Scale != nil {
					kept := b.Nodes[n.ID]
					one.Leaving, one.IdleSince = kept.Leave != muster.LeaveNot || !kept.EvictAt.IsZero() || kept.Fate != muster.FateHere, kept.IdleSince
					one.Lacks = one.Size.Lacks(cs.Scale.Offer)
					one.Ready = one.Ready && !one.Leaving && one.Lacks == ""
				}
				cs.Nodes = append(cs.Nodes, one)
			}
		}
		snapshot.Clusters = append(snapshot.Clusters, cs)
	}
	return snapshot
}

// scaleOf returns what matters for a cluster's number of nodes, nil where nodes
// just exist. Of a size that is not in the catalogue any more nothing is bought.
func scaleOf(c *muster.Cluster, sizes muster.Sizes) *muster.ScaleSnapshot {
	if !c.Provider.Elastic() {
		return nil
	}
	s := &muster.ScaleSnapshot{Min: c.Min, Max: c.Max, Idle: time.Duration(c.Idle), Failure: c.Failure}
	if size, err := sizes.Find(c.Size); err == nil {
		s.Offer = size.Allocatable()
	}
	if c.Deleting {
		s.Min, s.Max = 0, 0
	}
	return s
}
