package muster

import (
	"context"
	"time"
)

// NodeState says whether a node can take runs.
type NodeState string

// The states.
const (
	NodePreparing NodeState = "preparing" // the provider starts it, its Nomad client has just registered, or its set-up runs
	NodeIdle      NodeState = "idle"      // ready, no run on it
	NodeRunning   NodeState = "running"   // ready, with runs
	NodeLeaving   NodeState = "leaving"   // drained or not eligible: about to go
	NodeUnusable  NodeState = "unusable"  // down, disconnected, too small, excluded, its set-up or a check failed, or without the driver that runs need
	NodePreempted NodeState = "preempted" // the provider has taken it
)

// NodeStates lists the states.
func NodeStates() []NodeState {
	return []NodeState{NodePreparing, NodeIdle, NodeRunning, NodeLeaving, NodeUnusable, NodePreempted}
}

// Node is one Nomad client.
type Node struct {
	ID          string      `json:"id"`
	Name        string      `json:"name"`
	Cluster     string      `json:"cluster"`
	NodePool    string      `json:"node_pool"`
	State       NodeState   `json:"state"`
	Status      string      `json:"nomad_status"` // as Nomad says it: ready, down, disconnected, initializing
	Allocatable Allocatable `json:"allocatable"`
	Used        Resources   `json:"used"`    // by Muster's launches
	Foreign     Resources   `json:"foreign"` // by other Nomad jobs
	Engine      bool        `json:"container_engine"`
	Runs        []string    `json:"runs,omitempty"`
	Reason      string      `json:"reason,omitempty"`   // why it does not take runs, or not yet
	Excluded    string      `json:"excluded,omitempty"` // why a person took it out of service
	DrainAt     time.Time   `json:"drain_at,omitzero"`  // when the runs that are still on it are told to stop
	Log         string      `json:"log,omitempty"`      // the log of its last set-up
	Notes       []string    `json:"notes,omitempty"`    // what is missing on it, such as "not root: no memory limit"
}

// Nodes tells of the nodes as they were last seen.
type Nodes interface {
	// ListNodes returns the nodes of all clusters, by name. CodeUnreachable
	// while Nomad has not answered yet.
	ListNodes(ctx context.Context) ([]*Node, error)
}

// Ready reports whether Nomad places work on the node.
func (n *Node) Ready() bool { return n.State == NodeIdle || n.State == NodeRunning }

// SizeOf returns the smallest allocatable of the ready nodes, dimension by
// dimension, or nil without a ready node.
func SizeOf(nodes []*Node) *Allocatable {
	var size *Allocatable
	for _, n := range nodes {
		switch {
		case !n.Ready():
		case size == nil:
			s := n.Allocatable
			size = &s
		default:
			size.Cores = min(size.Cores, n.Allocatable.Cores)
			size.MHz = min(size.MHz, n.Allocatable.MHz)
			size.MiB = min(size.MiB, n.Allocatable.MiB)
			size.DiskMiB = min(size.DiskMiB, n.Allocatable.DiskMiB)
			size.Devices = commonDevices(size.Devices, n.Allocatable.Devices)
		}
	}
	return size
}

// commonDevices returns the devices that both lists have, with the lower count.
func commonDevices(a, b []Devices) []Devices {
	var common []Devices
	for _, d := range a {
		for _, e := range b {
			if d.ID() == e.ID() {
				d.Count = min(d.Count, e.Count)
				common = append(common, d)
			}
		}
	}
	return common
}
