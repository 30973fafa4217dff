package api

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/muster-ml/muster"
)

// InCluster names a cluster in the path.
type InCluster struct {
	Cluster string `path:"cluster"`
}

func (a *API) registerClusters() {
	handle(a, operation{"POST", "/clusters", "create-cluster", "Make a cluster: of a node pool whose nodes just exist, or of nodes that a provider gives", 201, "clusters", muster.RoleAdministrator},
		func(ctx context.Context, in *body[muster.ClusterRequest]) (*body[*muster.Cluster], error) {
			c := in.Body.Cluster()
			if err := a.checkSettings(c); err != nil {
				return nil, err
			}
			if err := a.Clusters.CreateCluster(ctx, c, origin(ctx)); err != nil {
				return nil, err
			}
			a.Wake()
			return ok(c, a.measure(ctx, c))
		})
	handle(a, operation{"GET", "/clusters", "list-clusters", "List the clusters", 200, "clusters", muster.RoleReader},
		func(ctx context.Context, in *InNames) (*names[*muster.Cluster], error) {
			all, err := a.Clusters.ListClusters(ctx)
			if err != nil {
				return nil, err
			}
			return byName(*in, all, clusterName, a.measure(ctx, all...))
		})
	handle(a, operation{"GET", "/clusters/{cluster}", "show-cluster", "Show a cluster", 200, "clusters", muster.RoleReader},
		func(ctx context.Context, in *InCluster) (*one[*muster.Cluster], error) {
			return a.theCluster(ctx, func() (*muster.Cluster, error) { return a.Clusters.FindCluster(ctx, in.Cluster) })
		})
	a.registerFleet()
	a.registerNodes()
	handle(a, operation{"GET", "/queue", "show-queue", "List the waiting runs by cluster and position, with reasons", 200, "queue", muster.RoleReader}, a.showQueue)
}

// ofQueue chooses the beginning of a queue.
type ofQueue struct {
	Cluster string `query:"cluster" doc:"Only those that may start on this cluster: its own, then those of other clusters that name it as an alternative."`
	Limit   int    `query:"limit" minimum:"1" maximum:"1000" default:"1000"`
}

// queuePage is the beginning of a queue.
type queuePage struct {
	Total int `header:"Muster-Total" doc:"How many wait, listed or not."`
	Body  []*muster.Run
}

// showQueue lists who waits.
func (a *API) showQueue(ctx context.Context, in *ofQueue) (*queuePage, error) {
	if err := a.checkCluster(ctx, in.Cluster); err != nil {
		return nil, err
	}
	all, total, err := a.Runs.ListQueue(ctx, in.Cluster, in.Limit)
	if err != nil {
		return nil, err
	}
	if all == nil {
		all = []*muster.Run{} // [], not null
	}
	veil(principal(ctx), all)
	return &queuePage{total, all}, nil
}

// checkCluster refuses a cluster that does not exist; "" stands for all.
func (a *API) checkCluster(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	_, err := a.Clusters.FindCluster(ctx, name)
	return err
}

// theCluster wraps the answer about a cluster.
func (a *API) theCluster(ctx context.Context, get func() (*muster.Cluster, error)) (*one[*muster.Cluster], error) {
	c, err := get()
	if err != nil {
		return nil, err
	}
	return thing(c, c.Version, a.measure(ctx, c))
}

// measure fills in what is seen of the clusters' nodes. While Nomad has not
// answered nothing is known of them, and that is no error.
func (a *API) measure(ctx context.Context, clusters ...*muster.Cluster) error {
	for _, c := range clusters {
		if size, err := a.Sizes.Find(c.Size); err == nil {
			c.Offers = new(size.Allocatable())
		}
	}
	all, err := a.Nodes.ListNodes(ctx)
	if err != nil {
		if muster.CodeOf(err) == muster.CodeUnreachable {
			return nil
		}
		return err
	}
	for _, c := range clusters {
		var own []*muster.Node
		c.Counts = map[muster.NodeState]int{}
		for _, n := range all {
			if n.Cluster == c.Name {
				own = append(own, n)
				c.Nodes++
				c.Counts[n.State]++
				if n.Ready() {
					c.Ready++
				}
			}
		}
		if size := muster.SizeOf(own); size != nil {
			c.Offers = size
		}
		c.SilentSince = c.Silence(time.Now())
	}
	return nil
}

// tellSilence adds to why a run waits that the autoscaler which is to bring nodes
// for it has not been heard of.
func (a *API) tellSilence(ctx context.Context, r *muster.Run) error {
	if r.State != muster.RunQueued || r.WaitReason == nil {
		return nil
	}
	c, err := a.Clusters.FindCluster(ctx, r.Cluster)
	if err != nil || c.Provider != muster.ProviderLocal {
		return err
	}
	if err := a.measure(ctx, c); err != nil || c.SilentSince.IsZero() {
		return err
	}
	told := *r.WaitReason
	told.Message += fmt.Sprintf("; the autoscaler of cluster %s has not been heard of since %s UTC: see that muster-autoscaler runs", c.Name, c.SilentSince.UTC().Format(time.DateTime))
	r.WaitReason = &told
	return nil
}

// nodes lists the nodes of a cluster, or of all.
func (a *API) nodes(ctx context.Context, cluster string) ([]*muster.Node, error) {
	if err := a.checkCluster(ctx, cluster); err != nil {
		return nil, err
	}
	all, err := a.Nodes.ListNodes(ctx)
	var own []*muster.Node
	for _, n := range all {
		if cluster == "" || n.Cluster == cluster {
			own = append(own, veiled(principal(ctx), n))
		}
	}
	return own, err
}

// node finds one node.
func (a *API) node(ctx context.Context, name string) (*muster.Node, error) {
	all, err := a.Nodes.ListNodes(ctx)
	if err != nil {
		return nil, err
	}
	var found *muster.Node
	for _, n := range all {
		if n.Name != name && !(len(name) >= 4 && strings.HasPrefix(n.ID, name)) {
			continue
		}
		if found != nil {
			return nil, muster.Errorf(muster.CodeConflict, "more than one node is called %s", name).WithCure("use more of the id")
		}
		found = n
	}
	if found == nil {
		return nil, muster.Errorf(muster.CodeNotFound, "there is no node %s in any cluster", name).WithCure("muster node list shows what there is")
	}
	return veiled(principal(ctx), found), nil
}
