package muster

import (
	"slices"
	"time"
)

// Leave is how far a node is on its way out of an elastic cluster.
//
//	"" ──► marked ──► leaving ──► gone: the row is removed
//	 ▲        │          │
//	 └────────┴──────────┘  something was placed on it; nobody took it in time
type Leave string

// The steps.
const (
	LeaveNot    Leave = ""        // it stays
	LeaveMarked Leave = "marked"  // no run is admitted to it; Nomad is told next
	LeaveGoing  Leave = "leaving" // it is empty and stays so: its provider may take it
)

// Fate is what became of a machine, by its provider's word.
type Fate string

// The fates.
const (
	FateHere    Fate = ""        // it exists, or its provider tells nothing
	FateGone    Fate = "gone"    // it does not exist any more
	FateEvicted Fate = "evicted" // its provider took it back
)

// NodeRecord is what is remembered of a node of an elastic cluster for as long as
// Nomad lists it.
type NodeRecord struct {
	ID        string
	Cluster   string
	Name      string // also the machine's
	Leave     Leave
	Reason    string    // why it leaves
	LeaveAt   time.Time // when it took the last step
	IdleSince time.Time // when it was emptied; zero while something is on it
	Fate      Fate
	EvictAt   time.Time // when its provider will take it; zero while nothing is announced
	AwaySince time.Time // since when it may not take runs; zero while it may
}

// Lacks says what a node has less than its size promises, "" for nothing.
// Processors are counted in cores: a MHz is not the same everywhere.
func (a Allocatable) Lacks(promised Allocatable) string {
	have := Resources{MHz: a.Cores, MiB: a.MiB, DiskMiB: promised.DiskMiB, Devices: a.Devices}
	want := Resources{MHz: promised.Cores, MiB: promised.MiB, DiskMiB: promised.DiskMiB, Devices: slices.Clone(promised.Devices)}
	for i := range want.Devices {
		want.Devices[i].Name = "" // models are called differently everywhere
	}
	_, short := have.Take(want)
	if len(short) == 0 {
		return ""
	}
	s := short[0]
	if s.Dimension == "MHz" {
		s.Dimension = "cores"
		if s.Free == Whole(1) {
			s.Dimension = "core"
		}
	}
	return "it has " + s.Free.String() + " " + s.Dimension + " for runs, and its size promises " + s.Asked.String()
}
