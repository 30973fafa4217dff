package server

import (
	"cmp"
	"context"
	"slices"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/scheduler/controller"
	"github.com/muster-ml/muster/store"
)

// nodes tells of the nodes as the controller saw them last.
type nodes struct {
	store      *store.Store
	controller *controller.Controller
	sizes      muster.Sizes
}

// ListNodes returns the nodes of all clusters by name.
func (n *nodes) ListNodes(ctx context.Context) ([]*muster.Node, error) {
	sight, err := n.controller.Sight()
	if err != nil {
		return nil, err
	}
	clusters, err := n.store.ListClusters(ctx)
	if err != nil {
		return nil, err
	}
	live, err := n.store.ListLive(ctx)
	if err != nil {
		return nil, err
	}
	kept, machines, err := n.store.ListFleet(ctx)
	if err != nil {
		return nil, err
	}
	health, err := n.store.ListHealth(ctx)
	if err != nil {
		return nil, err
	}
	b := &muster.Backlog{Clusters: clusters, Live: live, Nodes: kept, Machines: machines, Health: health}
	var all []*muster.Node
	for i, c := range controller.Snapshot(sight, b, n.sizes, sight.At).Clusters {
		for _, seen := range c.Nodes {
			all = append(all, describe(c.Name, seen, sight, live, kept[seen.ID], health[seen.ID]))
		}
		all = append(all, coming(clusters[i], c.Nodes, machines[c.Name])...)
	}
	slices.SortFunc(all, func(a, b *muster.Node) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}

// coming lists the machines that a provider starts and that Nomad does not know
// yet.
func coming(c *muster.Cluster, there []muster.NodeSnapshot, r muster.MachineReport) (all []*muster.Node) {
	for _, m := range r.Machines {
		known := slices.ContainsFunc(there, func(n muster.NodeSnapshot) bool { return n.Name == m.Name })
		if !known && m.State == muster.MachineStarting {
			all = append(all, &muster.Node{Name: m.Name, Cluster: c.Name, NodePool: c.NodePool, State: muster.NodePreparing, Notes: []string{"its provider starts it"}})
		}
	}
	return all
}

// describe puts together what is known of one node.
func describe(cluster string, s muster.NodeSnapshot, sight *muster.Sight, live []*muster.Launch, kept muster.NodeRecord, health muster.NodeHealth) *muster.Node {
	seen := sight.Nodes[slices.IndexFunc(sight.Nodes, func(n muster.SeenNode) bool { return n.ID == s.ID })]
	n := &muster.Node{ID: s.ID, Name: s.Name, Cluster: cluster, NodePool: seen.Pool, Status: seen.Status,
		Allocatable: s.Size, Used: s.Used, Foreign: s.Foreign, Engine: seen.Engine, Notes: seen.Notes,
		Reason: s.Lacks, Excluded: health.Excluded, DrainAt: health.DrainAt, Log: health.Log}
	for _, l := range live {
		if slices.ContainsFunc(l.Instances, func(in muster.Instance) bool { return in.NodeID == s.ID }) {
			n.Runs = append(n.Runs, l.Workspace+"/"+l.Run)
		}
	}
	if s.Preparing && n.Reason == "" {
		if n.Reason = health.Reason; health.Alloc == "" {
			n.Reason = "its agent has not reported yet"
		}
	}
	switch {
	case kept.Fate == muster.FateEvicted:
		n.State = muster.NodePreempted
	case !health.DrainAt.IsZero():
		n.State = muster.NodeLeaving
	case s.Lacks != "":
		n.State = muster.NodeUnusable
	case seen.Down() || seen.Unusable:
		n.State = muster.NodeUnusable
	case seen.Status == "initializing":
		n.State = muster.NodePreparing
	case !seen.Ready() || s.Leaving || !kept.EvictAt.IsZero():
		n.State = muster.NodeLeaving
	case s.Preparing:
		n.State = muster.NodePreparing
	case len(n.Runs) > 0:
		n.State = muster.NodeRunning
	default:
		n.State = muster.NodeIdle
	}
	return n
}
