package muster

import (
	"context"
	"time"
)

// AgentAPI is the version of the agents' API, sent in AgentAPIHeader by agents.
const (
	AgentAPI       = "1"
	AgentAPIHeader = "Muster-Agent-API"
)

// The agents' API, all below /agent/v1. Every route but the first wants the
// workload-identity token of the launch's allocation as bearer token:
//
//	GET  /binary/{sha256}                                          the agent in an archive, for Nomad's artifact block
//	POST /launches/{launch}/claim                                  ClaimRequest → Assignment
//	POST /launches/{launch}/report                                 Report → Orders; held back up to Report.WaitSeconds while there is nothing to say
//	GET  /launches/{launch}/uploads/{sha256}                       the bytes of an upload that the spec names
//	PUT  /launches/{launch}/instances/{i}/logs/{stream}/{offset}   bytes, at most MaxChunk → ChunkAnswer
//	POST /launches/{launch}/metrics                                MetricsReport → nothing (204)
//	PUT  /launches/{launch}/instances/{i}/artifacts/{path...}      bytes; header ContentSHA256Header → Artifact
//	GET  /launches/{launch}/instances/{i}/parts/{sha256}           → Parts: what is kept of a large file
//	PUT  /launches/{launch}/instances/{i}/parts/{sha256}/{offset}  bytes, at most MaxPart; header ContentSHA256Header of the part;
//	                                                               then PUT of the artifact without bytes, with ?size=N, makes it of them
//
//	GET  /launches/{launch}/instances/{i}/checkpoint               → ArtifactPage: the files that earlier attempts have left; ?cursor=
//	GET  /launches/{launch}/instances/{i}/checkpoint/{path...}     the bytes of one
//	DELETE …/checkpoint/{path...}                                  forgets one that the command has removed
//
// The agents of nodes, by the token of the allocation of their cluster's system job:
//
//	POST /nodes/{cluster}/report                                   NodeReport → NodeOrders; held back up to NodeReport.WaitSeconds while there is nothing to say
//	PUT  /nodes/{cluster}/logs/{log}/{offset}                      bytes, at most MaxChunk → ChunkAnswer
//
// A checkpoint's path is that of an artifact: see CheckpointPrefix. An instance
// reads its own and the first instance's, and removes its own.
//
// A token whose launch is over, or that belongs to another launch, is
// CodeForbidden. A claim that is refused is CodeConflict: the agent exits with
// ExitRefused and does nothing else.
const (
	ContentSHA256Header = "Content-SHA256"
	ExitRefused         = 42 // of an agent whose claim was refused
	IdentityName        = "muster"
	IdentityAudience    = "muster"
	LaunchMeta          = "muster_launch"       // dispatch meta: the launch's id
	InstallationMeta    = "muster_installation" // meta of every job that Muster registers
	ClusterMeta         = "muster_cluster"      // meta of a cluster's system job: its name
)

// The variables by which a shape tells the agent where it is.
const (
	AgentServersVar  = "MUSTER_SERVERS"  // URLs, comma-separated
	AgentConsulVar   = "MUSTER_CONSUL"   // the Consul service to look servers up with; may be empty
	AgentDirVar      = "MUSTER_NODE_DIR" // client meta muster_dir; may be empty
	AgentNodeVar     = "MUSTER_NODE_ID"
	AgentNodeNameVar = "MUSTER_NODE_NAME" // of a node's agent
	AgentUserVar     = "MUSTER_RUN_AS"    // the run-as user; empty is nobody
	AgentFenceVar    = "MUSTER_FENCE"     // seconds
	AgentCAVar       = "MUSTER_CA"        // the authority of the servers' certificates, in PEM; may be empty
	AgentBootVar     = "MUSTER_BOOT"      // client meta muster_boot, which tells one boot of a simulated machine from another; may be empty
	AgentImageVar    = "MUSTER_IMAGE"     // the image whose container the agent is in; empty on the node itself
)

// DefaultMusterDir is the node's Muster folder where client meta muster_dir
// names none. Below it comes one folder a node, by node id.
const DefaultMusterDir = "/var/lib/muster"

// ClaimRequest is an agent's first call. The server finds group and index
// through the allocation; the boot id tells a rebooted node from a new one.
type ClaimRequest struct {
	BootID  string   `json:"boot_id"`
	Version string   `json:"version"`         // of the agent
	Notes   []string `json:"notes,omitempty"` // what is missing on this node, such as "not root"
}

// Assignment is the answer to a claim that was won: everything the agent must
// know to execute its instance of the attempt.
type Assignment struct {
	Launch        string   `json:"launch"`
	Installation  string   `json:"installation"`
	Workspace     string   `json:"workspace"`
	Experiment    string   `json:"experiment"`
	ExperimentID  string   `json:"experiment_id"`
	Run           string   `json:"run"`
	Attempt       int      `json:"attempt"`
	Instance      int      `json:"instance"`       // index within the launch; also the node rank
	InstanceCount int      `json:"instance_count"` // of all groups
	Group         string   `json:"group"`
	GPUs          int      `json:"gpus"`
	Spec          Spec     `json:"spec"`
	RunAs         string   `json:"run_as,omitempty"` // the user of the command on the node itself; "" is the shape's
	Servers       []string `json:"servers"`
	Waits         string   `json:"waits,omitempty"`         // why the claim is not decided yet: the agent asks again at once, and nothing else is said
	TraceParent   string   `json:"traceparent,omitempty"`   // the W3C context in which the command works; empty without traces
	OTLPEndpoint  string   `json:"otlp_endpoint,omitempty"` // where its own spans may go
}

// Report tells what an instance is doing. An agent reports on change, and
// otherwise keeps one report waiting to hear Orders.
type Report struct {
	Attempt     int           `json:"attempt"`
	Instance    int           `json:"instance"`
	Phases      []PhaseChange `json:"phases"`           // all so far
	Notes       []string      `json:"notes,omitempty"`  // all so far: things worth knowing, such as "input data: ro_mount acts as download"
	Result      *Result       `json:"result,omitempty"` // the last report
	Stopping    bool          `json:"stopping"`         // it has heard "stop"
	WaitSeconds int           `json:"wait_seconds"`     // how long the answer may be held back, at most 60
}

// Orders is the answer to a report.
type Orders struct {
	Stop    StopReason `json:"stop,omitempty"` // end: signal, grace time, uploads, exit
	Go      bool       `json:"go"`             // every instance has claimed: an agent of a gang leaves phase peers
	Servers []string   `json:"servers"`

	News bool `json:"-"` // the report said something that was not known
}

// ChunkAnswer says how many bytes are kept of the chunk at that offset: fewer
// than were sent when an earlier, shorter try was kept. The next chunk begins
// behind them.
type ChunkAnswer struct {
	Kept int64 `json:"kept"`
}

// MetricsReport is a batch of what a run logged.
type MetricsReport struct {
	Attempt  int         `json:"attempt"`
	Instance int         `json:"instance"`
	Batch    int64       `json:"batch"` // numbered from 0
	Metrics  []Metric    `json:"metrics,omitempty"`
	Params   []Parameter `json:"params,omitempty"`
}

// Allocation is what a workload identity says about its holder, looked up in
// Nomad.
type Allocation struct {
	ID        string
	Namespace string
	ChildID   string // the dispatched job
	Token     string // the idempotency token of the dispatch
	Launch    string // from the dispatch's meta
	Cluster   string // from the job's meta, where it is the agent of a node
	Group     string
	Index     int // within the group
	NodeID    string
	NodeName  string
	Terminal  bool // it is no longer meant to run
}

// Identities checks workload identities.
type Identities interface {
	// Identify returns the allocation whose token this is. A token that is
	// expired, forged or for another audience is CodeUnauthenticated.
	Identify(ctx context.Context, token string) (*Allocation, error)
}

// Claims keeps who executes what, on behalf of agents.
type Claims interface {
	// FindLaunch returns a launch with its instances.
	FindLaunch(ctx context.Context, id string) (*Launch, error)
	// Claim gives the instance of the allocation's group and index to it, or is
	// CodeConflict, with an event that says why: another allocation has it, the
	// child is not the launch's own, the launch is over, the node was restarted.
	Claim(ctx context.Context, a *Allocation, bootID string, notes []string) (*Assignment, error)
	// Report keeps what changed and answers what is wanted of the launch;
	// Servers is left to the caller.
	Report(ctx context.Context, launch string, r *Report) (*Orders, error)
	// Heard keeps, in one transaction, when instances were last heard of.
	Heard(ctx context.Context, at map[InstanceID]time.Time) error
}

// InstanceID names an instance.
type InstanceID struct {
	Launch string
	Index  int
}
