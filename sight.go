package muster

import (
	"context"
	"time"
)

// Sight is what was seen of Nomad at one moment: every node, every allocation
// that is not ended, and all that belongs to this installation.
type Sight struct {
	At     time.Time
	Nodes  []SeenNode
	Allocs []SeenAlloc // of ours also the ended ones
	Jobs   []SeenJob   // dispatched jobs of this installation

	NodeJobs []SeenNodeJob // of the clusters' node agents
}

// SeenNodeJob is the system job of a cluster's node agents.
type SeenNodeJob struct {
	Cluster string
	Digest  string // of what it says
	Stopped bool   // by hand
}

// SeenNode is a node as Nomad lists it.
type SeenNode struct {
	ID        string
	Name      string
	Pool      string
	Status    string // ready, down, disconnected, initializing
	Eligible  bool
	Draining  bool
	DrainedAt time.Time // when its last drain was complete; zero where there was none
	OS        string    // what its operating system is called, such as ubuntu; may be empty
	Unusable  bool      // no run can start on it; Notes say why
	Cores     Amount
	Total     Resources // less what is reserved for the system
	Unhealthy []Devices // those of Total that do not work now
	Engine    bool      // it has a container engine that works
	Notes     []string  // what is missing on it
}

// Ready reports whether runs can be placed on the node.
func (n *SeenNode) Ready() bool {
	return n.Status == "ready" && n.Eligible && !n.Draining && !n.Unusable
}

// Down reports whether Nomad does not reach the node.
func (n *SeenNode) Down() bool { return n.Status == "down" || n.Status == "disconnected" }

// SeenAlloc is an allocation as Nomad lists it.
type SeenAlloc struct {
	ID        string
	JobID     string
	Namespace string
	Ours      bool // of this installation
	NodeAgent bool // the agent of its node, whose room is not the runs'
	Group     string
	Index     int
	NodeID    string
	NodeName  string
	Client    string // client status: pending, running, complete, failed, lost, unknown
	Desired   string // desired status: run, stop, evict
	Why       string // desired description
	Doing     string // what the task's driver does before the agent begins, such as fetching the image
	Failure   string // what the task's events say went wrong before the command could begin
	Unfetched bool   // the failure is that the agent could not be fetched
	ExitCode  int    // of the agent, once ended
	Signal    int
	Used      Resources
	Devices   []string // ids of those that it was given
	Created   time.Time
}

// Ended reports whether the allocation holds nothing of its node any more.
func (a *SeenAlloc) Ended() bool {
	return a.Client == "complete" || a.Client == "failed" || a.Client == "lost"
}

// SeenJob is a dispatched job of this installation.
type SeenJob struct {
	ID        string
	Namespace string
	Launch    string // from its dispatch's meta
	Status    string // pending, running, dead
	Stopped   bool   // by hand or by us
}

// Engine is what is said to Nomad and heard from it.
type Engine interface {
	Meter
	// Look lists what there is. It is the truth; Watch only wakes.
	Look(ctx context.Context) (*Sight, error)
	// Watch calls wake whenever something may have changed, until ctx ends or
	// the connection breaks.
	Watch(ctx context.Context, wake func()) error
	// Dispatch makes the launch exist: it registers its shape if Nomad lacks
	// it. Called twice for one launch it returns the same child.
	Dispatch(ctx context.Context, l *Launch) (jobID, childID string, err error)
	// WhyUnplaced says in Nomad's words why not all of a dispatched job is placed,
	// "" where it says nothing.
	WhyUnplaced(ctx context.Context, namespace, childID string) (string, error)
	// StopJob stops a dispatched job and, with purge, forgets it. One that
	// does not exist is no error.
	StopJob(ctx context.Context, namespace, childID string, purge bool) error
	// DropNamespace forgets all of ours in a namespace, and the namespace itself
	// where Muster makes them. One that does not exist is no error.
	DropNamespace(ctx context.Context, namespace string) error
	// SetEligible says whether Nomad may place work on a node. A node that does
	// not exist is no error.
	SetEligible(ctx context.Context, nodeID string, eligible bool) error
	// Occupied reports whether an allocation of anybody but the platform's own
	// system jobs is on a node, as Nomad knows now.
	Occupied(ctx context.Context, nodeID string) (bool, error)
	// KeepNodeJob makes sure that the system job of a cluster's node agents is as it
	// is to be; seen is what was listed of it, nil where it was not.
	KeepNodeJob(ctx context.Context, c *Cluster, seen *SeenNodeJob) error
	// DropNodeJob removes that job and, with secrets, those of a cluster that is gone.
	DropNodeJob(ctx context.Context, cluster string, secrets bool) error
	// DropPool forgets the shapes that were made for a node pool and, where it is
	// Muster's own, the pool. What does not exist is no error; a pool in which a
	// node or somebody else's job is stays, and that is one.
	DropPool(ctx context.Context, pool string, own bool) error
	// ForgetNode makes Nomad forget a node that does not exist any more; one that
	// Nomad does not know is no error.
	ForgetNode(ctx context.Context, nodeID string) error
}
