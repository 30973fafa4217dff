package muster

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// end is how one instance ended; the zero value is one that goes on.
type end struct {
	Outcome Outcome
	Reason  string
	Dead    bool // it is certain that nothing of it runs any more
}

// endOf judges one instance. The first case that matches tells.
func (x *Execution) endOf(in *Instance, a *SeenAlloc, s *Sighting) end {
	node, known := s.Nodes[in.NodeID]
	if a != nil {
		node, known = s.Nodes[a.NodeID]
	}
	fate := x.fate(in, s)
	reachable := known && node.Status == "ready" && fate.Outcome == ""
	silent := s.Now.Sub(latest(in.ReportedAt, in.ClaimedAt, x.Launch.DispatchedAt, s.Since)) > s.Fence
	gone := a != nil && a.Ended() || a == nil && (s.Job == nil || s.Job.Status == "dead")
	lost := !reachable && silent
	switch {
	case in.Result != nil && in.Result.Fault == FaultStopped && x.Launch.Stop == "" && !gone && s.Job != nil && !s.Job.Stopped && a != nil && a.Desired == "run":
		return end{} // Nomad stopped it, and the next look says why
	case in.Result != nil:
		e := x.endOfResult(in.Result, a, s)
		e.Dead = gone && (a != nil || reachable || !in.Placed) || lost || fate.Dead
		return e
	case fate.Dead:
		return fate
	case gone && !reachable && in.Placed && !(a != nil && a.Client != "lost"):
		// Nomad or an operator says so, and the node does not: wait for it.
		if !lost {
			return end{}
		}
		return x.lost(fmt.Sprintf("node %s is lost", name(in, a)))
	case gone:
		e := x.endOfSilence(in, a, s)
		e.Dead = true
		return e
	case a != nil && lost:
		return x.lost(fmt.Sprintf("node %s is lost: silent for more than %s", name(in, a), s.Fence))
	}
	return end{}
}

// lost is the end of an instance whose node is gone without a word of its
// provider's: in a cluster of low priority it was taken back, as far as anybody
// knows.
func (x *Execution) lost(reason string) end {
	if x.Attempt.Tier == TierLowPriority {
		return end{OutcomeEvicted, reason, true}
	}
	return end{OutcomeLost, reason, true}
}

// fate judges an instance by what its node's provider says: a machine that does
// not exist any more runs nothing. What a provider takes from a cluster of low
// priority is an eviction, announced or not.
func (x *Execution) fate(in *Instance, s *Sighting) end {
	kept := s.Kept[in.NodeID]
	switch {
	case !in.Placed || kept.Fate == FateHere:
		return end{}
	case kept.Fate == FateEvicted || x.Attempt.Tier == TierLowPriority || x.Launch.Stop == StopEvicted:
		return end{OutcomeEvicted, fmt.Sprintf("node %s was taken back by its provider", cmp.Or(in.NodeName, kept.Name)), true}
	}
	return end{OutcomeLost, fmt.Sprintf("node %s does not exist any more, says its provider", cmp.Or(in.NodeName, kept.Name)), true}
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
	case a.Unfetched && in.ClaimedAt.IsZero() && a.Created.Before(s.Since):
		return end{Outcome: OutcomeWithdrawn, Reason: fmt.Sprintf("no server answered when node %s fetched the agent", name(in, a))}
	case a.Unfetched && in.ClaimedAt.IsZero():
		return end{Outcome: OutcomePlatform, Reason: a.Failure + ": nodes must reach the server under its --advertise"}
	case a.Failure != "" && in.ClaimedAt.IsZero():
		return end{Outcome: OutcomePlatform, Reason: a.Failure}
	case a.ExitCode == ExitRefused && !in.ClaimedAt.IsZero():
		return end{Outcome: OutcomeLost, Reason: fmt.Sprintf("node %s was restarted", name(in, a))}
	case a.ExitCode == ExitRefused && s.Health[a.NodeID].Unfit() != "":
		return end{Outcome: OutcomeLost, Reason: fmt.Sprintf("node %s takes no runs: %s", name(in, a), s.Health[a.NodeID].Unfit())}
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
	stop := cmp.Or(x.Launch.Stop, x.Run.Stop) // the agent may have heard it before it was written of the launch
	switch stop {
	case StopCancel, StopParent, StopShrink:
		return end{Outcome: OutcomeCancelled, Reason: stop.cancelled()}
	case StopTimeout:
		return end{Outcome: OutcomeFailed, Reason: fmt.Sprintf("time limit: the command took longer than %s", x.Run.Spec.Timeout)}
	case StopUnplaced:
		return end{Outcome: OutcomeGang, Reason: fmt.Sprintf("Nomad did not place every instance within %s", PlaceLimit)}
	case StopGang:
		return end{Outcome: OutcomeGang, Reason: fmt.Sprintf("not every instance was claimed within %s", DefaultGangLimit)}
	case StopSibling:
		return end{Outcome: OutcomeLost, Reason: "another instance ended"}
	case StopEvicted:
		return end{Outcome: OutcomeEvicted, Reason: cmp.Or(x.evicting(s), "a node of the attempt is taken back by its provider")}
	case StopDrain:
		return end{Outcome: OutcomeLost, Reason: cmp.Or(x.drained(s), "a node of the attempt is drained")}
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
