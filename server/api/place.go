package api

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/muster-ml/muster"
)

// place finds where a run goes and in what environment, and what there is to note
// about it; what its spec names must be there.
func (a *API) place(ctx context.Context, w *muster.Workspace, s *muster.Spec) (cluster *muster.Cluster, notes []string, err error) {
	if cluster, err = a.cluster(ctx, w, s.Compute); err != nil {
		return nil, nil, err
	}
	if err := mayUse(w, cluster, "compute"); err != nil {
		return nil, nil, err
	}
	for i, name := range s.Alternatives {
		other, err := a.cluster(ctx, w, name)
		if err == nil {
			err = mayUse(w, other, "")
		}
		if e, is := err.(*muster.Error); is {
			return nil, nil, e.At(fmt.Sprintf("alternatives[%d]", i))
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if notes, err = a.contain(ctx, w, cluster, s); err != nil {
		return nil, nil, err
	}
	if s.Tier != "" && s.Tier != cluster.Tier {
		notes = append(notes, fmt.Sprintf("asked for tier %s, and cluster %s is %s", s.Tier, cluster.Name, cluster.Tier))
	}
	return cluster, notes, a.checkUploads(ctx, w, s)
}

// mayUse refuses a cluster that the workspace's runs may not go to.
func mayUse(w *muster.Workspace, c *muster.Cluster, at string) error {
	switch {
	case !c.Admits(w.Name):
		return muster.Errorf(muster.CodeRefused, "workspace %s may not use cluster %s", w.Name, c.Name).At(at).WithCure("name another; muster cluster list shows them, and an administrator says who may use which")
	case c.Deleting:
		return muster.Errorf(muster.CodeRefused, "cluster %s is being deleted", c.Name).At(at).WithCure("name another; muster cluster list shows them")
	}
	return nil
}

// contain finds what this site offers for the run's environment, and what there
// is to note about it.
func (a *API) contain(ctx context.Context, w *muster.Workspace, cluster *muster.Cluster, s *muster.Spec) (notes []string, err error) {
	engine := false
	if s.Environment != "" { // what is on the nodes matters to nobody else
		if engine, err = a.hasEngine(ctx, cluster.Name); err != nil {
			return nil, err
		}
	}
	image, note, err := a.Site.Resolve(s.Environment, engine)
	if err != nil {
		return nil, err
	}
	if note != "" {
		notes = append(notes, note)
	}
	if image == "" {
		if s.Container != nil {
			notes = append(notes, "shm_size and docker_args are passed over: the command runs on the node itself")
		}
		s.Container = nil
		return notes, nil
	}
	if s.Container == nil {
		s.Container = &muster.Container{}
	}
	s.Container.Image = image
	s.Container.Registry, err = a.registryOf(ctx, w.Name, image)
	return notes, err
}

// hasEngine reports whether a node of the cluster has a container engine. A
// cluster without a node that was seen may have one: its runs wait, and are told
// why.
func (a *API) hasEngine(ctx context.Context, cluster string) (bool, error) {
	nodes, err := a.nodes(ctx, cluster)
	if muster.CodeOf(err) == muster.CodeUnreachable {
		return true, nil
	}
	nodes = slices.DeleteFunc(nodes, func(n *muster.Node) bool { return n.State == muster.NodePreparing && !n.Engine }) // it may get one
	return len(nodes) == 0 || slices.ContainsFunc(nodes, func(n *muster.Node) bool { return n.Engine }), err
}

// cluster finds where a run goes. "local" and "serverless" are what Azure ML
// calls compute that is not named.
func (a *API) cluster(ctx context.Context, w *muster.Workspace, compute string) (*muster.Cluster, error) {
	if compute != "" && compute != "local" && compute != "serverless" {
		c, err := a.Clusters.FindCluster(ctx, compute)
		if e, is := err.(*muster.Error); is && e.Code == muster.CodeNotFound {
			return nil, a.otherClusters(ctx, compute, e.At("compute"))
		}
		return c, err
	}
	if w.DefaultCluster == "" {
		return nil, muster.Errorf(muster.CodeRefused, "the run names no compute, and workspace %s has no default cluster", w.Name).At("compute").
			WithCure("name a cluster as compute; muster cluster list shows them")
	}
	return a.Clusters.FindCluster(ctx, w.DefaultCluster)
}

// otherClusters lets the error about a cluster that is not there name those that
// are.
func (a *API) otherClusters(ctx context.Context, name string, e *muster.Error) *muster.Error {
	all, err := a.Clusters.ListClusters(ctx)
	if err != nil || len(all) == 0 {
		return e
	}
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = c.Name
	}
	if near := muster.Nearest(name, names); near != "" {
		return e.WithCure("did you mean %s?", near)
	}
	return e.WithCure("the clusters there are: %s", strings.Join(names, ", "))
}
