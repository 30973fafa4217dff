package store

import (
	"context"

	"github.com/muster-ml/muster"
)

// PutRegistry keeps that a workspace logs in at a registry.
func (s *Store) PutRegistry(ctx context.Context, workspace string, r *muster.Registry) error {
	return s.inTx(ctx, "put registry", func(t *tx) error {
		w, err := findWorkspace(ctx, t, workspace)
		if err != nil {
			return err
		}
		r.UpdatedAt = t.now
		_, err = t.exec(ctx, `INSERT OR REPLACE INTO registries (workspace_id, host, username, updated_at) VALUES (?, ?, ?, ?)`, w.ID, r.Host, r.Username, micros(t.now))
		return err
	})
}

// ListRegistries returns the registries of a workspace by host.
func (s *Store) ListRegistries(ctx context.Context, workspace string) ([]*muster.Registry, error) {
	w, err := s.FindWorkspace(ctx, workspace)
	if err != nil {
		return nil, err
	}
	return collect(ctx, s.read, func(row scanner) (*muster.Registry, error) {
		r := &muster.Registry{}
		return r, row.Scan(&r.Host, &r.Username, timeCol{&r.UpdatedAt})
	}, `SELECT host, username, updated_at FROM registries WHERE workspace_id = ? ORDER BY host`, w.ID)
}

// DeleteRegistry forgets that a workspace logs in at a registry.
func (s *Store) DeleteRegistry(ctx context.Context, workspace, host string) error {
	return s.inTx(ctx, "delete registry", func(t *tx) error {
		w, err := findWorkspace(ctx, t, workspace)
		if err != nil {
			return err
		}
		n, err := t.exec(ctx, `DELETE FROM registries WHERE workspace_id = ? AND host = ?`, w.ID, host)
		if err == nil && n == 0 {
			return muster.Errorf(muster.CodeNotFound, "workspace %s logs in at no registry %s", workspace, host).WithCure("muster registry list shows where it does")
		}
		return err
	})
}
