package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// growing makes an elastic cluster with one node that is idle, node1 by name.
func growing(t *testing.T, s *Store, g muster.Ledger) muster.NodeRecord {
	t.Helper()
	must(t, s.CreateCluster(t.Context(), &muster.Cluster{Name: "e", NodePool: "e", Provider: muster.ProviderLocal, Tier: muster.TierLowPriority,
		ClusterSettings: muster.ClusterSettings{Size: "local.small", Max: 2, Idle: muster.DefaultIdle}}, muster.Origin{}))
	n := muster.NodeRecord{ID: "n1", Cluster: "e", Name: "node1", IdleSince: time.UnixMicro(1e15).UTC()}
	must(t, g.KeepNodes(t.Context(), []muster.NodeRecord{n}))
	return n
}

// kept returns what is remembered of a node.
func kept(t *testing.T, g muster.Ledger, id string) muster.NodeRecord {
	t.Helper()
	all, err := g.ListRecords(t.Context())
	must(t, err)
	return all[id]
}

// TestPutBack holds that a node which leaves and that nobody took is told to stay,
// with the reason.
func TestPutBack(t *testing.T) {
	s := open(t)
	g := lead(t, s)
	n := growing(t, s, g)
	for _, step := range []struct {
		to     muster.Leave
		reason string
	}{{muster.LeaveMarked, "idle"}, {muster.LeaveGoing, "idle"}, {muster.LeaveMarked, "a run waits for room"}, {muster.LeaveNot, "a run waits for room"}} {
		n.Leave, n.Reason, n.LeaveAt = step.to, step.reason, time.Now()
		if step.to == muster.LeaveNot {
			n.LeaveAt = time.Time{}
		}
		must(t, g.KeepNodes(t.Context(), []muster.NodeRecord{n}))
	}
	events, err := s.ListEvents(t.Context(), muster.EventFilter{Cluster: "e"})
	must(t, err)
	var told []string
	for _, e := range events[len(events)-2:] {
		told = append(told, e.Message)
	}
	if got := strings.Join(told, "; "); got != "node node1 leaves: idle; node node1 stays: a run waits for room" {
		t.Errorf("told: %s", got)
	}
}

// TestNodesThatDoNotCome holds that a cluster is told to fail for as long as nodes
// that were wanted do not join, and no longer.
func TestNodesThatDoNotCome(t *testing.T) {
	s := open(t)
	g := lead(t, s)
	growing(t, s, g)
	for _, until := range []time.Duration{time.Minute, -time.Minute} {
		must(t, g.KeepUnready(t.Context(), "e", &muster.BuyFailure{Kind: muster.FailStart, Message: "none joined", Tries: 1, Until: time.Now().Add(until)}))
		c, err := s.FindCluster(t.Context(), "e")
		must(t, err)
		if told := c.Failure != nil && c.Failure.Message == "none joined"; told != (until > 0) {
			t.Errorf("until %s: %+v", until, c.Failure)
		}
	}
}

// TestNoStartOnALeavingNode holds that a decision from before a node was marked,
// announced to be taken or gone starts nothing on it.
func TestNoStartOnALeavingNode(t *testing.T) {
	for what, change := range map[string]func(s *Store, g muster.Ledger, n muster.NodeRecord) error{
		"marked": func(_ *Store, g muster.Ledger, n muster.NodeRecord) error {
			n.Leave, n.LeaveAt = muster.LeaveMarked, time.Now()
			return g.KeepNodes(t.Context(), []muster.NodeRecord{n})
		},
		"announced": func(s *Store, _ muster.Ledger, n muster.NodeRecord) error {
			_, err := s.EvictNodes(t.Context(), "e", []string{n.ID}, time.Now().Add(time.Minute), muster.Origin{Actor: "anna"})
			return err
		},
		"gone": func(s *Store, _ muster.Ledger, n muster.NodeRecord) error {
			if _, err := s.ReportMachines(t.Context(), "e", muster.MachineReport{Machines: []muster.Machine{{Name: n.Name}}}); err != nil {
				return err
			}
			_, err := s.ReportMachines(t.Context(), "e", muster.MachineReport{Machines: []muster.Machine{}})
			return err
		},
	} {
		s := open(t)
		g := lead(t, s)
		r := submit(t, s, "a", "")
		n := growing(t, s, g)
		must(t, change(s, g, n))
		started, err := g.Apply(t.Context(), &muster.Decision{Starts: []muster.Start{{RunID: r.ID, Cluster: "e", Each: []muster.Resources{{}}, Places: []muster.Place{{NodeID: "n1", NodeName: "node1"}}}}})
		if err != nil || started != 0 || state(t, s, "a").State != muster.RunQueued {
			t.Errorf("%s: %d started, %v", what, started, err)
		}
	}
}

// TestFates holds who is declared dead: machines that their own provider listed
// and lists no more; by no late word, and by no other provider's.
func TestFates(t *testing.T) {
	s := open(t)
	g := lead(t, s)
	growing(t, s, g)
	report := func(source string, number int64, evicted []string, names ...string) error {
		r := muster.MachineReport{Source: source, Number: number, Machines: []muster.Machine{}, Evicted: evicted}
		for _, name := range names {
			r.Machines = append(r.Machines, muster.Machine{Name: name, State: muster.MachineRunning})
		}
		_, err := s.ReportMachines(t.Context(), "e", r)
		return err
	}
	must(t, report("a", 1, nil))
	if c, err := s.FindCluster(t.Context(), "e"); err != nil || time.Since(c.ReportedAt) > time.Minute {
		t.Errorf("it was heard of at %s, %v", c.ReportedAt, err)
	}
	if f := kept(t, g, "n1").Fate; f != muster.FateHere {
		t.Errorf("a machine that was never listed is %q", f)
	}
	must(t, report("a", 3, nil, "node1", "node2"))
	must(t, report("a", 2, nil, "node2")) // it comes late
	wantCode(t, report("b", 9, nil), muster.CodeConflict)
	if f := kept(t, g, "n1").Fate; f != muster.FateHere {
		t.Errorf("by a late word or another's it is %q", f)
	}
	must(t, report("c", 1, nil, "node1", "node2")) // its folder has a new id, and the same machines
	must(t, report("c", 4, []string{"node1"}, "node2"))
	if f := kept(t, g, "n1").Fate; f != muster.FateEvicted {
		t.Errorf("taken by its provider it is %q", f)
	}
}

// TestTakenIsNotWanted holds that the number falls with the word that a node whose
// loss was announced is gone, and that what was decided before that word is void:
// another would be bought for a node that nobody needs.
func TestTakenIsNotWanted(t *testing.T) {
	for _, announced := range []bool{true, false} {
		s := open(t)
		g := lead(t, s)
		growing(t, s, g)
		report := func(names ...string) {
			r := muster.MachineReport{Source: "a", Machines: []muster.Machine{}}
			for _, name := range names {
				r.Machines = append(r.Machines, muster.Machine{Name: name, State: muster.MachineRunning})
			}
			_, err := s.ReportMachines(t.Context(), "e", r)
			must(t, err)
		}
		report("node1")
		old := &muster.Wanted{Nodes: 1, Reason: "r", At: time.Now()}
		must(t, g.Publish(t.Context(), "e", nil, *old, nil))
		if announced {
			_, err := s.EvictNodes(t.Context(), "e", []string{"n1"}, time.Now(), muster.Origin{Actor: "anna"})
			must(t, err)
		}
		report()
		c, err := s.FindCluster(t.Context(), "e")
		must(t, err)
		if (c.Wanted.Nodes == 0) != announced || c.Wanted.At.After(old.At) != announced {
			t.Errorf("announced: %v, and %+v is wanted", announced, c.Wanted)
		}
		if told := happened(t, s, "e"); strings.Contains(told, "it shall have 0 nodes: 1 node less: announced to be taken, and gone") != announced {
			t.Errorf("announced: %v, and it is told: %s", announced, told)
		}
		err = g.Publish(t.Context(), "e", old, muster.Wanted{Nodes: 1, Reason: "of before", At: time.Now()}, nil)
		if (muster.CodeOf(err) == muster.CodeConflict) != announced {
			t.Errorf("announced: %v, and what was decided before: %v", announced, err)
		}
	}
}

// happened returns what is told of a cluster.
func happened(t *testing.T, s *Store, cluster string) string {
	t.Helper()
	events, err := s.ListEvents(t.Context(), muster.EventFilter{Cluster: cluster})
	must(t, err)
	var words []string
	for _, e := range events {
		words = append(words, e.Message)
	}
	return strings.Join(words, "; ")
}

// TestPublish holds that whoever reads a lower number reads who leaves for it, and
// that a cluster with runs is not dropped.
func TestPublish(t *testing.T) {
	s := open(t)
	g := lead(t, s)
	n := growing(t, s, g)
	must(t, g.Publish(t.Context(), "e", nil, muster.Wanted{Nodes: 1, Reason: "r", At: time.Now()}, nil))
	first, err := s.FindCluster(t.Context(), "e")
	must(t, err)
	n.Leave, n.LeaveAt, n.Reason = muster.LeaveGoing, time.Now(), "idle"
	must(t, g.Publish(t.Context(), "e", &muster.Wanted{Nodes: 1}, muster.Wanted{Nodes: 0, Reason: "r", At: time.Now()}, []muster.NodeRecord{n}))
	leaving, err := s.ListLeaving(t.Context(), "e")
	must(t, err)
	c, err := s.FindCluster(t.Context(), "e")
	must(t, err)
	if len(leaving) != 1 || leaving[0] != "node1" || c.Wanted.Nodes != 0 || !c.Wanted.At.After(first.Wanted.At) {
		t.Errorf("%v leave, wanted %+v", leaving, c.Wanted)
	}
	paused := true
	_, err = s.UpdateCluster(t.Context(), "e", muster.ClusterChange{Paused: &paused}, muster.Origin{Actor: "anna"})
	must(t, err)
	must(t, s.DeleteCluster(t.Context(), "e", muster.Origin{Actor: "anna"}))
	if c, err = s.FindCluster(t.Context(), "e"); err != nil || !c.Deleting || c.Paused {
		t.Errorf("deleted while it was paused: %+v, %v", c, err)
	}
	must(t, s.DeleteCluster(t.Context(), "e", muster.Origin{Actor: "bert"}))
	if again, err := s.FindCluster(t.Context(), "e"); err != nil || again.Version != c.Version {
		t.Errorf("deleted twice: %+v, %v", again, err)
	}
	err = s.CreateRun(t.Context(), &muster.Run{Workspace: "w", Experiment: "e", Name: "late", Cluster: "e", Spec: muster.Spec{Command: "a"}}, muster.Origin{Actor: "anna"})
	if muster.CodeOf(err) != muster.CodeRefused || !strings.Contains(err.Error(), "is being deleted") {
		t.Errorf("a run for it: %v", err)
	}
	must(t, g.ForgetNodes(t.Context(), []muster.NodeRecord{n}))
	must(t, g.DropCluster(t.Context(), "e"))
	_, err = s.FindCluster(t.Context(), "e")
	wantCode(t, err, muster.CodeNotFound)
	if all := happened(t, s, "e"); !strings.Contains(all, "node node1 leaves: idle; it shall have 0 nodes: r") || strings.Count(all, "deleted") != 2 {
		t.Errorf("its events are %s", all)
	}
	growing(t, s, g) // its name may be used again
	if all := happened(t, s, "e"); all != "it is made; node node1 has come" {
		t.Errorf("the events of the next one are %s", all)
	}
}

// TestDeleteAtOnce holds that a cluster without nodes of its own is deleted by who
// wants it, in a word.
func TestDeleteAtOnce(t *testing.T) {
	s := open(t)
	must(t, s.CreateCluster(t.Context(), &muster.Cluster{Name: "b", NodePool: "other", Provider: muster.ProviderNone, Tier: muster.TierDedicated}, muster.Origin{Actor: "anna"}))
	must(t, s.DeleteCluster(t.Context(), "b", muster.Origin{Actor: "anna", RequestID: "q"}))
	events, err := s.ListEvents(t.Context(), muster.EventFilter{Cluster: "b"})
	must(t, err)
	if last := events[len(events)-1]; len(events) != 2 || last.Message != "it is deleted" || last.Actor != "anna" || last.RequestID != "q" {
		t.Errorf("%d events, at last %+v", len(events), last)
	}
}

// TestDeleteHeldCluster names the runs for which a cluster must stay, of whatever
// workspace, and none that has ended.
func TestDeleteHeldCluster(t *testing.T) {
	s := open(t)
	g := lead(t, s)
	growing(t, s, g)
	must(t, s.CreateWorkspace(t.Context(), &muster.Workspace{Name: "v"}))
	submit(t, s, "ended", "")
	must(t, s.RequestStop(t.Context(), "w", "ended", muster.Origin{Actor: "anna"}))
	_, err := g.StopQueued(t.Context())
	must(t, err)
	submit(t, s, "a", "")
	must(t, s.CreateRun(t.Context(), &muster.Run{Workspace: "v", Experiment: "e", Name: "b", Cluster: "c", Spec: muster.Spec{Command: "a"}}, muster.Origin{Actor: "anna"}))
	refused := func(cluster, want string) {
		t.Helper()
		if err := s.DeleteCluster(t.Context(), cluster, muster.Origin{Actor: "anna"}); muster.CodeOf(err) != muster.CodeConflict || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
	refused("c", "cluster c has 2 runs still to end: w/a, v/b: ")
	for i := range shownHolders {
		submit(t, s, fmt.Sprintf("more%d", i), "")
	}
	refused("c", "cluster c has 7 runs still to end: w/a, v/b, w/more0, w/more1, w/more2 and 2 more: ")
	_, err = g.Apply(t.Context(), &muster.Decision{Starts: []muster.Start{{RunID: state(t, s, "a").ID, Cluster: "e", Cores: 1000, Each: []muster.Resources{{MHz: 1000, MiB: 1000}},
		Places: []muster.Place{{NodeID: "n1", NodeName: "node1"}}}}})
	must(t, err)
	refused("e", "cluster e has 1 run still to end: w/a: ")
}
