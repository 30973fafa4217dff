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
	b := &muster.Backlog{Clusters: clusters, Live: live}
	var all []*muster.Node
	for _, c := range controller.Snapshot(sight, b, n.sizes, sight.At).Clusters {
		for _, seen := range c.Nodes {
			all = append(all, describe(c.Name, seen, sight, live))
		}
	}
	slices.SortFunc(all, func(a, b *muster.Node) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}

// describe puts together what is known of one node.
func describe(cluster string, s muster.NodeSnapshot, sight *muster.Sight, live []*muster.Launch) *muster.Node {
	seen := sight.Nodes[slices.IndexFunc(sight.Nodes, func(n muster.SeenNode) bool { return n.ID == s.ID })]
	n := &muster.Node{ID: s.ID, Name: s.Name, Cluster: cluster, NodePool: seen.Pool, Status: seen.Status,
		Allocatable: s.Size, Used: s.Used, Foreign: s.Foreign, Engine: seen.Engine, Notes: seen.Notes}
	for _, l := range live {
		if slices.ContainsFunc(l.Instances, func(in muster.Instance) bool { return in.NodeID == s.ID }) {
			n.Runs = append(n.Runs, l.Workspace+"/"+l.Run)
		}
	}
	switch {
	case seen.Status == "down" || seen.Status == "disconnected" || seen.Unusable:
		n.State = muster.NodeUnusable
	case seen.Status == "initializing":
		n.State = muster.NodePreparing
	case !seen.Ready():
		n.State = muster.NodeLeaving
	case len(n.Runs) > 0:
		n.State = muster.NodeRunning
	default:
		n.State = muster.NodeIdle
	}
	return n
}
