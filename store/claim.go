package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/muster-ml/muster"
)

// agentActor is the actor of what agents tell.
const agentActor = "agent"

// Claim gives an instance to an allocation, or refuses with an event.
func (s *Store) Claim(ctx context.Context, a *muster.Allocation, bootID string, notes []string) (*muster.Assignment, error) {
	var won *muster.Assignment
	var refused error
	err := s.inTx(ctx, "claim", func(t *tx) error {
		l, err := findLaunch(ctx, t, a.Launch)
		if err != nil {
			return err
		}
		r, err := t.runByID(ctx, l.RunID)
		if err != nil {
			return err
		}
		in, why := claimable(l, a, bootID)
		if why != "" {
			refused = muster.Errorf(muster.CodeConflict, "claim refused: %s", why)
			message := fmt.Sprintf("the claim of allocation %s on node %s is refused: %s", short(a.ID), a.NodeName, why)
			return t.event(ctx, r, muster.Event{Kind: muster.EventRefused, Attempt: l.Attempt, Message: message, Actor: "nomad"})
		}
		if in.AllocID == "" {
			waits, unfit, err := t.readiness(ctx, l.Cluster, a, bootID)
			switch {
			case err != nil:
				return err
			case unfit != "":
				refused = muster.Errorf(muster.CodeConflict, "claim refused: node %s: %s", a.NodeName, unfit)
				return t.event(ctx, r, muster.Event{Kind: muster.EventRefused, Attempt: l.Attempt, Message: fmt.Sprintf("instance %d does not start: node %s: %s", in.Index, a.NodeName, unfit), Actor: agentActor})
			case waits != "":
				won = &muster.Assignment{Waits: waits}
				return t.holdClaim(ctx, r, l, in, a, waits)
			}
			if err := t.takeInstance(ctx, r, l, in, a, bootID, notes); err != nil {
				return err
			}
		}
		won, err = t.assignment(ctx, r, l, in)
		if won != nil {
			won.Installation = s.Installation
		}
		return err
	})
	return won, errors.Join(err, refused)
}

// claimable returns the instance that the allocation may have, or why not. The
// first case that matches tells.
func claimable(l *muster.Launch, a *muster.Allocation, bootID string) (*muster.Instance, string) {
	switch {
	case l.State.Ended():
		return nil, "the launch is over"
	case l.ChildID != "" && l.ChildID != a.ChildID || a.Token != l.Token():
		return nil, fmt.Sprintf("Nomad job %s is not the launch's own: somebody dispatched a copy", a.ChildID)
	case a.Terminal:
		return nil, "the allocation is meant to stop"
	case l.Stop != "":
		return nil, "the launch is told to stop: " + string(l.Stop)
	}
	for i := range l.Instances {
		in := &l.Instances[i]
		switch {
		case in.Group != a.Group || in.GroupIndex != a.Index:
		case in.AllocID != "" && in.AllocID != a.ID:
			return nil, fmt.Sprintf("instance %d belongs to allocation %s", in.Index, short(in.AllocID))
		case in.AllocID != "" && in.BootID != bootID:
			// Nomad starts a task again on a node that comes back; what the
			// command did before is gone or half done.
			return nil, fmt.Sprintf("node %s was restarted", a.NodeName)
		default:
			return in, ""
		}
	}
	return nil, fmt.Sprintf("the launch has no instance %s[%d]", a.Group, a.Index)
}

// short shortens Nomad's ids as Nomad does.
func short(id string) string { return id[:min(8, len(id))] }

// takeInstance writes a claim that was won.
func (t *tx) takeInstance(ctx context.Context, r *muster.Run, l *muster.Launch, in *muster.Instance, a *muster.Allocation, bootID string, notes []string) error {
	if _, err := t.exec(ctx, `UPDATE instances SET alloc_id = ?, boot_id = ?, node_id = ?, node_name = ?, placed = 1, claimed_at = ?, reported_at = ?
		WHERE launch_id = ? AND idx = ? AND alloc_id = ''`, a.ID, bootID, a.NodeID, a.NodeName, micros(t.now), micros(t.now), l.ID, in.Index); err != nil {
		return err
	}
	message := fmt.Sprintf("instance %d is claimed by allocation %s on node %s", in.Index, short(a.ID), a.NodeName)
	if err := t.event(ctx, r, muster.Event{Kind: muster.EventInstance, Attempt: l.Attempt, Message: message, Actor: agentActor}); err != nil {
		return err
	}
	for _, note := range notes {
		if err := t.event(ctx, r, muster.Event{Kind: muster.EventNote, Attempt: l.Attempt, Message: fmt.Sprintf("node %s: %s", a.NodeName, note), Actor: agentActor}); err != nil {
			return err
		}
	}
	return nil
}

// heldAgain is how often it is written that a claim still waits.
const heldAgain = 10 * time.Second

// holdClaim remembers that an instance has come to its node, which is not ready.
func (t *tx) holdClaim(ctx context.Context, r *muster.Run, l *muster.Launch, in *muster.Instance, a *muster.Allocation, waits string) error {
	if in.Phase == muster.PhaseSetup && t.now.Sub(in.ReportedAt) < heldAgain {
		return nil // each change of anything makes all claims that wait look again
	}
	if _, err := t.exec(ctx, `UPDATE instances SET phase = ?, reported_at = ? WHERE launch_id = ? AND idx = ?`, muster.PhaseSetup, micros(t.now), l.ID, in.Index); err != nil || in.Phase == muster.PhaseSetup {
		return err
	}
	message := fmt.Sprintf("instance %d: phase %s: node %s is made ready: %s", in.Index, muster.PhaseSetup, a.NodeName, waits)
	return t.event(ctx, r, muster.Event{Kind: muster.EventInstance, Attempt: l.Attempt, Message: message, Actor: agentActor})
}

// assignment tells the winner of a claim what to do.
func (t *tx) assignment(ctx context.Context, r *muster.Run, l *muster.Launch, in *muster.Instance) (*muster.Assignment, error) {
	var experiment int64
	if err := t.QueryRowContext(ctx, `SELECT experiment_id FROM runs WHERE id = ?`, r.ID).Scan(&experiment); err != nil {
		return nil, err
	}
	var runAs string
	if err := t.QueryRowContext(ctx, `SELECT coalesce(json_extract(settings, '$.run_as'), '') FROM clusters WHERE name = ?`, l.Cluster).Scan(&runAs); err != nil {
		return nil, err
	}
	a := &muster.Assignment{Launch: l.ID, Workspace: r.Workspace, Experiment: r.Experiment, ExperimentID: strconv.FormatInt(experiment, 10),
		Run: r.Name, Attempt: l.Attempt, Instance: in.Index, RunAs: runAs, InstanceCount: len(l.Instances), Group: in.Group, Spec: r.Spec}
	for i, g := range l.Groups {
		if g.Name == in.Group && i < len(l.Each) {
			for _, d := range l.Each[i].Devices {
				if d.Type == "gpu" || strings.HasPrefix(d.Type, "gpu-1of") {
					a.GPUs += int(d.Count.Units())
				}
			}
		}
	}
	return a, nil
}

// Report keeps what changed of an instance and answers what is wanted.
func (s *Store) Report(ctx context.Context, launch string, rep *muster.Report) (*muster.Orders, error) {
	l, err := s.FindLaunch(ctx, launch)
	if err != nil {
		return nil, err
	}
	if rep.Instance < 0 || rep.Instance >= len(l.Instances) || rep.Attempt != l.Attempt {
		return nil, muster.Errorf(muster.CodeInvalid, "the launch has no instance %d in attempt %d", rep.Instance, rep.Attempt)
	}
	news, err := s.keepReport(ctx, l, rep)
	if err != nil {
		return nil, err
	}
	orders := &muster.Orders{Stop: l.Stop, Go: true, News: news}
	if orders.Stop == "" {
		if err := s.read.QueryRowContext(ctx, `SELECT stop FROM runs WHERE id = ?`, l.RunID).Scan(&orders.Stop); err != nil {
			return nil, err
		}
	}
	for _, in := range l.Instances {
		orders.Go = orders.Go && !in.ClaimedAt.IsZero()
	}
	return orders, nil
}

// keepReport writes a report that says something new. A report that a newer
// one has overtaken takes nothing back.
func (s *Store) keepReport(ctx context.Context, l *muster.Launch, rep *muster.Report) (news bool, err error) {
	in := &l.Instances[rep.Instance]
	known, err := readKnown(ctx, s.read, l.ID, in.Index)
	if err != nil || !known.lacks(rep) {
		return false, err
	}
	return true, s.inTx(ctx, "keep report", func(t *tx) error {
		if err := t.fence(ctx, l.RunID, l.Attempt); err != nil {
			return err
		}
		known, err := readKnown(ctx, t, l.ID, in.Index)
		if err != nil || !known.lacks(rep) {
			return err
		}
		r, err := t.runByID(ctx, l.RunID)
		if err != nil {
			return err
		}
		tell := func(kind muster.EventKind, message string) error {
			return t.event(ctx, r, muster.Event{Kind: kind, Attempt: l.Attempt, Message: message, Actor: agentActor})
		}
		for _, note := range rep.Notes[min(known.notes, len(rep.Notes)):] {
			if err := tell(muster.EventNote, note); err != nil {
				return err
			}
		}
		for _, p := range rep.Phases[min(len(known.phases), len(rep.Phases)):] {
			if err := tell(muster.EventInstance, fmt.Sprintf("instance %d: phase %s", in.Index, p.Phase)); err != nil {
				return err
			}
			if p.Phase == muster.PhaseCommand {
				if _, err := t.exec(ctx, `UPDATE attempts SET started_at = ? WHERE launch_id = ? AND started_at = 0`, micros(t.now), l.ID); err != nil {
					return err
				}
			}
		}
		return t.writeReport(ctx, l, in, known, rep)
	})
}

// fence refuses what an agent hands in for an attempt that is not the run's
// current one, or whose launch is over by now: it may have been let in at the
// door while that was not so.
func (t *tx) fence(ctx context.Context, runID int64, attempt int) error {
	var goesOn bool
	err := t.QueryRowContext(ctx, `SELECT count(*) > 0 FROM runs r JOIN attempts a ON a.run_id = r.id AND a.number = r.attempt
		JOIN launches l ON l.id = a.launch_id WHERE r.id = ? AND r.attempt = ? AND l.state IN ('reserved', 'dispatched')`, runID, attempt).Scan(&goesOn)
	if err == nil && !goesOn {
		return muster.Errorf(muster.CodeForbidden, "the launch is over")
	}
	return err
}

// known is what is kept of an instance's reports.
type known struct {
	phases []muster.PhaseChange
	notes  int
	result bool
}

func readKnown(ctx context.Context, q querier, launch string, index int) (k known, err error) {
	err = q.QueryRowContext(ctx, `SELECT phases, notes, result <> '' FROM instances WHERE launch_id = ? AND idx = ?`, launch, index).
		Scan(jsonCol{&k.phases}, &k.notes, &k.result)
	return k, err
}

// lacks reports whether a report says more than is known.
func (k known) lacks(rep *muster.Report) bool {
	return len(rep.Phases) > len(k.phases) || len(rep.Notes) > k.notes || rep.Result != nil && !k.result
}

// writeReport keeps the row of a report, and its result once.
func (t *tx) writeReport(ctx context.Context, l *muster.Launch, in *muster.Instance, k known, rep *muster.Report) error {
	phases := k.phases
	if len(rep.Phases) > len(phases) {
		phases = rep.Phases
	}
	result, first := "", rep.Result != nil && !k.result
	if first {
		result = toJSON(rep.Result)
	}
	if _, err := t.exec(ctx, `UPDATE instances SET phases = ?, phase = ?, notes = max(notes, ?), reported_at = ?, result = CASE WHEN result = '' THEN ? ELSE result END
		WHERE launch_id = ? AND idx = ?`, toJSON(phases), lastPhase(phases), len(rep.Notes), micros(t.now), result, l.ID, in.Index); err != nil || !first {
		return err
	}
	return t.keepResult(ctx, l, rep.Result)
}

// keepResult adds an instance's result to its attempt and run. The exit code of
// the attempt is the first that is not 0.
func (t *tx) keepResult(ctx context.Context, l *muster.Launch, res *muster.Result) error {
	if _, err := t.exec(ctx, `UPDATE attempts SET peak_mib = max(peak_mib, ?), cpu_seconds = cpu_seconds + ? WHERE launch_id = ?`, res.PeakMiB, res.CPUSeconds, l.ID); err != nil {
		return err
	}
	if !res.Started {
		return nil
	}
	if _, err := t.exec(ctx, `UPDATE attempts SET exit_code = ?, signal = ? WHERE launch_id = ? AND coalesce(exit_code, 0) = 0`, res.ExitCode, res.Signal, l.ID); err != nil {
		return err
	}
	_, err := t.exec(ctx, `UPDATE runs SET exit_code = (SELECT exit_code FROM attempts WHERE launch_id = ?) WHERE id = ?`, l.ID, l.RunID)
	return err
}

// lastPhase returns the phase that was entered last.
func lastPhase(phases []muster.PhaseChange) muster.Phase {
	if len(phases) == 0 {
		return muster.PhaseSetup
	}
	return phases[len(phases)-1].Phase
}

// Heard keeps when instances were last heard of.
func (s *Store) Heard(ctx context.Context, at map[muster.InstanceID]time.Time) error {
	return s.inTx(ctx, "keep reports' times", func(t *tx) error {
		for id, when := range at {
			if _, err := t.exec(ctx, `UPDATE instances SET reported_at = max(reported_at, ?) WHERE launch_id = ? AND idx = ?`, micros(when), id.Launch, id.Index); err != nil {
				return err
			}
		}
		return nil
	})
}
