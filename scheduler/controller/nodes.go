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
	errs := []error{k.nodeJobs(ctx, clusters, seen.NodeJobs)}
	health, err := ledger.ListHealth(ctx)
	if err != nil || len(health) == 0 {
		return 0, errors.Join(append(errs, err)...)
	}
	kept, err := ledger.ListRecords(ctx)
	if err != nil {
		return 0, err
	}
	listed, now, again := map[string]bool{}, time.Now(), time.Duration(0)
	for _, n := range seen.Nodes {
		listed[n.ID] = true
		h := health[n.ID]
		if h.NodeID == "" {
			continue
		}
		errs = append(errs, k.open(ctx, ledger, &n, &h, kept[n.ID]))
		switch left := h.DrainAt.Sub(now); {
		case h.DrainAt.IsZero():
		case left > 0:
			again = min(max(again, left), left)
		case left > -2*deadlines: // who runs on it is told now
			k.ring("track")
		}
	}
	var gone []string
	for id := range health {
		if !listed[id] {
			gone = append(gone, id)
		}
	}
	return again, errors.Join(append(errs, ledger.ForgetHealth(ctx, gone))...)
}

// open makes a node eligible or not, by what is known of its health. One that
// leaves its cluster is closed by that.
func (k *Controller) open(ctx context.Context, ledger muster.Ledger, n *muster.SeenNode, h *muster.NodeHealth, kept muster.NodeRecord) error {
	unfit := h.Unfit() != "" || !h.DrainAt.IsZero()
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
	case !unfit && h.Closed:
		if !leaves {
			if err := k.setEligible(ctx, n.ID, true); err != nil {
				return err
			}
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
func (k *Controller) nodeJobs(ctx context.Context, clusters []*muster.Cluster, seen []muster.SeenNodeJob) error {
	var errs []error
	for _, c := range clusters {
		if c.Prepares() {
			i := slices.IndexFunc(seen, func(j muster.SeenNodeJob) bool { return j.Cluster == c.Name })
			var job *muster.SeenNodeJob
			if i >= 0 {
				job = &seen[i]
			}
			errs = append(errs, k.Engine.KeepNodeJob(ctx, c, job))
		}
	}
	for _, j := range seen {
		if !slices.ContainsFunc(clusters, func(c *muster.Cluster) bool { return c.Name == j.Cluster && c.Prepares() }) {
			errs = append(errs, k.Engine.DropNodeJob(ctx, j.Cluster))
		}
	}
	return errors.Join(errs...)
}
