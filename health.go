package muster

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
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
	ReportedAt time.Time // when its agent told something new last
	Failures   int       // how often in a row it has become unusable
	Excluded   string    // why a person took it out of service; "" is not
	DrainAt    time.Time // when the runs that are still on it are told to stop; zero where they may end
	Drained    string    // what they are told then: "drained by anna", "drained: it smells"
	Renewals   int       // how often a person wanted it to be set up once more
	Closed     bool      // the leader has made it ineligible for one of these reasons
}

// Quarantine is how often in a row a node may become unusable. After that it
// stays so until a person takes it into service again.
const Quarantine = 3

// calm is how long a node must have been ready for its failures to be forgotten.
const calm = time.Hour

// agentWithin is how long the agent of a node that has come may take to report.
const agentWithin = 10 * time.Minute

// AgentlessReason says that a node's agent does not report.
var AgentlessReason = fmt.Sprintf("its agent has not reported within %s", agentWithin)

// AgentDue returns when a node's agent must have reported, zero where it has, or
// none is expected.
func (h NodeHealth) AgentDue() time.Time {
	if h.Alloc != "" || h.Since.IsZero() {
		return time.Time{}
	}
	return h.Since.Add(agentWithin)
}

// Agentless reports whether a node's agent has not reported in time.
func (h NodeHealth) Agentless(now time.Time) bool {
	due := h.AgentDue()
	return !due.IsZero() && !now.Before(due)
}

// Unfit says why a node shall take no runs, "" where it may. A node that is being
// made ready may: what lands on it waits.
func (h NodeHealth) Unfit() string {
	switch {
	case h.Excluded != "":
		return "excluded: " + h.Excluded
	case !h.DrainAt.IsZero():
		return "it is drained"
	case h.Failures >= Quarantine:
		return "in quarantine, it has become unusable " + Counted(h.Failures, "time") + " in a row: " + h.Reason
	case h.State == HealthUnusable:
		return h.Reason
	}
	return ""
}

// Hear takes over what a node's agent reports. It returns whether that is another
// thing than before, and what to tell of it, "" for nothing.
func (h *NodeHealth) Hear(r *NodeReport, now time.Time) (changed bool, news string) {
	h.ReportedAt = now
	if r.Log != "" {
		h.Log = r.Log
	}
	before, known := h.State, h.State == HealthReady && h.Boot == r.Boot && h.Failures < Quarantine
	if h.Generation != r.Generation && h.Generation != "" && r.Generation != "" {
		h.Failures = 0 // by another set-up it is another node
	}
	if r.Reason == "" && h.Failures >= Quarantine {
		r.Reason = h.Reason // of the trouble that it is in quarantine for
	}
	if h.State == r.State && h.Boot == r.Boot && h.Generation == r.Generation {
		changed, h.Reason = h.Reason != r.Reason, r.Reason
		if h.State == HealthReady && now.Sub(h.Since) > calm && h.Failures > 0 && h.Failures < Quarantine {
			changed, h.Failures = true, 0
		}
		return changed, "" // other numbers of the same trouble are not told of
	}
	h.State, h.Boot, h.Generation, h.Reason, h.Since = r.State, r.Boot, r.Generation, r.Reason, now
	switch {
	case r.State == HealthUnusable:
		if before != HealthUnusable {
			h.Failures++
		}
		if h.Failures == Quarantine && before != HealthUnusable {
			return true, fmt.Sprintf("is in quarantine, as it has become unusable %s in a row: %s", Counted(h.Failures, "time"), r.Reason)
		}
		return true, "is unusable: " + r.Reason
	case r.State == HealthReady && h.Failures >= Quarantine:
		return true, "is well again, and stays in quarantine"
	case r.State == HealthReady && known:
		return true, "" // as before: other checks are well, too
	case r.State == HealthReady:
		return true, "is ready"
	case before == HealthPreparing:
		return true, ""
	}
	return true, "is made ready: " + r.Reason
}

// Wanted returns the generation that the node is to be made ready by.
func (h NodeHealth) Wanted(c *Cluster) string {
	if c.Setup == nil || h.Renewals == 0 {
		return c.Generation()
	}
	return fmt.Sprintf("%s.%d", c.Generation(), h.Renewals)
}

// Readiness says whether a node of a cluster is ready in a boot: "" and "" when it
// is, else for what a claim waits, or why it is refused.
func (h NodeHealth) Readiness(c *Cluster, boot string, now time.Time) (waits, unfit string) {
	switch {
	case !h.DrainAt.IsZero():
		return "", "it is drained"
	case !c.Prepares():
		return "", ""
	case h.Agentless(now):
		return "", AgentlessReason
	case h.Alloc == "":
		return "its agent has not reported yet", ""
	case h.Failures >= Quarantine:
		return "", h.Unfit()
	case h.State == HealthUnusable && h.Boot == boot && h.Generation == "":
		return "", h.Reason // its agent cannot even begin
	case h.Boot != boot || h.Generation != h.Wanted(c):
		return "its set-up has not begun yet", ""
	case h.State == HealthUnusable:
		return "", h.Reason
	case h.State == HealthPreparing:
		return cmp.Or(h.Reason, "its set-up has not begun yet"), ""
	}
	return "", ""
}

// Change takes over what a person says, and returns what to tell of it, "" for
// nothing. A node of a cluster with a set-up that is unusable is set up once more
// when it is taken into service.
func (h *NodeHealth) Change(c NodeChange, setUp bool, by string, now time.Time) (news string) {
	renew := setUp && h.State == HealthUnusable
	switch {
	case c.Drain != nil:
		h.DrainAt, h.Drained = now.Add(time.Duration(*c.Drain)), "drained by "+by
		h.Excluded = h.Drained
		if c.Excluded != nil && *c.Excluded != "" {
			h.Excluded, h.Drained = *c.Excluded, "drained: "+*c.Excluded
		}
		news = "is " + h.Drained + "; what runs on it is told to stop"
		if *c.Drain > 0 {
			news += " at " + h.DrainAt.UTC().Format("15:04:05") + " UTC"
		}
		return news
	case c.Excluded == nil || *c.Excluded == h.Excluded && *c.Excluded != "":
		return ""
	case *c.Excluded != "":
		h.Excluded = *c.Excluded
		return "takes no more runs: " + h.Excluded
	case h.Excluded == "" && h.Failures < Quarantine && !renew:
		return ""
	}
	h.Excluded, h.DrainAt, h.Drained, h.Failures = "", time.Time{}, "", 0
	if renew {
		h.Renewals++
		return "takes runs again when it has been made ready"
	}
	return "takes runs again"
}

// Again adds a node that cannot be used to those before it in a row, once.
func (f *BuyFailure) Again(kind FailureKind, n NodeRecord, reason string, now time.Time) *BuyFailure {
	next := BuyFailure{Kind: kind, Since: now, Tries: 1, Node: n.ID}
	if f != nil && f.Kind == kind {
		if f.Node == n.ID {
			return f
		}
		next.Since, next.Tries = f.Since, f.Tries+1
	}
	what := "could not be made ready"
	if kind == FailUnfit {
		what = "could not be used"
	}
	next.Message = fmt.Sprintf("node %s %s: %s", n.Name, what, reason)
	if next.Tries > 1 {
		next.Message = fmt.Sprintf("%s in a row %s, at last %s: %s", Counted(next.Tries, "node"), what, n.Name, reason)
	}
	next.Until = now.Add(min(time.Hour, 30*time.Second<<min(next.Tries, 10)))
	return &next
}

// NodeReport tells how far a node's agent has come. It reports on change, and
// otherwise keeps one report waiting to hear NodeOrders.
type NodeReport struct {
	Boot        string      `json:"boot"`
	Generation  string      `json:"generation"` // of the orders that it follows; "" at first
	State       HealthState `json:"state"`
	Reason      string      `json:"reason,omitempty"`
	Log         string      `json:"log,omitempty"`
	Heard       string      `json:"heard"`        // the version of the orders that it has heard last
	Began       bool        `json:"began"`        // it has heard "begin" for this boot and generation
	WaitSeconds int         `json:"wait_seconds"` // how long the answer may be held back, at most 60
}

// The most that a report may say.
const (
	maxReason = 1000
	maxBoot   = 200
)

// Validate refuses a report that no agent makes.
func (r *NodeReport) Validate() error {
	switch {
	case !slices.Contains([]HealthState{HealthPreparing, HealthReady, HealthUnusable}, r.State):
		return Errorf(CodeInvalid, "%q is no state of a node", string(r.State)).At("state")
	case len(r.Boot) > maxBoot || len(r.Generation) > maxBoot || len(r.Reason) > maxReason:
		return Errorf(CodeInvalid, "the report is too long")
	case r.Log != "":
		return CheckNodeLog(r.Log)
	}
	return nil
}

var nodeLogRE = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

// CheckNodeLog refuses what is no name of a node's log.
func CheckNodeLog(log string) error {
	if !nodeLogRE.MatchString(log) {
		return Errorf(CodeInvalid, "%q is no name of a log", log).At("log")
	}
	return nil
}

// NodeOrders is the answer to a NodeReport.
type NodeOrders struct {
	Version        string    `json:"version"` // changes with all of what follows but begin
	Generation     string    `json:"generation"`
	SecretsVersion int64     `json:"secrets_version"` // of what the secrets' file must hold at least
	Readying       Readying  `json:"readying"`
	Begin          bool      `json:"begin"` // no run is on the node: a set-up may begin
	Now            time.Time `json:"now"`   // the server's clock, when it answered
	Servers        []string  `json:"servers"`

	News bool `json:"-"` // the report said something that was not known
}

// NodeLogKey returns where a piece of a node's log is kept, and NodeLogPrefix
// what the keys of a log begin with. A log is one try of one set-up.
func NodeLogKey(nodeID, log string, offset int64) string {
	return fmt.Sprintf("%s%016d", NodeLogPrefix(nodeID, log), offset)
}

// NodeLogsPrefix begins the keys of all logs of nodes.
const NodeLogsPrefix = "nodes/"

// NodeLogPrefix begins the keys of a node's log.
func NodeLogPrefix(nodeID, log string) string { return NodeLogsPrefix + nodeID + "/" + log + "/" }

// NodeLog is what the last set-up of a node wrote.
type NodeLog struct {
	Node string `json:"node"` // by name
	Log  string `json:"log"`  // which
	Text string `json:"text"` // at most the last MiB
}

// Healths keeps what nodes' agents tell, on their behalf.
type Healths interface {
	// ReportNode keeps what the agent of a node tells and answers what is wanted;
	// Servers and Now are left to the caller.
	ReportNode(ctx context.Context, a *Allocation, r *NodeReport) (*NodeOrders, error)
}

// Fitness keeps what people say of nodes.
type Fitness interface {
	ChangeNode(ctx context.Context, n *Node, c NodeChange, by Origin) error
	// ListHealth returns what is known of nodes' health, by id.
	ListHealth(ctx context.Context) (map[string]NodeHealth, error)
}

// ClusterSecrets keeps the names of clusters' secrets. A missing one is
// CodeNotFound.
type ClusterSecrets interface {
	PutClusterSecret(ctx context.Context, cluster, name string, version int64, by Origin) error
	DropClusterSecret(ctx context.Context, cluster, name string, version int64, by Origin) error
	ListClusterSecrets(ctx context.Context, cluster string) ([]ClusterSecret, error) // by name
}

// NodeChange changes what a person says of a node: what is left out stays.
type NodeChange struct {
	Excluded *string   `json:"excluded,omitempty" doc:"Why it is out of service; empty takes it into service again."`
	Drain    *Duration `json:"drain_seconds,omitempty" doc:"Takes it out of service, and tells the runs that are still on it after that time to stop; they start again elsewhere."`
}
