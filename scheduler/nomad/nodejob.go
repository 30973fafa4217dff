package nomad

import (
	"context"
	"fmt"

	"github.com/hashicorp/nomad/api"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/jobspecs"
)

// nodeJob returns the system job of a cluster's node agents.
func (n *Nomad) nodeJob(cluster, region, pool string) *jobspecs.NodeJob {
	return &jobspecs.NodeJob{Installation: n.installation, Cluster: cluster, Region: region, NodePool: pool, Agent: n.agent}
}

// KeepNodeJob makes sure that the job of a cluster's node agents is as it is to
// be; seen is what was listed of it, nil where it was not.
func (n *Nomad) KeepNodeJob(ctx context.Context, c *muster.Cluster, seen *muster.SeenNodeJob) error {
	job := n.nodeJob(c.Name, c.Region, c.NodePool)
	if seen != nil && !seen.Stopped && seen.Digest == job.Digest() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, n.limit)
	defer cancel()
	namespace := jobspecs.NodeNamespace(n.installation)
	if err := n.ensureNamespace(ctx, namespace); err != nil {
		return err
	}
	if _, _, err := n.api.Jobs().Register(job.Job(), (&api.WriteOptions{Namespace: namespace}).WithContext(ctx)); err != nil {
		return fmt.Errorf("register the node agents of cluster %s: %w", c.Name, n.refused(err))
	}
	return nil
}

// DropNodeJob removes that job and, with secrets, those of the cluster.
func (n *Nomad) DropNodeJob(ctx context.Context, cluster string, secrets bool) error {
	ctx, cancel := context.WithTimeout(ctx, n.limit)
	defer cancel()
	job := n.nodeJob(cluster, "", "")
	q := (&api.WriteOptions{Namespace: jobspecs.NodeNamespace(n.installation)}).WithContext(ctx)
	if _, _, err := n.api.Jobs().Deregister(job.ID(), true, q); err != nil && status(err) != 404 {
		return fmt.Errorf("remove the node agents of cluster %s: %w", cluster, n.refused(err))
	}
	if !secrets {
		return nil
	}
	if _, err := n.api.Variables().Delete(job.VaultPath(), q); err != nil && status(err) != 404 {
		return fmt.Errorf("forget the secrets of cluster %s: %w", cluster, n.refused(err))
	}
	return nil
}
