package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/muster-ml/muster"
)

// PutArtifact keeps the row of an artifact.
func (s *Store) PutArtifact(ctx context.Context, runID int64, a *muster.Artifact) error {
	return s.inTx(ctx, "put artifact", func(t *tx) error {
		if err := t.fence(ctx, runID, a.Attempt); err != nil {
			return err
		}
		a.CreatedAt = t.now
		_, err := t.exec(ctx, `INSERT OR REPLACE INTO artifacts (run_id, path, size, sha256, attempt, instance, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			runID, a.Path, a.Size, a.SHA256, a.Attempt, a.Instance, micros(a.CreatedAt))
		return err
	})
}

const artifactColumns = `SELECT path, size, sha256, attempt, instance, created_at FROM artifacts `

func scanArtifact(row scanner) (*muster.Artifact, error) {
	a := &muster.Artifact{}
	return a, row.Scan(&a.Path, &a.Size, &a.SHA256, &a.Attempt, &a.Instance, timeCol{&a.CreatedAt})
}

// FindArtifact returns the row of one artifact.
func (s *Store) FindArtifact(ctx context.Context, runID int64, path string) (*muster.Artifact, error) {
	a, err := scanArtifact(s.read.QueryRowContext(ctx, artifactColumns+`WHERE run_id = ? AND path = ?`, runID, path))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, muster.Errorf(muster.CodeNotFound, "the run has no file %s", path).WithCure("muster run files lists what it has")
	}
	return a, err
}

// ListArtifacts returns the artifacts of a run by path.
func (s *Store) ListArtifacts(ctx context.Context, runID int64) ([]*muster.Artifact, error) {
	return collect(ctx, s.read, scanArtifact, artifactColumns+`WHERE run_id = ? ORDER BY path`, runID)
}
