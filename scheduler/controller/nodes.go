package controller

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/muster-ml/muster"
)

// nodes keeps the agents of nodes where their clusters want them, and what
// agents and people say of nodes true in Nomad: one that is not fit for runs is
// not eligible, and eligible again when it is. A node that somebody else closed
// stays closed.
func (k *Controller) nodes(ctx context.Context, ledger muster.Ledger) (time.Duration, error) {
	seen := k.sight.Load()
	if seen == nil || seen.stale != nil {
		return 0, nil
	}
	clusters, err := ledger.ListClusters(ctx)
	if err != nil {
		return 0, err
	}
	health, err := ledger.ListHealth(ctx)
	if err != nil {
		return 0, err
	}
	agents, wanted := map[string]bool{}, map[string]string{} // nodes with an agent, pools whose nodes are to have one with their clusters
	for _, a := range seen.Allocs {
		agents[a.NodeID] = agents[a.NodeID] || a.NodeAgent && !a.Ended()
	}
	for _, c := range clusters {
		if c.Prepares() {
			wanted[c.NodePool] = c.Name
		}
	}
	kept, err := ledger.ListRecords(ctx)
	if err != nil {
		return 0, err
	}
	var errs []error
	var expected []muster.NodeRecord
	listed, now, again := map[string]bool{}, time.Now(), time.Duration(0)
	for _, n := range seen.Nodes {
		listed[n.ID] = true
		h := health[n.ID]
		if h.NodeID == "" {
			if wanted[n.Pool] != "" && n.Status == "ready" {
				expected = append(expected, muster.NodeRecord{ID: n.ID, Cluster: wanted[n.Pool], Name: n.Name})
			}
			continue
		}
		errs = append(errs, k.open(ctx, ledger, &n, &h, kept[n.ID], wanted[n.Pool] != "" && !agents[n.ID]))
		switch left := h.DrainAt.Sub(now); {
		case h.DrainAt.IsZero():
		case left > 0:
			again = sooner(again, left)
		case left > -2*deadlines: // who runs on it is told now
			k.ring("track")
		}
	}
	var gone []string
	for id, h := range health {
		if !listed[id] && h.ReportedAt.Before(seen.At) && h.Since.Before(seen.At) {
			gone = append(gone, id)
		}
	}
	errs = append(errs, ledger.ForgetHealth(ctx, gone), ledger.ExpectAgents(ctx, expected), k.nodeJobs(ctx, clusters, seen.Sight), k.dropPools(ctx, clusters))
	return again, errors.Join(errs...)
}

// open makes a node eligible or not, by what is known of its health. One that
// leaves its cluster is closed by that. Nomad places its agent on an eligible node
// alone: one that has lost it is opened for it, and admission keeps runs off.
func (k *Controller) open(ctx context.Context, ledger muster.Ledger, n *muster.SeenNode, h *muster.NodeHealth, kept muster.NodeRecord, agentless bool) error {
	unfit := h.Unfit() != "" && (!agentless || n.Status != "ready" || h.Excluded != "")
	leaves := kept.Leave != muster.LeaveNot || !kept.EvictAt.IsZero() || kept.Fate != muster.FateHere
	switch {
	case unfit && !h.Closed && (n.Eligible || leaves):
		// It is written first: what is closed and not written stays closed for ever.
		if err := ledger.CloseNodes(ctx, true, n.ID); err != nil {
			return err
		}
		return k.setEligible(ctx, n.ID, false)
	case unfit && h.Closed && n.Eligible:
		return k.setEligible(ctx, n.ID, false)
	case !unfit && h.Closed && !leaves: // one that leaves is opened here once it stays
		now, err := ledger.ListRecords(ctx)
		if r := now[n.ID]; err != nil || r.Leave != kept.Leave || r.Fate != kept.Fate || !r.EvictAt.Equal(kept.EvictAt) { // it leaves since
			return err
		}
		if err := k.setEligible(ctx, n.ID, true); err != nil {
			return err
		}
		return ledger.CloseNodes(ctx, false, n.ID)
	}
	return nil
}

// setEligible tells Nomad, and looks at what came of it.
func (k *Controller) setEligible(ctx context.Context, id string, eligible bool) error {
	defer k.ring("look")
	return k.Engine.SetEligible(ctx, id, eligible)
}

// nodeJobs keeps the system jobs of the clusters' node agents. That of a cluster
// that is being deleted stays until its nodes are gone.
func (k *Controller) nodeJobs(ctx context.Context, clusters []*muster.Cluster, seen *muster.Sight) error {
	var errs []error
	for _, c := range clusters {
		i := slices.IndexFunc(seen.NodeJobs, func(j muster.SeenNodeJob) bool { return j.Cluster == c.Name })
		// Nomad refuses the job of a pool that no node has joined yet.
		if c.Prepares() && (i >= 0 || slices.ContainsFunc(seen.Nodes, func(n muster.SeenNode) bool { return n.Pool == c.NodePool })) {
			var job *muster.SeenNodeJob
			if i >= 0 {
				job = &seen.NodeJobs[i]
			}
			errs = append(errs, k.Engine.KeepNodeJob(ctx, c, job))
		}
	}
	for _, j := range seen.NodeJobs {
		i := slices.IndexFunc(clusters, func(c *muster.Cluster) bool { return c.Name == j.Cluster })
		if i < 0 || !clusters[i].Prepares() {
			errs = append(errs, k.Engine.DropNodeJob(ctx, j.Cluster, i < 0))
		}
	}
	return errors.Join(errs...)
}

// dropPools forgets the shapes of clusters without a provider: those are gone at
// once when they are deleted, and their pools are the operator's. One that is
// deleted while no server leads, or before the leader has seen it, is not noticed.
func (k *Controller) dropPools(ctx context.Context, clusters []*muster.Cluster) error {
	used := map[string]bool{}
	for _, c := range clusters {
		used[c.NodePool] = true
		if !c.Provider.Elastic() {
			k.pools[c.NodePool] = true
		}
	}
	var errs []error
	for pool := range k.pools {
		if used[pool] {
			continue
		}
		if err := k.Engine.DropPool(ctx, pool, false); err != nil {
			errs = append(errs, err)
			if muster.CodeOf(err) != muster.CodeRefused { // it is tried again
				continue
			}
		}
		delete(k.pools, pool)
	}
	return errors.Join(errs...)
}
