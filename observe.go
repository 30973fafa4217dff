package muster

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Sighting is what was seen of one dispatched launch.
type Sighting struct {
	Now    time.Time
	Since  time.Time     // when this server began to look
	Fence  time.Duration // how long an unreachable node must be silent to be lost
	Job    *SeenJob      // nil when Nomad does not list it
	Allocs []SeenAlloc   // of the launch's child
	Nodes  map[string]SeenNode
}

// Margins of the backstops: how long an agent that was told to stop may take
// beyond its grace time, and how long its uploads may then go on.
const (
	stopMargin  = 30 * time.Second
	uploadLimit = time.Hour
)

// end is how one instance ended; the zero value is one that goes on.
type end struct {
	Outcome Outcome
	Reason  string
	Dead    bool // it is certain that nothing of it runs any more
}

// Observe returns what a sighting leads to. It is pure: the same execution and
// the same sighting give the same moves.
func (x *Execution) Observe(s *Sighting) *Moves {
	m := &Moves{}
	ends := make([]end, len(x.Launch.Instances))
	for i := range x.Launch.Instances {
		in := &x.Launch.Instances[i]
		a := s.allocOf(in)
		if a != nil && (!in.Placed || in.NodeID != a.NodeID) {
			placed := *in
			placed.NodeID, placed.NodeName, placed.Placed = a.NodeID, a.NodeName, true
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

// endOf judges one instance. The first case that matches tells.
func (x *Execution) endOf(in *Instance, a *SeenAlloc, s *Sighting) end {
	node, known := s.Nodes[in.NodeID]
	if a != nil {
		node, known = s.Nodes[a.NodeID]
	}
	reachable := known && node.Status == "ready"
	silent := s.Now.Sub(latest(in.ReportedAt, in.ClaimedAt, x.Launch.DispatchedAt, s.Since)) > s.Fence
	gone := a != nil && a.Ended() || a == nil && (s.Job == nil || s.Job.Status == "dead")
	lost := !reachable && silent
	switch {
	case in.Result != nil && in.Result.Fault == FaultStopped && x.Launch.Stop == "" && !gone && s.Job != nil && !s.Job.Stopped && a != nil && a.Desired == "run":
		return end{} // Nomad stopped it, and the next look says why
	case in.Result != nil:
		e := x.endOfResult(in.Result, a, s)
		e.Dead = gone && (a != nil || reachable || !in.Placed) || lost
		return e
	case gone && !reachable && in.Placed && !(a != nil && a.Client != "lost"):
		// Nomad or an operator says so, and the node does not: wait for it.
		if !lost {
			return end{}
		}
		return end{OutcomeLost, fmt.Sprintf("node %s is lost", name(in, a)), true}
	case gone:
		e := x.endOfSilence(in, a, s)
		e.Dead = true
		return e
	case a != nil && lost:
		return end{OutcomeLost, fmt.Sprintf("node %s is lost: silent for more than %s", name(in, a), s.Fence), true}
	}
	return end{}
}

// endOfResult judges an instance whose agent has reported its end.
func (x *Execution) endOfResult(r *Result, a *SeenAlloc, s *Sighting) end {
	switch {
	case r.Fault == FaultNone && r.ExitCode == 0 && r.Signal == "":
		return end{Outcome: OutcomeSucceeded}
	case r.Fault == FaultStopped:
		return x.endOfStop(a, s)
	case r.Fault == FaultUpload:
		return end{Outcome: OutcomeFatal, Reason: "upload: " + r.Failure}
	case r.Fault == FaultPlatform:
		return end{Outcome: OutcomePlatform, Reason: r.Failure}
	case r.Fault == FaultTimeout:
		return end{Outcome: OutcomeFailed, Reason: fmt.Sprintf("time limit: the command took longer than %s", x.Run.Spec.Timeout)}
	case r.Failure != "":
		return end{Outcome: OutcomeFailed, Reason: r.Failure}
	case r.Signal != "":
		return end{Outcome: OutcomeFailed, Reason: "the command was ended by " + r.Signal}
	}
	return end{Outcome: OutcomeFailed, Reason: fmt.Sprintf("the command ended with exit code %d", r.ExitCode)}
}

// endOfSilence judges an instance that is dead and whose agent reported no end.
func (x *Execution) endOfSilence(in *Instance, a *SeenAlloc, s *Sighting) end {
	switch {
	case x.Launch.Stop != "", x.stoppedByHand(s), a != nil && a.Desired != "run" && a.Desired != "":
		return x.endOfStop(a, s)
	case a == nil:
		return end{Outcome: OutcomePlatform, Reason: "Nomad ended the job and placed nothing"}
	case a.Failure != "" && in.ClaimedAt.IsZero():
		return end{Outcome: OutcomePlatform, Reason: a.Failure}
	case a.ExitCode == ExitRefused:
		return end{Outcome: OutcomePlatform, Reason: "the agent's claim was refused"}
	case a.Client == "complete":
		return end{Outcome: OutcomeFatal, Reason: "result lost: the allocation is complete, and its agent reported no result"}
	case a.Signal != 0:
		return end{Outcome: OutcomePlatform, Reason: fmt.Sprintf("the agent was killed by signal %d before it reported a result", a.Signal)}
	}
	return end{Outcome: OutcomePlatform, Reason: strings.TrimRight(fmt.Sprintf("the agent ended with exit code %d before it reported a result: %s", a.ExitCode, a.Failure), ": ")}
}

// endOfStop judges an instance that ended because it was told to, by us, by
// Nomad or by somebody's hand.
func (x *Execution) endOfStop(a *SeenAlloc, s *Sighting) end {
	switch x.Launch.Stop {
	case StopCancel, StopParent:
		return end{Outcome: OutcomeCancelled, Reason: x.Launch.Stop.cancelled()}
	case StopTimeout:
		return end{Outcome: OutcomeFailed, Reason: fmt.Sprintf("time limit: the command took longer than %s", x.Run.Spec.Timeout)}
	case StopGang:
		return end{Outcome: OutcomeGang, Reason: fmt.Sprintf("not every instance was placed and claimed within %s", DefaultGangLimit)}
	case StopSibling:
		return end{Outcome: OutcomeLost, Reason: "another instance ended"}
	case StopLost:
		return end{Outcome: OutcomeLost, Reason: "a node of the attempt is lost"}
	case StopOperator:
		return end{Outcome: OutcomeCancelled, Reason: "cancelled by operator: the Nomad job was stopped by hand"}
	}
	switch {
	case s.Job == nil:
		return end{Outcome: OutcomeCancelled, Reason: "cancelled by operator: the Nomad job was purged by hand"}
	case s.Job.Stopped:
		return end{Outcome: OutcomeCancelled, Reason: "cancelled by operator: the Nomad job was stopped by hand"}
	case a != nil && a.Desired == "evict":
		return end{Outcome: OutcomeLost, Reason: "preempted by another Nomad job"}
	case a != nil && strings.Contains(a.Why, "migrated") && s.inService(a.NodeID):
		return end{Outcome: OutcomeLost, Reason: fmt.Sprintf("its allocation on node %s was stopped by hand", a.NodeName)}
	case a != nil && strings.Contains(a.Why, "migrated"):
		return end{Outcome: OutcomeLost, Reason: fmt.Sprintf("node %s is drained", a.NodeName)}
	case a != nil && a.Why != "":
		return end{Outcome: OutcomeLost, Reason: "stopped by Nomad: " + a.Why}
	}
	return end{Outcome: OutcomeLost, Reason: "the agent was told to stop on its node"}
}

// inService reports whether a node takes work: Nomad describes a drain and a
// stop of one allocation by hand in the same words.
func (s *Sighting) inService(node string) bool {
	n, known := s.Nodes[node]
	return known && n.Eligible && !n.Draining
}

// stoppedByHand reports whether somebody else ended the Nomad job.
func (x *Execution) stoppedByHand(s *Sighting) bool {
	return x.Launch.Stop == "" && (s.Job == nil || s.Job.Stopped)
}

// outcomeOrder says which of several ends tells the attempt's outcome: the
// first in this list.
var outcomeOrder = []Outcome{OutcomeCancelled, OutcomeGang, OutcomeLost, OutcomePlatform, OutcomeFatal, OutcomeFailed}

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
		m.Outcome, m.Reason = OutcomeLost, fmt.Sprintf("node %s is away, and then: %s", x.nodeAway(s), worst.Reason)
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
	case outcome == OutcomeLost && !allEnded:
		m.Stop = StopLost
	case outcome != "" && !allEnded:
		m.Stop = StopSibling
	case s.Job != nil && s.Job.Stopped && !allEnded:
		m.Stop = StopOperator
	case !claimed && !allEnded && s.Now.Sub(l.DispatchedAt) > time.Duration(DefaultGangLimit):
		m.Stop = StopGang
	case !x.Attempt.StartedAt.IsZero() && !allEnded && s.Now.Sub(x.Attempt.StartedAt) > timeout:
		m.Stop = StopTimeout
	}
	if s.Job == nil || s.Job.Stopped || s.Job.Status == "dead" {
		return
	}
	told := s.Now.Sub(l.StopAt)
	overdue := told > time.Duration(x.Run.Spec.Grace)+stopMargin && !x.uploading(s) || told > uploadLimit
	m.StopJob = l.Stop != "" && (overdue || !claimed) || x.Attempt.Outcome == OutcomeLost
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

// name returns the name of an instance's node.
func name(in *Instance, a *SeenAlloc) string {
	if a != nil {
		return cmp.Or(a.NodeName, a.NodeID)
	}
	return cmp.Or(in.NodeName, in.NodeID)
}

// latest returns the latest of some times.
func latest(times ...time.Time) time.Time {
	return slices.MaxFunc(times, time.Time.Compare)
}
