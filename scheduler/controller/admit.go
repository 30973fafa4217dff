package controller

import (
	"cmp"
	"context"
	"fmt"
	"strings"
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
	again := nextBackOff(backlog, now)
	for _, c := range backlog.Clusters {
		if c.Failure != nil && c.Failure.Until.After(now) { // what waits for it is told another reason then
			again = sooner(again, c.Failure.Until.Sub(now))
		}
	}
	return again, nil
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
			if d := w.NotBefore.Sub(now); d > 0 {
				next = sooner(next, d)
			}
		}
	}
	return next
}

// sooner returns the shorter of two pauses; 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b < a {
		return b
	}
	return a
}

// Snapshot puts together what was seen of Nomad and what the store knows.
func Snapshot(s *muster.Sight, b *muster.Backlog, sizes muster.Sizes, now time.Time) *muster.Snapshot {
	r := roomOf(s, b)
	snapshot := &muster.Snapshot{Now: now}
	for _, c := range b.Clusters {
		cs := muster.ClusterSnapshot{Name: c.Name, Queue: b.Waiting[c.Name], Paused: c.Paused, Closing: c.Deleting, Workspaces: c.Workspaces, Scale: scaleOf(c, sizes)}
		for _, n := range s.Nodes {
			if n.Pool == c.NodePool {
				one := nodeSnapshot(n, c, cs.Scale, b, now)
				one.Used, one.Foreign, one.Ending = r.used[n.ID], r.foreign[n.ID], r.ending[n.ID]
				if one.Preparing && one.Ready && r.at[n.ID] && c.Setup != nil { // another set-up waits for their end: who came now would, too
					one.Ready, one.Unfit = false, cs.Scale != nil
				}
				cs.Nodes = append(cs.Nodes, one)
			}
		}
		snapshot.Clusters = append(snapshot.Clusters, cs)
	}
	return snapshot
}

// nodeSnapshot puts together what matters of one node.
func nodeSnapshot(n muster.SeenNode, c *muster.Cluster, scale *muster.ScaleSnapshot, b *muster.Backlog, now time.Time) muster.NodeSnapshot {
	one := muster.NodeSnapshot{ID: n.ID, Name: n.Name, Ready: n.Ready(), Coming: n.Status == "initializing",
		Size: muster.Allocatable{Cores: n.Cores, Resources: n.Total}, Unhealthy: n.Unhealthy, Engine: n.Engine}
	health, kept := b.Health[n.ID], b.Nodes[n.ID]
	one.Lacks = health.Unfit()
	one.Held = health.Excluded != "" && health.DrainAt.IsZero() && (c.Provider == muster.ProviderLocal || !n.Down()) // a cloud does not say that its machine is gone
	if one.Lacks == "" && c.OS != "" && n.OS != "" && !strings.EqualFold(n.OS, c.OS) {
		one.Lacks = fmt.Sprintf("its operating system is %s, and its cluster wants %s", n.OS, c.OS)
	}
	if c.Prepares() {
		one.Size.Resources = one.Size.Sub(muster.NodeAgentNeed)
		one.Preparing = health.State == muster.HealthPreparing || health.Alloc == ""
		switch {
		case one.Lacks != "":
		case c.Health != nil && c.Health.Engine && !n.Engine && n.Status == "ready":
			one.Lacks = "it has no container engine that works, and its cluster wants one"
		case health.Agentless(now):
			one.Lacks = muster.AgentlessReason
		}
	}
	if c.Provider == muster.ProviderLocal { // of a part of a machine Nomad tells all of the machine's cores
		one.Size.Cores = min(one.Size.Cores, muster.Whole((one.Size.MHz.Units()+muster.NominalMHz/2)/muster.NominalMHz))
	}
	if scale != nil {
		one.Leaving, one.IdleSince = kept.Leave == muster.LeaveGoing || kept.Fate != muster.FateHere, kept.IdleSince
		one.Lacks = cmp.Or(one.Lacks, one.Size.Lacks(scale.Offer))
		one.Size.Cores = min(one.Size.Cores, cmp.Or(scale.Offer.Cores, one.Size.Cores))
	}
	back := kept.Leave == muster.LeaveMarked || health.Closed // it is opened again soon
	if back && !one.Leaving && n.Status == "ready" && kept.EvictAt.IsZero() && one.Lacks == "" {
		one.Ready, one.Coming = false, true
	}
	taken := scale != nil && !kept.EvictAt.IsZero()
	one.Unfit = taken || scale != nil && n.Status == "ready" && one.Lacks != ""
	one.Ready = one.Ready && !one.Leaving && !taken && one.Lacks == ""
	return one
}

// scaleOf returns what matters for a cluster's number of nodes, nil where nodes
// just exist. Of a size that is not in the catalogue any more nothing is bought.
func scaleOf(c *muster.Cluster, sizes muster.Sizes) *muster.ScaleSnapshot {
	if !c.Provider.Elastic() {
		return nil
	}
	s := &muster.ScaleSnapshot{Min: c.Min, Max: c.Max, Shrinks: c.OnShrink == muster.ShrinkRequeue || c.OnShrink == muster.ShrinkTerminate, Idle: time.Duration(c.Idle), Failure: c.Failure}
	if size, err := sizes.Find(c.Size); err == nil {
		s.Offer = size.Allocatable()
	}
	if c.Deleting {
		s.Min, s.Max = 0, 0
	}
	return s
}
