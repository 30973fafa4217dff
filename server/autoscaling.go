package server

import (
	"context"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/scheduler/controller"
	"github.com/muster-ml/muster/store"
)

// autoscaling answers the autoscaler from what the leader has published.
type autoscaling struct {
	store      *store.Store
	controller *controller.Controller
	sizes      muster.Sizes
}

// FindScaling returns what an elastic cluster shall have. A number is told only
// while the leader stands by it: what it published before it was killed, or while
// Nomad was away, must let nothing go.
func (a *autoscaling) FindScaling(ctx context.Context, cluster string) (*muster.Scaling, error) {
	// Leaving is read first: a node that is published after that belongs to a
	// number that is lower still.
	leaving, err := a.store.ListLeaving(ctx, cluster)
	if err != nil {
		return nil, err
	}
	evictions, err := a.store.ListEvictions(ctx, cluster)
	if err != nil {
		return nil, err
	}
	c, err := a.store.FindCluster(ctx, cluster)
	if err != nil {
		return nil, err
	}
	if !c.Provider.Elastic() {
		return nil, muster.Errorf(muster.CodeConflict, "nodes of cluster %s just exist: nobody makes them come and go", cluster)
	}
	if !a.controller.Scaled(cluster) || c.Wanted == nil {
		return nil, muster.Errorf(muster.CodeConflict, "how many nodes cluster %s shall have is not known: the leader has not looked yet, or Nomad is away", cluster)
	}
	size, err := a.sizes.Find(c.Size)
	if err != nil {
		return nil, muster.Errorf(muster.CodeConflict, "size %s of cluster %s is not in the catalogue: nothing is bought and nothing leaves", c.Size, cluster)
	}
	return &muster.Scaling{Cluster: c.Name, Version: c.Version, NodePool: c.NodePool, Provider: c.Provider, Tier: c.Tier, Settings: c.ClusterSettings,
		Size: *size, Wanted: *c.Wanted, Leaving: leaving, Evict: evictions, Heard: c.Heard}, nil
}

// ReportMachines keeps what a provider says.
func (a *autoscaling) ReportMachines(ctx context.Context, cluster string, r muster.MachineReport) error {
	if r.Machines == nil {
		r.Machines = []muster.Machine{} // it has none, and says so
	}
	changed, err := a.store.ReportMachines(ctx, cluster, r)
	if changed {
		a.controller.Wake()
	}
	return err
}
