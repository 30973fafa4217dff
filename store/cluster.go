package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/muster-ml/muster"
)

// CreateCluster keeps a new cluster. The name of one that was deleted may be used
// again.
func (s *Store) CreateCluster(ctx context.Context, c *muster.Cluster, by muster.Origin) error {
	return s.inTx(ctx, "create cluster", func(t *tx) error {
		if err := t.checkWorkspaces(ctx, c.Workspaces); err != nil {
			return err
		}
		c.CreatedAt = t.now
		err := t.QueryRowContext(ctx, `INSERT INTO clusters (name, node_pool, provider, region, tier, settings, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET node_pool = excluded.node_pool, provider = excluded.provider, region = excluded.region, tier = excluded.tier, settings = excluded.settings,
				created_at = excluded.created_at, version = version + 1, paused = 0, deleting = 0, deleted_at = 0, wanted = '', machines = '', reported_at = 0, unready = '', secrets_version = 0, drill = '' WHERE deleted_at > 0
			RETURNING version`,
			c.Name, c.NodePool, c.Provider, c.Region, c.Tier, toJSON(c.ClusterSettings), micros(t.now)).Scan(&c.Version)
		if errors.Is(err, sql.ErrNoRows) {
			if other, err := findCluster(ctx, t, c.Name); err == nil && other.Deleting {
				return muster.Errorf(muster.CodeConflict, "cluster %s is being deleted: its nodes leave", c.Name).At("name").WithCure("wait until it is gone: muster cluster show %s; or choose another name", c.Name)
			}
			return muster.Errorf(muster.CodeConflict, "cluster %s exists already", c.Name).At("name")
		}
		if isDuplicate(err) {
			var other string
			if err := t.QueryRowContext(ctx, `SELECT name FROM clusters WHERE node_pool = ?`, c.NodePool).Scan(&other); err != nil {
				return err
			}
			return muster.Errorf(muster.CodeConflict, "node pool %s is cluster %s already", c.NodePool, other).At("node_pool")
		}
		if err != nil {
			return err
		}
		return t.clusterEvent(ctx, c.Name, muster.Event{Kind: muster.EventCluster, Message: "it is made", Actor: by.Actor, RequestID: by.RequestID})
	})
}

const clusterColumns = `SELECT name, version, node_pool, provider, region, tier, settings, paused, deleting, created_at, wanted, coalesce(json_extract(nullif(machines, ''), '$.failure'), ''), unready, secrets_version, drill, reported_at, coalesce(json_extract(nullif(machines, ''), '$.number'), 0)
	FROM clusters WHERE deleted_at = 0 `

func scanCluster(row scanner) (*muster.Cluster, error) {
	c := &muster.Cluster{}
	err := row.Scan(&c.Name, &c.Version, &c.NodePool, &c.Provider, &c.Region, &c.Tier, jsonCol{&c.ClusterSettings}, &c.Paused, &c.Deleting, timeCol{&c.CreatedAt}, jsonCol{&c.Wanted}, jsonCol{&c.Failure},
		jsonCol{&c.Unready}, &c.SecretsVersion, jsonCol{&c.Drill}, timeCol{&c.ReportedAt}, &c.Heard)
	if f := c.Unready; c.Failure == nil && f != nil && (f.Tries > 1 || !f.OfNodes()) && f.Until.After(time.Now()) {
		c.Failure = f
	}
	return c, err
}

// FindCluster returns the cluster of that name.
func (s *Store) FindCluster(ctx context.Context, name string) (*muster.Cluster, error) {
	return findCluster(ctx, s.read, name)
}

func findCluster(ctx context.Context, q querier, name string) (*muster.Cluster, error) {
	c, err := scanCluster(q.QueryRowContext(ctx, clusterColumns+`AND name = ?`, name))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, muster.Errorf(muster.CodeNotFound, "there is no cluster %s", name).
			WithCure("muster cluster list shows what there is, muster cluster create makes one")
	}
	return c, err
}

// ListClusters returns all clusters by name.
func (s *Store) ListClusters(ctx context.Context) ([]*muster.Cluster, error) {
	return collect(ctx, s.read, scanCluster, clusterColumns+`ORDER BY name`)
}

// UpdateCluster changes a cluster that is not being deleted.
func (s *Store) UpdateCluster(ctx context.Context, name string, change muster.ClusterChange, by muster.Origin) (c *muster.Cluster, err error) {
	err = s.inTx(ctx, "update cluster", func(t *tx) error {
		if c, err = findCluster(ctx, t, name); err != nil {
			return err
		}
		if err := by.Check(c.Version); err != nil {
			return err
		}
		if c.Deleting {
			return muster.Errorf(muster.CodeConflict, "cluster %s is being deleted", name)
		}
		prepared := c.Prepares()
		changed := change.Apply(c)
		if err := c.Validate(); err != nil {
			return err
		}
		if err := t.checkWorkspaces(ctx, c.Workspaces); err != nil {
			return err
		}
		if changed == "" {
			return nil
		}
		if !c.Prepares() || !prepared { // what its agents have said counts no more, or they are expected from now on
			if err := t.forgetAgents(ctx, name); err != nil {
				return err
			}
		}
		c.Version++
		if change.Setup != nil || change.Health != nil || change.Size != nil || change.OS != nil { // nodes may be made ready by now
			if _, err := t.exec(ctx, `UPDATE clusters SET unready = '' WHERE name = ?`, name); err != nil {
				return err
			}
		}
		if _, err := t.exec(ctx, `UPDATE clusters SET version = ?, settings = ?, paused = ? WHERE name = ?`, c.Version, toJSON(c.ClusterSettings), c.Paused, name); err != nil {
			return err
		}
		return t.clusterEvent(ctx, name, muster.Event{Kind: muster.EventCluster, Message: changed, Actor: by.Actor, RequestID: by.RequestID})
	})
	return c, err
}

// DeleteCluster forgets a cluster, or marks an elastic one: its nodes leave
// first.
func (s *Store) DeleteCluster(ctx context.Context, name string, by muster.Origin) error {
	return s.inTx(ctx, "delete cluster", func(t *tx) error {
		c, err := findCluster(ctx, t, name)
		if err != nil {
			return err
		}
		if err := by.Check(c.Version); err != nil {
			return err
		}
		if c.Deleting {
			return nil
		}
		var live, homes int
		if err := t.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM (`+holdCluster+`)), (SELECT count(*) FROM workspaces WHERE default_cluster = ?1 AND deleted_at = 0)`, name).Scan(&live, &homes); err != nil {
			return err
		}
		if live > 0 {
			return t.clusterHeld(ctx, name, live)
		}
		if homes > 0 {
			return muster.Errorf(muster.CodeConflict, "cluster %s is the default of %s", name, muster.Counted(homes, "workspace")).WithCure("muster workspace update --default-cluster names another")
		}
		if _, err := t.exec(ctx, `UPDATE clusters SET deleting = 1, paused = 0, version = version + 1 WHERE name = ?`, name); err != nil {
			return err
		}
		if !c.Provider.Elastic() {
			return t.dropCluster(ctx, name, by)
		}
		return t.clusterEvent(ctx, name, muster.Event{Kind: muster.EventCluster, Message: "it is to be deleted", Actor: by.Actor, RequestID: by.RequestID})
	})
}

// holdCluster are the runs for which a cluster must stay: its own, and those of others
// that it took as an alternative.
const holdCluster = `SELECT id FROM runs WHERE cluster = ?1 AND ended_at = 0 UNION ALL SELECT DISTINCT r.id FROM launches l JOIN attempts a ON a.launch_id = l.id JOIN runs r ON r.id = a.run_id
	WHERE l.state <> 'purged' AND l.state IN ('reserved', 'dispatched') AND l.cluster = ?1 AND r.cluster <> ?1`

// shownHolders is how many of these runs a refusal names.
const shownHolders = 5

// clusterHeld refuses to delete a cluster, with the runs that hold it.
func (t *tx) clusterHeld(ctx context.Context, name string, live int) error {
	names, err := collect(ctx, t, func(row scanner) (run string, err error) {
		err = row.Scan(&run)
		return run, err
	}, `SELECT w.name || '/' || r.name FROM (`+holdCluster+`) h JOIN runs r ON r.id = h.id JOIN workspaces w ON w.id = r.workspace_id LIMIT ?2`, name, shownHolders)
	if err != nil {
		return err
	}
	list := strings.Join(names, ", ")
	if more := live - len(names); more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return muster.Errorf(muster.CodeConflict, "cluster %s has %s still to end: %s", name, muster.Counted(live, "run"), list).
		WithCure("wait until they end, or end them: muster run cancel RUN -w WORKSPACE")
}

// checkWorkspaces refuses workspaces that do not exist.
func (t *tx) checkWorkspaces(ctx context.Context, names []string) error {
	for i, name := range names {
		_, err := findWorkspace(ctx, t, name)
		if e, ok := errors.AsType[*muster.Error](err); ok && e.Code == muster.CodeNotFound {
			return muster.Errorf(muster.CodeInvalid, "%s", e.Message).At(fmt.Sprintf("workspaces[%d]", i)).WithCure("%s", e.Cure)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// dropIdle takes a cluster that is being deleted out of sight, where no run is left.
const dropIdle = `UPDATE clusters SET deleted_at = ?2, node_pool = '~' || name WHERE name = ?1 AND deleting = 1
	AND NOT EXISTS (SELECT 1 FROM runs WHERE cluster = ?1 AND ended_at = 0)`

// dropCluster takes a cluster out of sight. Its node pool may be another's.
func (t *tx) dropCluster(ctx context.Context, name string, by muster.Origin) error {
	n, err := t.exec(ctx, dropIdle, name, micros(t.now))
	if err != nil || n == 0 {
		return err
	}
	// Nodes that the leader has closed are opened again before they are forgotten.
	for _, query := range []string{`DELETE FROM cluster_secrets WHERE cluster = ?`, `DELETE FROM node_health WHERE cluster = ? AND closed = 0`,
		`UPDATE node_health SET excluded = '', drain_at = 0, drained = '' WHERE cluster = ?`} {
		if _, err := t.exec(ctx, query, name); err != nil {
			return err
		}
	}
	if err := t.forgetAgents(ctx, name); err != nil {
		return err
	}
	return t.clusterEvent(ctx, name, muster.Event{Kind: muster.EventCluster, Message: "it is deleted", Actor: by.Actor, RequestID: by.RequestID})
}

// forgetAgents makes void what the agents of a cluster's nodes have said.
func (t *tx) forgetAgents(ctx context.Context, cluster string) error {
	_, err := t.exec(ctx, `UPDATE node_health SET alloc = '', boot = '', generation = '', state = 'preparing', reason = '', failures = 0, since = ? WHERE cluster = ?`, micros(t.now), cluster)
	return err
}

// ReportMachines keeps what a provider says of its machines; changed says that it
// is another thing than before.
func (s *Store) ReportMachines(ctx context.Context, cluster string, r muster.MachineReport) (changed bool, err error) {
	err = s.inTx(ctx, "report machines", func(t *tx) error {
		c, err := findCluster(ctx, t, cluster)
		if err != nil {
			return err
		}
		before, err := t.machines(ctx, cluster)
		if err != nil {
			return err
		}
		if before.Source != r.Source && slices.ContainsFunc(before.Machines, func(m muster.Machine) bool { return !r.Lists(m.Name) }) {
			return muster.Errorf(muster.CodeConflict, "the machines of cluster %s are in the hands of another autoscaler", cluster).At("source").
				WithCure("end one of the two: muster-autoscaler run with one --dir; muster-autoscaler clear ends the machines of a folder")
		}
		if before.Source == r.Source && r.Number < before.Number {
			return nil
		}
		if err := t.keepFates(ctx, c, before, r); err != nil {
			return err
		}
		now := muster.MachineReport{Source: r.Source, Number: r.Number, Machines: r.Machines, Failure: r.Failure}
		text := toJSON(now)
		now.Number = before.Number
		changed = toJSON(now) != toJSON(before)
		if _, err := t.exec(ctx, `UPDATE clusters SET machines = ?, reported_at = ? WHERE name = ?`, text, micros(t.now), cluster); err != nil {
			return err
		}
		if r.Failure == nil || c.Failure != nil && c.Failure.Kind == r.Failure.Kind {
			return nil
		}
		return t.clusterEvent(ctx, cluster, muster.Event{Kind: muster.EventCluster, Actor: "autoscaler",
			Message: fmt.Sprintf("the provider gives no more nodes: %s", r.Failure.Message)})
	})
	return changed, err
}

// keepFates writes what became of the machines that a provider listed before and
// does not list now, or says that it has taken. Only what was listed once can be
// gone: a report may be older than a node. Where a loss was announced the number that
// is wanted has counted its node until now: without it no other is bought for that.
func (t *tx) keepFates(ctx context.Context, c *muster.Cluster, before, now muster.MachineReport) error {
	cluster, taken := c.Name, 0
	for _, m := range before.Machines {
		if now.Lists(m.Name) {
			continue
		}
		fate, message := muster.FateGone, fmt.Sprintf("machine %s does not exist any more", m.Name)
		if slices.Contains(now.Evicted, m.Name) {
			fate, message = muster.FateEvicted, fmt.Sprintf("machine %s was taken back by the provider", m.Name)
		}
		var announced bool
		err := t.QueryRowContext(ctx, `UPDATE nodes SET fate = ? WHERE cluster = ? AND name = ? AND fate = '' RETURNING evict_at > 0`, fate, cluster, m.Name).Scan(&announced)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if announced {
			taken++
		}
		if err := t.clusterEvent(ctx, cluster, muster.Event{Kind: muster.EventNode, Message: message, Actor: "autoscaler"}); err != nil {
			return err
		}
	}
	if taken == 0 || c.Wanted == nil {
		return nil
	}
	less := muster.Wanted{Nodes: max(0, c.Wanted.Nodes-taken), Reason: fmt.Sprintf("%s less: announced to be taken, and gone", muster.Counted(taken, "node")), At: t.now.UTC().Truncate(time.Microsecond)}
	if less.Nodes == c.Wanted.Nodes {
		return nil
	}
	return t.want(ctx, c, less)
}

// machines reads what a provider said last.
func (t *tx) machines(ctx context.Context, cluster string) (r muster.MachineReport, err error) {
	err = t.QueryRowContext(ctx, `SELECT machines FROM clusters WHERE name = ?`, cluster).Scan(jsonCol{&r})
	return r, err
}
