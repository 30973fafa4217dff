package muster

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// scene is one launch of some instances, dispatched a minute before noon, and
// what is seen of it at noon.
type scene struct {
	x *Execution
	s *Sighting
}

// newScene makes a launch whose instances are placed, claimed and at their
// commands, on nodes n0, n1, …, all ready.
func newScene(instances int) *scene {
	sc := &scene{
		x: &Execution{
			Launch:  &Launch{ID: "L", ChildID: "child", State: LaunchDispatched, DispatchedAt: noon.Add(-time.Minute)},
			Attempt: &Attempt{Number: 1, StartedAt: noon.Add(-30 * time.Second)},
			Run:     &Run{Name: "r", State: RunRunning, Spec: Spec{Timeout: Seconds(3600), Grace: Seconds(10), Evictions: 3}},
		},
		s: &Sighting{Now: noon, Seen: noon, Since: noon.Add(-time.Hour), Fence: 5 * time.Minute, Job: &SeenJob{ID: "child", Status: "running"}, Nodes: map[string]SeenNode{}, Kept: map[string]NodeRecord{}},
	}
	for i := range instances {
		id := fmt.Sprint("n", i)
		sc.x.Launch.Instances = append(sc.x.Launch.Instances, Instance{Group: "main", Index: i, GroupIndex: i, NodeID: id, NodeName: id, Placed: true,
			AllocID: fmt.Sprint("a", i), ClaimedAt: noon.Add(-50 * time.Second), ReportedAt: noon.Add(-30 * time.Second), Phase: PhaseCommand})
		sc.s.Allocs = append(sc.s.Allocs, SeenAlloc{ID: fmt.Sprint("a", i), JobID: "child", Group: "main", Index: i, NodeID: id, NodeName: id, Client: "running", Desired: "run", Created: noon.Add(-time.Minute)})
		sc.s.Nodes[id] = SeenNode{ID: id, Name: id, Status: "ready", Eligible: true}
	}
	return sc
}

// result lets instance i report, and its allocation end as the agent does.
func (sc *scene) result(i int, r Result) {
	sc.x.Launch.Instances[i].Result = &r
	sc.x.Launch.Instances[i].Phase = PhaseDone
}

func (sc *scene) ended(i int, client string, code int) {
	sc.s.Allocs[i].Client, sc.s.Allocs[i].ExitCode = client, code
}

// unclaimed puts instance i back before its claim.
func (sc *scene) unclaimed(i int) {
	in := &sc.x.Launch.Instances[i]
	in.AllocID, in.ClaimedAt, in.ReportedAt, in.Phase = "", time.Time{}, time.Time{}, ""
	sc.x.Run.State = RunStarting
	sc.x.Attempt.StartedAt = time.Time{}
}

// unplaced puts the last instance back before Nomad placed it.
func (sc *scene) unplaced(i int) {
	sc.unclaimed(i)
	sc.x.Launch.Instances[i].Placed, sc.x.Launch.Instances[i].NodeID = false, ""
	sc.s.Allocs = sc.s.Allocs[:i]
}

// moves puts moves into a line.
func (m *Moves) line() string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if m.Outcome != "" {
		add("outcome %s (%s)", m.Outcome, m.Reason)
	}
	if m.Stop != "" {
		add("stop %s", m.Stop)
		if m.StopWhy != "" {
			add("as %s", m.StopWhy)
		}
	}
	if m.StopJob {
		add("stop the job")
	}
	for _, r := range m.Runs {
		add("%s", r.To)
	}
	if m.Losses > 0 && !m.NotBefore.IsZero() {
		add("wait %s", m.NotBefore.Sub(noon))
	}
	for _, in := range m.Placed {
		if in.Doing != "" {
			add("instance %d: %s", in.Index, in.Doing)
		}
	}
	if m.Launch != "" {
		add("launch %s", m.Launch)
	}
	return strings.Join(parts, ", ")
}

// TestObserve is the failure table of docs/failure-table.md, as far as it is a
// matter of what was seen.
func TestObserve(t *testing.T) {
	for _, c := range []struct {
		row  string // of the failure table
		n    int
		seen func(sc *scene)
		want string
	}{
		{"nothing happens", 2, func(*scene) {}, ""},
		{"success, still exiting", 1, func(sc *scene) { sc.result(0, Result{Started: true}) }, "outcome succeeded (), succeeded"},
		{"success, ended", 1, func(sc *scene) { sc.result(0, Result{Started: true}); sc.ended(0, "complete", 0) }, "outcome succeeded (), succeeded, launch over"},
		{"first seen complete", 1, func(sc *scene) {
			sc.x.Run.State = RunAdmitted
			sc.result(0, Result{Started: true})
			sc.ended(0, "complete", 0)
		}, "outcome succeeded (), starting, running, succeeded, launch over"},
		{"command failed", 1, func(sc *scene) { sc.result(0, Result{Started: true, ExitCode: 3}); sc.ended(0, "failed", 3) },
			"outcome failed (the command ended with exit code 3), failed, launch over"},
		{"command failed, retries left", 1, func(sc *scene) {
			sc.x.Run.Spec.Retries = 1
			sc.result(0, Result{Started: true, ExitCode: 3})
			sc.ended(0, "failed", 3)
		}, "outcome failed (the command ended with exit code 3), queued, launch over"},
		{"command failed, retries left, still exiting", 1, func(sc *scene) { sc.x.Run.Spec.Retries = 1; sc.result(0, Result{Started: true, ExitCode: 3}) },
			"outcome failed (the command ended with exit code 3)"},
		{"user's process killed", 1, func(sc *scene) {
			sc.result(0, Result{Started: true, ExitCode: 137, Signal: "SIGKILL"})
			sc.ended(0, "failed", 137)
		}, "outcome failed (the command was ended by SIGKILL), failed, launch over"},
		{"eviction is announced", 1, func(sc *scene) { sc.s.Kept["n0"] = NodeRecord{EvictAt: noon.Add(30 * time.Second)} }, "stop evicted, as node n0 is taken back by its provider at 12:00:30 UTC"},
		{"eviction is announced, it has stopped", 1, func(sc *scene) {
			sc.s.Kept["n0"] = NodeRecord{EvictAt: noon.Add(30 * time.Second)}
			sc.x.Launch.Stop = StopEvicted
			sc.result(0, Result{Started: true, Fault: FaultStopped, ExitCode: 143})
			sc.ended(0, "failed", 143)
		}, "outcome evicted (node n0 is taken back by its provider at 12:00:30 UTC), queued, launch over"},
		{"evicted", 1, func(sc *scene) {
			sc.s.Kept["n0"] = NodeRecord{Fate: FateEvicted}
			sc.s.Nodes["n0"], sc.s.Allocs[0].Client = SeenNode{ID: "n0", Status: "down"}, "unknown"
		}, "outcome evicted (node n0 was taken back by its provider), queued, launch over"},
		{"evicted too often", 1, func(sc *scene) {
			sc.s.Kept["n0"] = NodeRecord{Fate: FateEvicted}
			sc.x.Run.Evictions = 3
		}, "outcome evicted (node n0 was taken back by its provider), failed, launch over"},
		{"a low-priority machine vanished", 1, func(sc *scene) {
			sc.x.Attempt.Tier = TierLowPriority
			sc.s.Kept["n0"] = NodeRecord{Fate: FateGone}
		}, "outcome evicted (node n0 was taken back by its provider), queued, launch over"},
		{"a dedicated machine vanished", 1, func(sc *scene) { sc.s.Kept["n0"] = NodeRecord{Fate: FateGone} },
			"outcome lost (node n0 does not exist any more, says its provider), queued, launch over"},
		{"evicted after it reported its success", 1, func(sc *scene) {
			sc.result(0, Result{Started: true})
			sc.s.Kept["n0"] = NodeRecord{Fate: FateEvicted}
			sc.s.Nodes["n0"] = SeenNode{ID: "n0", Status: "down"}
		}, "outcome succeeded (), succeeded, launch over"},
		{"one of a gang evicted", 2, func(sc *scene) { sc.s.Kept["n1"] = NodeRecord{Fate: FateEvicted} },
			"outcome evicted (node n1 was taken back by its provider), stop evicted"},
		{"time limit", 1, func(sc *scene) { sc.result(0, Result{Started: true, Fault: FaultTimeout}); sc.ended(0, "failed", 1) },
			"outcome failed (time limit: the command took longer than 1h0m0s), failed, launch over"},
		{"time limit, agent does not obey", 1, func(sc *scene) { sc.x.Attempt.StartedAt = noon.Add(-2 * time.Hour) }, "stop time limit"},
		{"upload failed", 1, func(sc *scene) {
			sc.result(0, Result{Started: true, Fault: FaultUpload, Failure: "disk full"})
			sc.ended(0, "failed", 1)
		}, "outcome fatal (upload: disk full), failed, launch over"},
		{"node disk full", 1, func(sc *scene) {
			sc.result(0, Result{Fault: FaultPlatform, Failure: "no space left on device"})
			sc.ended(0, "failed", 1)
		}, "outcome platform (no space left on device), queued, launch over"},
		{"artifact failed", 1, func(sc *scene) {
			sc.unclaimed(0)
			sc.ended(0, "failed", 0)
			sc.s.Allocs[0].Failure, sc.s.Allocs[0].Unfetched = "failed artifact download: 404", true
		}, "outcome platform (failed artifact download: 404: nodes must reach the server under its --advertise), queued, launch over"},
		{"artifact failed while the server was away", 1, func(sc *scene) {
			sc.unclaimed(0)
			sc.ended(0, "failed", 0)
			sc.s.Allocs[0].Failure, sc.s.Allocs[0].Unfetched = "failed artifact download: connection refused", true
			sc.s.Since = noon
		}, "outcome withdrawn (no server answered when node n0 fetched the agent), queued, launch over"},
		{"artifact failed for the third time", 1, func(sc *scene) {
			sc.unclaimed(0)
			sc.x.Run.PlatformFailures = 2
			sc.ended(0, "failed", 0)
			sc.s.Allocs[0].Failure = "404"
		}, "outcome platform (404), failed, launch over"},
		{"agent killed", 1, func(sc *scene) { sc.ended(0, "failed", 137); sc.s.Allocs[0].Signal = 9 },
			"outcome platform (the agent was killed by signal 9 before it reported a result), queued, launch over"},
		{"complete without a report", 1, func(sc *scene) { sc.ended(0, "complete", 0) },
			"outcome fatal (result lost: the allocation is complete, and its agent reported no result), failed, launch over"},
		{"claim refused", 1, func(sc *scene) { sc.unclaimed(0); sc.ended(0, "failed", ExitRefused) },
			"outcome platform (the agent's claim was refused), queued, launch over"},
		{"claim refused, the node is unusable", 1, func(sc *scene) {
			sc.unclaimed(0)
			sc.ended(0, "failed", ExitRefused)
			sc.s.Health = map[string]NodeHealth{"n0": {State: HealthUnusable, Reason: "its set-up failed"}}
		}, "outcome lost (node n0 takes no runs: its set-up failed), queued, launch over"},
		{"the node is made ready", 1, func(sc *scene) {
			sc.unclaimed(0)
			sc.x.Launch.DispatchedAt = noon.Add(-time.Hour)
			sc.x.Launch.Instances[0].Phase, sc.x.Launch.Instances[0].ReportedAt = PhaseSetup, noon.Add(-10*time.Second)
		}, ""},
		{"the node was made ready, and nothing was heard since", 1, func(sc *scene) {
			sc.unclaimed(0)
			sc.x.Launch.DispatchedAt = noon.Add(-time.Hour)
			sc.x.Launch.Instances[0].Phase, sc.x.Launch.Instances[0].ReportedAt = PhaseSetup, noon.Add(-2*time.Minute)
		}, "stop gang limit"},
		{"node to be drained later", 1, func(sc *scene) {
			sc.s.Health = map[string]NodeHealth{"n0": {Excluded: "y", Drained: "drained: x", DrainAt: noon.Add(time.Second)}}
		}, ""},
		{"node drained by hand", 1, func(sc *scene) {
			sc.s.Health = map[string]NodeHealth{"n0": {Excluded: "y", Drained: "drained: x", DrainAt: noon}}
		}, "stop drain, as node n0 is drained: x"},
		{"node drained by hand, the agent has ended", 1, func(sc *scene) {
			sc.s.Health = map[string]NodeHealth{"n0": {Excluded: "y", Drained: "drained: x", DrainAt: noon}}
			sc.x.Launch.Stop = StopDrain
			sc.result(0, Result{Started: true, Fault: FaultStopped})
			sc.ended(0, "complete", 1)
		}, "outcome lost (node n0 is drained: x), queued, launch over"},
		{"node restarted", 1, func(sc *scene) { sc.ended(0, "failed", ExitRefused) }, "outcome lost (node n0 was restarted), queued, launch over"},
		{"image is being fetched", 1, func(sc *scene) {
			sc.unclaimed(0)
			sc.x.Launch.DispatchedAt = noon.Add(-time.Hour)
			sc.s.Allocs[0].Client, sc.s.Allocs[0].Doing = "pending", "Downloading image"
		}, "instance 0: Downloading image"},
		{"claim timed out", 1, func(sc *scene) { sc.unclaimed(0); sc.x.Launch.DispatchedAt = noon.Add(-6 * time.Minute) }, "stop gang limit"},
		{"claim timed out, written down", 1, func(sc *scene) {
			sc.unclaimed(0)
			sc.x.Launch.Stop, sc.x.Launch.StopAt = StopGang, noon.Add(-time.Second)
		}, "stop the job"},
		{"claim timed out, the server died once the job was stopped", 1, func(sc *scene) {
			sc.unclaimed(0)
			sc.x.Launch.Stop, sc.x.Launch.StopAt = StopGang, noon.Add(-time.Second)
			sc.s.Job.Stopped, sc.s.Job.Status = true, "dead"
			sc.ended(0, "complete", 143)
			sc.s.Allocs[0].Desired = "stop"
		}, "outcome gang (not every instance was claimed within 5m0s), queued, wait 2s, launch over"},
		{"not placed, and there is time", 1, func(sc *scene) { sc.unplaced(0) }, ""},
		{"not placed in time", 1, func(sc *scene) {
			sc.unplaced(0)
			sc.x.Launch.DispatchedAt = noon.Add(-PlaceLimit - time.Second)
			sc.s.Why = "of 2 nodes 2 have too little memory"
		}, "stop placing limit, as Nomad has not placed it within 1m0s: of 2 nodes 2 have too little memory"},
		{"not placed in time, and Nomad was not looked at since", 1, func(sc *scene) {
			sc.unplaced(0)
			sc.x.Launch.DispatchedAt = noon.Add(-PlaceLimit - time.Second)
			sc.s.Seen = noon.Add(-2 * time.Second)
		}, ""},
		{"not placed in time, written down", 1, func(sc *scene) {
			sc.unplaced(0)
			sc.x.Launch.Stop, sc.x.Launch.StopAt = StopUnplaced, noon.Add(-time.Second)
		}, "stop the job"},
		{"not placed in time, stopped", 1, func(sc *scene) {
			sc.unplaced(0)
			sc.x.Launch.Stop, sc.x.Launch.StopAt = StopUnplaced, noon.Add(-time.Second)
			sc.s.Job = &SeenJob{ID: "child", Status: "dead", Stopped: true}
		}, "outcome gang (Nomad did not place every instance within 1m0s), queued, wait 2s, launch over"},
		{"not placed in time, but then, stopped", 1, func(sc *scene) {
			sc.unclaimed(0)
			sc.x.Launch.Stop, sc.x.Launch.StopAt = StopUnplaced, noon.Add(-time.Second)
			sc.s.Job.Stopped, sc.s.Job.Status = true, "dead"
			sc.ended(0, "complete", 143)
			sc.s.Allocs[0].Desired = "stop"
		}, "outcome gang (Nomad did not place every instance within 1m0s), queued, wait 2s, launch over"},
		{"not placed, and Nomad away for long", 1, func(sc *scene) {
			sc.unplaced(0)
			sc.x.Launch.DispatchedAt, sc.s.Seen = noon.Add(-time.Hour), noon.Add(-time.Hour+time.Second)
		}, ""},
		{"half a gang placed in time", 2, func(sc *scene) {
			sc.unplaced(1)
			sc.x.Launch.DispatchedAt = noon.Add(-PlaceLimit - time.Second)
			sc.x.Launch.Instances[0].Phase = PhasePeers
		}, "stop placing limit, as Nomad has not placed it within 1m0s"},
		{"half a gang claimed in time", 2, func(sc *scene) {
			sc.unclaimed(1)
			sc.x.Launch.DispatchedAt = noon.Add(-6 * time.Minute)
			sc.x.Launch.Instances[0].Phase = PhasePeers
		}, "stop gang limit"},
		{"one of a gang fails", 2, func(sc *scene) { sc.result(0, Result{Started: true, ExitCode: 1}); sc.ended(0, "failed", 1) },
			"outcome failed (the command ended with exit code 1), stop sibling"},
		{"one of a gang fails, the others have obeyed", 2, func(sc *scene) {
			sc.x.Attempt.Outcome, sc.x.Attempt.Reason, sc.x.Launch.Stop = OutcomeFailed, "exit code 1", StopSibling
			sc.x.Launch.StopAt = noon.Add(-time.Second)
			sc.result(0, Result{Started: true, ExitCode: 1})
			sc.ended(0, "failed", 1)
			sc.result(1, Result{Started: true, Fault: FaultStopped})
			sc.ended(1, "complete", 0)
		}, "failed, launch over"},
		{"node away, not yet lost", 1, func(sc *scene) {
			sc.s.Nodes["n0"] = SeenNode{ID: "n0", Status: "disconnected"}
			sc.s.Allocs[0].Client = "unknown"
		}, ""},
		{"node lost", 1, func(sc *scene) {
			sc.s.Nodes["n0"] = SeenNode{ID: "n0", Status: "disconnected"}
			sc.s.Allocs[0].Client = "unknown"
			sc.s.Now = noon.Add(time.Hour)
		}, "outcome lost (node n0 is lost: silent for more than 5m0s), queued, launch over"},
		{"a low-priority node lost", 1, func(sc *scene) {
			sc.x.Attempt.Tier = TierLowPriority
			sc.s.Nodes["n0"] = SeenNode{ID: "n0", Status: "disconnected"}
			sc.s.Allocs[0].Client = "unknown"
			sc.s.Now = noon.Add(time.Hour)
		}, "outcome evicted (node n0 is lost: silent for more than 5m0s), queued, launch over"},
		{"node purged from Nomad, agent silent", 1, func(sc *scene) {
			delete(sc.s.Nodes, "n0")
			sc.s.Allocs[0].Client = "lost"
			sc.s.Now = noon.Add(time.Hour)
		}, "outcome lost (node n0 is lost), queued, launch over"},
		{"node purged from Nomad, agent still reports", 1, func(sc *scene) { delete(sc.s.Nodes, "n0") }, ""},
		{"node lost, but this server has just started", 1, func(sc *scene) {
			sc.s.Nodes["n0"] = SeenNode{ID: "n0", Status: "down"}
			sc.s.Allocs[0].Client = "unknown"
			sc.s.Now, sc.s.Since = noon.Add(time.Hour), noon.Add(time.Hour-time.Minute)
		}, ""},
		{"agent silent but allocation running", 1, func(sc *scene) { sc.s.Now = noon.Add(50 * time.Minute) }, ""},
		{"a node of a gang is lost", 2, func(sc *scene) {
			sc.s.Nodes["n0"] = SeenNode{ID: "n0", Status: "down"}
			sc.s.Allocs[0].Client = "unknown"
			sc.s.Now = noon.Add(10 * time.Minute)
		}, "outcome lost (node n0 is lost: silent for more than 5m0s), stop node lost"},
		{"a node of a gang is lost, written down", 2, func(sc *scene) {
			sc.x.Attempt.Outcome, sc.x.Launch.Stop, sc.x.Launch.StopAt = OutcomeLost, StopLost, noon.Add(-time.Second)
			sc.s.Nodes["n0"] = SeenNode{ID: "n0", Status: "down"}
			sc.s.Allocs[0].Client = "unknown"
			sc.s.Now = noon.Add(10 * time.Minute)
		}, "stop the job"},
		{"a peer fails because a node went away", 2, func(sc *scene) {
			sc.s.Nodes["n0"] = SeenNode{ID: "n0", Status: "down"}
			sc.s.Allocs[0].Client = "unknown"
			sc.result(1, Result{Started: true, ExitCode: 1})
			sc.ended(1, "failed", 1)
		}, "outcome lost (node n0 is away, and then: the command ended with exit code 1), stop node lost"},
		{"drained, agent reported", 1, func(sc *scene) {
			sc.result(0, Result{Started: true, Fault: FaultStopped})
			sc.ended(0, "complete", 0)
			sc.s.Allocs[0].Desired, sc.s.Allocs[0].Why = "stop", "alloc is being migrated"
			sc.s.Nodes["n0"] = SeenNode{ID: "n0", Status: "ready"}
		}, "outcome lost (node n0 is drained), queued, launch over"},
		{"drained, for the third time", 1, func(sc *scene) {
			sc.x.Run.Losses = 2
			sc.ended(0, "complete", 137)
			sc.s.Allocs[0].Desired, sc.s.Allocs[0].Why = "stop", "alloc is being migrated"
			sc.s.Nodes["n0"] = SeenNode{ID: "n0", Status: "ready"}
		}, "outcome lost (node n0 is drained), queued, wait 8s, launch over"},
		{"one allocation stopped by hand", 1, func(sc *scene) {
			sc.result(0, Result{Started: true, Fault: FaultStopped})
			sc.ended(0, "complete", 0)
			sc.s.Allocs[0].Desired, sc.s.Allocs[0].Why = "stop", "alloc is being migrated"
		}, "outcome lost (its allocation on node n0 was stopped by hand), queued, launch over"},
		{"drained, the agent is quicker than the list", 1, func(sc *scene) { sc.result(0, Result{Started: true, Fault: FaultStopped}) }, ""},
		{"drained, no report", 1, func(sc *scene) {
			sc.ended(0, "complete", 137)
			sc.s.Allocs[0].Desired, sc.s.Allocs[0].Why = "stop", "alloc is being migrated"
			sc.s.Nodes["n0"] = SeenNode{ID: "n0", Status: "ready", Draining: true}
		}, "outcome lost (node n0 is drained), queued, launch over"},
		{"preempted by Nomad", 1, func(sc *scene) {
			sc.ended(0, "complete", 143)
			sc.s.Allocs[0].Desired, sc.s.Allocs[0].Why = "evict", "Preempted by alloc ID x"
		}, "outcome lost (preempted by another Nomad job), queued, launch over"},
		{"stopped by hand", 1, func(sc *scene) { sc.s.Job.Stopped = true }, "stop operator"},
		{"stopped by hand, ended", 1, func(sc *scene) {
			sc.s.Job.Stopped, sc.s.Job.Status = true, "dead"
			sc.ended(0, "complete", 143)
			sc.s.Allocs[0].Desired = "stop"
		}, "outcome cancelled (cancelled by operator: the Nomad job was stopped by hand), cancelled, launch over"},
		{"purged by hand", 1, func(sc *scene) { sc.s.Job, sc.s.Allocs = nil, nil },
			"outcome cancelled (cancelled by operator: the Nomad job was purged by hand), cancelled, launch over"},
		{"purged by hand after the agent reported", 1, func(sc *scene) { sc.result(0, Result{Started: true}); sc.s.Job, sc.s.Allocs = nil, nil },
			"outcome succeeded (), succeeded, launch over"},
		{"cancel", 1, func(sc *scene) { sc.x.Run.Stop = StopCancel }, "stop cancel"},
		{"cancelled, agent reported", 1, func(sc *scene) {
			sc.x.Run.Stop, sc.x.Launch.Stop, sc.x.Launch.StopAt = StopCancel, StopCancel, noon.Add(-time.Second)
			sc.result(0, Result{Started: true, Fault: FaultStopped})
			sc.ended(0, "complete", 0)
		}, "outcome cancelled (cancelled by the user), cancelled, launch over"},
		{"cancelled while its node was lost", 1, func(sc *scene) {
			sc.x.Run.Stop, sc.x.Launch.Stop, sc.x.Launch.StopAt = StopCancel, StopCancel, noon
			sc.s.Nodes["n0"] = SeenNode{ID: "n0", Status: "down"}
			sc.s.Allocs[0].Client = "unknown"
			sc.s.Now = noon.Add(time.Hour)
		}, "outcome lost (node n0 is lost: silent for more than 5m0s), cancelled, launch over"},
		{"told to stop, agent does not obey", 1, func(sc *scene) {
			sc.x.Run.Stop, sc.x.Launch.Stop, sc.x.Launch.StopAt = StopCancel, StopCancel, noon.Add(-time.Minute)
		}, "stop the job"},
		{"told to stop, still uploading", 1, func(sc *scene) {
			sc.x.Run.Stop, sc.x.Launch.Stop, sc.x.Launch.StopAt = StopCancel, StopCancel, noon.Add(-time.Minute)
			sc.x.Launch.Instances[0].Phase = PhaseUploading
		}, ""},
		{"node back after its run was given up", 1, func(sc *scene) {
			sc.x.Attempt.Outcome, sc.x.Run.State, sc.x.Launch.Stop, sc.x.Launch.StopAt = OutcomeLost, RunQueued, StopLost, noon.Add(-time.Second)
			sc.s.Job.Stopped = true
		}, ""},
	} {
		t.Run(c.row, func(t *testing.T) {
			sc := newScene(c.n)
			c.seen(sc)
			if got := sc.x.Observe(sc.s).line(); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestPlacement proves that what is observed replaces the reservation.
func TestPlacement(t *testing.T) {
	sc := newScene(1)
	sc.unclaimed(0)
	sc.x.Launch.Instances[0].Placed, sc.x.Launch.Instances[0].NodeID = false, "planned"
	m := sc.x.Observe(sc.s)
	if len(m.Placed) != 1 || m.Placed[0].NodeID != "n0" || !m.Placed[0].Placed {
		t.Errorf("placed = %+v", m.Placed)
	}
}

// TestTransitions holds the table against the drawing above RunState.
func TestTransitions(t *testing.T) {
	for _, from := range RunStates() {
		for _, to := range RunStates() {
			want := !from.Final() && (to == RunFailed || to == RunCancelled)
			switch {
			case from == RunQueued && to == RunAdmitted, from == RunAdmitted && to == RunStarting, from == RunStarting && to == RunRunning, from == RunRunning && to == RunSucceeded:
				want = true
			case to == RunQueued && (from == RunAdmitted || from == RunStarting || from == RunRunning):
				want = true
			}
			if from.CanBecome(to) != want {
				t.Errorf("%s to %s: %v, want %v", from, to, !want, want)
			}
		}
	}
}
