package muster

import (
	"context"
	"time"
)

// Stat is a sample of what an instance of a run, its node or its devices used.
// Nomad's client on the node measures, every few seconds, and the leader asks
// it every --stats-every while the command runs. The names, with their units:
//
//	cpu              %    of one core: of the instance's task, the command and all that it began
//	memory           MiB  that this task has in memory, without what is only cached
//	node_cpu         %    of all cores of the node together, whoever uses them
//	node_memory      MiB  in use on the node
//	node_disk        %    in use of the disk with the data of the node's Nomad client
//	TYPE.ID.READING       of each device of the instance, of a share that of its whole device
//
// TYPE is gpu or fpga, and READING what the device's plugin tells: see
// docs/devices.md. A share has the type of its device.
type Stat struct {
	Name     string    `json:"name"`           // such as cpu or gpu.sim-V100-0.utilization
	Unit     string    `json:"unit,omitempty"` // such as %, MiB, °C or W; "" is a number of things
	Attempt  int       `json:"attempt"`
	Instance int       `json:"instance"`
	At       time.Time `json:"at"` // when the leader had the answer, by its clock
	Value    float64   `json:"value"`
}

// MaxStats is how many samples of an attempt's instance are kept. When there are
// as many, every second one goes, and from then on only every second is kept:
// they lie evenly over all of the command's time, and the newest is always there.
const MaxStats = 1024

// MaxStatList is how many values an answer holds. Of more it holds every second
// sample, or every fourth and so on, and the newest of each instance.
const MaxStatList = 1 << 16

// AllInstances stands for every instance where one can be asked for.
const AllInstances = -1

// StatQuery chooses statistics.
type StatQuery struct {
	Name     string // or what it begins with up to a dot: gpu is all of the GPUs; "" is all
	Attempt  int    // 0 is the last that has any
	Instance int    // or AllInstances
}

// Stats keeps statistics; the leader writes them with Ledger.KeepStats.
type Stats interface {
	// ListStats returns a run's statistics by name, instance and time.
	ListStats(ctx context.Context, runID int64, q StatQuery) ([]Stat, error)
}

// Reading is one value that was read.
type Reading struct {
	Name  string
	Unit  string
	Value float64
}

// StatSample is all that was read of an instance at one moment.
type StatSample struct {
	RunID    int64
	Attempt  int
	Instance int
	At       time.Time
	Readings []Reading
}

// NodeReadings is what was read of a node.
type NodeReadings struct {
	Node    []Reading            // node_…
	Devices map[string][]Reading // TYPE.ID.…, by the device's id
}

// Meter reads what is used now. What is not measured is left out.
type Meter interface {
	// ReadNode reads what a node and its devices do.
	ReadNode(ctx context.Context, nodeID string) (*NodeReadings, error)
	// ReadAlloc reads the cpu and memory of an allocation. Nomad measures them
	// where its client has telemetry { publish_allocation_metrics = true }.
	ReadAlloc(ctx context.Context, namespace, allocID string) ([]Reading, error)
}
