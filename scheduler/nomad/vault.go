package nomad

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/nomad/api"

	"github.com/muster-ml/muster"
)

// vaultTries is how often a change is tried while others change the same.
const vaultTries = 5

// KeepSecrets puts secrets into the namespace's variable, and takes away those
// without a value.
func (n *Nomad) KeepSecrets(ctx context.Context, namespace string, secrets map[string]muster.Secret) error {
	ctx, cancel := context.WithTimeout(ctx, n.limit)
	defer cancel()
	if err := n.ensureNamespace(ctx, namespace); err != nil {
		return err
	}
	var err error
	for range vaultTries {
		if err = n.changeVault(ctx, namespace, secrets); !isConflict(err) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("keep secrets in namespace %s: %w", namespace, n.refused(err))
	}
	return nil
}

// changeVault makes one try: it fails with a conflict when somebody else changed
// the variable in between.
func (n *Nomad) changeVault(ctx context.Context, namespace string, secrets map[string]muster.Secret) error {
	kept, _, err := n.api.Variables().Peek(muster.VaultPath, (&api.QueryOptions{Namespace: namespace}).WithContext(ctx))
	if err != nil {
		return err
	}
	if kept == nil {
		kept = api.NewVariable(muster.VaultPath)
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
	kept.Namespace = namespace
	q := (&api.WriteOptions{Namespace: namespace}).WithContext(ctx)
	if before == 0 && len(kept.Items) == 0 {
		return nil
	}
	if len(kept.Items) == 0 {
		_, err = n.api.Variables().CheckedDelete(muster.VaultPath, kept.ModifyIndex, q)
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
