package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/muster-ml/muster"
)

// seeAgain is how old the word that an upload was seen may become: a client that
// asks again and again makes few writes.
const seeAgain = time.Hour

// SeeUpload keeps an upload for a while. It waits for one that is being removed.
func (s *Store) SeeUpload(ctx context.Context, workspaceID int64, sha256 string) error {
	s.uploads.Lock()
	defer s.uploads.Unlock()
	var seen time.Time
	err := s.read.QueryRowContext(ctx, `SELECT seen_at FROM uploads WHERE workspace_id = ? AND sha256 = ?`, workspaceID, sha256).Scan(timeCol{&seen})
	if err == nil && time.Since(seen) < seeAgain {
		return nil
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	return s.inTx(ctx, "see upload", func(t *tx) error {
		_, err := t.exec(ctx, `INSERT INTO uploads (workspace_id, sha256, seen_at) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET seen_at = excluded.seen_at`, workspaceID, sha256, micros(t.now))
		return err
	})
}

// keepers chooses the runs that keep the uploads that they name: those that have
// not ended, are archived, or have kept their files.
const keepers = `run_data d JOIN runs r ON r.id = d.run_id WHERE r.workspace_id = ? AND d.direction IN ('code', 'input')
	AND r.deleted_at = 0 AND (r.ended_at = 0 OR r.archived_at > 0 OR r.artifacts_removed_at = 0)`

// KeptUploads returns the uploads that a run keeps, and those that were seen
// since.
func (s *Store) KeptUploads(ctx context.Context, workspaceID int64, since time.Time) (map[muster.Ref]bool, error) {
	refs, err := collect(ctx, s.read, func(row scanner) (ref muster.Ref, err error) {
		err = row.Scan(&ref)
		return ref, err
	}, `SELECT d.ref FROM `+keepers+` UNION SELECT ? || sha256 FROM uploads WHERE workspace_id = ? AND seen_at >= ?`,
		workspaceID, muster.UploadRef(""), workspaceID, micros(since))
	kept := map[muster.Ref]bool{}
	for _, ref := range refs {
		kept[ref] = true
	}
	return kept, err
}

// DropUpload calls remove unless a run keeps the upload or it was seen since, and
// reports whether it did. Nobody sees an upload while it is being removed: one
// who was told that it is here has kept it.
func (s *Store) DropUpload(ctx context.Context, workspaceID int64, sha256 string, since time.Time, remove func() error) (dropped bool, err error) {
	s.uploads.Lock()
	defer s.uploads.Unlock()
	var kept bool
	err = s.inTx(ctx, "drop upload", func(t *tx) error {
		if err := t.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM `+keepers+` AND d.ref = ?) OR EXISTS (SELECT 1 FROM uploads WHERE workspace_id = ? AND sha256 = ? AND seen_at >= ?)`,
			workspaceID, muster.UploadRef(sha256), workspaceID, sha256, micros(since)).Scan(&kept); err != nil || kept {
			return err
		}
		_, err := t.exec(ctx, `DELETE FROM uploads WHERE workspace_id = ? AND sha256 = ?`, workspaceID, sha256)
		return err
	})
	if err != nil || kept {
		return false, err
	}
	if err := remove(); err != nil {
		return false, err
	}
	return true, nil
}
