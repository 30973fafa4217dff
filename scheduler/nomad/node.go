package nomad

import (
	"context"
	"fmt"

	"github.com/hashicorp/nomad/api"
)

// SetEligible says whether Nomad may place work on a node.
func (n *Nomad) SetEligible(ctx context.Context, nodeID string, eligible bool) error {
	ctx, cancel := context.WithTimeout(ctx, n.limit)
	defer cancel()
	if _, err := n.api.Nodes().ToggleEligibility(nodeID, eligible, (&api.WriteOptions{}).WithContext(ctx)); err != nil && status(err) != 404 {
		return fmt.Errorf("set eligibility of node %s: %w", nodeID, n.refused(err))
	}
	return nil
}

// Occupied reports whether work is on a node. Its leader is asked: what it has
// placed before the node became ineligible is listed.
func (n *Nomad) Occupied(ctx context.Context, nodeID string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, n.limit)
	defer cancel()
	allocs, _, err := n.api.Nodes().Allocations(nodeID, (&api.QueryOptions{Namespace: api.AllNamespacesNamespace}).WithContext(ctx))
	if err != nil {
		if status(err) == 404 {
			return false, nil
		}
		return false, fmt.Errorf("list allocations of node %s: %w", nodeID, n.refused(err))
	}
	for _, a := range allocs {
		system := a.Job != nil && a.Job.Type != nil && *a.Job.Type == api.JobTypeSystem
		if !system && !a.ClientTerminalStatus() {
			return true, nil
		}
	}
	return false, nil
}

// ForgetNode purges a node.
func (n *Nomad) ForgetNode(ctx context.Context, nodeID string) error {
	ctx, cancel := context.WithTimeout(ctx, n.limit)
	defer cancel()
	if _, _, err := n.api.Nodes().Purge(nodeID, (&api.QueryOptions{}).WithContext(ctx)); err != nil && !unknown(err, "node not found") {
		return fmt.Errorf("forget node %s: %w", nodeID, n.refused(err))
	}
	return nil
}
