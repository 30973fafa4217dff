package muster

import (
	"context"
	"time"
)

// Phase is what an attempt is doing, told by its agent.
type Phase string

// The phases, in the order in which they come.
const (
	PhaseSetup       Phase = "node set-up"
	PhaseCode        Phase = "code"
	PhaseInputs      Phase = "inputs"
	PhaseEnvironment Phase = "environment"
	PhasePreparation Phase = "preparation"
	PhasePeers       Phase = "peers"
	PhaseCommand     Phase = "command"
	PhaseUploading   Phase = "uploading"
	PhaseDone        Phase = "done"
)

// Phases lists the phases in order.
func Phases() []Phase {
	return []Phase{PhaseSetup, PhaseCode, PhaseInputs, PhaseEnvironment, PhasePreparation, PhasePeers, PhaseCommand, PhaseUploading, PhaseDone}
}

// Outcome is how an attempt ended; "" while it goes on.
type Outcome string

// The outcomes. What follows is in outcomes: see Observe.
const (
	OutcomeSucceeded Outcome = "succeeded"
	OutcomeFailed    Outcome = "failed"    // the user's command, or its time limit; uses up retries
	OutcomePlatform  Outcome = "platform"  // artifact, image, input, agent: tried again, MaxPlatformFailures times
	OutcomeLost      Outcome = "lost"      // the node is gone, drained or preempted; tried again
	OutcomeEvicted   Outcome = "evicted"   // the provider took its node back; tried again at once, Spec.Evictions times
	OutcomeGang      Outcome = "gang"      // not every instance placed or claimed in time; tried again
	OutcomeWithdrawn Outcome = "withdrawn" // never begun, by the server's own fault; tried again
	OutcomeFatal     Outcome = "fatal"     // cannot end better next time: result lost, upload failed
	OutcomeCancelled Outcome = "cancelled" // by the user, or by an operator's hand in Nomad
)

// Attempt is the nth time a run is executed, with what it used.
type Attempt struct {
	RunID    int64  `json:"-"`
	Number   int    `json:"number"` // from 1
	LaunchID string `json:"launch,omitempty"`

	Cluster      string        `json:"cluster"`
	Region       string        `json:"region"`
	Tier         Tier          `json:"tier"`
	Each         []Resources   `json:"resources"` // of one instance, by group
	Environment  string        `json:"environment,omitempty"`
	Digest       string        `json:"environment_digest,omitempty"`
	Outcome      Outcome       `json:"outcome,omitempty"`
	Reason       string        `json:"reason,omitempty"`
	Phase        Phase         `json:"phase,omitempty"` // the earliest of its instances
	ExitCode     *int          `json:"exit_code,omitempty"`
	Signal       string        `json:"signal,omitempty"`
	PeakMiB      float64       `json:"peak_memory_mib,omitempty"` // the highest of its instances
	CPUSeconds   float64       `json:"cpu_seconds,omitempty"`     // the sum of its instances
	AdmittedAt   time.Time     `json:"admitted_at"`
	DispatchedAt time.Time     `json:"dispatched_at,omitzero"`
	StartedAt    time.Time     `json:"started_at,omitzero"`    // phase command
	CheckpointAt time.Time     `json:"checkpoint_at,omitzero"` // when a file of its checkpoint folder was kept last
	EndedAt      time.Time     `json:"ended_at,omitzero"`
	Instances    []Instance    `json:"instances,omitempty"`
	PhaseTimes   []PhaseChange `json:"phases,omitempty"` // of instance 0
}

// Wasted is how long the command of an attempt that did not end well worked since
// its last checkpoint, or since its begin: what the next attempt does again.
func (a *Attempt) Wasted() time.Duration {
	if a.StartedAt.IsZero() || a.EndedAt.IsZero() || a.Outcome == OutcomeSucceeded {
		return 0
	}
	return max(0, a.EndedAt.Sub(latest(a.StartedAt, a.CheckpointAt)))
}

// PhaseChange is when an instance entered a phase.
type PhaseChange struct {
	Phase Phase     `json:"phase"`
	At    time.Time `json:"at"`
}

// LaunchState is where a launch is in its life.
//
//	reserved ──► dispatched ──► over ──► purged
//	     └───────────────────────▲
type LaunchState string

// The states of a launch.
const (
	LaunchReserved   LaunchState = "reserved"   // a row that holds capacity; the controller dispatches it
	LaunchDispatched LaunchState = "dispatched" // its Nomad job is known
	LaunchOver       LaunchState = "over"       // every instance is seen dead; the controller purges the Nomad job
	LaunchPurged     LaunchState = "purged"     // final
)

// Ended reports whether nothing of the launch runs any more.
func (s LaunchState) Ended() bool { return s == LaunchOver || s == LaunchPurged }

// Launch is one Nomad dispatch. As yet it carries one attempt.
type Launch struct {
	ID        string      `json:"id"`
	RunID     int64       `json:"-"`
	Run       string      `json:"run"`
	Workspace string      `json:"workspace"`
	Attempt   int         `json:"attempt"`
	Region    string      `json:"region"`
	Cluster   string      `json:"cluster"`
	NodePool  string      `json:"node_pool"`
	Namespace string      `json:"namespace"`
	JobID     string      `json:"job,omitempty"`   // the parameterized Nomad job: the shape
	ChildID   string      `json:"child,omitempty"` // the dispatched Nomad job
	State     LaunchState `json:"state"`
	Stop      StopReason  `json:"stop,omitempty"` // desired: its agents are told
	StopAt    time.Time   `json:"stop_at,omitzero"`

	ReservedAt   time.Time   `json:"reserved_at"`
	DispatchedAt time.Time   `json:"dispatched_at,omitzero"`
	Container    *Container  `json:"container,omitempty"` // nil on the node itself
	Groups       []Group     `json:"groups"`
	Each         []Resources `json:"each"` // by group
	Instances    []Instance  `json:"instances"`
}

// Token returns the idempotency token of the launch's dispatch.
func (l *Launch) Token() string { return "muster-" + l.ID }

// Instance is one allocation of a launch. Until a placement is seen it is a
// reservation on Node.
type Instance struct {
	LaunchID   string    `json:"-"`
	Group      string    `json:"group"`
	Index      int       `json:"index"`       // within the launch, from 0
	GroupIndex int       `json:"group_index"` // within its group, from 0
	NodeID     string    `json:"node"`
	NodeName   string    `json:"node_name,omitempty"`
	Placed     bool      `json:"placed"` // NodeID was seen, not planned
	AllocID    string    `json:"alloc,omitempty"`
	BootID     string    `json:"boot_id,omitempty"`
	ClaimedAt  time.Time `json:"claimed_at,omitzero"`
	ReportedAt time.Time `json:"reported_at,omitzero"` // exact to 10 s
	Phase      Phase     `json:"phase,omitempty"`
	Doing      string    `json:"doing,omitempty"`  // what Nomad does for it before its agent begins, such as fetching the image
	Result     *Result   `json:"result,omitempty"` // what the agent reported last
}

// Result is how an instance ended, told by its agent after the uploads.
type Result struct {
	Started    bool    `json:"started"` // the command was begun
	ExitCode   int     `json:"exit_code"`
	Signal     string  `json:"signal,omitempty"`  // such as SIGKILL
	Failure    string  `json:"failure,omitempty"` // what went wrong, a sentence; "" when only the exit code tells
	Fault      Fault   `json:"fault,omitempty"`
	PeakMiB    float64 `json:"peak_memory_mib"`
	CPUSeconds float64 `json:"cpu_seconds"`
}

// Fault says whose fault an end is.
type Fault string

// The faults.
const (
	FaultNone     Fault = ""         // the exit code tells
	FaultCommand  Fault = "command"  // the user's: an input that does not exist, out of memory
	FaultPlatform Fault = "platform" // a server or a disk
	FaultTimeout  Fault = "timeout"  // the time limit
	FaultStopped  Fault = "stopped"  // it was told to stop
	FaultUpload   Fault = "upload"   // the command ended, its outputs could not be kept
)

// Attempts tells what happened to runs.
type Attempts interface {
	ListAttempts(ctx context.Context, runID int64) ([]*Attempt, error) // with instances, by number
}
