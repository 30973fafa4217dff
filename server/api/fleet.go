package api

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/muster-ml/muster"
)

// registerFleet is about clusters whose nodes come and go.
func (a *API) registerFleet() {
	const cluster = "/clusters/{cluster}"
	handle(a, operation{"PATCH", cluster, "update-cluster", "Change a cluster, which goes on meanwhile; what is left out stays", 200, "clusters", muster.RoleAdministrator},
		func(ctx context.Context, in *struct {
			InCluster
			Body muster.ClusterChange
		}) (*one[*muster.Cluster], error) {
			defer a.Wake()
			return a.theCluster(ctx, func() (*muster.Cluster, error) { return a.updateCluster(ctx, in.Cluster, in.Body) })
		})
	handle(a, operation{"DELETE", cluster, "delete-cluster", "Delete a cluster whose runs have all ended: its nodes leave, then it is gone", 204, "clusters", muster.RoleAdministrator},
		func(ctx context.Context, in *struct {
			InCluster
			Confirm string `query:"confirm" required:"true" doc:"The name of the cluster once more." example:"gpu"`
		}) (*struct{}, error) {
			if in.Confirm != in.Cluster {
				return nil, muster.Errorf(muster.CodeInvalid, "what is confirmed is %q, and not %q", in.Confirm, in.Cluster).At("confirm").WithCure("send confirm=%s", in.Cluster)
			}
			defer a.Wake()
			return nil, a.Clusters.DeleteCluster(ctx, in.Cluster, origin(ctx))
		})
	handle(a, operation{"GET", cluster + "/events", "cluster-events", "List what happened to a cluster and its nodes", 200, "clusters", muster.RoleReader},
		func(ctx context.Context, in *struct {
			InCluster
			After int64 `query:"after" doc:"Only events with a higher number."`
		}) (*body[[]*muster.Event], error) {
			if err := a.checkCluster(ctx, in.Cluster); err != nil {
				return nil, err
			}
			return list(a.Events.ListEvents(ctx, muster.EventFilter{Cluster: in.Cluster, After: in.After}))
		})
	handle(a, operation{"POST", cluster + "/evictions", "evict-nodes", "Rehearse a loss: the provider takes nodes of an elastic cluster back", 202, "clusters", muster.RoleAdministrator},
		func(ctx context.Context, in *struct {
			InCluster
			Body muster.EvictionRequest
		}) (*body[*muster.EvictionAnswer], error) {
			return ok(a.evict(ctx, in.Cluster, in.Body))
		})
	handle(a, operation{"GET", cluster + "/scaling", "show-scaling", "Show what the autoscaler must know of an elastic cluster; a conflict while the number is not known", 200, "clusters", muster.RoleAdministrator},
		func(ctx context.Context, in *InCluster) (*body[*muster.Scaling], error) {
			return ok(a.Autoscaling.FindScaling(ctx, in.Cluster))
		})
	handle(a, operation{"PUT", cluster + "/machines", "put-machines", "Tell what a provider says of its machines", 204, "clusters", muster.RoleAdministrator},
		func(ctx context.Context, in *struct {
			InCluster
			Body muster.MachineReport
		}) (*struct{}, error) {
			return nil, a.Autoscaling.ReportMachines(ctx, in.Cluster, in.Body)
		})
	handle(a, operation{"GET", "/sizes", "list-sizes", "List the catalogue of node sizes", 200, "clusters", muster.RoleReader},
		func(ctx context.Context, in *InNames) (*names[muster.NodeSize], error) {
			return byName(*in, slices.Clone(a.Sizes), func(s muster.NodeSize) string { return s.Name }, nil)
		})
}

// checkSettings refuses a cluster that cannot be kept, or whose size nobody
// knows. The size gets the catalogue's spelling.
func (a *API) checkSettings(c *muster.Cluster) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if c.Size == "" {
		return nil
	}
	var err error
	c.Size, err = a.size(c.Size)
	return err
}

// size returns the catalogue's spelling of a size.
func (a *API) size(name string) (string, error) {
	size, err := a.Sizes.Find(name)
	if err == nil {
		return size.Name, nil
	}
	cure := "muster size list shows what there is; muster server --sizes FILE adds to it"
	var known []string
	for _, s := range a.Sizes {
		known = append(known, s.Name)
	}
	if near := muster.Nearest(name, known); near != "" {
		cure = "did you mean " + near + "? " + cure
	}
	return "", muster.Errorf(muster.CodeInvalid, "there is no size %s", name).At("size").WithCure("%s", cure)
}

// rehearsals say how else a loss is rehearsed, by the provider that takes no nodes on
// demand.
var rehearsals = map[muster.Provider]string{
	muster.ProviderNone:  "stop the Nomad client of one",
	muster.ProviderAWS:   "let AWS Fault Injection Service interrupt spot instances of its group",
	muster.ProviderAzure: "az vmss simulate-eviction takes a spot machine of its set",
	muster.ProviderGCE:   "gcloud compute instances simulate-maintenance-event takes a spot machine of its group",
}

// evict chooses nodes by chance, those with runs before the others, and announces
// that they will be taken.
func (a *API) evict(ctx context.Context, cluster string, q muster.EvictionRequest) (*muster.EvictionAnswer, error) {
	c, err := a.Clusters.FindCluster(ctx, cluster)
	if err != nil {
		return nil, err
	}
	if c.Provider != muster.ProviderLocal {
		return nil, muster.Errorf(muster.CodeRefused, "provider %s takes no nodes on demand", c.Provider).WithCure("drills work on clusters of provider local; here %s", rehearsals[c.Provider])
	}
	if c.Deleting {
		return nil, muster.Errorf(muster.CodeConflict, "cluster %s is being deleted", cluster)
	}
	if q.Rate != nil {
		return a.drill(ctx, cluster, q)
	}
	all, err := a.Nodes.ListNodes(ctx)
	if err != nil {
		return nil, err
	}
	usable := slices.DeleteFunc(all, func(n *muster.Node) bool { return n.Cluster != cluster || !n.Ready() })
	rand.Shuffle(len(usable), func(i, j int) { usable[i], usable[j] = usable[j], usable[i] })
	slices.SortStableFunc(usable, func(a, b *muster.Node) int { return cmp.Compare(len(b.Runs), len(a.Runs)) })
	want := cmp.Or(q.Nodes, 1)
	if len(usable) < want {
		e := muster.Errorf(muster.CodeConflict, "cluster %s has %s ready, and is to lose %d", cluster, muster.Counted(len(usable), "node"), want).At("nodes")
		if len(usable) == 0 {
			return nil, e.WithCure("nodes come while runs wait for them, or with muster cluster resize %s --min 1", cluster)
		}
		return nil, e.WithCure("take at most %d: muster cluster nodes %s lists them", len(usable), cluster)
	}
	var ids []string
	for _, n := range usable[:want] {
		ids = append(ids, n.ID)
	}
	answer := &muster.EvictionAnswer{At: time.Now().UTC().Add(time.Duration(q.Notice))}
	answer.Nodes, err = a.Clusters.EvictNodes(ctx, cluster, ids, answer.At, origin(ctx))
	a.Wake()
	return answer, err
}

// drill begins to rehearse losses by chance, or ends it.
func (a *API) drill(ctx context.Context, cluster string, q muster.EvictionRequest) (*muster.EvictionAnswer, error) {
	answer := &muster.EvictionAnswer{Nodes: []string{}, At: time.Now().UTC()}
	switch {
	case q.Nodes != 0:
		return nil, muster.Errorf(muster.CodeInvalid, "nodes are to be taken now, and at a rate").At("nodes").WithCure("send one of the two")
	case *q.Rate > 0:
		answer.Drill = &muster.Drill{PerHour: *q.Rate, Notice: q.Notice}
	}
	if err := a.Clusters.SetDrill(ctx, cluster, answer.Drill, origin(ctx)); err != nil {
		return nil, err
	}
	a.Wake()
	return answer, nil
}

// updateCluster changes a cluster.
func (a *API) updateCluster(ctx context.Context, name string, change muster.ClusterChange) (*muster.Cluster, error) {
	if change.Size != nil {
		size, err := a.size(*change.Size)
		if err != nil {
			return nil, err
		}
		change.Size = &size
	}
	return a.Clusters.UpdateCluster(ctx, name, change, origin(ctx))
}
