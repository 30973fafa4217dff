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
func (s *Store) SetKeeping(ctx context.Context, workspace string, k muster.Keeping, by muster.Origin) (w *muster.Workspace, err error) {
	err = s.inTx(ctx, "set retention", func(t *tx) error {
		if w, err = findWorkspace(ctx, t, workspace); err != nil {
			return err
		}
		if err := by.Check(w.Version); err != nil {
			return err
		}
		if _, err := t.exec(ctx, `UPDATE workspaces SET keep_artifacts = ?, keep_logs = ? WHERE id = ?`, seconds(k.Artifacts), seconds(k.Logs), w.ID); err != nil {
			return err
		}
		w, err = findWorkspace(ctx, t, workspace)
		return err
	})
	return w, err
}

// seconds is what is kept of a duration.
func seconds(d muster.Duration) int64 { return int64(time.Duration(d) / time.Second) }

// notGone chooses the runs of a workspace that have ended and of which something
// may be left, in the words of their index.
const notGone = `WHERE r.workspace_id = ? AND r.ended_at > 0 AND (r.artifacts_purged_at = 0 OR r.logs_purged_at = 0) `

const (
	leftRuns = `SELECT r.id, r.name, r.ended_at, r.archived_at, r.artifacts_removed_at, r.logs_removed_at, r.artifacts_purged_at > 0, r.logs_purged_at > 0, r.deleted_at > 0
		FROM runs r ` + notGone + `ORDER BY r.id`
	leftAttempts = `SELECT a.run_id, count(i.idx) FROM runs r JOIN attempts a ON a.run_id = r.id LEFT JOIN instances i ON i.launch_id = a.launch_id ` +
		notGone + `GROUP BY a.run_id, a.number ORDER BY a.run_id, a.number`
)

// ListLeft returns the runs of a workspace that have ended and of which something
// may be left, with what retention must know of them.
func (s *Store) ListLeft(ctx context.Context, workspaceID int64) ([]*muster.Left, error) {
	all, err := collect(ctx, s.read, func(row scanner) (*muster.Left, error) {
		l := &muster.Left{}
		return l, row.Scan(&l.RunID, &l.Run, timeCol{&l.EndedAt}, timeCol{&l.ArchivedAt}, timeCol{&l.ArtifactsRemoved}, timeCol{&l.LogsRemoved}, &l.ArtifactsPurged, &l.LogsPurged, &l.Deleted)
	}, leftRuns, workspaceID)
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
	attempts, err := collect(ctx, s.read, func(row scanner) (a attempt, err error) {
		err = row.Scan(&a.run, &a.instances)
		return a, err
	}, leftAttempts, workspaceID)
	for _, a := range attempts {
		if l := byID[a.run]; l != nil {
			l.Attempts = append(l.Attempts, a.instances)
		}
	}
	return all, err
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

// MarkPurged writes that what retention removed of a run is gone for good.
func (s *Store) MarkPurged(ctx context.Context, runID int64, artifacts, logs bool) error {
	return s.inTx(ctx, "mark what is gone", func(t *tx) error {
		now := micros(t.now)
		_, err := t.exec(ctx, `UPDATE runs SET artifacts_purged_at = CASE WHEN ? THEN ? ELSE artifacts_purged_at END,
			logs_purged_at = CASE WHEN ? THEN ? ELSE logs_purged_at END WHERE id = ?`, artifacts, now, logs, now, runID)
		return err
	})
}

// FilesRemoved returns when retention removed a run's files.
func (s *Store) FilesRemoved(ctx context.Context, runID int64) (at time.Time, err error) {
	return at, s.read.QueryRowContext(ctx, `SELECT artifacts_removed_at FROM runs WHERE id = ?`, runID).Scan(timeCol{&at})
}

// LogsRemoved returns when retention removed a run's logs.
func (s *Store) LogsRemoved(ctx context.Context, runID int64) (at time.Time, err error) {
	return at, s.read.QueryRowContext(ctx, `SELECT logs_removed_at FROM runs WHERE id = ?`, runID).Scan(timeCol{&at})
}
