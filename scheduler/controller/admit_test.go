package controller_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/scheduler/admission"
	"github.com/muster-ml/muster/scheduler/controller"
)

// TestUnwellNodes holds that a run whose devices are unhealthy, or whose node is
// away, for a moment waits for them, and starts once they are back.
func TestUnwellNodes(t *testing.T) {
	gpu := []muster.Devices{{Vendor: "nvidia", Type: "gpu", Name: "H200", Count: muster.Whole(1)}}
	well := muster.SeenNode{ID: "n", Name: "n", Pool: "pool", Status: "ready", Eligible: true, Cores: muster.Whole(2),
		Total: muster.Resources{MHz: muster.Whole(2000), MiB: muster.Whole(2000), DiskMiB: muster.Whole(100), Devices: gpu}}
	unhealthy, down, driverless := well, well, well
	unhealthy.Unhealthy, down.Status, driverless.Unusable = gpu, "down", true
	for _, c := range []struct {
		node       muster.SeenNode
		workspaces []string
		want       muster.WaitCode // "" starts
	}{{well, nil, ""}, {unhealthy, nil, muster.WaitCapacity}, {down, nil, muster.WaitNodes}, {driverless, nil, muster.WaitNodes}, {well, []string{"v", "w"}, ""}, {well, []string{"v"}, muster.WaitClosed}} {
		for what, group := range map[string]muster.Group{"a whole node": {Name: "main", Count: 1},
			"a device": {Name: "main", Count: 1, Ask: &muster.Ask{Cores: muster.Whole(1), MiB: muster.Whole(100), GPUs: muster.Whole(1)}}} {
			b := &muster.Backlog{Clusters: []*muster.Cluster{{Name: "c", NodePool: "pool", ClusterSettings: muster.ClusterSettings{Workspaces: c.workspaces}}},
				Waiting: map[string][]muster.Waiting{"c": {{RunID: 1, Run: "w/r", Groups: []muster.Group{group}}}}}
			d := admission.Decide(controller.Snapshot(&muster.Sight{Nodes: []muster.SeenNode{c.node}}, b, nil, time.Now()))
			if c.want == "" && len(d.Starts) != 1 || c.want != "" && (len(d.Waits) != 1 || d.Waits[0].Reason.Code != c.want) {
				t.Errorf("%s on %+v: %+v", what, c.node, d)
			}
		}
	}
}

// TestSetUpAnew holds that no run is placed behind those whose end a changed
// set-up waits for, and that runs may share a node on which none is at work yet.
func TestSetUpAnew(t *testing.T) {
	s := &muster.Sight{Nodes: []muster.SeenNode{{ID: "n", Name: "n", Pool: "pool", Status: "ready", Eligible: true}}}
	c := &muster.Cluster{Name: "c", NodePool: "pool", ClusterSettings: muster.ClusterSettings{Setup: &muster.Setup{Command: "true"}}}
	l := &muster.Launch{ChildID: "child", Groups: []muster.Group{{Name: "main", Count: 1}}, Each: []muster.Resources{{}}, Instances: []muster.Instance{{Group: "main", NodeID: "n"}}}
	b := &muster.Backlog{Clusters: []*muster.Cluster{c}, Live: []*muster.Launch{l}, Health: map[string]muster.NodeHealth{"n": {NodeID: "n", Alloc: "a", State: muster.HealthPreparing}}}
	for _, claimed := range []time.Time{{}, time.Now()} {
		l.Instances[0].ClaimedAt = claimed
		if n := controller.Snapshot(s, b, nil, time.Now()).Clusters[0].Nodes[0]; n.Ready != claimed.IsZero() {
			t.Errorf("claimed at %s: %+v", claimed, n)
		}
	}
}

// TestRoomOfWhatHasEnded holds that the room of an instance whose command has ended
// is known to be free in a moment, and that of one that goes on is not.
func TestRoomOfWhatHasEnded(t *testing.T) {
	used := muster.Resources{MHz: muster.Whole(500), MiB: muster.Whole(500)}
	s := &muster.Sight{Nodes: []muster.SeenNode{{ID: "n", Name: "n", Pool: "pool", Status: "ready", Eligible: true}},
		Allocs: []muster.SeenAlloc{{JobID: "child", Ours: true, Group: "main", NodeID: "n", Client: "running", Used: used}}}
	l := &muster.Launch{ChildID: "child", Groups: []muster.Group{{Name: "main", Count: 1}}, Each: []muster.Resources{used}, Instances: []muster.Instance{{Group: "main", NodeID: "n"}}}
	b := &muster.Backlog{Clusters: []*muster.Cluster{{Name: "c", NodePool: "pool"}}, Live: []*muster.Launch{l}}
	for _, result := range []*muster.Result{nil, {}} { // and, at last, the launch is over
		l.Instances[0].Result = result
		n := controller.Snapshot(s, b, nil, time.Now()).Clusters[0].Nodes[0]
		if n.Used.MHz != used.MHz || (n.Ending.MHz == used.MHz) != (result != nil) {
			t.Errorf("result %v: %+v", result, n)
		}
	}
	s.Allocs = nil // it was over before it was seen
	if n := controller.Snapshot(s, b, nil, time.Now()).Clusters[0].Nodes[0]; n.Ending.MHz != used.MHz || n.Used.MHz != used.MHz {
		t.Errorf("when nobody has seen it: %+v", n)
	}
	s.Allocs = []muster.SeenAlloc{{JobID: "child", Ours: true, Group: "main", NodeID: "n", Client: "running", Used: used}}
	b.Live = nil
	if n := controller.Snapshot(s, b, nil, time.Now()).Clusters[0].Nodes[0]; n.Ending.MHz != used.MHz {
		t.Errorf("when the launch is over: %+v", n)
	}
}

// TestRoomOfWhatIsNotPlaced holds that Nomad's choice of nodes does not give the same
// room away twice: it has put one where another was to go, and that one holds the
// node that is left.
func TestRoomOfWhatIsNotPlaced(t *testing.T) {
	need := muster.Resources{MHz: muster.Whole(1000), MiB: muster.Whole(512)}
	launch := func(id string, nodes ...string) *muster.Launch {
		l := &muster.Launch{ID: id, ChildID: id, NodePool: "pool", Groups: []muster.Group{{Name: "main", Count: len(nodes)}}, Each: []muster.Resources{need}}
		for i, n := range nodes {
			l.Instances = append(l.Instances, muster.Instance{Group: "main", Index: i, GroupIndex: i, NodeID: n})
		}
		return l
	}
	on := func(child, node string) muster.SeenAlloc {
		return muster.SeenAlloc{JobID: child, Ours: true, Group: "main", NodeID: node, Client: "running", Used: need}
	}
	for _, c := range []struct {
		what   string
		allocs []muster.SeenAlloc
		live   []*muster.Launch
		change func(s *muster.Sight, live []*muster.Launch)
		want   string // what is used of nodes, in whole needs
	}{
		{"each where it was to go", []muster.SeenAlloc{on("one", "a")}, []*muster.Launch{launch("one", "a"), launch("two", "b")}, nil, "a1 b1 c0"},
		{"one in the other's place", []muster.SeenAlloc{on("one", "b")}, []*muster.Launch{launch("one", "a"), launch("two", "b")}, nil, "a1 b1 c0"},
		{"none is seen", nil, []*muster.Launch{launch("one", "a"), launch("two", "b")}, nil, "a1 b1 c0"},
		{"not dispatched yet", []muster.SeenAlloc{on("one", "b")}, []*muster.Launch{launch("one", "a"), launch("two", "b")},
			func(_ *muster.Sight, live []*muster.Launch) { live[1].ChildID = "" }, "a1 b1 c0"},
		{"it is known where it is", []muster.SeenAlloc{on("one", "b")}, []*muster.Launch{launch("one", "a"), launch("two", "b")},
			func(_ *muster.Sight, live []*muster.Launch) { live[1].Instances[0].Placed = true }, "a0 b2 c0"},
		{"the next is not ready", []muster.SeenAlloc{on("one", "b")}, []*muster.Launch{launch("one", "a"), launch("two", "b")},
			func(s *muster.Sight, _ []*muster.Launch) { s.Nodes[0].Eligible = false }, "a0 b1 c1"},
		{"the next is of another pool", []muster.SeenAlloc{on("one", "b")}, []*muster.Launch{launch("one", "a"), launch("two", "b")},
			func(s *muster.Sight, _ []*muster.Launch) { s.Nodes[0].Pool = "other" }, "a0 b1 c1"},
		{"a gang's stay apart", []muster.SeenAlloc{on("one", "b")}, []*muster.Launch{launch("one", "c"), launch("two", "a", "b")}, nil, "a1 b1 c1"},
		{"its own place is closed", []muster.SeenAlloc{}, []*muster.Launch{launch("two", "b")},
			func(s *muster.Sight, _ []*muster.Launch) { s.Nodes[1].Eligible = false }, "a1 b0 c0"},
		{"its own node is gone", []muster.SeenAlloc{}, []*muster.Launch{launch("two", "gone")}, nil, "a1 b0 c0"},
		{"a gang's stay apart where one node has room for both", []muster.SeenAlloc{on("one", "a"), on("three", "b")}, []*muster.Launch{launch("one", "a"), launch("three", "b"), launch("two", "a", "b")},
			func(s *muster.Sight, _ []*muster.Launch) { s.Nodes[2].Total = need.Add(need) }, "a1 b2 c1"},
		{"a gang's have changed places", []muster.SeenAlloc{on("two", "b")}, []*muster.Launch{launch("two", "a", "b")}, nil, "a1 b1 c0"},
		{"one in use goes before an empty one", []muster.SeenAlloc{on("one", "b"), on("three", "c")}, []*muster.Launch{launch("one", "a"), launch("three", "c"), launch("two", "b")},
			func(s *muster.Sight, _ []*muster.Launch) { s.Nodes[2].Total = need.Add(need) }, "a0 b1 c2"},
		{"no room is left", []muster.SeenAlloc{on("one", "a"), on("two", "b"), on("three", "c")}, []*muster.Launch{launch("one", "a"), launch("two", "b"), launch("three", "c"), launch("four", "a")}, nil, "a2 b1 c1"},
	} {
		s := &muster.Sight{Allocs: c.allocs}
		for _, id := range []string{"a", "b", "c"} {
			s.Nodes = append(s.Nodes, muster.SeenNode{ID: id, Name: id, Pool: "pool", Status: "ready", Eligible: true, Total: need})
		}
		if c.change != nil {
			c.change(s, c.live)
		}
		pools := []*muster.Cluster{{Name: "c", NodePool: "pool"}, {Name: "o", NodePool: "other"}}
		var got []string
		for _, cluster := range controller.Snapshot(s, &muster.Backlog{Clusters: pools, Live: c.live}, nil, time.Now()).Clusters {
			for _, n := range cluster.Nodes {
				got = append(got, fmt.Sprint(n.ID, n.Used.MHz.Units()/need.MHz.Units()))
			}
		}
		slices.Sort(got)
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %s, want %s", c.what, strings.Join(got, " "), c.want)
		}
	}
}

// TestCoresOfAPart holds that a node that is a part of a machine has the cores of
// its size, and not all that Nomad tells of the machine. Where the cluster has got a
// larger size, it has too few.
func TestCoresOfAPart(t *testing.T) {
	n := muster.SeenNode{ID: "n", Name: "n", Pool: "pool", Status: "ready", Eligible: true, Cores: muster.Whole(64),
		Total: muster.Resources{MHz: muster.Whole(1050), MiB: muster.Whole(576), DiskMiB: muster.Whole(100_000)}}
	c := &muster.Cluster{Name: "c", NodePool: "pool", Provider: muster.ProviderLocal, ClusterSettings: muster.ClusterSettings{Size: "local.small", Max: 1}}
	one := controller.Snapshot(&muster.Sight{Nodes: []muster.SeenNode{n}}, &muster.Backlog{Clusters: []*muster.Cluster{c}}, muster.BuiltinSizes(), time.Now()).Clusters[0].Nodes[0]
	if one.Size.Cores != muster.Whole(1) || one.Size.MHz != muster.Whole(1000) || one.Size.MiB != muster.Whole(512) || !one.Ready || !one.Preparing {
		t.Errorf("%+v", one)
	}
	c.Size = "local.medium"
	one = controller.Snapshot(&muster.Sight{Nodes: []muster.SeenNode{n}}, &muster.Backlog{Clusters: []*muster.Cluster{c}}, muster.BuiltinSizes(), time.Now()).Clusters[0].Nodes[0]
	if one.Size.Cores != muster.Whole(1) || one.Ready || one.Lacks != "it has 1 core for runs, and its size promises 2" {
		t.Errorf("of a larger size: %+v", one)
	}
}
