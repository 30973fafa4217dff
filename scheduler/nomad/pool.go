package nomad

import (
	"context"
	"fmt"
	"strconv"

	"github.com/hashicorp/nomad/api"

	"github.com/muster-ml/muster/jobspecs"
)

// DropPool forgets the shapes of a node pool, in all namespaces, and the pool
// itself where it is our own. Nomad keeps one with a node or a job that goes on.
func (n *Nomad) DropPool(ctx context.Context, pool string, own bool) error {
	ctx, cancel := context.WithTimeout(ctx, n.limit)
	defer cancel()
	q := &api.QueryOptions{Namespace: api.AllNamespacesNamespace, Prefix: jobspecs.Prefix(n.installation), Filter: "NodePool == " + strconv.Quote(pool)}
	jobs, _, err := n.api.Jobs().List(q.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("list the jobs of node pool %s: %w", pool, n.refused(err))
	}
	for _, job := range jobs {
		if !job.ParameterizedJob || job.ParentID != "" {
			continue // a child is purged with its launch, the node agents' job with its cluster
		}
		if _, _, err := n.api.Jobs().Deregister(job.ID, true, (&api.WriteOptions{Namespace: job.Namespace}).WithContext(ctx)); err != nil && status(err) != 404 {
			return fmt.Errorf("forget shape %s: %w", job.ID, n.refused(err))
		}
		n.forget(job.Namespace, job.ID)
	}
	if !own {
		return nil
	}
	if _, err := n.api.NodePools().Delete(pool, (&api.WriteOptions{}).WithContext(ctx)); err != nil && !unknown(err, "node pool "+pool+" not found") {
		return fmt.Errorf("remove node pool %s: %w", pool, n.refused(err))
	}
	return nil
}
