package store

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"strings"
	"unicode/utf8"

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
		if err != nil || !strings.HasPrefix(a.Path, muster.CheckpointPrefix(a.Instance)) {
			return err
		}
		_, err = t.exec(ctx, `UPDATE attempts SET checkpoint_at = ? WHERE run_id = ? AND number = ?`, micros(t.now), runID, a.Attempt)
		return err
	})
}

// DropArtifact forgets the row of an artifact.
func (s *Store) DropArtifact(ctx context.Context, runID int64, attempt int, path string) error {
	return s.inTx(ctx, "drop artifact", func(t *tx) error {
		if err := t.fence(ctx, runID, attempt); err != nil {
			return err
		}
		_, err := t.exec(ctx, `DELETE FROM artifacts WHERE run_id = ? AND path = ?`, runID, path)
		return err
	})
}

const artifactColumns = `SELECT path, size, 0, sha256, attempt, instance, created_at, deleted_at FROM artifacts `

func scanArtifact(row scanner) (*muster.Artifact, error) {
	a := &muster.Artifact{}
	return a, row.Scan(&a.Path, &a.Size, &a.Files, &a.SHA256, &a.Attempt, &a.Instance, timeCol{&a.CreatedAt}, timeCol{&a.DeletedAt})
}

// FindArtifact returns the row of one artifact.
func (s *Store) FindArtifact(ctx context.Context, runID int64, path string) (*muster.Artifact, error) {
	a, err := scanArtifact(s.read.QueryRowContext(ctx, artifactColumns+`WHERE run_id = ? AND path = ?`, runID, path))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, muster.Errorf(muster.CodeNotFound, "the run has no file %s", path).WithCure("muster run files lists what it has")
	}
	return a, err
}

// below chooses the artifacts that are kept of a run under a prefix. No path
// stands behind its prefix and the last character that there is.
const below = `WHERE run_id = ? AND path >= ? AND path < ? || char(1114111) AND deleted_at = 0 `

// folders is a view of one level: what has a slash behind the first n characters
// of its path is summed up.
const folders = `SELECT entry, sum(size), CASE WHEN entry = max(path) THEN 0 ELSE count(*) END, CASE WHEN entry = max(path) THEN max(sha256) ELSE '' END,
	CASE WHEN entry = max(path) THEN max(attempt) ELSE 0 END, CASE WHEN entry = max(path) THEN max(instance) ELSE 0 END, max(created_at), 0
	FROM (SELECT *, CASE instr(substr(path, ?), '/') WHEN 0 THEN path ELSE substr(path, 1, ? - 1 + instr(substr(path, ?), '/')) END AS entry FROM artifacts ` + below + `)
	WHERE entry > ? GROUP BY entry ORDER BY entry LIMIT ?`

// ListArtifacts returns a page of the artifacts of a run.
func (s *Store) ListArtifacts(ctx context.Context, runID int64, q muster.ArtifactQuery) ([]*muster.Artifact, error) {
	if !q.Folders {
		return collect(ctx, s.read, scanArtifact, artifactColumns+below+`AND path > ? ORDER BY path LIMIT ?`, runID, q.Prefix, q.Prefix, q.After, q.Limit)
	}
	from := utf8.RuneCountInString(q.Prefix) + 1
	return collect(ctx, s.read, scanArtifact, folders, from, from, from, runID, q.Prefix, q.Prefix, q.After, q.Limit)
}

// SumArtifacts sums up the artifacts of a run below each first part of a path.
func (s *Store) SumArtifacts(ctx context.Context, runID int64) (map[string]muster.OutputSum, error) {
	tops, err := s.ListArtifacts(ctx, runID, muster.ArtifactQuery{Folders: true, Limit: math.MaxInt32})
	if err != nil {
		return nil, err
	}
	sums := map[string]muster.OutputSum{}
	for _, a := range tops {
		sums[strings.TrimSuffix(a.Path, "/")] = muster.OutputSum{Files: max(1, a.Files), Size: a.Size}
	}
	return sums, nil
}
