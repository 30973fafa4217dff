package muster

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Sighting is what was seen of one dispatched launch.
type Sighting struct {
	Now    time.Time
	Since  time.Time     // when this server began to look
	Fence  time.Duration // how long an unreachable node must be silent to be lost
	Seen   time.Time     // when Nomad was looked at
	Job    *SeenJob      // nil when Nomad does not list it
	Allocs []SeenAlloc   // of the launch's child
	Nodes  map[string]SeenNode
	Kept   map[string]NodeRecord // of elastic clusters' nodes, by id
	Health map[string]NodeHealth // by node id
	Why    string                // why Nomad has not placed all, by its own words; "" where it says nothing
}

// PlaceLimit is how long Nomad may take to place what was admitted: there is room,
// by what was seen, and where Nomad finds none admission must look anew.
const PlaceLimit = time.Minute

// Margins of the backstops: how long an agent that was told to stop may take
// beyond its grace time, and how long its uploads may then go on.
const (
	stopMargin  = 30 * time.Second
	uploadLimit = time.Hour
)

// Observe returns what a sighting leads to. It is pure: the same execution and
// the same sighting give the same moves.
func (x *Execution) Observe(s *Sighting) *Moves {
	m := &Moves{}
	ends := make([]end, len(x.Launch.Instances))
	for i := range x.Launch.Instances {
		in := &x.Launch.Instances[i]
		a := s.allocOf(in)
		if a != nil && (!in.Placed || in.NodeID != a.NodeID || doing(in, a) != in.Doing) {
			placed := *in
			placed.NodeID, placed.NodeName, placed.Placed, placed.Doing = a.NodeID, a.NodeName, true, doing(in, a)
			m.Placed = append(m.Placed, placed)
		}
		ends[i] = x.endOf(in, a, s)
	}
	x.observeOutcome(ends, s, m)
	x.observeStop(ends, s, m)
	x.observeRun(ends, s.Now, m)
	if !slices.ContainsFunc(ends, func(e end) bool { return !e.Dead }) {
		m.Launch, m.StopJob = LaunchOver, false // the purge stops it for good
	}
	return m
}

// allocOf returns the allocation of an instance: the one that claimed it, or
// else the newest that could.
func (s *Sighting) allocOf(in *Instance) *SeenAlloc {
	var found *SeenAlloc
	for i := range s.Allocs {
		a := &s.Allocs[i]
		switch {
		case in.AllocID != "" && a.ID == in.AllocID:
			return a
		case in.AllocID == "" && a.Group == in.Group && a.Index == in.GroupIndex && (found == nil || a.Created.After(found.Created)):
			found = a
		}
	}
	return found
}

// doing says what Nomad does for an instance whose agent has not begun. Once it
// has, the agent tells.
func doing(in *Instance, a *SeenAlloc) string {
	if !in.ClaimedAt.IsZero() || a.Client != "pending" {
		return ""
	}
	return a.Doing
}

// outcomeOrder says which of several ends tells the attempt's outcome: the
// first in this list.
var outcomeOrder = []Outcome{OutcomeCancelled, OutcomeGang, OutcomeEvicted, OutcomeLost, OutcomePlatform, OutcomeFatal, OutcomeFailed}

// observeOutcome decides how the attempt ended, once one instance ended badly
// or all ended well. What was decided earlier stays.
func (x *Execution) observeOutcome(ends []end, s *Sighting, m *Moves) {
	if x.Attempt.Outcome != "" {
		return
	}
	var worst *end
	succeeded := 0
	for i := range ends {
		e := &ends[i]
		switch {
		case e.Outcome == OutcomeSucceeded:
			succeeded++
		case e.Outcome == "":
		case worst == nil || slices.Index(outcomeOrder, e.Outcome) < slices.Index(outcomeOrder, worst.Outcome):
			worst = e
		}
	}
	switch {
	case succeeded == len(ends):
		m.Outcome = OutcomeSucceeded
	case worst == nil:
	case worst.Outcome == OutcomeFailed && x.nodeAway(s) != "":
		e := x.lost(fmt.Sprintf("node %s is away, and then: %s", x.nodeAway(s), worst.Reason))
		m.Outcome, m.Reason = e.Outcome, e.Reason
	default:
		m.Outcome, m.Reason = worst.Outcome, worst.Reason
	}
}

// nodeAway returns the name of a node of the launch that Nomad does not reach:
// when a gang loses one, the others' commands often fail of it.
func (x *Execution) nodeAway(s *Sighting) string {
	for _, in := range x.Launch.Instances {
		if n, known := s.Nodes[in.NodeID]; in.Placed && (!known || n.Status != "ready") {
			return cmp.Or(in.NodeName, in.NodeID)
		}
	}
	return ""
}

// observeStop decides what the launch must be told: its agents by their next
// answer, and Nomad where they do not hear or do not obey. Nomad is told only
// what is written down already: a job that is found stopped without a word of
// ours was stopped by somebody's hand.
func (x *Execution) observeStop(ends []end, s *Sighting, m *Moves) {
	l := x.Launch
	allEnded := !slices.ContainsFunc(ends, func(e end) bool { return e.Outcome == "" })
	claimed := !slices.ContainsFunc(l.Instances, func(in Instance) bool { return in.ClaimedAt.IsZero() })
	outcome := cmp.Or(m.Outcome, x.Attempt.Outcome)
	timeout := time.Duration(x.Run.Spec.Timeout) + time.Duration(x.Run.Spec.Grace) + stopMargin
	switch {
	case l.Stop != "":
	case x.Run.Stop != "" && !allEnded:
		m.Stop = x.Run.Stop
	case outcome == OutcomeEvicted && !allEnded, !allEnded && x.evicting(s) != "":
		m.Stop, m.StopWhy = StopEvicted, x.evicting(s)
	case outcome == "" && !allEnded && x.drained(s) != "":
		m.Stop, m.StopWhy = StopDrain, x.drained(s)
	case outcome == OutcomeLost && !allEnded:
		m.Stop = StopLost
	case outcome != "" && !allEnded:
		m.Stop = StopSibling
	case s.Job != nil && s.Job.Stopped && !allEnded:
		m.Stop = StopOperator
	case !allEnded && x.Unplaced(s) && s.Seen.Sub(l.DispatchedAt) > PlaceLimit:
		m.Stop, m.StopWhy = StopUnplaced, fmt.Sprintf("Nomad has not placed it within %s", PlaceLimit)
		if s.Why != "" {
			m.StopWhy += ": " + s.Why
		}
	case !claimed && !allEnded && !x.Unplaced(s) && s.Now.Sub(l.DispatchedAt) > time.Duration(DefaultGangLimit) && !x.preparing(s):
		m.Stop = StopGang
	case !x.Attempt.StartedAt.IsZero() && !allEnded && s.Now.Sub(x.Attempt.StartedAt) > timeout:
		m.Stop = StopTimeout
	}
	if s.Job == nil || s.Job.Stopped || s.Job.Status == "dead" {
		return
	}
	told := s.Now.Sub(l.StopAt)
	overdue := told > time.Duration(x.Run.Spec.Grace)+stopMargin && !x.uploading(s) || told > uploadLimit
	m.StopJob = l.Stop != "" && (overdue || !claimed) || (x.Attempt.Outcome == OutcomeLost || x.Attempt.Outcome == OutcomeEvicted)
}

// Unplaced reports whether Nomad has not placed all instances.
func (x *Execution) Unplaced(s *Sighting) bool {
	return slices.ContainsFunc(x.Launch.Instances, func(in Instance) bool { return !in.Placed && in.ClaimedAt.IsZero() && s.allocOf(&in) == nil })
}

// evicting says which node of the launch a provider has announced to take back,
// "" for none. A loss whose time has come was not announced, or is too near.
func (x *Execution) evicting(s *Sighting) string {
	for _, in := range x.Launch.Instances {
		if at := s.Kept[in.NodeID].EvictAt; in.Placed && at.After(s.Now) {
			return fmt.Sprintf("node %s is taken back by its provider at %s UTC", cmp.Or(in.NodeName, s.Kept[in.NodeID].Name), at.UTC().Format("15:04:05"))
		}
	}
	return ""
}

// drained says from which node of the launch runs are to go now, and why; "" for
// none.
func (x *Execution) drained(s *Sighting) string {
	for _, in := range x.Launch.Instances {
		if at := s.Health[in.NodeID].DrainAt; in.Placed && !at.IsZero() && !at.After(s.Now) {
			return fmt.Sprintf("node %s is %s", cmp.Or(in.NodeName, s.Health[in.NodeID].Name), s.Health[in.NodeID].Drained)
		}
	}
	return ""
}

// heldFor is how long a claim that was held back is taken to wait on.
const heldFor = time.Minute

// preparing reports whether an instance waits for its node's set-up, or Nomad is
// still at work for it, such as fetching its image: these have limits of their
// own.
func (x *Execution) preparing(s *Sighting) bool {
	return slices.ContainsFunc(x.Launch.Instances, func(in Instance) bool {
		if in.ClaimedAt.IsZero() && in.Phase == PhaseSetup && s.Now.Sub(in.ReportedAt) < heldFor {
			return true
		}
		a := s.allocOf(&in)
		return a != nil && doing(&in, a) != ""
	})
}

// uploading reports whether an instance that was told to stop is still at its
// uploads, and heard of.
func (x *Execution) uploading(s *Sighting) bool {
	return slices.ContainsFunc(x.Launch.Instances, func(in Instance) bool {
		return in.Result == nil && in.Phase == PhaseUploading && s.Now.Sub(in.ReportedAt) < 2*stopMargin
	})
}

// observeRun moves the run along with what its attempt does.
func (x *Execution) observeRun(ends []end, now time.Time, m *Moves) {
	r := x.Run
	if r.State.Final() || r.State == RunQueued {
		return
	}
	outcome, reason := cmp.Or(m.Outcome, x.Attempt.Outcome), cmp.Or(m.Reason, x.Attempt.Reason)
	begun := slices.ContainsFunc(x.Launch.Instances, func(in Instance) bool {
		return in.Phase == PhaseCommand || in.Phase == PhaseUploading || in.Phase == PhaseDone && in.Result != nil && in.Result.Started
	})
	state := r.State
	to := func(next RunState, why string) {
		m.Runs = append(m.Runs, RunMove{To: next, Reason: why})
		state = next
	}
	if state == RunAdmitted {
		to(RunStarting, "")
	}
	if state == RunStarting && (begun || outcome == OutcomeSucceeded) {
		to(RunRunning, "")
	}
	next, counted := x.next(outcome)
	allEnded := !slices.ContainsFunc(ends, func(e end) bool { return e.Outcome == "" })
	allDead := !slices.ContainsFunc(ends, func(e end) bool { return !e.Dead })
	if outcome == "" || !allEnded || next == RunQueued && !allDead {
		return
	}
	counted(m)
	switch {
	case next != RunQueued:
	case outcome == OutcomePlatform:
		m.NotBefore = now.Add(BackOff(r.PlatformFailures + 1))
	case outcome == OutcomeGang:
		m.NotBefore = now.Add(BackOff(r.Losses + 1))
	case outcome == OutcomeLost && r.Losses > 0:
		m.NotBefore = now.Add(BackOff(r.Losses)) // the first time it is nobody's habit
	}
	if next == RunCancelled && outcome != OutcomeCancelled {
		reason = r.Stop.cancelled()
	}
	if next == RunFailed && outcome == OutcomeEvicted {
		reason = fmt.Sprintf("evicted %s, and max_evictions is %d; at last: %s", Counted(r.Evictions+1, "time"), r.Spec.Evictions, reason)
	}
	if next == RunFailed && outcome == OutcomePlatform {
		reason = fmt.Sprintf("the platform failed %d times, at last: %s", MaxPlatformFailures, reason)
	}
	to(next, reason)
}

// next says where a run goes after an outcome of its attempt, and what that
// adds to its counts.
func (x *Execution) next(outcome Outcome) (RunState, func(*Moves)) {
	r := x.Run
	again := RunQueued
	if r.Stop != "" {
		again = RunCancelled
	}
	switch outcome {
	case OutcomeSucceeded:
		return RunSucceeded, func(*Moves) {}
	case OutcomeEvicted:
		if again == RunQueued && r.Evictions >= r.Spec.Evictions {
			return RunFailed, func(m *Moves) { m.Evictions = 1 }
		}
		return again, func(m *Moves) { m.Evictions = 1 }
	case OutcomeCancelled:
		return RunCancelled, func(*Moves) {}
	case OutcomeFailed:
		if r.Failures >= r.Spec.Retries && again == RunQueued {
			again = RunFailed
		}
		return again, func(m *Moves) { m.Failures = 1 }
	case OutcomePlatform:
		if r.PlatformFailures+1 >= MaxPlatformFailures && again == RunQueued {
			again = RunFailed
		}
		return again, func(m *Moves) { m.Platform = 1 }
	case OutcomeFatal:
		return RunFailed, func(*Moves) {}
	}
	return again, func(m *Moves) { m.Losses = 1 }
}

// BackOff returns how long a run waits after the nth time that it did not get
// through by no fault of its own.
func BackOff(failures int) time.Duration {
	return min(time.Minute, 2*time.Second<<(2*min(max(failures-1, 0), 8)))
}
