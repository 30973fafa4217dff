package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/muster-ml/muster"
)

// scheduler is the actor of what the leader decides.
const scheduler = "scheduler"

// Backlog returns the waiting runs and the launches that hold capacity. Clusters are
// read before nodes: a number that is lowered in between makes void what is decided
// by the old one, see Publish.
func (g *ledger) Backlog(ctx context.Context) (*muster.Backlog, error) {
	b := &muster.Backlog{Waiting: map[string][]muster.Waiting{}}
	var err error
	if b.Clusters, err = g.ListClusters(ctx); err != nil {
		return nil, fmt.Errorf("read backlog: %w", err)
	}
	type waiting struct {
		cluster string
		muster.Waiting
	}
	decoded := map[string][]muster.Group{} // most runs of a queue want the same
	rows, err := collect(ctx, g.read, func(row scanner) (w waiting, err error) {
		var groups string
		w.Alternatives = nil
		err = row.Scan(&w.cluster, &w.RunID, &w.Run, &w.Priority, timeCol{&w.QueuedAt}, timeCol{&w.NotBefore}, &w.BackOff, &w.Container, jsonCol{&w.Alternatives}, &groups)
		if _, known := decoded[groups]; err == nil && !known {
			var all []muster.Group
			err = jsonCol{&all}.Scan(groups)
			decoded[groups] = all
		}
		w.Groups = decoded[groups]
		return w, err
	}, `SELECT r.cluster, r.id, (SELECT name FROM workspaces WHERE id = r.workspace_id) || '/' || r.name, r.priority, r.queued_at, r.not_before, r.reason, json_extract(r.spec, '$.container.image') IS NOT NULL, coalesce(json_extract(r.spec, '$.alternatives'), ''), json_extract(r.spec, '$.groups') FROM runs r `+
		queued+`AND r.stop = '' `+inQueue)
	if err != nil {
		return nil, fmt.Errorf("read backlog: %w", err)
	}
	if b.Health, err = g.ListHealth(ctx); err != nil {
		return nil, fmt.Errorf("read backlog: %w", err)
	}
	if b.Nodes, err = g.listNodes(ctx); err != nil {
		return nil, fmt.Errorf("read backlog: %w", err)
	}
	if b.Machines, err = g.listMachines(ctx); err != nil {
		return nil, fmt.Errorf("read backlog: %w", err)
	}
	if b.Live, err = g.ListLive(ctx); err != nil {
		return nil, err
	}
	started := map[int64]bool{} // by another loop, since the waiting runs were read
	for _, l := range b.Live {
		started[l.RunID] = true
	}
	for _, w := range rows {
		if !started[w.RunID] {
			b.Waiting[w.cluster] = append(b.Waiting[w.cluster], w.Waiting)
		}
	}
	return b, nil
}

// Apply makes decisions true.
func (g *ledger) Apply(ctx context.Context, d *muster.Decision) (admitted int, err error) {
	err = g.lead(ctx, "apply decision", func(t *tx) error {
		for _, start := range d.Starts {
			ok, err := t.admit(ctx, start)
			if err != nil {
				return err
			}
			if ok {
				admitted++
			}
		}
		for _, refusal := range d.Refusals {
			r, err := t.runByID(ctx, refusal.RunID)
			if err != nil {
				return err
			}
			if err := t.moveRun(ctx, r, muster.RunMove{To: muster.RunFailed, Reason: refusal.Reason}, 0); err != nil {
				return err
			}
		}
		return t.wait(ctx, d.Waits)
	})
	return admitted, err
}

// wait writes the wait reasons that changed. Only a change of the kind is an
// event; numbers move all the time.
func (t *tx) wait(ctx context.Context, waits []muster.Wait) error {
	if len(waits) == 0 {
		return nil
	}
	kept, err := t.waitReasons(ctx)
	if err != nil {
		return err
	}
	for _, w := range waits {
		old, still := kept[w.RunID]
		reason := toJSON(w.Reason)
		if !still || old == reason {
			continue
		}
		var before muster.WaitReason
		if err := (jsonCol{&before}).Scan(old); err != nil {
			return err
		}
		if _, err := t.exec(ctx, `UPDATE runs SET wait_reason = ? WHERE id = ?`, reason, w.RunID); err != nil {
			return err
		}
		if before.Code == w.Reason.Code {
			continue
		}
		r, err := t.runByID(ctx, w.RunID)
		if err != nil {
			return err
		}
		if err := t.event(ctx, r, muster.Event{Kind: muster.EventWait, Message: w.Reason.Message, Actor: scheduler}); err != nil {
			return err
		}
	}
	return nil
}

// waitReasons returns what is kept of why runs wait, by run: in a deep queue one
// query is done long before one for each run is.
func (t *tx) waitReasons(ctx context.Context) (map[int64]string, error) {
	type waiting struct {
		id     int64
		reason string
	}
	rows, err := collect(ctx, t, func(row scanner) (w waiting, err error) {
		err = row.Scan(&w.id, &w.reason)
		return w, err
	}, `SELECT r.id, r.wait_reason FROM runs r `+queued)
	kept := make(map[int64]string, len(rows))
	for _, w := range rows {
		kept[w.id] = w.reason
	}
	return kept, err
}

// admit gives a queued run its attempt, launch and reservation. ok is false
// where the run is not to start any more.
func (t *tx) admit(ctx context.Context, start muster.Start) (ok bool, err error) {
	r, err := t.runByID(ctx, start.RunID)
	if err != nil || r.State != muster.RunQueued || r.Stop != "" {
		return false, err
	}
	for _, p := range start.Places {
		var leaves bool
		if err := t.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM nodes WHERE id = ? AND (leave <> '' OR evict_at > 0 OR fate <> ''))`, p.NodeID).Scan(&leaves); err != nil || leaves {
			return false, err
		}
	}
	c, err := findCluster(ctx, t, start.Cluster)
	if err != nil {
		return false, err
	}
	var number int
	if err := t.QueryRowContext(ctx, `UPDATE runs SET attempt = attempt + 1, not_before = 0 WHERE id = ? RETURNING attempt`, r.ID).Scan(&number); err != nil {
		return false, err
	}
	launch := muster.RandomID(8)
	if _, err := t.exec(ctx, `INSERT INTO launches (id, region, cluster, node_pool, namespace, state, reserved_at, groups, each) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		launch, c.Region, c.Name, c.NodePool, r.Namespace, muster.LaunchReserved, micros(t.now), toJSON(r.Spec.Groups), toJSON(start.Each)); err != nil {
		return false, err
	}
	var sum muster.Resources
	var nodes []string
	for i, p := range start.Places {
		if _, err := t.exec(ctx, `INSERT INTO instances (launch_id, idx, grp, node_id, node_name) VALUES (?, ?, ?, ?, ?)`,
			launch, i, r.Spec.Groups[p.Group].Name, p.NodeID, p.NodeName); err != nil {
			return false, err
		}
		sum = sum.Add(start.Each[p.Group])
		nodes = append(nodes, p.NodeName)
	}
	var devices muster.Amount
	for _, d := range sum.Devices {
		devices = devices.Add(d.Count)
	}
	if _, err := t.exec(ctx, `INSERT INTO attempts (run_id, number, launch_id, cluster, region, tier, cores, mib, devices, each, environment, admitted_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, r.ID, number, launch, c.Name, c.Region, c.Tier,
		start.Cores, sum.MiB, devices, toJSON(start.Each), r.Spec.Environment, micros(t.now)); err != nil {
		return false, err
	}
	slices.Sort(nodes)
	message := fmt.Sprintf("room is held on %s", strings.Join(slices.Compact(nodes), ", "))
	return true, t.moveRun(ctx, r, muster.RunMove{To: muster.RunAdmitted, Reason: message}, number)
}

// Forsaken returns the namespaces of deleted workspaces that Nomad may have.
func (g *ledger) Forsaken(ctx context.Context) ([]string, error) {
	return collect(ctx, g.read, func(row scanner) (name string, err error) {
		err = row.Scan(&name)
		return name, err
	}, `SELECT namespace FROM workspaces w WHERE deleted_at > 0 AND dropped_at = 0
		AND NOT EXISTS (SELECT 1 FROM launches l WHERE l.namespace = w.namespace AND l.state <> 'purged') ORDER BY id`)
}

// Dropped says that Nomad has a namespace no more.
func (g *ledger) Dropped(ctx context.Context, namespace string) error {
	return g.lead(ctx, "drop namespace", func(t *tx) error {
		_, err := t.exec(ctx, `UPDATE workspaces SET dropped_at = ? WHERE namespace = ? AND deleted_at > 0`, micros(t.now), namespace)
		return err
	})
}

// runByID reads one run.
func (t *tx) runByID(ctx context.Context, id int64) (*muster.Run, error) {
	return scanRun(t.QueryRowContext(ctx, runColumns+`WHERE r.id = ?`, id))
}

// moveRun moves a run from the state it has in r to the next, with the event;
// r follows. It changes nothing where the state is another by now.
func (t *tx) moveRun(ctx context.Context, r *muster.Run, m muster.RunMove, attempt int) error {
	if !r.State.CanBecome(m.To) {
		return fmt.Errorf("run %s cannot go from %s to %s", r.Name, r.State, m.To)
	}
	var ended, started int64
	if m.To.Final() {
		ended = micros(t.now)
	}
	if m.To == muster.RunRunning {
		started = micros(t.now)
	}
	var wait string
	if m.To == muster.RunQueued {
		wait = toJSON(muster.WaitReason{Code: muster.WaitNew, Message: m.Reason})
	}
	n, err := t.exec(ctx, `UPDATE runs SET state = ?, reason = ?, wait_reason = ?, ended_at = ?, exit_code = CASE WHEN ? = '' THEN exit_code END,
		started_at = CASE WHEN started_at = 0 THEN ? ELSE started_at END WHERE id = ? AND state = ?`,
		m.To, m.Reason, wait, ended, wait, started, r.ID, r.State)
	if err != nil || n == 0 {
		return err
	}
	e := muster.Event{Kind: muster.EventState, From: r.State, To: m.To, Message: m.Reason, Attempt: attempt, Actor: scheduler}
	r.State = m.To
	return t.event(ctx, r, e)
}

// StopQueued ends the queued runs that are wanted to stop.
func (g *ledger) StopQueued(ctx context.Context) (stopped int, err error) {
	err = g.lead(ctx, "stop queued runs", func(t *tx) error {
		runs, err := collect(ctx, t, scanRun, runColumns+`WHERE r.state = 'queued' AND r.stop <> '' AND r.ended_at = 0`)
		if err != nil {
			return err
		}
		for _, r := range runs {
			reason := "cancelled by the user while it waited"
			if r.Stop == muster.StopParent {
				reason = "cancelled with its parent"
			}
			if err := t.moveRun(ctx, r, muster.RunMove{To: muster.RunCancelled, Reason: reason}, 0); err != nil {
				return err
			}
		}
		stopped = len(runs)
		return nil
	})
	return stopped, err
}
