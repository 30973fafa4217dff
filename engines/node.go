package engines

import (
	"context"
	"fmt"
	"time"
)

// Node is what Nomad's server knows of a node.
type Node struct {
	ID                    string
	Name                  string
	Status                string
	SchedulingEligibility string
	Address               string
	HTTPAddr              string
}

// ReadyNode returns the node of that name that is ready, or an error that says
// what is known.
func (s NomadServer) ReadyNode(ctx context.Context, name string) (Node, error) {
	var nodes []Node
	if err := call(ctx, "GET", s.URL()+"/v1/nodes", nil, &nodes); err != nil {
		return Node{}, err
	}
	state := "unknown"
	for _, n := range nodes {
		if n.Name == name {
			if n.Status == "ready" {
				return n, nil
			}
			state = n.Status
		}
	}
	return Node{}, fmt.Errorf("node %s is %s", name, state)
}

// Drain takes a node out of service and stops what runs on it: its tasks get
// their signal at once and have their time to end.
func (s NomadServer) Drain(ctx context.Context, node string) error {
	type spec struct{ Deadline time.Duration }
	return call(ctx, "PUT", s.URL()+"/v1/node/"+node+"/drain", map[string]any{"DrainSpec": spec{-time.Second}, "MarkEligible": false}, nil)
}

// Serve puts a drained node into service again.
func (s NomadServer) Serve(ctx context.Context, node string) error {
	return call(ctx, "PUT", s.URL()+"/v1/node/"+node+"/drain", map[string]any{"DrainSpec": nil, "MarkEligible": true}, nil)
}

// Busy counts the allocations of a node that have not ended.
func (s NomadServer) Busy(ctx context.Context, node string) (int, error) {
	var allocs []struct{ ClientStatus string }
	if err := call(ctx, "GET", s.URL()+"/v1/node/"+node+"/allocations", nil, &allocs); err != nil {
		return 0, err
	}
	busy := 0
	for _, a := range allocs {
		if a.ClientStatus == "pending" || a.ClientStatus == "running" || a.ClientStatus == "unknown" {
			busy++
		}
	}
	return busy, nil
}

// Forget makes a node delete the folders of its allocations that have ended,
// and their mounts with them.
func (s NomadServer) Forget(ctx context.Context, node string) error {
	return call(ctx, "GET", s.URL()+"/v1/client/gc?node_id="+node, nil, nil)
}
