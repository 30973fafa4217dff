package muster

import (
	"context"
	"slices"
	"time"
)

// Scaling is what the autoscaler must know of one elastic cluster: how many
// nodes it shall have, and which of those that it has may be taken. It is read
// anew each time; nothing of it is kept on the autoscaler's side.
//
// A number falls in four steps, so that no run is hurt: the leader marks empty
// nodes, makes them ineligible in Nomad, looks once more whether something was
// placed on them, and only then publishes them as leaving together with the
// lower number. A provider takes nodes that are leaving, and no others.
type Scaling struct {
	Cluster  string          `json:"cluster"`
	Version  int64           `json:"version"` // of the cluster's settings
	NodePool string          `json:"node_pool"`
	Provider Provider        `json:"provider"`
	Tier     Tier            `json:"tier"`
	Settings ClusterSettings `json:"settings"`
	Size     NodeSize        `json:"size"`
	Wanted   Wanted          `json:"wanted"`
	Leaving  []string        `json:"leaving,omitempty"`   // machines that may be taken now, by name
	Evict    []Eviction      `json:"evictions,omitempty"` // rehearsed losses that the provider must make happen
	Heard    int64           `json:"heard"`               // the number of the last report of its machines
}

// Wanted is how many nodes a cluster shall have.
type Wanted struct {
	Nodes  int       `json:"nodes"`
	Reason string    `json:"reason"` // a sentence with the numbers
	At     time.Time `json:"at"`     // when the number became what it is
}

// SilenceLimit is how long an autoscaler may be silent: it reports every few
// seconds.
const SilenceLimit = time.Minute

// Silence returns since when the autoscaler has not been heard of that is to bring
// nodes which the cluster lacks; zero where it has, or none are lacking. Only that
// of provider local reports.
func (c *Cluster) Silence(now time.Time) time.Time {
	heard := latest(c.ReportedAt, c.CreatedAt)
	if c.Provider != ProviderLocal || c.Wanted == nil || c.Wanted.Nodes <= c.Nodes || now.Sub(latest(heard, c.Wanted.At)) <= SilenceLimit {
		return time.Time{}
	}
	return heard
}

// Eviction is a loss of a node that somebody rehearses.
type Eviction struct {
	Machine string    `json:"machine"` // by name
	At      time.Time `json:"at"`      // when it goes; it is announced before
}

// MachineState is where a machine is in its life, as its provider tells.
//
//	starting ──► running ──► stopping ──► gone
//	    └───────────┴────────────────────▲
type MachineState string

// The states of a machine. One that is gone is not listed any more.
const (
	MachineStarting MachineState = "starting" // ordered; its Nomad client is not ready yet
	MachineRunning  MachineState = "running"
	MachineStopping MachineState = "stopping"
)

// Machine is one node as its provider sees it. Its name is the node's in Nomad.
type Machine struct {
	Name  string       `json:"name"`
	State MachineState `json:"state"`
	Since time.Time    `json:"since"`
}

// MachineReport is all that a provider says of one cluster's machines. Nodes of
// the cluster that it does not list do not exist any more.
type MachineReport struct {
	Source   string      `json:"source,omitempty"` // whose word it is: the autoscaler's folder, by its id
	Number   int64       `json:"number,omitempty"` // rises with each report of a source: an older one that comes late is passed over
	Machines []Machine   `json:"machines"`
	Evicted  []string    `json:"evicted,omitempty"` // machines that it has taken itself, by name
	Failure  *BuyFailure `json:"failure,omitempty"` // why it gives no more; nil when all is well
}

// Lists reports whether a machine of that name exists, by the report.
func (r *MachineReport) Lists(name string) bool {
	return slices.ContainsFunc(r.Machines, func(m Machine) bool { return m.Name == name })
}

// BuyFailure is why a provider gives no more nodes.
type BuyFailure struct {
	Kind    FailureKind `json:"kind"`
	Message string      `json:"message"` // a sentence, the provider's words in it
	Since   time.Time   `json:"since"`
	Tries   int         `json:"tries"`
	Until   time.Time   `json:"until"` // it is not asked again before

	Node string `json:"node,omitempty" doc:"The last that could not be used, by id."`
}

// OfNodes reports whether nodes come, and cannot be used: no more are bought for a
// while.
func (f *BuyFailure) OfNodes() bool {
	return f != nil && (f.Kind == FailSetup || f.Kind == FailUnfit)
}

// FailureKind is the kind of a BuyFailure.
type FailureKind string

// Why a provider fails.
const (
	FailCapacity FailureKind = "capacity" // it has none left of this size
	FailQuota    FailureKind = "quota"    // we may not have more
	FailStart    FailureKind = "start"    // a machine did not become a ready node in time
	FailSetup    FailureKind = "set-up"   // the nodes that came could not be made ready
	FailUnfit    FailureKind = "unfit"    // the nodes that came are not what their cluster wants
	FailOther    FailureKind = "other"
)

// Autoscaling is what the autoscaler asks and tells.
type Autoscaling interface {
	// FindScaling returns what an elastic cluster shall have. While it is not
	// known, as no server leads or the leader has not looked yet, it is
	// CodeConflict: an error, and never a number, so that nothing leaves.
	FindScaling(ctx context.Context, cluster string) (*Scaling, error)
	// ReportMachines keeps what a provider says of its machines.
	ReportMachines(ctx context.Context, cluster string, r MachineReport) error
}
