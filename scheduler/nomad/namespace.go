package nomad

import (
	"context"
	"fmt"
	"slices"

	"github.com/hashicorp/nomad/api"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/jobspecs"
)

// ensureNamespace makes the workspace's namespace where Nomad lacks it.
func (n *Nomad) ensureNamespace(ctx context.Context, namespace string) error {
	_, _, err := n.api.Namespaces().Info(namespace, (&api.QueryOptions{}).WithContext(ctx))
	if err == nil {
		n.hear(namespace)
		return nil
	}
	if code := status(err); n.mode == muster.NomadExisting && (code == 404 || code == 403) {
		return muster.Errorf(muster.CodeRefused, "Nomad has no namespace %s that Muster may use, and in mode %s it makes none", namespace, n.mode).
			WithCure("nomad namespace apply %s; muster policies prints what its token must be allowed", namespace)
	}
	if status(err) != 404 {
		return fmt.Errorf("look up namespace %s: %w", namespace, n.refused(err))
	}
	if _, err := n.api.Namespaces().Register(&api.Namespace{Name: namespace, Description: "a workspace of Muster"}, (&api.WriteOptions{}).WithContext(ctx)); err != nil {
		return fmt.Errorf("make namespace %s: %w", namespace, n.refused(err))
	}
	n.hear(namespace)
	return nil
}

// hear makes the event stream begin anew where a namespace is not in it: that of
// all namespaces knows those that there were when it began.
func (n *Nomad) hear(namespace string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Contains(n.following, namespace) {
		n.following = append(n.following, namespace)
		n.reconnect()
	}
}

// DropNamespace forgets the shapes and secrets of a deleted workspace, and in
// mode manage its namespace. Nomad keeps a namespace in which somebody else has a
// job or a variable: that is said, and tried again.
func (n *Nomad) DropNamespace(ctx context.Context, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, n.limit)
	defer cancel()
	_, _, err := n.api.Namespaces().Info(namespace, (&api.QueryOptions{}).WithContext(ctx))
	if code := status(err); code == 404 || code == 403 && n.mode == muster.NomadExisting {
		return nil // it was never made, or the operator has removed it
	}
	if err != nil {
		return fmt.Errorf("look up namespace %s: %w", namespace, n.refused(err))
	}
	jobs, _, err := n.api.Jobs().List((&api.QueryOptions{Namespace: namespace, Prefix: jobspecs.Prefix(n.installation)}).WithContext(ctx))
	if err != nil {
		return fmt.Errorf("list the jobs of namespace %s: %w", namespace, n.refused(err))
	}
	q := (&api.WriteOptions{Namespace: namespace}).WithContext(ctx)
	for _, job := range jobs {
		if _, _, err := n.api.Jobs().Deregister(job.ID, true, q); err != nil && status(err) != 404 {
			return fmt.Errorf("forget shape %s: %w", job.ID, n.refused(err))
		}
		n.forget(namespace, job.ID)
	}
	if _, err := n.api.Variables().Delete(muster.VaultPath, q); err != nil && status(err) != 404 {
		return fmt.Errorf("forget the secrets of namespace %s: %w", namespace, n.refused(err))
	}
	if n.mode == muster.NomadExisting {
		return nil // the operator's
	}
	if _, err := n.api.Namespaces().Delete(namespace, (&api.WriteOptions{}).WithContext(ctx)); err != nil && status(err) != 404 {
		return fmt.Errorf("remove namespace %s: %w", namespace, n.refused(err))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.following = slices.DeleteFunc(n.following, func(followed string) bool { return followed == namespace })
	return nil
}
