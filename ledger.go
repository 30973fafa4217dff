package muster

import (
	"context"
	"time"
)

// Ledger is the leader's side of the store. Every call carries the leader's
// term and is ErrNotLeader once another has it; every change of state is a
// compare-and-set on the state it came from, and writes its event in the same
// transaction.
type Ledger interface {
	Fleet
	// Backlog returns the waiting runs, the launches that hold capacity, the
	// clusters and what is remembered of their nodes.
	Backlog(ctx context.Context) (*Backlog, error)
	// Apply makes decisions true: starts get an attempt, a launch and its
	// reservation, refusals fail, waits get their reason when it changed. A run
	// that is no longer queued, or is wanted to stop, is passed over, and so is
	// one with a place on a node that was marked to leave meanwhile. It
	// returns how many runs it admitted.
	Apply(ctx context.Context, d *Decision) (admitted int, err error)
	// Launches returns the launches in these states with their runs.
	Launches(ctx context.Context, states ...LaunchState) ([]*Execution, error)
	// FindExecution returns one launch with its run, CodeNotFound without it.
	FindExecution(ctx context.Context, launch string) (*Execution, error)
	// Move writes what Observe found: launch, attempt and run together.
	Move(ctx context.Context, x *Execution, m *Moves) error
	// StopQueued ends the queued runs that are wanted to stop, and returns how
	// many.
	StopQueued(ctx context.Context) (int, error)
	// KeepStats keeps samples of instances, MaxStats of each.
	KeepStats(ctx context.Context, samples []StatSample) error
	// Forsaken returns the namespaces of deleted workspaces that Nomad may have,
	// and in which nothing of ours runs any more; Dropped says that one is gone.
	Forsaken(ctx context.Context) (namespaces []string, err error)
	Dropped(ctx context.Context, namespace string) error
}

// Backlog is what the store knows for a snapshot.
type Backlog struct {
	Clusters []*Cluster
	Waiting  map[string][]Waiting     // by cluster
	Live     []*Launch                // reserved or dispatched
	Nodes    map[string]NodeRecord    // by id
	Machines map[string]MachineReport // what providers said last, by cluster
	Health   map[string]NodeHealth    // by node id
}

// Fleet is the leader's side of elastic clusters' nodes.
type Fleet interface {
	// KeepNodes writes records as they are to be, and an event for each step out
	// of or back into a cluster.
	KeepNodes(ctx context.Context, nodes []NodeRecord) error
	// ForgetNodes removes the records of nodes that Nomad does not list any more.
	ForgetNodes(ctx context.Context, nodes []NodeRecord) error
	// Publish writes how many nodes a cluster shall have together with the nodes
	// that leave for it: whoever reads the one reads the other. CodeConflict where
	// the number is not the old one any more.
	Publish(ctx context.Context, cluster string, old *Wanted, w Wanted, leaving []NodeRecord) error
	// ListLive returns the launches that hold capacity: reserved or dispatched.
	ListLive(ctx context.Context) ([]*Launch, error)
	// ListRecords returns what is remembered of nodes, by id.
	ListRecords(ctx context.Context) (map[string]NodeRecord, error)
	// ListClusters returns the clusters, by name.
	ListClusters(ctx context.Context) ([]*Cluster, error)
	// ListHealth returns what is known of nodes' health, by id.
	ListHealth(ctx context.Context) (map[string]NodeHealth, error)
	// ExpectAgents remembers since when nodes are to have an agent, those of which
	// nothing is known yet.
	ExpectAgents(ctx context.Context, nodes []NodeRecord) error
	// CloseNodes keeps which nodes the leader has made ineligible, or opened again.
	CloseNodes(ctx context.Context, closed bool, ids ...string) error
	// DrainNodes makes the runs on some nodes be told to stop; they are cancelled or
	// start again elsewhere.
	DrainNodes(ctx context.Context, nodes []NodeRecord, why string, cancel bool) error
	// TakeNodes announces the losses of a drill that goes on.
	TakeNodes(ctx context.Context, cluster string, ids []string, at time.Time) error
	// ForgetHealth removes what is known of nodes that Nomad does not list any more.
	ForgetHealth(ctx context.Context, ids []string) error
	// KeepUnready remembers that nodes which were wanted did not join, or cannot be
	// used.
	KeepUnready(ctx context.Context, cluster string, f *BuyFailure) error
	// DropCluster forgets a cluster that is being deleted and has no node left.
	DropCluster(ctx context.Context, cluster string) error
}

// Execution is a launch with the attempt and the run that it carries.
type Execution struct {
	Launch  *Launch
	Attempt *Attempt
	Run     *Run
}

// Moves are what an observation leads to; nil and empty fields change nothing.
type Moves struct {
	Launch    LaunchState // the launch's next state
	JobID     string      // found at dispatch
	ChildID   string
	Stop      StopReason // desired of the launch from now on
	StopWhy   string     // a sentence for who reads it; "" where Stop says all
	StopJob   bool       // Nomad must be told to stop the job, before this is written
	Outcome   Outcome    // of the attempt
	Reason    string     // of the outcome
	Placed    []Instance // placements that were seen
	Runs      []RunMove  // in order
	Notes     []string   // events without a change of state
	Failures  int        // added to the run's counts
	Platform  int
	Losses    int
	Evictions int
	NotBefore time.Time
}

// Empty reports whether nothing changes.
func (m *Moves) Empty() bool {
	return m.Launch == "" && !m.StopJob && m.Stop == "" && m.Outcome == "" && m.Placed == nil && m.Runs == nil && m.Notes == nil
}

// RunMove is one step of a run.
type RunMove struct {
	To     RunState
	Reason string
}

// Lease is who leads.
type Lease struct {
	Holder string
	Term   int64
	Until  time.Time
}

// The lease's times.
const (
	LeaseLength  = 5 * time.Second
	LeaseRenewal = 1500 * time.Millisecond
)

// Leases keeps the lease.
type Leases interface {
	// AcquireLease takes the lease or renews it, and returns it as it is now:
	// its holder may be another. A holder of the same name that went on from an
	// earlier process gets a new term with fresh.
	AcquireLease(ctx context.Context, holder string, fresh bool) (*Lease, error)
	// Lead returns the ledger of a term.
	Lead(term int64) Ledger
}

// ErrNotLeader says that another server leads by now.
var ErrNotLeader = Errorf(CodeConflict, "this server does not lead any more")
