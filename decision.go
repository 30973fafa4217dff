package muster

import "time"

// Snapshot is the scheduler's input: one moment of the clusters, what holds
// capacity, and who waits. Decide must not change it.
type Snapshot struct {
	Now      time.Time
	Clusters []ClusterSnapshot
}

// ClusterSnapshot is one cluster at the moment of the snapshot.
type ClusterSnapshot struct {
	Name  string
	Nodes []NodeSnapshot // in the order of their ids
	Queue []Waiting      // in any order

	Paused     bool
	Closing    bool           // it is being deleted, and takes no more runs
	Workspaces []string       // whose runs it takes; all where there is none
	Scale      *ScaleSnapshot // nil where nodes just exist
}

// ScaleSnapshot is what matters for how many nodes a cluster shall have.
type ScaleSnapshot struct {
	Min, Max int
	Shrinks  bool // runs do not keep nodes above its max
	Idle     time.Duration
	Offer    Allocatable // of a node to come
	Failure  *BuyFailure // why the provider gives no more now
}

// NodeSnapshot is one node at the moment of the snapshot.
type NodeSnapshot struct {
	ID        string
	Name      string
	Ready     bool
	Size      Allocatable // allocatable, once all its devices are well
	Unhealthy []Devices   // those of Size that are not to be had now
	Engine    bool        // it has a container engine that works
	Used      Resources   // by Muster's launches, seen or reserved
	Foreign   Resources   // by other Nomad jobs
	Ending    Resources   // of Used, what is free in a moment: its command has ended
	Coming    bool        // it will be ready: it has just registered
	Preparing bool        // it is made ready: what lands on it waits
	Held      bool        // a person took it out of service, and it stays
	Unfit     bool        // it takes no run now, as it is not fit or its loss is announced, and its provider counts it
	Leaving   bool        // it is marked to leave, and takes no run
	Lacks     string      // why it takes no run: unusable, excluded, or less than its cluster's size promises; "" where it may
	IdleSince time.Time   // when it was emptied; zero while it is not
}

// Empty reports whether nothing but the platform's own jobs is on the node.
func (n *NodeSnapshot) Empty() bool {
	return n.Used.MHz == 0 && n.Used.MiB == 0 && n.Foreign.MHz == 0 && n.Foreign.MiB == 0
}

// Waiting is a run that waits.
type Waiting struct {
	RunID        int64
	Run          string // WORKSPACE/RUN
	Priority     int
	QueuedAt     time.Time
	NotBefore    time.Time
	BackOff      string   // why NotBefore is set
	Alternatives []string // other clusters, in order, where it may start as well
	Container    bool     // it wants a container engine on its nodes
	Groups       []Group
}

// Decision is what the scheduler decided, and why: every waiting run is in
// exactly one of the first three lists.
type Decision struct {
	Starts   []Start
	Waits    []Wait
	Refusals []Refusal
	Scales   []Scale // one an elastic cluster
}

// Scale says how many nodes an elastic cluster shall have, were none to leave,
// and which may leave.
type Scale struct {
	Cluster string
	Nodes   int
	More    int      // nodes that are not there, for runs that wait
	Reason  string   // a sentence with the numbers
	Over    []string // nodes in use above its max, from which runs are to go, by id
	Spare   []string // nodes that nobody needs and that are idle for long enough, by id, the first to go first
}

// Start says that a run starts, and on which nodes room is held for it.
type Start struct {
	RunID   int64
	Cluster string
	Cores   Amount      // of all instances
	Each    []Resources // of one instance, by group
	Places  []Place     // one an instance, in the order of their indexes
}

// Place is where room is held for an instance.
type Place struct {
	Group    int // index into the run's groups
	NodeID   string
	NodeName string
}

// Wait says that a run waits, and why.
type Wait struct {
	RunID  int64
	Reason WaitReason
}

// Refusal says that a run can never start on its cluster.
type Refusal struct {
	RunID  int64
	Reason string // a sentence with the numbers
}
