package muster

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Tier says whether the provider may take a node back.
type Tier string

// The tiers.
const (
	TierDedicated   Tier = "dedicated"
	TierLowPriority Tier = "low_priority"
)

// Provider says where a cluster's nodes come from.
type Provider string

// The providers.
const (
	ProviderNone  Provider = "none"       // nodes that just exist
	ProviderLocal Provider = "local"      // Nomad clients on the autoscaler's machine
	ProviderAWS   Provider = "aws-asg"    // an Auto Scaling group
	ProviderAzure Provider = "azure-vmss" // a virtual machine scale set
	ProviderGCE   Provider = "gce-mig"    // a managed instance group
)

// Providers lists the providers.
func Providers() []Provider {
	return []Provider{ProviderNone, ProviderLocal, ProviderAWS, ProviderAzure, ProviderGCE}
}

// clouds lists the providers whose nodes are in a group of a cloud's.
func clouds() []Provider {
	return slices.DeleteFunc(Providers(), func(p Provider) bool { return groupKeys[p] == nil })
}

// wordsOf puts words into a list.
func wordsOf[T ~string](words []T) string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = string(w)
	}
	return strings.Join(all, ", ")
}

// Elastic reports whether nodes come and go.
func (p Provider) Elastic() bool { return p != ProviderNone && p != "" }

// Cluster is named compute of the platform, backed by one Nomad node pool.
type Cluster struct {
	Version  int64    `json:"-"` // rises with each change by a person; the scaling policy's name carries it
	Name     string   `json:"name"`
	NodePool string   `json:"node_pool"`
	Provider Provider `json:"provider"`
	Region   string   `json:"region"`
	Tier     Tier     `json:"tier"`
	ClusterSettings
	Heard          int64     `json:"-"`               // the number of the last report of its machines
	SecretsVersion int64     `json:"-"`               // rises with each change of the secrets that its nodes' set-up gets
	Drill          *Drill    `json:"drill,omitempty"` // a loss of nodes that is rehearsed
	Paused         bool      `json:"paused"`          // its nodes stay as they are, and no run starts
	Deleting       bool      `json:"deleting"`        // its nodes leave, then it is gone
	CreatedAt      time.Time `json:"created_at"`
	ReportedAt     time.Time `json:"-"` // when its autoscaler reported its machines last

	SilentSince time.Time         `json:"silent_since,omitzero" doc:"Since when its autoscaler has not been heard of, while it wants more nodes than it has."`
	Wanted      *Wanted           `json:"wanted,omitempty"`      // nil of one that is not elastic, and before it is known
	Failure     *BuyFailure       `json:"failure,omitempty"`     // why the provider gives no more nodes
	Unready     *BuyFailure       `json:"-"`                     // why nodes that were wanted are not ready: none joined, or their set-ups fail
	Offers      *Allocatable      `json:"allocatable,omitempty"` // of each ready node the least, or what its size promises; nil where neither is known
	Nodes       int               `json:"nodes"`                 // registered in the pool
	Ready       int               `json:"ready"`                 // of these, ready to take runs
	Counts      map[NodeState]int `json:"node_states,omitempty"`
}

// ClusterSettings are what may be changed of a cluster while it works.
type ClusterSettings struct {
	Size       string            `json:"size,omitempty" doc:"An entry of the catalogue; muster size list shows it." example:"Standard_NC6"`
	Min        int               `json:"min" required:"false" doc:"Nodes that stay, whatever happens." example:"0"`
	Max        int               `json:"max" required:"false" doc:"Nodes that there are at the most." example:"4"`
	Idle       Duration          `json:"idle_seconds" required:"false" doc:"How long a node is idle before it leaves; 120 when left out." example:"120"`
	Workspaces []string          `json:"workspaces,omitempty" doc:"Those that may use it; all when left out."`
	Group      map[string]string `json:"group,omitempty" doc:"What the provider calls its nodes, such as aws_asg_name; the Nomad Autoscaler's words." example:"{\"aws_asg_name\":\"gpu\"}"`
	OS         string            `json:"os,omitempty" doc:"What its nodes' operating system is called, such as ubuntu; a node of another takes no run." example:"ubuntu"`
	OnShrink   OnShrink          `json:"on_shrink,omitempty" enum:"wait,requeue,terminate" doc:"What happens to runs when its max becomes less than its nodes: wait (they go on to their end, the default), requeue (they start again elsewhere or later) or terminate."`
	RunAs      string            `json:"run_as,omitempty" doc:"The user of its nodes whose rights runs have; the server's --run-as when left out." example:"ml"`
	Setup      *Setup            `json:"setup,omitempty" doc:"Makes its nodes ready for runs; one that says nothing is none."`
	Health     *Health           `json:"health,omitempty" doc:"What its nodes must be to take runs; one that says nothing is none."`
}

// OnShrink is what happens to runs when a cluster's max becomes less than the
// nodes that it has.
type OnShrink string

// What may happen.
const (
	ShrinkWait      OnShrink = "wait"      // they go on to their end
	ShrinkRequeue   OnShrink = "requeue"   // they end, and start again when there is room
	ShrinkTerminate OnShrink = "terminate" // they are cancelled
)

// ClusterRequest asks for a cluster.
type ClusterRequest struct {
	Name     string   `json:"name" example:"gpu"`
	NodePool string   `json:"node_pool,omitempty" doc:"The Nomad node pool whose nodes it is; muster-NAME when left out of an elastic one." example:"gpu"`
	Provider Provider `json:"provider,omitempty" enum:"none,local,aws-asg,azure-vmss,gce-mig" doc:"Where its nodes come from; none when left out: they just exist."`
	Region   string   `json:"region,omitempty" doc:"Nomad's; the server's own when left out."`
	Tier     Tier     `json:"tier,omitempty" enum:"dedicated,low_priority"`
	ClusterSettings
}

// Cluster returns the cluster that is asked for, complete.
func (r *ClusterRequest) Cluster() *Cluster {
	c := &Cluster{Name: r.Name, NodePool: r.NodePool, Provider: r.Provider, Region: r.Region, Tier: r.Tier, ClusterSettings: r.ClusterSettings}
	c.Complete()
	return c
}

// How long a node is idle before it leaves: unless it is set, and at the least and
// the most.
const (
	DefaultIdle = Duration(2 * time.Minute)
	MinIdle     = Duration(time.Second)
	MaxIdle     = Duration(7 * 24 * time.Hour)
)

// MaxNodes is the most that a cluster may have.
const MaxNodes = 10_000

// Complete fills in what the cluster leaves out.
func (c *Cluster) Complete() {
	c.Provider = cmp.Or(c.Provider, ProviderNone)
	c.Tier = cmp.Or(c.Tier, TierDedicated)
	if c.Setup != nil && c.Setup.none() {
		c.Setup = nil
	}
	if c.Health != nil && c.Health.none() {
		c.Health = nil
	}
	if !c.Provider.Elastic() {
		c.NodePool = cmp.Or(c.NodePool, c.Name)
		return
	}
	c.NodePool = cmp.Or(c.NodePool, c.ownPool())
	c.Idle = cmp.Or(c.Idle, DefaultIdle)
}

// ownPool is the node pool of an elastic cluster that names none.
func (c *Cluster) ownPool() string { return "muster-" + c.Name }

// OwnsPool reports whether the cluster's node pool is there for it alone, and goes
// with it; another is the operator's.
func (c *Cluster) OwnsPool() bool { return c.Provider.Elastic() && c.NodePool == c.ownPool() }

// Validate refuses a cluster that cannot be kept; call Complete first.
func (c *Cluster) Validate() error {
	if err := CheckName("cluster", c.Name); err != nil {
		return err
	}
	if err := CheckNodePool(c.NodePool); err != nil {
		return err
	}
	if !slices.Contains(Providers(), c.Provider) {
		return Errorf(CodeInvalid, "%q is no provider", string(c.Provider)).At("provider").WithCure("use one of %s", wordsOf(Providers()))
	}
	if err := oneOf("the cluster", "", "tier", c.Tier, TierDedicated, TierLowPriority); err != nil {
		return err
	}
	if err := c.ClusterSettings.validateNodes(); err != nil {
		return err
	}
	return c.ClusterSettings.validate(c.Provider)
}

// validateNodes refuses what cannot be done on nodes.
func (s *ClusterSettings) validateNodes() error {
	c := Cluster{ClusterSettings: *s}
	ready := c.Readying()
	if ready.Setup != nil {
		if err := ready.Setup.validate(); err != nil {
			return err
		}
	}
	if err := oneOf("the cluster", "", "on_shrink", s.OnShrink, "", ShrinkWait, ShrinkRequeue, ShrinkTerminate); err != nil {
		return err
	}
	if i := slices.Index(s.Workspaces, ""); i >= 0 {
		return Errorf(CodeInvalid, "the name of a workspace is empty").At(fmt.Sprintf("workspaces[%d]", i)).WithCure("name those that may use it; an empty list is all")
	}
	if len(s.OS) > 64 {
		return Errorf(CodeInvalid, "the name of the operating system has %d bytes", len(s.OS)).At("os")
	}
	if s.RunAs != "" && !userRE.MatchString(s.RunAs) {
		return Errorf(CodeInvalid, "%q is no name of a user", s.RunAs).At("run_as")
	}
	return ready.Health.validate()
}

// userRE is a name or number of a user.
var userRE = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)

// validate refuses settings that the provider cannot follow.
func (s *ClusterSettings) validate(p Provider) error {
	if !p.Elastic() {
		if s.Min != 0 || s.Max != 0 || s.Idle != 0 {
			return Errorf(CodeInvalid, "nodes of a cluster without a provider just exist: it has no min, max or idle time").At("provider").
				WithCure("name a provider: %s", wordsOf(Providers()[1:]))
		}
		return s.checkGroup(p)
	}
	switch {
	case s.Size == "":
		return Errorf(CodeInvalid, "a cluster of provider %s needs a size", p).At("size").WithCure("muster size list shows what there is")
	case s.Max < 1 || s.Max > MaxNodes:
		return Errorf(CodeInvalid, "max is %d", s.Max).At("max").WithCure("use 1 to %d", MaxNodes)
	case s.Min < 0 || s.Min > s.Max:
		return Errorf(CodeInvalid, "min is %d", s.Min).At("min").WithCure("use 0 to max, which is %d", s.Max)
	case s.Idle < MinIdle || s.Idle > MaxIdle:
		return Errorf(CodeInvalid, "idle_seconds is %.10g", time.Duration(s.Idle).Seconds()).At("idle_seconds").
			WithCure("use %g to %.10g", time.Duration(MinIdle).Seconds(), time.Duration(MaxIdle).Seconds())
	}
	return s.checkGroup(p)
}

// groupKeys are what a provider must be told to find its nodes; of some it takes
// one. Others have no group.
var groupKeys = map[Provider][][]string{
	ProviderAWS:   {{"aws_asg_name"}},
	ProviderAzure: {{"resource_group"}, {"vm_scale_set"}},
	ProviderGCE:   {{"project"}, {"region", "zone"}, {"mig_name"}},
}

// checkGroup refuses credentials, and a group that the provider has none of or does
// not find.
func (s *ClusterSettings) checkGroup(p Provider) error {
	if groupKeys[p] == nil && len(s.Group) > 0 {
		return Errorf(CodeInvalid, "provider %s has no groups of nodes", p).At("group").WithCure("leave the group out, or name the provider that has it: %s", wordsOf(clouds()))
	}
	for key := range s.Group {
		if HoldsSecret(key) {
			return Errorf(CodeInvalid, "group.%s would be kept and shown in clear", key).At("group." + key).WithCure("give credentials to the autoscaler, in its environment or files")
		}
	}
	for _, some := range groupKeys[p] {
		if !slices.ContainsFunc(some, func(key string) bool { return s.Group[key] != "" }) {
			return Errorf(CodeInvalid, "provider %s needs group.%s", p, strings.Join(some, " or group.")).At("group."+some[0]).
				WithCure("say what it calls its nodes: --group %s=NAME", some[0])
		}
	}
	return nil
}

var secretRE = regexp.MustCompile(`(?i)secret|password|token|credential|access_key`)

// HoldsSecret reports whether a key of a group sounds like one whose value must not
// be shown.
func HoldsSecret(key string) bool { return secretRE.MatchString(key) }

// Admits reports whether runs of a workspace may use the cluster.
func (s *ClusterSettings) Admits(workspace string) bool { return Admits(s.Workspaces, workspace) }

// Admits is the same of the workspaces that may use it: none named is all.
func Admits(workspaces []string, workspace string) bool {
	return len(workspaces) == 0 || slices.Contains(workspaces, workspace)
}

// Clusters keeps the clusters; what it returns has no Offers, Nodes, Ready or
// Counts.
type Clusters interface {
	CreateCluster(ctx context.Context, c *Cluster, by Origin) error // fills CreatedAt and Version
	FindCluster(ctx context.Context, name string) (*Cluster, error)
	ListClusters(ctx context.Context) ([]*Cluster, error) // by name
	UpdateCluster(ctx context.Context, name string, c ClusterChange, by Origin) (*Cluster, error)
	// DeleteCluster forgets a cluster without a provider. An elastic one is
	// marked: its nodes leave first. One with runs that have not ended is
	// CodeConflict.
	DeleteCluster(ctx context.Context, name string, by Origin) error
	// EvictNodes announces that nodes of an elastic cluster will be taken, by id,
	// and returns the names of those that are not leaving or announced already.
	EvictNodes(ctx context.Context, cluster string, ids []string, at time.Time, by Origin) (names []string, err error)
	// SetDrill begins to rehearse losses of an elastic cluster's nodes, or ends it
	// with nil.
	SetDrill(ctx context.Context, cluster string, d *Drill, by Origin) error
}
