package store

import (
	"context"
	"fmt"

	"github.com/muster-ml/muster"
)

// UpdateWorkspace changes a workspace.
func (s *Store) UpdateWorkspace(ctx context.Context, name string, c muster.WorkspaceChange, by muster.Origin) (w *muster.Workspace, err error) {
	err = s.inTx(ctx, "update workspace", func(t *tx) error {
		if w, err = findWorkspace(ctx, t, name); err != nil {
			return err
		}
		if err := by.Check(w.Version); err != nil {
			return err
		}
		if c.DefaultCluster != nil && *c.DefaultCluster != "" {
			if _, err := findCluster(ctx, t, *c.DefaultCluster); err != nil {
				return muster.Within(err, "default_cluster")
			}
		}
		if _, err := t.exec(ctx, `UPDATE workspaces SET default_cluster = coalesce(?, default_cluster), description = coalesce(?, description) WHERE id = ?`,
			c.DefaultCluster, c.Description, w.ID); err != nil {
			return err
		}
		w, err = findWorkspace(ctx, t, name)
		return err
	})
	return w, err
}

// UpdateExperiment changes an experiment.
func (s *Store) UpdateExperiment(ctx context.Context, workspace, name string, c muster.ExperimentChange, by muster.Origin) (e *muster.Experiment, err error) {
	err = s.inTx(ctx, "update experiment", func(t *tx) error {
		if e, err = findExperiment(ctx, t, workspace, name); err != nil {
			return err
		}
		if err := by.Check(e.Version); err != nil {
			return err
		}
		if _, err := t.exec(ctx, `UPDATE experiments SET description = coalesce(?, description) WHERE id = ?`, c.Description, e.ID); err != nil {
			return err
		}
		e, err = findExperiment(ctx, t, workspace, name)
		return err
	})
	return e, err
}

// UpdateRun changes what people say of a run.
func (s *Store) UpdateRun(ctx context.Context, workspace, name string, c muster.RunChange, by muster.Origin) (r *muster.Run, err error) {
	err = s.inTx(ctx, "update run", func(t *tx) error {
		if r, err = findRun(ctx, t, workspace, name); err != nil {
			return err
		}
		if err := by.Check(r.Version); err != nil {
			return err
		}
		var tags any
		if c.Tags != nil {
			tags = jsonMap(c.Tags)
		}
		if _, err := t.exec(ctx, `UPDATE runs SET display_name = coalesce(?, display_name), description = coalesce(?, description), tags = coalesce(?, tags) WHERE id = ?`,
			c.DisplayName, c.Description, tags, r.ID); err != nil {
			return err
		}
		r, err = findRun(ctx, t, workspace, name)
		return err
	})
	return r, err
}

// DeleteRun takes a run out of sight.
func (s *Store) DeleteRun(ctx context.Context, workspace, name string, by muster.Origin) error {
	return s.inTx(ctx, "delete run", func(t *tx) error {
		r, err := findRun(ctx, t, workspace, name)
		if err != nil {
			return err
		}
		if err := by.Check(r.Version); err != nil {
			return err
		}
		if !r.State.Final() {
			return muster.Errorf(muster.CodeConflict, "run %s is %s", name, r.State).WithCure("cancel it first, and wait for its end")
		}
		if _, err := t.exec(ctx, `UPDATE runs SET deleted_at = ? WHERE id = ?`, micros(t.now), r.ID); err != nil {
			return err
		}
		if _, err := t.exec(ctx, `UPDATE experiments SET runs = runs - 1 WHERE id = (SELECT experiment_id FROM runs WHERE id = ?)`, r.ID); err != nil {
			return err
		}
		return t.event(ctx, r, muster.Event{Kind: muster.EventNote, Message: "deleted", Actor: by.Actor, RequestID: by.RequestID})
	})
}

// DeleteExperiment takes an experiment without runs out of sight.
func (s *Store) DeleteExperiment(ctx context.Context, workspace, name string, by muster.Origin) error {
	return s.inTx(ctx, "delete experiment", func(t *tx) error {
		e, err := findExperiment(ctx, t, workspace, name)
		if err != nil {
			return err
		}
		if err := by.Check(e.Version); err != nil {
			return err
		}
		if e.Runs > 0 {
			return muster.Errorf(muster.CodeConflict, "experiment %s has %s", name, muster.Counted(e.Runs, "run")).WithCure("delete them first: muster run list -e %s shows them", name)
		}
		_, err = t.exec(ctx, `UPDATE experiments SET deleted_at = ?, description = '' WHERE id = ?`, micros(t.now), e.ID)
		return err
	})
}

// DeleteWorkspace takes a workspace out of sight, with its tokens and registries.
func (s *Store) DeleteWorkspace(ctx context.Context, name string, by muster.Origin) error {
	return s.inTx(ctx, "delete workspace", func(t *tx) error {
		w, err := findWorkspace(ctx, t, name)
		if err != nil {
			return err
		}
		if err := by.Check(w.Version); err != nil {
			return err
		}
		var live int
		if err := t.QueryRowContext(ctx, `SELECT count(*) FROM runs WHERE workspace_id = ? AND ended_at = 0`, w.ID).Scan(&live); err != nil {
			return err
		}
		if live > 0 {
			return muster.Errorf(muster.CodeConflict, "workspace %s has %s still to end", name, muster.Counted(live, "run")).WithCure("cancel them first: muster run list -w %s --state queued --state admitted --state starting --state running shows them", name)
		}
		now := micros(t.now)
		for _, forget := range []struct {
			query string
			args  []any
		}{
			{`UPDATE workspaces SET deleted_at = ? WHERE id = ?`, []any{now, w.ID}},
			{`UPDATE runs SET deleted_at = ? WHERE workspace_id = ? AND deleted_at = 0`, []any{now, w.ID}},
			{`DELETE FROM tokens WHERE workspace_id = ?`, []any{w.ID}},
			{`DELETE FROM registries WHERE workspace_id = ?`, []any{w.ID}},
		} {
			if _, err := t.exec(ctx, forget.query, forget.args...); err != nil {
				return fmt.Errorf("forget what it has: %w", err)
			}
		}
		return nil
	})
}
