package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/muster-ml/muster"
)

const attemptColumns = `SELECT run_id, number, coalesce(launch_id, ''), cluster, region, tier, each, checkpoint_at, environment, environment_digest, outcome, reason,
	exit_code, signal, peak_mib, cpu_seconds, admitted_at, dispatched_at, started_at, ended_at FROM attempts `

func scanAttempt(row scanner) (*muster.Attempt, error) {
	a := &muster.Attempt{}
	var exit sql.NullInt64
	err := row.Scan(&a.RunID, &a.Number, &a.LaunchID, &a.Cluster, &a.Region, &a.Tier, jsonCol{&a.Each}, timeCol{&a.CheckpointAt}, &a.Environment, &a.Digest, &a.Outcome, &a.Reason,
		&exit, &a.Signal, &a.PeakMiB, &a.CPUSeconds, timeCol{&a.AdmittedAt}, timeCol{&a.DispatchedAt}, timeCol{&a.StartedAt}, timeCol{&a.EndedAt})
	if exit.Valid {
		code := int(exit.Int64)
		a.ExitCode = &code
	}
	return a, err
}

// ListAttempts returns the attempts of a run with their instances.
func (s *Store) ListAttempts(ctx context.Context, runID int64) ([]*muster.Attempt, error) {
	attempts, err := collect(ctx, s.read, scanAttempt, attemptColumns+`WHERE run_id = ? ORDER BY number`, runID)
	if err != nil {
		return nil, err
	}
	for _, a := range attempts {
		var phases []muster.PhaseChange
		if err := s.read.QueryRowContext(ctx, `SELECT phases FROM instances WHERE launch_id = ? AND idx = 0`, a.LaunchID).Scan(jsonCol{&phases}); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
		a.PhaseTimes = phases
		if a.Instances, err = listInstances(ctx, s.read, a.LaunchID); err != nil {
			return nil, err
		}
		for _, in := range a.Instances {
			if a.Phase == "" || phaseOrder(in.Phase) < phaseOrder(a.Phase) {
				a.Phase = in.Phase
			}
		}
	}
	return attempts, nil
}

// phaseOrder returns the place of a phase among all.
func phaseOrder(p muster.Phase) int {
	for i, q := range muster.Phases() {
		if p == q {
			return i
		}
	}
	return -1
}

func listInstances(ctx context.Context, q querier, launch string) ([]muster.Instance, error) {
	byLaunch, err := instancesOf(ctx, q, `launch_id = ?`, launch)
	return byLaunch[launch], err
}

// instancesOf returns the instances of a condition by launch and index.
func instancesOf(ctx context.Context, q querier, condition string, args ...any) (map[string][]muster.Instance, error) {
	rows, err := collect(ctx, q, scanInstance, `SELECT launch_id, idx, grp, node_id, node_name, placed, alloc_id, boot_id, claimed_at, reported_at, phase, doing, result
		FROM instances WHERE `+condition+` ORDER BY launch_id, idx`, args...)
	all, next := map[string][]muster.Instance{}, map[string]int{}
	for _, in := range rows {
		group := in.LaunchID + " " + in.Group
		in.GroupIndex = next[group]
		next[group]++
		all[in.LaunchID] = append(all[in.LaunchID], in)
	}
	return all, err
}

func scanInstance(row scanner) (in muster.Instance, err error) {
	var result string
	err = row.Scan(&in.LaunchID, &in.Index, &in.Group, &in.NodeID, &in.NodeName, &in.Placed, &in.AllocID, &in.BootID,
		timeCol{&in.ClaimedAt}, timeCol{&in.ReportedAt}, &in.Phase, &in.Doing, &result)
	if err == nil && result != "" {
		in.Result = &muster.Result{}
		err = jsonCol{in.Result}.Scan(result)
	}
	return in, err
}

const launchColumns = `SELECT l.id, coalesce(a.run_id, 0), coalesce(a.number, 0), l.region, l.cluster, l.node_pool, l.namespace, l.job_id, l.child_id, l.state, l.stop, l.stop_at,
	l.reserved_at, l.dispatched_at, coalesce(json_extract(r.spec, '$.container'), ''), l.groups, l.each, coalesce(r.name, ''), coalesce(w.name, '')
	FROM launches l LEFT JOIN attempts a ON a.launch_id = l.id LEFT JOIN runs r ON r.id = a.run_id LEFT JOIN workspaces w ON w.id = r.workspace_id `

func scanLaunch(row scanner) (*muster.Launch, error) {
	l := &muster.Launch{}
	err := row.Scan(&l.ID, &l.RunID, &l.Attempt, &l.Region, &l.Cluster, &l.NodePool, &l.Namespace, &l.JobID, &l.ChildID, &l.State, &l.Stop, timeCol{&l.StopAt},
		timeCol{&l.ReservedAt}, timeCol{&l.DispatchedAt}, jsonCol{&l.Container}, jsonCol{&l.Groups}, jsonCol{&l.Each}, &l.Run, &l.Workspace)
	if l.Container != nil && l.Container.Image == "" {
		l.Container = nil // it asked for one, and runs on the node itself
	}
	return l, err
}

// notPurged keeps to the index of the launches that are not history, which
// SQLite uses only where it reads the index's own words.
const notPurged = `l.state <> 'purged' `

// ListLive returns the launches that hold capacity.
func (s *Store) ListLive(ctx context.Context) ([]*muster.Launch, error) {
	return listLaunches(ctx, s.read, notPurged+`AND l.state IN ('reserved', 'dispatched')`)
}

// FindLaunch returns a launch with its instances.
func (s *Store) FindLaunch(ctx context.Context, id string) (*muster.Launch, error) {
	return findLaunch(ctx, s.read, id)
}

func findLaunch(ctx context.Context, q querier, id string) (*muster.Launch, error) {
	l, err := scanLaunch(q.QueryRowContext(ctx, launchColumns+`WHERE l.id = ?`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, muster.Errorf(muster.CodeNotFound, "there is no launch %s", id)
	}
	if err != nil {
		return nil, err
	}
	l.Instances, err = listInstances(ctx, q, id)
	return l, err
}

// listLaunches returns the launches of a condition with their instances, in the
// order of their reservations.
func listLaunches(ctx context.Context, q querier, condition string, args ...any) ([]*muster.Launch, error) {
	launches, err := collect(ctx, q, scanLaunch, launchColumns+`WHERE `+condition+` ORDER BY l.reserved_at, l.id`, args...)
	if err != nil {
		return nil, err
	}
	instances, err := instancesOf(ctx, q, `launch_id IN (SELECT l.id FROM launches l WHERE `+condition+`)`, args...)
	for _, l := range launches {
		l.Instances = instances[l.ID]
	}
	return launches, err
}
