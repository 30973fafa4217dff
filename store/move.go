package store

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/muster-ml/muster"
)

// Launches returns the launches in these states with their attempts and runs.
func (g *ledger) Launches(ctx context.Context, states ...muster.LaunchState) ([]*muster.Execution, error) {
	args := make([]any, len(states))
	for i, s := range states {
		args[i] = s
	}
	return g.executions(ctx, notPurged+`AND l.state IN (?`+strings.Repeat(`, ?`, len(args)-1)+`)`, args...)
}

// FindExecution returns one launch with its attempt and run.
func (g *ledger) FindExecution(ctx context.Context, launch string) (*muster.Execution, error) {
	all, err := g.executions(ctx, `l.id = ?`, launch)
	if err == nil && len(all) == 0 {
		return nil, muster.Errorf(muster.CodeNotFound, "there is no launch %s", launch)
	}
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// executions reads the launches of a condition and what they carry: four
// queries at one moment of the database, however many there are.
func (g *ledger) executions(ctx context.Context, condition string, args ...any) ([]*muster.Execution, error) {
	t, err := g.read.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("read launches: %w", err)
	}
	defer t.Rollback()
	launches, err := listLaunches(ctx, t, condition, args...)
	if err != nil {
		return nil, fmt.Errorf("read launches: %w", err)
	}
	carried := `(SELECT l.id FROM launches l WHERE ` + condition + `)`
	attempts, err := collect(ctx, t, scanAttempt, attemptColumns+`WHERE launch_id IN `+carried, args...)
	if err != nil {
		return nil, fmt.Errorf("read attempts of launches: %w", err)
	}
	runs, err := collect(ctx, t, scanRun, runColumns+`WHERE r.id IN (SELECT run_id FROM attempts WHERE launch_id IN `+carried+`)`, args...)
	if err != nil {
		return nil, fmt.Errorf("read runs of launches: %w", err)
	}
	byLaunch, byID := map[string]*muster.Attempt{}, map[int64]*muster.Run{}
	for _, a := range attempts {
		byLaunch[a.LaunchID] = a
	}
	for _, r := range runs {
		byID[r.ID] = r
	}
	var all []*muster.Execution
	for _, l := range launches {
		all = append(all, &muster.Execution{Launch: l, Attempt: byLaunch[l.ID], Run: byID[l.RunID]})
	}
	return all, nil
}

// Move writes what an observation found. Where the launch or the run is in
// another state than x says, somebody was quicker: nothing is written, and the
// next look finds what there is.
func (g *ledger) Move(ctx context.Context, x *muster.Execution, m *muster.Moves) error {
	return g.lead(ctx, "move run: "+x.Run.Name, func(t *tx) error {
		var launch muster.LaunchState
		var run muster.RunState
		if err := t.QueryRowContext(ctx, `SELECT l.state, r.state FROM launches l, runs r WHERE l.id = ? AND r.id = ?`, x.Launch.ID, x.Run.ID).Scan(&launch, &run); err != nil {
			return err
		}
		if launch != x.Launch.State || run != x.Run.State {
			return nil
		}
		if err := t.moveLaunch(ctx, x, m); err != nil {
			return err
		}
		if err := t.moveAttempt(ctx, x, m); err != nil {
			return err
		}
		for _, note := range m.Notes {
			if err := t.event(ctx, x.Run, muster.Event{Kind: muster.EventNote, Attempt: x.Attempt.Number, Message: note, Actor: scheduler}); err != nil {
				return err
			}
		}
		if m.Failures+m.Platform+m.Losses+m.Evictions > 0 || !m.NotBefore.IsZero() {
			if _, err := t.exec(ctx, `UPDATE runs SET failures = failures + ?, platform_failures = platform_failures + ?, losses = losses + ?, evictions = evictions + ?, not_before = ? WHERE id = ?`,
				m.Failures, m.Platform, m.Losses, m.Evictions, micros(m.NotBefore), x.Run.ID); err != nil {
				return err
			}
		}
		r := *x.Run
		for _, step := range m.Runs {
			if err := t.moveRun(ctx, &r, step, x.Attempt.Number); err != nil {
				return err
			}
		}
		return nil
	})
}

// moveLaunch writes the launch's part of moves.
func (t *tx) moveLaunch(ctx context.Context, x *muster.Execution, m *muster.Moves) error {
	l := x.Launch
	if m.Launch != "" {
		var dispatched int64
		if m.Launch == muster.LaunchDispatched {
			dispatched = micros(t.now)
		}
		if _, err := t.exec(ctx, `UPDATE launches SET state = ?, job_id = CASE WHEN ? = '' THEN job_id ELSE ? END, child_id = CASE WHEN ? = '' THEN child_id ELSE ? END,
			dispatched_at = CASE WHEN dispatched_at = 0 THEN ? ELSE dispatched_at END WHERE id = ?`,
			m.Launch, m.JobID, m.JobID, m.ChildID, m.ChildID, dispatched, l.ID); err != nil {
			return err
		}
		if _, err := t.exec(ctx, `UPDATE attempts SET dispatched_at = ? WHERE launch_id = ? AND dispatched_at = 0`, dispatched, l.ID); err != nil {
			return err
		}
	}
	if m.Stop != "" {
		n, err := t.exec(ctx, `UPDATE launches SET stop = ?, stop_at = ? WHERE id = ? AND stop = ''`, m.Stop, micros(t.now), l.ID)
		if err != nil {
			return err
		}
		if n > 0 {
			if err := t.event(ctx, x.Run, muster.Event{Kind: muster.EventStop, Attempt: x.Attempt.Number, Message: fmt.Sprintf("the attempt is told to stop: %s", cmp.Or(m.StopWhy, string(m.Stop))), Actor: scheduler}); err != nil {
				return err
			}
		}
	}
	for _, in := range m.Placed {
		if err := t.place(ctx, x, in); err != nil {
			return err
		}
	}
	return nil
}

// place writes where an instance is, and what Nomad does for it. Its first doing
// is an event, and how that goes on is not.
func (t *tx) place(ctx context.Context, x *muster.Execution, in muster.Instance) error {
	before := x.Launch.Instances[in.Index]
	if in.Doing != "" {
		in.Phase = muster.PhaseEnvironment
	}
	if _, err := t.exec(ctx, `UPDATE instances SET node_id = ?, node_name = ?, placed = 1, doing = ?, phase = CASE WHEN claimed_at = 0 AND phase <> ? THEN ? ELSE phase END WHERE launch_id = ? AND idx = ?`,
		in.NodeID, in.NodeName, in.Doing, muster.PhaseSetup, in.Phase, x.Launch.ID, in.Index); err != nil {
		return err
	}
	tell := func(format string, args ...any) error {
		return t.event(ctx, x.Run, muster.Event{Kind: muster.EventInstance, Attempt: x.Attempt.Number, Message: fmt.Sprintf(format, args...), Actor: "nomad"})
	}
	if !before.Placed || before.NodeID != in.NodeID {
		if err := tell("instance %d is placed on node %s", in.Index, in.NodeName); err != nil {
			return err
		}
	}
	if before.Doing == "" && in.Doing != "" {
		return tell("instance %d: phase %s: %s", in.Index, in.Phase, in.Doing)
	}
	return nil
}

// moveAttempt writes the attempt's part of moves.
func (t *tx) moveAttempt(ctx context.Context, x *muster.Execution, m *muster.Moves) error {
	if m.Outcome != "" {
		if _, err := t.exec(ctx, `UPDATE attempts SET outcome = ?, reason = ? WHERE run_id = ? AND number = ?`, m.Outcome, m.Reason, x.Run.ID, x.Attempt.Number); err != nil {
			return err
		}
		message := fmt.Sprintf("attempt %d: %s", x.Attempt.Number, m.Outcome)
		if m.Reason != "" {
			message += ": " + m.Reason
		}
		if err := t.event(ctx, x.Run, muster.Event{Kind: muster.EventAttempt, Attempt: x.Attempt.Number, Message: message, Actor: scheduler}); err != nil {
			return err
		}
	}
	if m.Launch.Ended() {
		_, err := t.exec(ctx, `UPDATE attempts SET ended_at = ? WHERE launch_id = ? AND ended_at = 0`, micros(t.now), x.Launch.ID)
		return err
	}
	return nil
}
