package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/muster-ml/muster"
)

const healthColumns = `SELECT node_id, cluster, name, alloc, boot, generation, state, reason, log, since, reported_at, failures, excluded, drain_at, drained, renewals, closed FROM node_health `

func scanHealth(row scanner) (h muster.NodeHealth, err error) {
	err = row.Scan(&h.NodeID, &h.Cluster, &h.Name, &h.Alloc, &h.Boot, &h.Generation, &h.State, &h.Reason, &h.Log, timeCol{&h.Since}, timeCol{&h.ReportedAt},
		&h.Failures, &h.Excluded, timeCol{&h.DrainAt}, &h.Drained, &h.Renewals, &h.Closed)
	return h, err
}

// ListHealth returns what is known of nodes' health, by id.
func (s *Store) ListHealth(ctx context.Context) (map[string]muster.NodeHealth, error) {
	all, err := collect(ctx, s.read, scanHealth, healthColumns)
	byID := make(map[string]muster.NodeHealth, len(all))
	for _, h := range all {
		byID[h.NodeID] = h
	}
	return byID, err
}

// health reads what is known of a node, the zero value where nothing is.
func (t *tx) health(ctx context.Context, nodeID string) (muster.NodeHealth, error) {
	h, err := scanHealth(t.QueryRowContext(ctx, healthColumns+`WHERE node_id = ?`, nodeID))
	if errors.Is(err, sql.ErrNoRows) {
		return muster.NodeHealth{}, nil
	}
	return h, err
}

// keepHealth writes it.
func (t *tx) keepHealth(ctx context.Context, h *muster.NodeHealth) error {
	if h.State == "" {
		h.State = muster.HealthPreparing
	}
	if h.Since.IsZero() {
		h.Since = t.now
	}
	_, err := t.exec(ctx, `INSERT OR REPLACE INTO node_health (node_id, cluster, name, alloc, boot, generation, state, reason, log, since, reported_at, failures, excluded, drain_at, drained, renewals, closed)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, h.NodeID, h.Cluster, h.Name, h.Alloc, h.Boot, h.Generation, h.State, h.Reason, h.Log, micros(h.Since), micros(h.ReportedAt),
		h.Failures, h.Excluded, micros(h.DrainAt), h.Drained, h.Renewals, h.Closed)
	return err
}

// ReportNode keeps what a node's agent tells and answers what is wanted of it.
func (s *Store) ReportNode(ctx context.Context, a *muster.Allocation, r *muster.NodeReport) (*muster.NodeOrders, error) {
	if a.Terminal {
		return nil, muster.Errorf(muster.CodeForbidden, "another agent has taken this one's place on node %s", a.NodeName)
	}
	orders := &muster.NodeOrders{}
	return orders, s.inTx(ctx, "keep node report", func(t *tx) error {
		c, err := findCluster(ctx, t, a.Cluster)
		if err != nil {
			return err
		}
		var busy int
		if err := t.QueryRowContext(ctx, `SELECT count(*) FROM launches l CROSS JOIN instances i ON i.launch_id = l.id
			WHERE l.state <> 'purged' AND l.state IN ('reserved', 'dispatched') AND i.node_id = ? AND i.alloc_id <> ''`, a.NodeID).Scan(&busy); err != nil {
			return err
		}
		orders.Begin = busy == 0
		h, err := t.health(ctx, a.NodeID)
		if err != nil {
			return err
		}
		orders.Generation, orders.SecretsVersion, orders.Readying = h.Wanted(c), c.SecretsVersion, c.Readying()
		orders.Version = orders.Generation + "-" + orders.Readying.Version()
		news, before := "", h.State
		fresh := h.Alloc != a.ID
		h.NodeID, h.Cluster, h.Name, h.Alloc = a.NodeID, a.Cluster, a.NodeName, a.ID
		if r.Generation != "" || fresh || r.State == muster.HealthUnusable { // an agent that has heard no orders yet says nothing but that it lives
			if r.Generation == "" && h.Boot == r.Boot && h.State != "" && r.State != muster.HealthUnusable { // what it was ready by counts until it knows better
				r.Generation, r.State, r.Reason = h.Generation, h.State, h.Reason
			}
			orders.News, news = h.Hear(r, t.now)
		}
		if !orders.News && !fresh {
			return nil
		}
		if err := t.keepHealth(ctx, &h); err != nil || news == "" {
			return err
		}
		if h.State != before && (before != muster.HealthReady || h.State == muster.HealthReady) { // one that was ready could be made so
			if err := t.countSetups(ctx, c, &h); err != nil {
				return err
			}
		}
		return t.clusterEvent(ctx, a.Cluster, muster.Event{Kind: muster.EventNode, Message: fmt.Sprintf("node %s %s", a.NodeName, news), Actor: agentActor})
	})
}

// countSetups remembers how many nodes in a row could not be made ready: of a
// cluster where that happens no more are bought for a while.
func (t *tx) countSetups(ctx context.Context, c *muster.Cluster, h *muster.NodeHealth) error {
	failure := c.Unready
	switch h.State {
	case muster.HealthReady:
		if failure.OfNodes() && failure.Kind != muster.FailSetup {
			return nil // that it is ready does not make it what its cluster wants
		}
		failure = nil
	case muster.HealthUnusable:
		failure = failure.Again(muster.FailSetup, muster.NodeRecord{ID: h.NodeID, Name: h.Name}, h.Reason, t.now)
	}
	if failure == c.Unready {
		return nil
	}
	_, err := t.exec(ctx, `UPDATE clusters SET unready = ? WHERE name = ?`, toJSON(failure), c.Name)
	return err
}

// readiness says whether a node is ready for runs of its cluster: "" and "" when it is,
// else for what a claim waits, or why it is refused.
func (t *tx) readiness(ctx context.Context, cluster string, a *muster.Allocation, bootID string) (waits, unfit string, err error) {
	c, err := findCluster(ctx, t, cluster)
	if muster.CodeOf(err) == muster.CodeNotFound {
		return "", "", nil // it was deleted, and the launch goes its way
	}
	if err != nil {
		return "", "", err
	}
	h, err := t.health(ctx, a.NodeID)
	if err != nil {
		return "", "", err
	}
	waits, unfit = h.Readiness(c, bootID, t.now)
	return waits, unfit, nil
}

// ChangeNode changes what a person says of a node.
func (s *Store) ChangeNode(ctx context.Context, n *muster.Node, change muster.NodeChange, by muster.Origin) error {
	return s.inTx(ctx, "change node", func(t *tx) error {
		h, err := t.health(ctx, n.ID)
		if err != nil {
			return err
		}
		c, err := findCluster(ctx, t, n.Cluster)
		if err != nil {
			return err
		}
		h.NodeID, h.Cluster, h.Name = n.ID, n.Cluster, n.Name
		renewals, drainAt := h.Renewals, h.DrainAt
		message := h.Change(change, c.Setup != nil, by.Actor, t.now)
		if message == "" {
			return nil
		}
		if h.Renewals > renewals { // it counts anew how often set-ups fail
			if _, err := t.exec(ctx, `UPDATE clusters SET unready = '' WHERE name = ?`, n.Cluster); err != nil {
				return err
			}
		}
		if err := t.keepHealth(ctx, &h); err != nil {
			return err
		}
		message = fmt.Sprintf("node %s %s", n.Name, message)
		told := ""
		switch {
		case h.DrainAt.After(t.now): // until then they might end, or be cancelled
			told = message
		case h.DrainAt.IsZero() && drainAt.After(t.now):
			told = message + "; what runs on it may stay"
		}
		if told != "" {
			if err := t.tellRunsOn(ctx, n.ID, told, by); err != nil {
				return err
			}
		}
		return t.clusterEvent(ctx, n.Cluster, muster.Event{Kind: muster.EventNode, Message: message, Actor: by.Actor, RequestID: by.RequestID})
	})
}

// tellRunsOn tells what runs on a node of a thing that comes, or comes no more.
func (t *tx) tellRunsOn(ctx context.Context, nodeID, message string, by muster.Origin) error {
	runs, err := t.runsOn(ctx, nodeID)
	for _, r := range runs {
		if err := t.event(ctx, r, muster.Event{Kind: muster.EventNote, Message: message, Actor: by.Actor, RequestID: by.RequestID}); err != nil {
			return err
		}
	}
	return err
}

// runsOn returns what runs on a node.
func (t *tx) runsOn(ctx context.Context, nodeID string) (runs []*muster.Run, err error) {
	ids, err := collect(ctx, t, func(row scanner) (id int64, err error) {
		err = row.Scan(&id)
		return id, err
	}, `SELECT DISTINCT a.run_id FROM launches l CROSS JOIN instances i ON i.launch_id = l.id CROSS JOIN attempts a ON a.launch_id = l.id
			WHERE l.state <> 'purged' AND l.state IN ('reserved', 'dispatched') AND i.node_id = ?`, nodeID)
	for _, id := range ids {
		r, err := t.runByID(ctx, id)
		if err != nil {
			return nil, err
		}
		runs = append(runs, r)
	}
	return runs, err
}

// ExpectAgents remembers since when nodes are to have an agent.
func (g *ledger) ExpectAgents(ctx context.Context, nodes []muster.NodeRecord) error {
	if len(nodes) == 0 {
		return nil
	}
	return g.lead(ctx, "expect agents of nodes", func(t *tx) error {
		for _, n := range nodes {
			if _, err := t.exec(ctx, `INSERT OR IGNORE INTO node_health (node_id, cluster, name, since) VALUES (?, ?, ?, ?)`, n.ID, n.Cluster, n.Name, micros(t.now)); err != nil {
				return err
			}
		}
		return nil
	})
}

// CloseNodes keeps which nodes the leader has closed, or opened again.
func (g *ledger) CloseNodes(ctx context.Context, closed bool, ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	return g.lead(ctx, "close nodes", func(t *tx) error {
		for _, id := range ids {
			if _, err := t.exec(ctx, `UPDATE node_health SET closed = ? WHERE node_id = ?`, closed, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// DrainNodes makes the leader tell the runs on some nodes to stop.
func (g *ledger) DrainNodes(ctx context.Context, nodes []muster.NodeRecord, why string, cancel bool) error {
	if len(nodes) == 0 {
		return nil
	}
	return g.lead(ctx, "drain nodes", func(t *tx) error {
		for _, n := range nodes {
			h, err := t.health(ctx, n.ID)
			if err != nil {
				return err
			}
			if !h.DrainAt.IsZero() {
				continue
			}
			h.NodeID, h.Cluster, h.Name, h.DrainAt, h.Drained = n.ID, n.Cluster, n.Name, t.now, "drained: "+why
			if err := t.keepHealth(ctx, &h); err != nil {
				return err
			}
			if cancel {
				if err := t.stopRunsOn(ctx, n); err != nil {
					return err
				}
			}
			if err := t.clusterEvent(ctx, n.Cluster, muster.Event{Kind: muster.EventNode, Message: fmt.Sprintf("node %s is %s", n.Name, h.Drained), Actor: scheduler}); err != nil {
				return err
			}
		}
		return nil
	})
}

// stopRunsOn cancels what runs on a node of a cluster that shrinks.
func (t *tx) stopRunsOn(ctx context.Context, n muster.NodeRecord) error {
	runs, err := t.runsOn(ctx, n.ID)
	if err != nil {
		return err
	}
	for _, r := range runs {
		changed, err := t.exec(ctx, `UPDATE runs SET stop = ? WHERE id = ? AND stop = '' AND ended_at = 0`, muster.StopShrink, r.ID)
		if err != nil {
			return err
		}
		if changed == 0 {
			continue // somebody else wants it to end
		}
		message := fmt.Sprintf("cluster %s becomes smaller, and is not to keep runs: node %s is emptied", n.Cluster, n.Name)
		if err := t.event(ctx, r, muster.Event{Kind: muster.EventStop, Message: message, Actor: scheduler}); err != nil {
			return err
		}
	}
	return nil
}

// ForgetHealth removes what is known of nodes that Nomad does not list any more.
func (g *ledger) ForgetHealth(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	return g.lead(ctx, "forget nodes' health", func(t *tx) error {
		for _, id := range ids {
			if _, err := t.exec(ctx, `DELETE FROM node_health WHERE node_id = ?`, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// PutClusterSecret remembers that a cluster has a secret of that name.
func (s *Store) PutClusterSecret(ctx context.Context, cluster, name string, version int64, by muster.Origin) error {
	return s.changeSecret(ctx, cluster, version, fmt.Sprintf("secret %s is set", name), by, func(t *tx) error {
		_, err := t.exec(ctx, `INSERT OR REPLACE INTO cluster_secrets (cluster, name, updated_at) VALUES (?, ?, ?)`, cluster, name, micros(t.now))
		return err
	})
}

// DropClusterSecret forgets it; one that is not there is CodeNotFound.
func (s *Store) DropClusterSecret(ctx context.Context, cluster, name string, version int64, by muster.Origin) error {
	return s.changeSecret(ctx, cluster, version, fmt.Sprintf("secret %s is removed", name), by, func(t *tx) error {
		n, err := t.exec(ctx, `DELETE FROM cluster_secrets WHERE cluster = ? AND name = ?`, cluster, name)
		if err == nil && n == 0 {
			return muster.Errorf(muster.CodeNotFound, "cluster %s has no secret %s", cluster, name).WithCure("muster cluster secret list %s shows those that it has", cluster)
		}
		return err
	})
}

// changeSecret changes the names of a cluster's secrets; its nodes are made ready
// anew by them.
func (s *Store) changeSecret(ctx context.Context, cluster string, version int64, message string, by muster.Origin, change func(t *tx) error) error {
	return s.inTx(ctx, "change secret", func(t *tx) error {
		if _, err := findCluster(ctx, t, cluster); err != nil {
			return err
		}
		if err := change(t); err != nil {
			return err
		}
		if _, err := t.exec(ctx, `UPDATE clusters SET secrets_version = max(secrets_version, ?), unready = '' WHERE name = ?`, version, cluster); err != nil {
			return err
		}
		return t.clusterEvent(ctx, cluster, muster.Event{Kind: muster.EventCluster, Message: message, Actor: by.Actor, RequestID: by.RequestID})
	})
}

// ListClusterSecrets returns the names of a cluster's secrets.
func (s *Store) ListClusterSecrets(ctx context.Context, cluster string) ([]muster.ClusterSecret, error) {
	if _, err := s.FindCluster(ctx, cluster); err != nil {
		return nil, err
	}
	return collect(ctx, s.read, func(row scanner) (c muster.ClusterSecret, err error) {
		err = row.Scan(&c.Name, timeCol{&c.UpdatedAt})
		return c, err
	}, `SELECT name, updated_at FROM cluster_secrets WHERE cluster = ? ORDER BY name`, cluster)
}
