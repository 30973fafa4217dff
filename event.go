package muster

import (
	"context"
	"time"
)

// EventKind says what an event tells.
type EventKind string

// The kinds of events.
const (
	EventState    EventKind = "state"    // a run moved from one state to another
	EventWait     EventKind = "wait"     // a waiting run's reason changed
	EventStop     EventKind = "stop"     // somebody wants it to end
	EventAttempt  EventKind = "attempt"  // an attempt began or ended
	EventInstance EventKind = "instance" // an instance was placed, claimed, or entered a phase
	EventRefused  EventKind = "refused"  // a claim was refused
	EventCluster  EventKind = "cluster"  // a cluster was changed, or shall have another number of nodes
	EventNode     EventKind = "node"     // a node came, leaves, or is gone
	EventNote     EventKind = "note"     // something worth knowing, such as the environment's mapping
)

// EventKinds lists the kinds.
func EventKinds() []EventKind {
	return []EventKind{EventState, EventWait, EventStop, EventAttempt, EventInstance, EventRefused, EventCluster, EventNode, EventNote}
}

// Event is one numbered row: what changed, when, why and by whom.
type Event struct {
	Seq       int64     `json:"seq"` // rises; no reader ever sees a lower one later
	At        time.Time `json:"at"`
	Workspace string    `json:"workspace,omitempty"`
	Run       string    `json:"run,omitempty"`
	Cluster   string    `json:"cluster,omitempty"` // of an event of a cluster or a node
	RunID     int64     `json:"-"`
	Attempt   int       `json:"attempt,omitempty"`
	Kind      EventKind `json:"kind"`
	From      RunState  `json:"from,omitempty"`
	To        RunState  `json:"to,omitempty"`
	Message   string    `json:"message"` // a sentence
	Actor     string    `json:"actor"`   // the principal, "scheduler", "agent" or "nomad"
	RequestID string    `json:"request_id,omitempty"`
}

// EventFilter chooses events; Run needs Workspace, and Cluster stands alone.
type EventFilter struct {
	Workspace string
	Run       string
	Cluster   string
	After     int64       // only those with a higher number
	Kinds     []EventKind // only of these; nil is all
	Limit     int         // at most this many; 0 is 1000
}

// Events keeps the events.
type Events interface {
	ListEvents(ctx context.Context, f EventFilter) ([]*Event, error) // by number
	// EventsChanged returns a channel that is closed when an event is written
	// by this process after the call. It wakes a reader; truth is the list.
	EventsChanged() <-chan struct{}
}
