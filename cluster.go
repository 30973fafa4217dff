package muster

import (
	"context"
	"time"
)

// Tier says whether the provider may take a node back.
type Tier string

// The tiers.
const (
	TierDedicated   Tier = "dedicated"
	TierLowPriority Tier = "low_priority"
)

// Provider says where a cluster's nodes come from.
type Provider string

// ProviderNone is the provider of nodes that just exist.
const ProviderNone Provider = "none"

// Cluster is named compute of the platform, backed by one Nomad node pool.
type Cluster struct {
	Name      string    `json:"name"`
	NodePool  string    `json:"node_pool"`
	Provider  Provider  `json:"provider"`
	Region    string    `json:"region"`
	Tier      Tier      `json:"tier"`
	CreatedAt time.Time `json:"created_at"`

	Size  *NodeSize `json:"size,omitempty"` // the smallest allocatable of its ready nodes; nil without one
	Nodes int       `json:"nodes"`          // registered in the pool
	Ready int       `json:"ready"`          // of these, ready to take runs
}

// Validate refuses a cluster that cannot be kept.
func (c *Cluster) Validate() error {
	if err := CheckName("cluster", c.Name); err != nil {
		return err
	}
	return CheckNodePool(c.NodePool)
}

// Clusters keeps the clusters; what it returns has no Size, Nodes or Ready.
type Clusters interface {
	CreateCluster(ctx context.Context, c *Cluster) error // fills CreatedAt
	FindCluster(ctx context.Context, name string) (*Cluster, error)
	ListClusters(ctx context.Context) ([]*Cluster, error) // by name
}

// NodeSize is what a node of a cluster offers to runs: what it advertises less
// the system's reserve.
type NodeSize struct {
	Cores Amount `json:"cores" example:"4"`
	Resources
}

// NodeState says whether a node can take runs.
type NodeState string

// The states that are known for nodes that just exist.
const (
	NodePreparing NodeState = "preparing" // its Nomad client has just registered
	NodeIdle      NodeState = "idle"      // ready, no run on it
	NodeRunning   NodeState = "running"   // ready, with runs
	NodeLeaving   NodeState = "leaving"   // drained or not eligible
	NodeUnusable  NodeState = "unusable"  // down, disconnected or without the driver that runs need
)

// Node is one Nomad client.
type Node struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Cluster     string    `json:"cluster"`
	NodePool    string    `json:"node_pool"`
	State       NodeState `json:"state"`
	Status      string    `json:"nomad_status"` // as Nomad says it: ready, down, disconnected, initializing
	Allocatable NodeSize  `json:"allocatable"`
	Used        Resources `json:"used"`    // by Muster's launches
	Foreign     Resources `json:"foreign"` // by other Nomad jobs
	Engine      bool      `json:"container_engine"`
	Runs        []string  `json:"runs,omitempty"`
	Notes       []string  `json:"notes,omitempty"` // what is missing on it, such as "not root: no memory limit"
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
func SizeOf(nodes []*Node) *NodeSize {
	var size *NodeSize
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
