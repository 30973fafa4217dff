package store

import (
	"context"
	"time"

	"github.com/muster-ml/muster"
)

// QueueDepth is how many runs of a workspace wait for a cluster for one reason.
type QueueDepth struct {
	Workspace, Cluster string
	Reason             muster.WaitCode
	Runs               int
	Oldest             time.Time // when the first of them was queued
}

const queueDepths = `SELECT w.name, r.cluster, coalesce(json_extract(r.wait_reason, '$.code'), ''), count(*), min(r.queued_at)
	FROM runs r JOIN workspaces w ON w.id = r.workspace_id ` + queued + `GROUP BY 1, 2, 3`

// QueueDepths returns how many runs wait, by workspace, cluster and reason.
func (s *Store) QueueDepths(ctx context.Context) ([]QueueDepth, error) {
	return collect(ctx, s.read, func(row scanner) (d QueueDepth, err error) {
		err = row.Scan(&d.Workspace, &d.Cluster, &d.Reason, &d.Runs, timeCol{&d.Oldest})
		return d, err
	}, queueDepths)
}

const countAgents = `SELECT count(*) FROM launches l JOIN instances i ON i.launch_id = l.id WHERE ` + notPurged + `AND l.state = 'dispatched' AND i.reported_at >= ?`

// CountAgents returns how many instances of launches that go on were heard of
// since a moment.
func (s *Store) CountAgents(ctx context.Context, since time.Time) (n int, err error) {
	err = s.read.QueryRowContext(ctx, countAgents, micros(since)).Scan(&n)
	return n, err
}

// LastEvent returns the number of the last event, 0 before the first.
func (s *Store) LastEvent(ctx context.Context) (seq int64, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT coalesce(max(seq), 0) FROM events`).Scan(&seq)
	return seq, err
}

// InstancePhases returns when each instance of a launch entered its phases, by
// index.
func (s *Store) InstancePhases(ctx context.Context, launch string) ([][]muster.PhaseChange, error) {
	return collect(ctx, s.read, func(row scanner) (phases []muster.PhaseChange, err error) {
		err = row.Scan(jsonCol{&phases})
		return phases, err
	}, `SELECT phases FROM instances WHERE launch_id = ? ORDER BY idx`, launch)
}
