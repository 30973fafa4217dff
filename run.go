package muster

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Kind says how a run comes to its end.
type Kind string

// The kinds. Only a command is made as yet; the others are parents whose state
// is a fold over their children, or, external, made by a tracking client.
const (
	KindCommand  Kind = "command"
	KindSweep    Kind = "sweep"
	KindPipeline Kind = "pipeline"
	KindArray    Kind = "array"
	KindExternal Kind = "external"
)

// RunState is where a run is in its life.
//
//	queued ──► admitted ──► starting ──► running ──► succeeded
//	  ▲           │            │            │
//	  └───────────┴────────────┴────────────┘  tried again
//	failed and cancelled can be reached from every state that is not final
type RunState string

// The states.
const (
	RunQueued    RunState = "queued"    // a row; the controller admits, fails or cancels it
	RunAdmitted  RunState = "admitted"  // has an attempt and a reservation; the controller launches it
	RunStarting  RunState = "starting"  // exists in Nomad; the agents move it on
	RunRunning   RunState = "running"   // its command has begun
	RunSucceeded RunState = "succeeded" // final
	RunFailed    RunState = "failed"    // final, with a reason
	RunCancelled RunState = "cancelled" // final, with a reason
)

// runTransitions is the table of what may follow what.
var runTransitions = map[RunState][]RunState{
	RunQueued:   {RunAdmitted, RunFailed, RunCancelled},
	RunAdmitted: {RunStarting, RunQueued, RunFailed, RunCancelled},
	RunStarting: {RunRunning, RunQueued, RunFailed, RunCancelled},
	RunRunning:  {RunSucceeded, RunQueued, RunFailed, RunCancelled},
}

// RunStates lists the states in the order of a run's life.
func RunStates() []RunState {
	return []RunState{RunQueued, RunAdmitted, RunStarting, RunRunning, RunSucceeded, RunFailed, RunCancelled}
}

// Final reports whether nothing follows s.
func (s RunState) Final() bool { return runTransitions[s] == nil }

// CanBecome reports whether to may follow s.
func (s RunState) CanBecome(to RunState) bool { return slices.Contains(runTransitions[s], to) }

// Run is one execution that was asked for.
type Run struct {
	ID          int64             `json:"-"`
	Version     int64             `json:"-"` // rises with each move and each change by a person
	WorkspaceID int64             `json:"-"`
	Workspace   string            `json:"workspace"`
	Namespace   string            `json:"-"`
	Experiment  string            `json:"experiment"`
	Name        string            `json:"name"`
	Kind        Kind              `json:"kind"`
	Parent      string            `json:"parent,omitempty"`
	DisplayName string            `json:"display_name,omitempty"`
	Description string            `json:"description,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Properties  map[string]string `json:"properties,omitempty"`
	Cluster     string            `json:"cluster"`
	PlacedOn    string            `json:"placed_on,omitempty" doc:"The cluster of its last attempt, where that is an alternative."`
	Spec        Spec              `json:"spec"`

	State      RunState    `json:"state"`
	Reason     string      `json:"reason,omitempty"`      // why it is in this state, a sentence
	WaitReason *WaitReason `json:"wait_reason,omitempty"` // while queued
	Position   int         `json:"position,omitempty"`    // while queued: in its cluster's queue, from 1; not in lists of runs
	Phase      Phase       `json:"phase,omitempty"`       // of the current attempt
	ExitCode   *int        `json:"exit_code,omitempty"`   // of the last command that ended
	Stop       StopReason  `json:"stop,omitempty"`        // somebody wants it to end

	Failures         int       `json:"failures"`          // commands that failed; these use up retries
	PlatformFailures int       `json:"platform_failures"` // of artifact, image, input; three are allowed
	Losses           int       `json:"losses"`            // nodes lost, preempted or drained
	Evictions        int       `json:"evictions"`         // nodes that a provider took back
	NotBefore        time.Time `json:"not_before,omitzero"`

	CreatedAt time.Time `json:"created_at"`
	QueuedAt  time.Time `json:"queued_at"` // its place among equal priorities; kept when it goes back
	StartedAt time.Time `json:"started_at,omitzero"`
	EndedAt   time.Time `json:"ended_at,omitzero"`

	ArchivedAt time.Time `json:"archived_at,omitzero"` // kept out of lists, and from retention
}

// MaxPlatformFailures is how many attempts of a run may fail by the platform's
// fault before the run itself fails.
const MaxPlatformFailures = 3

// StopReason says why a run or an attempt is wanted to end. It is desired
// state: the state follows when the end is seen.
type StopReason string

// The reasons to stop.
const (
	StopCancel   StopReason = "cancel"        // the user asked
	StopTimeout  StopReason = "time limit"    // the command took longer than the limit
	StopSibling  StopReason = "sibling"       // another instance of the gang ended badly
	StopUnplaced StopReason = "placing limit" // Nomad did not place every instance in time
	StopGang     StopReason = "gang limit"    // not every instance claimed in time
	StopLost     StopReason = "node lost"     // a node is gone
	StopEvicted  StopReason = "evicted"       // a provider takes a node back soon
	StopShrink   StopReason = "shrink"        // its cluster becomes smaller, and is not to keep it
	StopDrain    StopReason = "drain"         // a node is taken out of service
	StopOperator StopReason = "operator"      // the Nomad job was stopped by hand
	StopParent   StopReason = "parent"        // the parent was cancelled
)

// cancelled says why a run that was stopped for the reason is cancelled.
func (s StopReason) cancelled() string {
	switch s {
	case StopParent:
		return "cancelled with its parent"
	case StopShrink:
		return "cancelled as its cluster became smaller"
	}
	return "cancelled by the user"
}

// WaitCode is the kind of a WaitReason.
type WaitCode string

// Why a run waits.
const (
	WaitNew      WaitCode = "new"      // not looked at yet
	WaitCapacity WaitCode = "capacity" // no set of nodes has room for all instances now
	WaitForeign  WaitCode = "foreign"  // it would fit but for other Nomad jobs
	WaitAhead    WaitCode = "ahead"    // runs before it wait for the nodes it would take
	WaitNodes    WaitCode = "no nodes" // the cluster has no ready node
	WaitScaling  WaitCode = "scaling"  // nodes come for it
	WaitProvider WaitCode = "provider" // the provider gives no more nodes now
	WaitPaused   WaitCode = "paused"   // the cluster is paused
	WaitClosed   WaitCode = "closed"   // the cluster is not for its workspace any more
	WaitNomad    WaitCode = "nomad"    // Nomad does not answer
	WaitBackOff  WaitCode = "back-off" // a failure of the platform; tried again later
)

// WaitReason says why a run waits, with the numbers that decided it.
type WaitReason struct {
	Code     WaitCode   `json:"code"`
	Message  string     `json:"message"`            // a sentence with the numbers
	Shortage []Shortage `json:"shortage,omitempty"` // on the node that comes nearest
	Ahead    string     `json:"ahead,omitempty"`    // the run that goes first, WORKSPACE/RUN; "" where the caller may not see it
	Until    time.Time  `json:"until,omitzero"`
}

// RunRequest asks for a run.
type RunRequest struct {
	Name        string            `json:"name,omitempty"`       // generated when left out
	Experiment  string            `json:"experiment,omitempty"` // "default" when left out
	Parent      string            `json:"parent,omitempty"`
	DisplayName string            `json:"display_name,omitempty"`
	Description string            `json:"description,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Properties  map[string]string `json:"properties,omitempty"`
	Spec        Spec              `json:"spec"`
}

// Complete fills in what the request leaves out.
func (r *RunRequest) Complete() {
	if r.Name == "" {
		r.Name = GenerateName()
	}
	if r.Experiment == "" {
		r.Experiment = "default"
	}
	r.Spec.Complete()
}

// Validate refuses a request that cannot become a run; call Complete first.
func (r *RunRequest) Validate() error {
	if err := CheckName("run", r.Name); err != nil {
		return err
	}
	if err := CheckName("experiment", r.Experiment); err != nil {
		return err.(*Error).At("experiment")
	}
	return InSpec(r.Spec.Validate())
}

// InSpec returns an error about a place in a spec as one about that place in a
// request, such as spec.compute.
func InSpec(err error) error {
	if e, ok := errors.AsType[*Error](err); ok && e.Field != "" {
		return e.At("spec." + e.Field)
	}
	return err
}

// Origin says who asked for something, and by which request. Notes, such as the
// environment's mapping, become events of a run that is created.
type Origin struct {
	Actor     string
	RequestID string
	Notes     []string
	Versions  []int64  // only while the thing has one of these versions; nil is any
	Receipt   *Receipt // kept in the same transaction, where there is one
}

// Check refuses a thing that has another version than the caller has seen.
func (o Origin) Check(version int64) error {
	if o.Versions == nil || slices.Contains(o.Versions, version) {
		return nil
	}
	return Errorf(CodePrecondition, "it has changed since").At("If-Match").WithCure("look at it again, and send the change with its new ETag")
}

// NewRun is a run that is to be made. Its notes, such as the environment's
// mapping, become events.
type NewRun struct {
	*Run
	Notes []string
}

// MaxBulk is how many runs one request may ask for.
const MaxBulk = 1000

// BulkRequest asks for several runs: all are made, or none.
type BulkRequest struct {
	Runs []RunRequest `json:"runs" minItems:"1" maxItems:"1000"`
}

// BulkAnswer is what was made, in the order in which it was asked for.
type BulkAnswer struct {
	Runs []*Run `json:"runs"`
}

// Runs keeps the runs on behalf of people. What it changes is what is wanted;
// the leader's Ledger makes it so.
type Runs interface {
	// CreateRun makes the experiment on first use, and the run with its first
	// events in one transaction, one more for each note and warning. A name that is taken is CodeConflict, a parent
	// that does not exist CodeNotFound, one that is final CodeConflict.
	CreateRun(ctx context.Context, r *Run, by Origin) error
	// CreateRuns makes all runs, or none: an error names the one, as
	// runs[3].name. A run may be the parent of those behind it.
	CreateRuns(ctx context.Context, all []NewRun, by Origin) error
	FindRun(ctx context.Context, workspace, name string) (*Run, error) // with its position
	// ListRuns returns a page of runs, without positions, and where it ends: nil
	// for the last page.
	ListRuns(ctx context.Context, f RunFilter) ([]*Run, *RunPlace, error)
	// ListQueue returns the waiting runs by cluster and position, but no more than
	// limit: all for "", else a cluster's own, and then those of others that name it
	// as an alternative. total is how many there are.
	ListQueue(ctx context.Context, cluster string, limit int) (runs []*Run, total int, err error)
	// RequestStop marks the run and every run below it that is not final as
	// wanted to end. One that is final already is CodeConflict.
	RequestStop(ctx context.Context, workspace, name string, by Origin) error
	// IsWithin reports whether the run of that name is the ancestor or below it;
	// one that does not exist is not.
	IsWithin(ctx context.Context, ancestor int64, workspace, name string) (bool, error)
}

// TotalHeader says, with the beginning of a list, how long all of it is.
const TotalHeader = "Muster-Total"

// NextHeader says, with a page of a list of names, the cursor of the next page.
const NextHeader = "Muster-Next"

// RunView is a run with what it did and left.
type RunView struct {
	Run
	Attempts   []*Attempt           `json:"attempts,omitzero"` // left out in lists
	Metrics    map[string]float64   `json:"metrics"`           // the last value of each
	Parameters map[string]string    `json:"parameters"`        // that it logged
	Inputs     map[string]string    `json:"inputs"`            // literals, and references of data
	Outputs    map[string]OutputSum `json:"outputs,omitzero"`  // by output; "outputs" is the ./outputs folder
}

// OutputSum sums up what is kept of one output.
type OutputSum struct {
	Files int   `json:"files"`
	Size  int64 `json:"size"` // bytes
}
