package muster

import (
	"context"
	"fmt"
	"time"
)

// HealthState is how far a node's agent has come.
//
//	preparing ──► ready ◄──► unusable
//	    │  ▲                    ▲
//	    │  └─── another boot, another set-up
//	    └───────────────────────┘
type HealthState string

// The states.
const (
	HealthPreparing HealthState = "preparing" // its set-up runs, or waits until no run is on the node
	HealthReady     HealthState = "ready"     // set up, and every check is well
	HealthUnusable  HealthState = "unusable"  // its set-up failed as often as it may, or a check fails
)

// NodeHealth is what the agent of a node has told last, and what a person has.
// Agents and people write it, the leader reads it.
type NodeHealth struct {
	NodeID     string
	Cluster    string
	Name       string
	Alloc      string // the agent's allocation: the word of an older one does not count
	Boot       string // the boot that it was made ready in
	Generation string // of Cluster.Generation: what it was made ready by
	State      HealthState
	Reason     string    // why it is not ready, a sentence
	Log        string    // the log of its last set-up: see NodeLogKey
	Since      time.Time // when it came into the state
	ReportedAt time.Time
	Failures   int       // how often in a row it has become unusable
	Excluded   string    // why a person took it out of service; "" is not
	DrainAt    time.Time // when the runs that are still on it are told to stop; zero where they may end
	Closed     bool      // the leader has made it ineligible for one of these reasons
}

// Quarantine is how often in a row a node may become unusable. After that it
// stays so until a person takes it into service again.
const Quarantine = 3

// calm is how long a node must have been ready for its failures to be forgotten.
const calm = time.Hour

// Unfit says why a node shall take no runs, "" where it may. A node that is being
// made ready may: what lands on it waits.
func (h *NodeHealth) Unfit() string {
	switch {
	case h.Excluded != "":
		return "excluded: " + h.Excluded
	case h.Failures >= Quarantine:
		return "in quarantine, it has become unusable " + Counted(h.Failures, "time") + " in a row: " + h.Reason
	case h.State == HealthUnusable:
		return h.Reason
	}
	return ""
}

// Hear takes over what a node's agent reports, and returns what to tell of it, ""
// for nothing.
func (h *NodeHealth) Hear(r *NodeReport, now time.Time) (news string) {
	h.ReportedAt = now
	if r.Log != "" {
		h.Log = r.Log
	}
	before := h.State
	if h.State == r.State && h.Boot == r.Boot && h.Generation == r.Generation {
		if h.State == HealthReady && now.Sub(h.Since) > calm {
			h.Failures = 0
		}
		if h.Reason == r.Reason {
			return ""
		}
		h.Reason = r.Reason
		return string(r.State) + ": " + r.Reason
	}
	h.State, h.Boot, h.Generation, h.Reason, h.Since = r.State, r.Boot, r.Generation, r.Reason, now
	switch {
	case r.State == HealthUnusable:
		if before != HealthUnusable {
			h.Failures++
		}
		return "is unusable: " + r.Reason
	case r.State == HealthReady:
		return "is ready"
	}
	return "is made ready: " + r.Reason
}

// NodeReport tells how far a node's agent has come. It reports on change, and
// otherwise keeps one report waiting to hear NodeOrders.
type NodeReport struct {
	Boot        string      `json:"boot"`
	Generation  string      `json:"generation"` // of the orders that it follows; "" at first
	State       HealthState `json:"state"`
	Reason      string      `json:"reason,omitempty"`
	Log         string      `json:"log,omitempty"`
	Began       bool        `json:"began"`        // it has heard "begin" for this boot and generation
	WaitSeconds int         `json:"wait_seconds"` // how long the answer may be held back, at most 60
}

// NodeOrders is the answer to a NodeReport.
type NodeOrders struct {
	Generation     string    `json:"generation"`
	SecretsVersion int64     `json:"secrets_version"` // of what the secrets' file must hold at least
	Readying       Readying  `json:"readying"`
	Begin          bool      `json:"begin"` // no run is on the node: a set-up may begin
	Now            time.Time `json:"now"`   // the server's clock, when it answered
	Servers        []string  `json:"servers"`
}

// NodeLogKey returns where a piece of a node's log is kept, and NodeLogPrefix
// what the keys of a log begin with. A log is one try of one set-up.
func NodeLogKey(nodeID, log string, offset int64) string {
	return fmt.Sprintf("%s%016d", NodeLogPrefix(nodeID, log), offset)
}

// NodeLogPrefix begins the keys of a node's log.
func NodeLogPrefix(nodeID, log string) string { return "nodes/" + nodeID + "/" + log + "/" }

// Healths keeps what nodes' agents tell, on their behalf.
type Healths interface {
	// ReportNode keeps what the agent of a node tells and answers what is wanted;
	// Servers and Now are left to the caller.
	ReportNode(ctx context.Context, a *Allocation, r *NodeReport) (*NodeOrders, error)
}

// NodeChange changes what a person says of a node: what is left out stays.
type NodeChange struct {
	Excluded *string   `json:"excluded,omitempty" doc:"Why it is out of service; empty takes it into service again."`
	Drain    *Duration `json:"drain_seconds,omitempty" doc:"Takes it out of service, and tells the runs that are still on it after that time to stop; they start again elsewhere."`
}
