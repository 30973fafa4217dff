package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/muster-ml/muster"
)

// listNodes reads what is remembered of nodes, by id.
func (s *Store) listNodes(ctx context.Context) (map[string]muster.NodeRecord, error) {
	all, err := collect(ctx, s.read, func(row scanner) (n muster.NodeRecord, err error) {
		err = row.Scan(&n.ID, &n.Cluster, &n.Name, &n.Leave, &n.Reason, timeCol{&n.LeaveAt}, timeCol{&n.IdleSince}, timeCol{&n.AwaySince}, &n.Fate, timeCol{&n.EvictAt})
		return n, err
	}, `SELECT id, cluster, name, leave, reason, leave_at, idle_since, away_since, fate, evict_at FROM nodes`)
	byID := make(map[string]muster.NodeRecord, len(all))
	for _, n := range all {
		byID[n.ID] = n
	}
	return byID, err
}

// ListFleet returns what is remembered of nodes, by id, and what providers said
// last of their machines, by cluster.
func (s *Store) ListFleet(ctx context.Context) (nodes map[string]muster.NodeRecord, machines map[string]muster.MachineReport, err error) {
	if nodes, err = s.listNodes(ctx); err != nil {
		return nil, nil, fmt.Errorf("list nodes: %w", err)
	}
	if machines, err = s.listMachines(ctx); err != nil {
		return nil, nil, fmt.Errorf("list machines: %w", err)
	}
	return nodes, machines, nil
}

// ListRecords returns what is remembered of nodes, by id.
func (g *ledger) ListRecords(ctx context.Context) (map[string]muster.NodeRecord, error) {
	return g.listNodes(ctx)
}

// ListEvictions returns the losses that are announced of a cluster's machines.
func (s *Store) ListEvictions(ctx context.Context, cluster string) ([]muster.Eviction, error) {
	return collect(ctx, s.read, func(row scanner) (e muster.Eviction, err error) {
		err = row.Scan(&e.Machine, timeCol{&e.At})
		return e, err
	}, `SELECT name, evict_at FROM nodes WHERE cluster = ? AND evict_at > 0 AND fate = '' ORDER BY evict_at, name`, cluster)
}

// EvictNodes announces that nodes of a cluster will be taken. One that is gone by
// now, or announced already, is passed over; it returns the others' names.
func (s *Store) EvictNodes(ctx context.Context, cluster string, ids []string, at time.Time, by muster.Origin) (names []string, err error) {
	err = s.inTx(ctx, "evict nodes", func(t *tx) error {
		names, err = t.evictNodes(ctx, cluster, ids, at, by)
		return err
	})
	return names, err
}

// evictNodes announces them.
func (t *tx) evictNodes(ctx context.Context, cluster string, ids []string, at time.Time, by muster.Origin) (names []string, err error) {
	names = []string{}
	for _, id := range ids {
		var name string
		err := t.QueryRowContext(ctx, `UPDATE nodes SET evict_at = ? WHERE id = ? AND cluster = ? AND evict_at = 0 AND fate = '' AND leave = '' RETURNING name`, micros(at), id, cluster).Scan(&name)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, err
		}
		names = append(names, name)
		message := fmt.Sprintf("node %s will be taken at %s UTC: a drill", name, at.UTC().Format("15:04:05"))
		if err := t.clusterEvent(ctx, cluster, muster.Event{Kind: muster.EventNode, Message: message, Actor: by.Actor, RequestID: by.RequestID}); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// TakeNodes announces the losses of a drill that goes on.
func (g *ledger) TakeNodes(ctx context.Context, cluster string, ids []string, at time.Time) error {
	return g.lead(ctx, "take nodes", func(t *tx) error {
		_, err := t.evictNodes(ctx, cluster, ids, at, muster.Origin{Actor: scheduler})
		return err
	})
}

// SetDrill begins a drill that goes on, or ends it with nil.
func (s *Store) SetDrill(ctx context.Context, cluster string, d *muster.Drill, by muster.Origin) error {
	return s.inTx(ctx, "set drill", func(t *tx) error {
		c, err := findCluster(ctx, t, cluster)
		if err != nil {
			return err
		}
		text, message := "", "the drill is over"
		if d != nil {
			text, message = toJSON(d), fmt.Sprintf("a drill begins: %g %% of its nodes are taken in an hour, %s after they are told", d.PerHour*100, d.Notice)
		} else if c.Drill == nil {
			return nil
		}
		if _, err := t.exec(ctx, `UPDATE clusters SET drill = ? WHERE name = ?`, text, cluster); err != nil {
			return err
		}
		return t.clusterEvent(ctx, cluster, muster.Event{Kind: muster.EventCluster, Message: message, Actor: by.Actor, RequestID: by.RequestID})
	})
}

// ListLeaving returns the machines of a cluster that may be taken, by name.
func (s *Store) ListLeaving(ctx context.Context, cluster string) ([]string, error) {
	return collect(ctx, s.read, func(row scanner) (name string, err error) {
		err = row.Scan(&name)
		return name, err
	}, `SELECT name FROM nodes WHERE cluster = ? AND leave = ? ORDER BY name`, cluster, muster.LeaveGoing)
}

// listMachines reads what providers said last, by cluster.
func (s *Store) listMachines(ctx context.Context) (map[string]muster.MachineReport, error) {
	type report struct {
		cluster string
		muster.MachineReport
	}
	all, err := collect(ctx, s.read, func(row scanner) (r report, err error) {
		err = row.Scan(&r.cluster, jsonCol{&r.MachineReport})
		return r, err
	}, `SELECT name, machines FROM clusters WHERE deleted_at = 0 AND machines <> ''`)
	byCluster := make(map[string]muster.MachineReport, len(all))
	for _, r := range all {
		byCluster[r.cluster] = r.MachineReport
	}
	return byCluster, err
}

// KeepNodes writes records as they are to be.
func (g *ledger) KeepNodes(ctx context.Context, nodes []muster.NodeRecord) error {
	if len(nodes) == 0 {
		return nil
	}
	return g.lead(ctx, "keep nodes", func(t *tx) error { return t.keepNodes(ctx, nodes) })
}

func (t *tx) keepNodes(ctx context.Context, nodes []muster.NodeRecord) error {
	for _, n := range nodes {
		var before muster.Leave
		known := true
		if err := t.QueryRowContext(ctx, `SELECT coalesce((SELECT leave FROM nodes WHERE id = ?1), ''), EXISTS (SELECT 1 FROM nodes WHERE id = ?1)`, n.ID).Scan(&before, &known); err != nil {
			return err
		}
		if _, err := t.exec(ctx, `INSERT INTO nodes (id, cluster, name, leave, reason, leave_at, idle_since, away_since) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET cluster = excluded.cluster, name = excluded.name, leave = excluded.leave, reason = excluded.reason, leave_at = excluded.leave_at, idle_since = excluded.idle_since, away_since = excluded.away_since`,
			n.ID, n.Cluster, n.Name, n.Leave, n.Reason, micros(n.LeaveAt), micros(n.IdleSince), micros(n.AwaySince)); err != nil {
			return err
		}
		message := ""
		switch {
		case !known:
			message = fmt.Sprintf("node %s has come", n.Name)
		case n.Leave == muster.LeaveGoing && before != n.Leave:
			message = fmt.Sprintf("node %s leaves: %s", n.Name, n.Reason)
		case n.Leave != muster.LeaveGoing && before == muster.LeaveGoing:
			message = fmt.Sprintf("node %s stays: %s", n.Name, n.Reason)
		default:
			continue
		}
		if err := t.clusterEvent(ctx, n.Cluster, muster.Event{Kind: muster.EventNode, Message: message, Actor: scheduler}); err != nil {
			return err
		}
	}
	return nil
}

// ForgetNodes removes records.
func (g *ledger) ForgetNodes(ctx context.Context, nodes []muster.NodeRecord) error {
	if len(nodes) == 0 {
		return nil
	}
	return g.lead(ctx, "forget nodes", func(t *tx) error {
		for _, n := range nodes {
			if _, err := t.exec(ctx, `DELETE FROM nodes WHERE id = ?`, n.ID); err != nil {
				return err
			}
			if err := t.clusterEvent(ctx, n.Cluster, muster.Event{Kind: muster.EventNode, Message: fmt.Sprintf("node %s is gone", n.Name), Actor: scheduler}); err != nil {
				return err
			}
		}
		return nil
	})
}

// Publish writes how many nodes a cluster shall have, and which leave for it.
func (g *ledger) Publish(ctx context.Context, cluster string, old *muster.Wanted, w muster.Wanted, leaving []muster.NodeRecord) error {
	return g.lead(ctx, "publish what is wanted", func(t *tx) error {
		if err := t.keepNodes(ctx, leaving); err != nil {
			return err
		}
		c, err := findCluster(ctx, t, cluster)
		if err != nil {
			return err
		}
		if old != nil && c.Wanted != nil && old.Nodes != c.Wanted.Nodes {
			return muster.Errorf(muster.CodeConflict, "a node of cluster %s was taken meanwhile", cluster)
		}
		return t.want(ctx, c, w)
	})
}

// want writes how many nodes a cluster shall have, and tells of it where that is
// another number.
func (t *tx) want(ctx context.Context, c *muster.Cluster, w muster.Wanted) error {
	if _, err := t.exec(ctx, `UPDATE clusters SET wanted = ? WHERE name = ?`, toJSON(w), c.Name); err != nil || c.Wanted != nil && c.Wanted.Nodes == w.Nodes {
		return err
	}
	return t.clusterEvent(ctx, c.Name, muster.Event{Kind: muster.EventCluster, Message: fmt.Sprintf("it shall have %s: %s", muster.Counted(w.Nodes, "node"), w.Reason), Actor: scheduler})
}

// KeepUnready remembers that nodes which were wanted did not join, or cannot be used.
func (g *ledger) KeepUnready(ctx context.Context, cluster string, f *muster.BuyFailure) error {
	return g.lead(ctx, "keep unready", func(t *tx) error {
		if _, err := t.exec(ctx, `UPDATE clusters SET unready = ? WHERE name = ?`, toJSON(f), cluster); err != nil {
			return err
		}
		return t.clusterEvent(ctx, cluster, muster.Event{Kind: muster.EventCluster, Message: "it has not the nodes that it wants: " + f.Message, Actor: scheduler})
	})
}

// DropCluster forgets a cluster that is being deleted.
func (g *ledger) DropCluster(ctx context.Context, cluster string) error {
	return g.lead(ctx, "drop cluster", func(t *tx) error {
		if _, err := t.exec(ctx, `DELETE FROM nodes WHERE cluster = ?`, cluster); err != nil {
			return err
		}
		return t.dropCluster(ctx, cluster, muster.Origin{Actor: scheduler})
	})
}
