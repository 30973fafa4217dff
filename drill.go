package muster

import "time"

// Drill is a loss of nodes that is rehearsed until it is ended.
type Drill struct {
	PerHour float64  `json:"rate_per_hour"`  // the part of the nodes that is taken in an hour
	Notice  Duration `json:"notice_seconds"` // between announcement and loss
}

// EvictionRequest asks for a drill: nodes of a cluster are taken as its provider
// would take them.
type EvictionRequest struct {
	Nodes  int      `json:"nodes,omitempty" minimum:"1" maximum:"10000" doc:"How many; those with runs are taken first. 1 when left out." example:"1"`
	Notice Duration `json:"notice_seconds,omitempty" minimum:"0" maximum:"3600" doc:"Seconds between the announcement and the loss; 0 is without a word." example:"30"`
	Rate   *float64 `json:"rate_per_hour,omitempty" minimum:"0" maximum:"100" doc:"The part of the nodes that is taken in an hour, again and again by chance, until it is 0 again: instead of nodes." example:"0.2"`
}

// EvictionAnswer tells which nodes will be taken.
type EvictionAnswer struct {
	Nodes []string  `json:"nodes"` // by name
	At    time.Time `json:"at"`
	Drill *Drill    `json:"drill,omitempty"` // that goes on from now
}

// Allocatable is what a node offers to runs: what it advertises less the
// system's reserve.
type Allocatable struct {
	Cores Amount `json:"cores" example:"4"`
	Resources
}
