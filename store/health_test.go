package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// prepared makes cluster c one whose nodes are set up.
func prepared(t *testing.T, s *Store) *muster.Cluster {
	t.Helper()
	c, err := s.UpdateCluster(t.Context(), "c", muster.ClusterChange{Setup: &muster.Setup{Command: "true", Secrets: []string{"TOKEN"}}}, muster.Origin{Actor: "anna"})
	must(t, err)
	return c
}

// nodeAgent is the agent of node2.
func nodeAgent(id string) *muster.Allocation {
	return &muster.Allocation{ID: id, Cluster: "c", NodeID: "n2", NodeName: "node2"}
}

// tell lets node2's agent report.
func tell(t *testing.T, s *Store, boot, generation string, state muster.HealthState, reason string) *muster.NodeOrders {
	t.Helper()
	orders, err := s.ReportNode(t.Context(), nodeAgent("agent"), &muster.NodeReport{Boot: boot, Generation: generation, State: state, Reason: reason})
	must(t, err)
	return orders
}

// TestClaimWaitsForTheNode holds that a claim waits until its node is ready in
// this boot and by this set-up, that it is refused where that fails, and that one
// that was won stays won whatever becomes of the set-up.
func TestClaimWaitsForTheNode(t *testing.T) {
	s := open(t)
	g := lead(t, s)
	c := prepared(t, s)
	x := start(t, s, g, submit(t, s, "a", ""))
	claim := func() (string, error) {
		won, err := s.Claim(t.Context(), allocation(x, "a"), "boot 1", nil)
		if err != nil {
			return "", err
		}
		return won.Waits, nil
	}
	for _, step := range []struct {
		boot, generation string
		state            muster.HealthState
		reason, want     string
	}{
		{"", "", "", "", "its agent has not reported yet"},
		{"boot 0", c.Generation(), muster.HealthReady, "", "its set-up has not begun yet"},
		{"boot 1", "another", muster.HealthReady, "", "its set-up has not begun yet"},
		{"boot 1", c.Generation(), muster.HealthPreparing, "its set-up runs", "its set-up runs"},
		{"boot 1", c.Generation(), muster.HealthUnusable, "its set-up failed", "refused"},
		{"boot 1", c.Generation(), muster.HealthReady, "", ""},
		{"boot 1", c.Generation(), muster.HealthUnusable, "a check fails", ""},
	} {
		if step.state != "" {
			tell(t, s, step.boot, step.generation, step.state, step.reason)
		}
		waits, err := claim()
		if step.want == "refused" {
			wantCode(t, err, muster.CodeConflict)
			continue
		}
		if err != nil || waits != step.want {
			t.Errorf("%+v: the claim waits for %q, %v", step, waits, err)
		}
	}
	phases := 0
	events, err := s.ListEvents(t.Context(), muster.EventFilter{Workspace: "w", Run: "a"})
	must(t, err)
	for _, e := range events {
		if strings.Contains(e.Message, "phase node set-up") {
			phases++
		}
	}
	if phases != 1 {
		t.Errorf("that it waits is told %d times, want once", phases)
	}
}

// TestOrdersOfANode holds that a set-up begins only when no run is on the node,
// and that a change of set-up or secret asks for another.
func TestOrdersOfANode(t *testing.T) {
	s := open(t)
	g := lead(t, s)
	c := prepared(t, s)
	x := start(t, s, g, submit(t, s, "a", ""))
	first := tell(t, s, "b", "", muster.HealthPreparing, "")
	if !first.Begin || first.Generation != c.Generation() || first.Readying.Setup.Command != "true" || time.Duration(first.Readying.Setup.Timeout) != 15*time.Minute {
		t.Fatalf("at first %+v", first)
	}
	tell(t, s, "b", first.Generation, muster.HealthReady, "")
	_, err := s.Claim(t.Context(), allocation(x, "a"), "b", nil)
	must(t, err)
	must(t, s.PutClusterSecret(t.Context(), "c", "TOKEN", 77, muster.Origin{Actor: "anna"}))
	next := tell(t, s, "b", first.Generation, muster.HealthReady, "")
	if next.Begin || next.Generation == first.Generation || next.SecretsVersion != 77 {
		t.Errorf("with a run on the node and another secret: %+v", next)
	}
	must(t, g.Move(t.Context(), x, &muster.Moves{Launch: muster.LaunchOver, Outcome: muster.OutcomeSucceeded}))
	if last := tell(t, s, "b", first.Generation, muster.HealthReady, ""); !last.Begin {
		t.Errorf("when the run has ended: %+v", last)
	}
	terminal := nodeAgent("old")
	terminal.Terminal = true
	_, err = s.ReportNode(t.Context(), terminal, &muster.NodeReport{})
	wantCode(t, err, muster.CodeForbidden)
}

// TestAnotherAgentOfANode holds that an agent that takes another's place on the
// same boot takes nothing back, and that of another boot does.
func TestAnotherAgentOfANode(t *testing.T) {
	s := open(t)
	c := prepared(t, s)
	tell(t, s, "b", c.Generation(), muster.HealthReady, "")
	for _, boot := range []string{"b", "another"} {
		_, err := s.ReportNode(t.Context(), nodeAgent("agent of "+boot), &muster.NodeReport{Boot: boot, State: muster.HealthPreparing})
		must(t, err)
		all, err := s.ListHealth(t.Context())
		must(t, err)
		waits, unfit := all["n2"].Readiness(c, boot, time.Now())
		if boot == "b" && (waits != "" || all["n2"].State != muster.HealthReady) {
			t.Errorf("an agent of the same boot makes the node %s: %s %s", all["n2"].State, waits, unfit)
		}
		if boot != "b" && waits == "" {
			t.Errorf("after another boot it is ready at once: %+v", all["n2"])
		}
	}
}

// TestSetupsFailInARow holds that a cluster whose nodes cannot be made ready buys
// no more for a while, and again when one is, or the set-up is another.
func TestSetupsFailInARow(t *testing.T) {
	s := open(t)
	c := prepared(t, s)
	fail := func(node string) {
		t.Helper()
		a := &muster.Allocation{ID: node, Cluster: "c", NodeID: node, NodeName: node}
		_, err := s.ReportNode(t.Context(), a, &muster.NodeReport{Boot: "b", Generation: c.Generation(), State: muster.HealthUnusable, Reason: "its set-up failed"})
		must(t, err)
	}
	failure := func() *muster.BuyFailure {
		t.Helper()
		c, err := s.FindCluster(t.Context(), "c")
		must(t, err)
		return c.Failure
	}
	fail("n1")
	if f := failure(); f != nil {
		t.Errorf("after one: %+v", f)
	}
	fail("n2")
	if f := failure(); f == nil || f.Kind != muster.FailSetup || !strings.Contains(f.Message, "2 nodes in a row could not be made ready, at last n2: its set-up failed") || !f.Until.After(time.Now()) {
		t.Errorf("after two: %+v", f)
	}
	_, err := s.UpdateCluster(t.Context(), "c", muster.ClusterChange{Setup: &muster.Setup{Command: "echo"}}, muster.Origin{Actor: "anna"})
	must(t, err)
	if f := failure(); f != nil {
		t.Errorf("with another set-up: %+v", f)
	}
	fail("n3")
	fail("n4")
	tell(t, s, "b", c.Generation(), muster.HealthReady, "")
	if f := failure(); f != nil {
		t.Errorf("when one is ready: %+v", f)
	}
}

// TestDrainNodes holds that the leader drains a node, and that the runs on it are
// cancelled where that is wanted, and those elsewhere are not.
func TestDrainNodes(t *testing.T) {
	for _, cancel := range []bool{false, true} {
		s := open(t)
		g := lead(t, s)
		start(t, s, g, submit(t, s, "a", "")) // on n1
		submit(t, s, "b", "")
		must(t, g.DrainNodes(t.Context(), []muster.NodeRecord{{ID: "n1", Cluster: "c", Name: "node1"}}, "its cluster may have 0 nodes now", cancel))
		all, err := s.ListHealth(t.Context())
		must(t, err)
		if h := all["n1"]; h.DrainAt.IsZero() || h.Excluded != "" {
			t.Errorf("%+v", h)
		}
		if a, b := state(t, s, "a"), state(t, s, "b"); (a.Stop == muster.StopShrink) != cancel || b.Stop != "" {
			t.Errorf("cancel %v: a is to stop for %q, b for %q", cancel, a.Stop, b.Stop)
		}
	}
}

// TestWhyDrained holds that runs are told why their node was drained, whatever is
// said of it beside.
func TestWhyDrained(t *testing.T) {
	s := open(t)
	g := lead(t, s)
	n := &muster.Node{ID: "n1", Name: "node1", Cluster: "c"}
	drained := func() string {
		t.Helper()
		all, err := s.ListHealth(t.Context())
		must(t, err)
		return all["n1"].Drained
	}
	must(t, g.DrainNodes(t.Context(), []muster.NodeRecord{{ID: "n1", Cluster: "c", Name: "node1"}}, "its cluster may have 0 nodes now", false))
	for _, step := range []struct {
		change muster.NodeChange
		want   string
	}{
		{muster.NodeChange{Excluded: new("its fan is loud")}, "drained: its cluster may have 0 nodes now"},
		{muster.NodeChange{Drain: new(muster.Seconds(0)), Excluded: new("drained by hand")}, "drained: drained by hand"},
		{muster.NodeChange{Drain: new(muster.Seconds(0))}, "drained by anna"},
		{muster.NodeChange{Excluded: new("its fan is loud")}, "drained by anna"},
		{muster.NodeChange{Excluded: new("")}, ""},
	} {
		must(t, s.ChangeNode(t.Context(), n, step.change, muster.Origin{Actor: "anna"}))
		if got := drained(); got != step.want {
			t.Errorf("%q, want %q", got, step.want)
		}
	}
}

// TestDrainIsAnnounced holds that what runs on a node is told when it will be
// drained, by whom and why, and when it will not be any more; what runs elsewhere
// is not.
func TestDrainIsAnnounced(t *testing.T) {
	s := open(t)
	g := lead(t, s)
	start(t, s, g, submit(t, s, "a", "")) // on n1
	submit(t, s, "b", "")
	n := &muster.Node{ID: "n1", Name: "node1", Cluster: "c"}
	must(t, s.ChangeNode(t.Context(), n, muster.NodeChange{Drain: new(muster.Seconds(60)), Excluded: new("a new kernel")}, muster.Origin{Actor: "anna"}))
	for run, want := range map[string]bool{"a": true, "b": false} {
		events, err := s.ListEvents(t.Context(), muster.EventFilter{Workspace: "w", Run: run, Kinds: []muster.EventKind{muster.EventNote}})
		must(t, err)
		if told := len(events) == 1 && events[0].Actor == "anna" && strings.HasPrefix(events[0].Message, "node node1 is drained: a new kernel; what runs on it is told to stop at "); told != want {
			t.Errorf("%s is told: %+v", run, events)
		}
	}
	last := func() string {
		t.Helper()
		events, err := s.ListEvents(t.Context(), muster.EventFilter{Workspace: "w", Run: "a", Kinds: []muster.EventKind{muster.EventNote}})
		must(t, err)
		return fmt.Sprint(len(events), " ", events[len(events)-1].Message)
	}
	must(t, s.ChangeNode(t.Context(), n, muster.NodeChange{Excluded: new("")}, muster.Origin{Actor: "anna"}))
	if got := last(); got != "2 node node1 takes runs again; what runs on it may stay" {
		t.Errorf("when it is taken back, a is told: %s", got)
	}
	for _, change := range []muster.NodeChange{{Drain: new(muster.Seconds(0))}, {Excluded: new("")}} { // they are told to stop at once
		must(t, s.ChangeNode(t.Context(), n, change, muster.Origin{Actor: "anna"}))
	}
	if got := last(); !strings.HasPrefix(got, "2 ") {
		t.Errorf("after a drain at once, a is told: %s", got)
	}
}

// TestStopAllRunsOnANode holds that all runs of a node are cancelled, also behind
// one that somebody stops already.
func TestStopAllRunsOnANode(t *testing.T) {
	s := open(t)
	g := lead(t, s)
	for _, name := range []string{"a", "b"} {
		start(t, s, g, submit(t, s, name, "")) // on n1
	}
	must(t, s.RequestStop(t.Context(), "w", "a", muster.Origin{Actor: "anna"}))
	must(t, g.DrainNodes(t.Context(), []muster.NodeRecord{{ID: "n1", Cluster: "c", Name: "node1"}}, "it shrinks", true))
	if a, b := state(t, s, "a"), state(t, s, "b"); a.Stop != muster.StopCancel || b.Stop != muster.StopShrink {
		t.Errorf("a is to stop for %q, b for %q", a.Stop, b.Stop)
	}
}

// TestClosedNodesAreOpened holds that what agents said of nodes counts no more when
// their cluster wants no agents or is gone, and that it is still known which nodes
// are to be opened.
func TestClosedNodesAreOpened(t *testing.T) {
	for what, change := range map[string]func(s *Store) error{
		"without a set-up": func(s *Store) error {
			_, err := s.UpdateCluster(t.Context(), "c", muster.ClusterChange{Setup: &muster.Setup{}}, muster.Origin{Actor: "anna"})
			return err
		},
		"deleted": func(s *Store) error {
			if _, err := s.UpdateWorkspace(t.Context(), "w", muster.WorkspaceChange{DefaultCluster: new("")}, muster.Origin{Actor: "anna"}); err != nil {
				return err
			}
			return s.DeleteCluster(t.Context(), "c", muster.Origin{Actor: "anna"})
		},
	} {
		s := open(t)
		g := lead(t, s)
		c := prepared(t, s)
		tell(t, s, "b", c.Generation(), muster.HealthUnusable, "its set-up failed")
		must(t, g.CloseNodes(t.Context(), true, "n2"))
		if err := change(s); err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		all, err := s.ListHealth(t.Context())
		must(t, err)
		if h := all["n2"]; !h.Closed || h.Unfit() != "" {
			t.Errorf("%s: %+v", what, h)
		}
	}
}

// TestTakeNodesOfAnOldTerm holds that a leader of before announces no loss.
func TestTakeNodesOfAnOldTerm(t *testing.T) {
	s := open(t)
	g := lead(t, s)
	n := growing(t, s, g)
	lead(t, s)
	wantCode(t, g.TakeNodes(t.Context(), "e", []string{n.ID}, time.Now()), muster.CodeConflict)
	if got := kept(t, s.Lead(99), n.ID); !got.EvictAt.IsZero() {
		t.Errorf("it is announced: %+v", got)
	}
}

// TestChangesOfNodes holds that what a person says of a node is kept beside what
// its agent says, and told.
func TestChangesOfNodes(t *testing.T) {
	s := open(t)
	c := prepared(t, s)
	n := &muster.Node{ID: "n2", Name: "node2", Cluster: "c"}
	change := func(c muster.NodeChange) muster.NodeHealth {
		t.Helper()
		must(t, s.ChangeNode(t.Context(), n, c, muster.Origin{Actor: "anna"}))
		all, err := s.ListHealth(t.Context())
		must(t, err)
		return all["n2"]
	}
	if h := change(muster.NodeChange{Excluded: new("loud")}); h.Unfit() != "excluded: loud" {
		t.Errorf("excluded: %+v", h)
	}
	tell(t, s, "b", c.Generation(), muster.HealthReady, "")
	if h := change(muster.NodeChange{}); h.Unfit() != "excluded: loud" || h.State != muster.HealthReady {
		t.Errorf("its agent's word takes a person's back: %+v", h)
	}
	for range muster.Quarantine {
		tell(t, s, "b", c.Generation(), muster.HealthUnusable, "a check fails")
		tell(t, s, "b", c.Generation(), muster.HealthReady, "")
	}
	if h := change(muster.NodeChange{Excluded: new("")}); h.Unfit() != "" || h.Failures != 0 {
		t.Errorf("in service again: %+v", h)
	}
	if h := change(muster.NodeChange{Drain: new(muster.Seconds(60))}); h.DrainAt.Before(time.Now()) || h.Unfit() != "excluded: drained by anna" {
		t.Errorf("drained: %+v", h)
	}
	if waits, unfit := change(muster.NodeChange{}).Readiness(c, "b", time.Now()); waits != "" || unfit == "" {
		t.Errorf("a claim on a drained node: %q %q", waits, unfit)
	}
	if h := change(muster.NodeChange{Excluded: new("")}); !h.DrainAt.IsZero() || h.Unfit() != "" {
		t.Errorf("no longer drained: %+v", h)
	}
}

// TestSetUpOnceMore holds that a node whose set-up failed is to be set up once
// more when a person takes it into service, though nothing else has changed.
func TestSetUpOnceMore(t *testing.T) {
	s := open(t)
	c := prepared(t, s)
	before := tell(t, s, "b", c.Generation(), muster.HealthUnusable, "its set-up failed")
	n, by := &muster.Node{ID: "n2", Name: "node2", Cluster: "c"}, muster.Origin{Actor: "anna"}
	must(t, s.ChangeNode(t.Context(), n, muster.NodeChange{Excluded: new("")}, by))
	after := tell(t, s, "b", c.Generation(), muster.HealthUnusable, "its set-up failed")
	if after.Generation == before.Generation || after.Version == before.Version {
		t.Fatalf("before %+v, after %+v", before, after)
	}
	all, err := s.ListHealth(t.Context())
	must(t, err)
	if waits, unfit := all["n2"].Readiness(c, "b", time.Now()); waits == "" || unfit != "" {
		t.Errorf("a claim before it is set up: %q %q", waits, unfit)
	}
	tell(t, s, "b", after.Generation, muster.HealthReady, "")
	must(t, s.ChangeNode(t.Context(), n, muster.NodeChange{Excluded: new("")}, by))
	if same := tell(t, s, "b", after.Generation, muster.HealthReady, ""); same.Version != after.Version {
		t.Errorf("a node that is well is set up again: %+v", same)
	}
	all, err = s.ListHealth(t.Context())
	must(t, err)
	if waits, unfit := all["n2"].Readiness(c, "b", time.Now()); waits != "" || unfit != "" {
		t.Errorf("a claim when it is ready: %q %q", waits, unfit)
	}
}
