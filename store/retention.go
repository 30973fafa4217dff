package store

import (
	"context"
	"time"

	"github.com/muster-ml/muster"
)

// ArchiveRun archives a run, or takes it back.
func (s *Store) ArchiveRun(ctx context.Context, workspace, name string, archived bool, by muster.Origin) error {
	return s.inTx(ctx, "archive run", func(t *tx) error {
		r, err := findRun(ctx, t, workspace, name)
		if err != nil {
			return err
		}
		if !r.State.Final() {
			return muster.Errorf(muster.CodeConflict, "run %s is %s", name, r.State).WithCure("wait until it has ended, or cancel it")
		}
		at, message := int64(0), "restored from the archive"
		if archived {
			at, message = micros(t.now), "archived"
		}
		n, err := t.exec(ctx, `UPDATE runs SET archived_at = ? WHERE id = ? AND (archived_at > 0) <> ?`, at, r.ID, archived)
		if err != nil || n == 0 {
			return err
		}
		return t.event(ctx, r, muster.Event{Kind: muster.EventNote, Message: message, Actor: by.Actor, RequestID: by.RequestID})
	})
}

// SetKeeping keeps how long a workspace keeps what its runs left.
func (s *Store) SetKeeping(ctx context.Context, workspace string, k muster.Keeping) error {
	return s.inTx(ctx, "set retention", func(t *tx) error {
		w, err := findWorkspace(ctx, t, workspace)
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, `UPDATE workspaces SET keep_artifacts = ?, keep_logs = ? WHERE id = ?`, seconds(k.Artifacts), seconds(k.Logs), w.ID)
		return err
	})
}

// seconds is what is kept of a duration.
func seconds(d muster.Duration) int64 { return int64(time.Duration(d) / time.Second) }

// ListLeft returns the runs of a workspace that have ended, with what retention
// must know of them.
func (s *Store) ListLeft(ctx context.Context, workspaceID int64) ([]*muster.Left, error) {
	all, err := collect(ctx, s.read, func(row scanner) (*muster.Left, error) {
		l := &muster.Left{}
		return l, row.Scan(&l.RunID, &l.Run, timeCol{&l.EndedAt}, timeCol{&l.ArchivedAt}, timeCol{&l.ArtifactsRemoved}, timeCol{&l.LogsRemoved}, &l.Deleted)
	}, `SELECT id, name, ended_at, archived_at, artifacts_removed_at, logs_removed_at, deleted_at > 0 FROM runs WHERE workspace_id = ? AND ended_at > 0 ORDER BY id`, workspaceID)
	if err != nil {
		return nil, err
	}
	byID := map[int64]*muster.Left{}
	for _, l := range all {
		byID[l.RunID] = l
	}
	type attempt struct {
		run       int64
		instances int
	}
	attempts, err := collect(ctx, s.read, func(row scanner) (a attempt, err error) { return a, row.Scan(&a.run, &a.instances) },
		`SELECT a.run_id, count(i.idx) FROM attempts a JOIN runs r ON r.id = a.run_id LEFT JOIN instances i ON i.launch_id = a.launch_id
		WHERE r.workspace_id = ? GROUP BY a.run_id, a.number ORDER BY a.run_id, a.number`, workspaceID)
	for _, a := range attempts {
		if l := byID[a.run]; l != nil {
			l.Attempts = append(l.Attempts, a.instances)
		}
	}
	return all, err
}

// NamedUploads returns the uploads that runs name which keep them: those that
// have not ended, are archived, or have kept their files.
func (s *Store) NamedUploads(ctx context.Context, workspaceID int64) (map[muster.Ref]bool, error) {
	refs, err := collect(ctx, s.read, func(row scanner) (ref muster.Ref, err error) { return ref, row.Scan(&ref) },
		`SELECT DISTINCT d.ref FROM run_data d JOIN runs r ON r.id = d.run_id
		WHERE r.workspace_id = ? AND d.direction IN ('code', 'input') AND r.deleted_at = 0 AND (r.ended_at = 0 OR r.archived_at > 0 OR r.artifacts_removed_at = 0)`, workspaceID)
	named := map[muster.Ref]bool{}
	for _, ref := range refs {
		named[ref] = true
	}
	return named, err
}

// MarkRemoved writes that retention removes a run's files, its logs or both, and
// reports whether it may: a run that was archived meanwhile keeps them.
func (s *Store) MarkRemoved(ctx context.Context, l *muster.Left, artifacts, logs bool) (may bool, err error) {
	return may, s.inTx(ctx, "mark what is removed", func(t *tx) error {
		now := micros(t.now)
		n, err := t.exec(ctx, `UPDATE runs SET artifacts_removed_at = CASE WHEN ? THEN ? ELSE artifacts_removed_at END,
			logs_removed_at = CASE WHEN ? THEN ? ELSE logs_removed_at END WHERE id = ? AND ended_at > 0 AND (archived_at = 0 OR deleted_at > 0)`, artifacts, now, logs, now, l.RunID)
		if may = n == 1 && err == nil; !may || !artifacts {
			return err
		}
		_, err = t.exec(ctx, `UPDATE artifacts SET deleted_at = ? WHERE run_id = ? AND deleted_at = 0`, now, l.RunID)
		return err
	})
}
