package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/muster-ml/muster"
)

// CreateWorkspace keeps a new workspace.
func (s *Store) CreateWorkspace(ctx context.Context, w *muster.Workspace) error {
	return s.inTx(ctx, "create workspace", func(t *tx) error {
		if w.DefaultCluster != "" {
			if _, err := findCluster(ctx, t, w.DefaultCluster); err != nil {
				return err
			}
		}
		w.CreatedAt, w.Namespace, w.Version = t.now, s.namespace(w.Name), 1
		err := t.QueryRowContext(ctx, `INSERT INTO workspaces (name, namespace, default_cluster, description, created_at) VALUES (?, ?, ?, ?, ?) RETURNING id`,
			w.Name, w.Namespace, w.DefaultCluster, w.Description, micros(t.now)).Scan(&w.ID)
		if isDuplicate(err) {
			message := "workspace %s exists already"
			if _, err := findWorkspace(ctx, t, w.Name); muster.CodeOf(err) == muster.CodeNotFound {
				message = "there has been a workspace %s, which was deleted"
			}
			return muster.Errorf(muster.CodeConflict, message, w.Name).At("name").WithCure("choose another name: no two workspaces ever have the same")
		}
		return err
	})
}

// namespace names the workspace's Nomad namespace: letters, digits and '-'.
func (s *Store) namespace(workspace string) string {
	slug := strings.ToLower(strings.ReplaceAll(workspace, "_", "-"))
	sum := sha256.Sum256([]byte(workspace))
	return "ws-" + s.Installation + "-" + slug + "-" + hex.EncodeToString(sum[:4])
}

// FindWorkspace returns the workspace of that name.
func (s *Store) FindWorkspace(ctx context.Context, name string) (*muster.Workspace, error) {
	return findWorkspace(ctx, s.read, name)
}

const workspaceColumns = `SELECT id, version, name, namespace, default_cluster, description, created_at, keep_artifacts, keep_logs FROM workspaces `

func scanWorkspace(row scanner) (*muster.Workspace, error) {
	w := &muster.Workspace{}
	err := row.Scan(&w.ID, &w.Version, &w.Name, &w.Namespace, &w.DefaultCluster, &w.Description, timeCol{&w.CreatedAt}, &w.Keeping.Artifacts, &w.Keeping.Logs)
	w.Keeping.Artifacts *= muster.Duration(time.Second)
	w.Keeping.Logs *= muster.Duration(time.Second)
	return w, err
}

func findWorkspace(ctx context.Context, q querier, name string) (*muster.Workspace, error) {
	w, err := scanWorkspace(q.QueryRowContext(ctx, workspaceColumns+`WHERE deleted_at = 0 AND name = ?`, name))
	if !errors.Is(err, sql.ErrNoRows) {
		return w, err
	}
	var deleted bool
	if err := q.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM workspaces WHERE name = ?)`, name).Scan(&deleted); err != nil {
		return nil, err
	}
	if deleted {
		return nil, muster.Errorf(muster.CodeNotFound, "workspace %s was deleted, and its name is not given again", name).
			WithCure("muster workspace list shows those that there are, -w or MUSTER_WORKSPACE names one; muster workspace create makes one of another name")
	}
	return nil, muster.Errorf(muster.CodeNotFound, "there is no workspace %s", name).
		WithCure("muster workspace list shows what there is, muster workspace create makes one")
}

// ListWorkspaces returns all workspaces by name.
func (s *Store) ListWorkspaces(ctx context.Context) ([]*muster.Workspace, error) {
	return collect(ctx, s.read, scanWorkspace, workspaceColumns+`WHERE deleted_at = 0 ORDER BY name`)
}

// ListTenants returns all workspaces, those that were deleted too.
func (s *Store) ListTenants(ctx context.Context) ([]*muster.Workspace, error) {
	return collect(ctx, s.read, scanWorkspace, workspaceColumns+`ORDER BY id`)
}

const experimentColumns = `SELECT e.id, e.version, w.name, e.name, e.description, e.runs, e.created_at FROM experiments e JOIN workspaces w ON w.id = e.workspace_id
	WHERE e.deleted_at = 0 AND w.name = ? `

func scanExperiment(row scanner) (*muster.Experiment, error) {
	e := &muster.Experiment{}
	return e, row.Scan(&e.ID, &e.Version, &e.Workspace, &e.Name, &e.Description, &e.Runs, timeCol{&e.CreatedAt})
}

// FindExperiment returns the experiment of that name.
func (s *Store) FindExperiment(ctx context.Context, workspace, name string) (*muster.Experiment, error) {
	return findExperiment(ctx, s.read, workspace, name)
}

func findExperiment(ctx context.Context, q querier, workspace, name string) (*muster.Experiment, error) {
	if _, err := findWorkspace(ctx, q, workspace); err != nil {
		return nil, err
	}
	e, err := scanExperiment(q.QueryRowContext(ctx, experimentColumns+`AND e.name = ?`, workspace, name))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, muster.Errorf(muster.CodeNotFound, "there is no experiment %s in workspace %s", name, workspace)
	}
	return e, err
}

// ListExperiments returns the experiments of a workspace by name.
func (s *Store) ListExperiments(ctx context.Context, workspace string) ([]*muster.Experiment, error) {
	if _, err := s.FindWorkspace(ctx, workspace); err != nil {
		return nil, err
	}
	return collect(ctx, s.read, scanExperiment, experimentColumns+`ORDER BY e.name`, workspace)
}

// isDuplicate reports whether err says that a unique key is taken.
func isDuplicate(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
}
