package store

import (
	"cmp"
	"context"
	"fmt"

	"github.com/muster-ml/muster"
)

// event writes an event about a run.
func (t *tx) event(ctx context.Context, r *muster.Run, e muster.Event) error {
	t.events++
	_, err := t.exec(ctx, `INSERT INTO events (at, workspace_id, run_id, attempt, kind, from_state, to_state, message, actor, request_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		micros(t.now), r.WorkspaceID, r.ID, e.Attempt, e.Kind, e.From, e.To, e.Message, e.Actor, e.RequestID)
	return err
}

// clusterEvent writes an event about a cluster or one of its nodes.
func (t *tx) clusterEvent(ctx context.Context, cluster string, e muster.Event) error {
	t.events++
	_, err := t.exec(ctx, `INSERT INTO events (at, kind, message, actor, request_id, cluster) VALUES (?, ?, ?, ?, ?, ?)`,
		micros(t.now), e.Kind, e.Message, e.Actor, e.RequestID, cluster)
	return err
}

// ListEvents returns events by number.
func (s *Store) ListEvents(ctx context.Context, f muster.EventFilter) ([]*muster.Event, error) {
	query := `SELECT e.seq, e.at, coalesce(w.name, ''), coalesce(r.name, ''), coalesce(e.run_id, 0), e.attempt, e.kind, e.from_state, e.to_state, e.message, e.actor, e.request_id, e.cluster
		FROM events e LEFT JOIN runs r ON r.id = e.run_id LEFT JOIN workspaces w ON w.id = e.workspace_id WHERE e.seq > ?`
	args := []any{f.After}
	if f.Cluster != "" {
		// One of that name may have been deleted before this one was made.
		query, args = query+` AND e.cluster = ? AND e.at >= coalesce((SELECT created_at FROM clusters WHERE name = ?), 0)`, append(args, f.Cluster, f.Cluster)
	}
	if f.Workspace != "" {
		w, err := s.FindWorkspace(ctx, f.Workspace)
		if err != nil {
			return nil, err
		}
		if f.Run != "" {
			r, err := findRun(ctx, s.read, f.Workspace, f.Run)
			if err != nil {
				return nil, err
			}
			query, args = query+` AND e.run_id = ?`, append(args, r.ID)
		} else {
			query, args = query+` AND e.workspace_id = ?`, append(args, w.ID)
		}
	}
	if f.Kinds != nil {
		query, args = query+` AND e.kind IN (SELECT value FROM json_each(?))`, append(args, toJSON(f.Kinds))
	}
	query += fmt.Sprintf(` ORDER BY e.seq LIMIT %d`, cmp.Or(f.Limit, 1000))
	return collect(ctx, s.read, func(row scanner) (*muster.Event, error) {
		e := &muster.Event{}
		return e, row.Scan(&e.Seq, timeCol{&e.At}, &e.Workspace, &e.Run, &e.RunID, &e.Attempt, &e.Kind, &e.From, &e.To, &e.Message, &e.Actor, &e.RequestID, &e.Cluster)
	}, query, args...)
}

// EventsChanged returns a channel that is closed at the next event of this
// process.
func (s *Store) EventsChanged() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}
