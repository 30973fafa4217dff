package nomad

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/hashicorp/nomad/api"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/jobspecs"
)

// vaultTries is how often a change is tried while others change the same.
const vaultTries = 5

// KeepSecrets puts secrets into the namespace's variable, and takes away those
// without a value.
func (n *Nomad) KeepSecrets(ctx context.Context, namespace string, secrets map[string]muster.Secret) error {
	if err := n.keepSecrets(ctx, namespace, muster.VaultPath, secrets, 0); err != nil {
		return fmt.Errorf("keep secrets in namespace %s: %w", namespace, err)
	}
	return nil
}

// KeepClusterSecrets puts secrets into the variable of a cluster's node agents.
// The version beside them rises, to this one at least.
func (n *Nomad) KeepClusterSecrets(ctx context.Context, cluster string, secrets map[string]muster.Secret, version int64) error {
	if err := n.keepSecrets(ctx, jobspecs.NodeNamespace(n.installation), n.nodeJob(cluster, "", "").VaultPath(), secrets, version); err != nil {
		return fmt.Errorf("keep secrets of cluster %s: %w", cluster, err)
	}
	return nil
}

func (n *Nomad) keepSecrets(ctx context.Context, namespace, path string, secrets map[string]muster.Secret, version int64) error {
	ctx, cancel := context.WithTimeout(ctx, n.limit)
	defer cancel()
	if err := n.ensureNamespace(ctx, namespace); err != nil {
		return err
	}
	var err error
	for range vaultTries {
		if err = n.changeVault(ctx, namespace, path, secrets, version); !isConflict(err) {
			break
		}
	}
	if err != nil {
		return n.refused(err)
	}
	return nil
}

// changeVault makes one try: it fails with a conflict when somebody else changed
// the variable in between.
func (n *Nomad) changeVault(ctx context.Context, namespace, path string, secrets map[string]muster.Secret, version int64) error {
	kept, _, err := n.api.Variables().Peek(path, (&api.QueryOptions{Namespace: namespace}).WithContext(ctx))
	if err != nil {
		return err
	}
	if kept == nil {
		kept = api.NewVariable(path)
	}
	if kept.Items == nil {
		kept.Items = api.VariableItems{}
	}
	before := len(kept.Items)
	for key, secret := range secrets {
		if secret.Reveal() == "" {
			delete(kept.Items, key)
		} else {
			kept.Items[key] = secret.Reveal()
		}
	}
	if version > 0 {
		old, _ := strconv.ParseInt(kept.Items[muster.SecretsVersionVar], 10, 64) // it has none at first
		kept.Items[muster.SecretsVersionVar] = strconv.FormatInt(max(old, version), 10)
	}
	kept.Namespace = namespace
	q := (&api.WriteOptions{Namespace: namespace}).WithContext(ctx)
	if before == 0 && len(kept.Items) == 0 {
		return nil
	}
	if len(kept.Items) == 0 {
		_, err = n.api.Variables().CheckedDelete(path, kept.ModifyIndex, q)
		return err
	}
	_, _, err = n.api.Variables().CheckedUpdate(kept, q)
	return err
}

// isConflict reports whether a variable was changed by somebody else meanwhile.
func isConflict(err error) bool {
	_, ok := errors.AsType[api.ErrCASConflict](err)
	return ok
}
