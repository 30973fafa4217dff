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
}

// NodeSnapshot is one node at the moment of the snapshot.
type NodeSnapshot struct {
	ID        string
	Name      string
	Ready     bool
	Size      NodeSize  // allocatable, once all its devices are well
	Unhealthy []Devices // those of Size that are not to be had now
	Engine    bool      // it has a container engine that works
	Used      Resources // by Muster's launches, seen or reserved
	Foreign   Resources // by other Nomad jobs
}

// Waiting is a run that waits.
type Waiting struct {
	RunID     int64
	Run       string // WORKSPACE/RUN
	Priority  int
	QueuedAt  time.Time
	NotBefore time.Time
	BackOff   string // why NotBefore is set
	Container bool   // it wants a container engine on its nodes
	Groups    []Group
}

// Decision is what the scheduler decided, and why: every waiting run is in
// exactly one of the lists.
type Decision struct {
	Starts   []Start
	Waits    []Wait
	Refusals []Refusal
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
