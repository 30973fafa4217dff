package admission

import (
	"strings"
	"testing"

	"github.com/muster-ml/muster"
)

// TestAlternatives holds in which order clusters are tried for a run that names
// several.
func TestAlternatives(t *testing.T) {
	node := size(4, 4000, 4096, 0)
	low := func(high int, failure *muster.BuyFailure, nodes ...muster.NodeSnapshot) muster.ClusterSnapshot {
		return muster.ClusterSnapshot{Name: "low", Nodes: nodes, Scale: &muster.ScaleSnapshot{Max: high, Idle: 1, Offer: node, Failure: failure},
			Queue: []muster.Waiting{{RunID: 1, Run: "w/r", Alternatives: []string{"dear"}, Groups: whole(1)}}}
	}
	dear := func(high int, nodes ...muster.NodeSnapshot) muster.ClusterSnapshot {
		return muster.ClusterSnapshot{Name: "dear", Nodes: nodes, Scale: &muster.ScaleSnapshot{Max: high, Idle: 1, Offer: node}}
	}
	busy := readyNode("busy", node)
	busy.Used = resources(4000, 4096, 0)
	fails := &muster.BuyFailure{Kind: muster.FailCapacity, Message: "none"}
	failing := func(c muster.ClusterSnapshot, f *muster.BuyFailure) muster.ClusterSnapshot {
		c.Scale.Failure = f
		return c
	}
	behind := func(c muster.ClusterSnapshot) muster.ClusterSnapshot { // one that waits for more nodes than may come
		c.Queue = append([]muster.Waiting{{RunID: 2, Priority: 90, Groups: whole(2)}}, c.Queue...)
		return c
	}
	paused := func(c muster.ClusterSnapshot) muster.ClusterSnapshot { c.Paused = true; return c }
	others := func(c muster.ClusterSnapshot) muster.ClusterSnapshot { c.Workspaces = []string{"v"}; return c }
	for name, c := range map[string]struct {
		clusters []muster.ClusterSnapshot
		want     string
		low      int
		dear     int
	}{
		"the first has room":               {[]muster.ClusterSnapshot{dear(2, readyNode("d", node)), low(2, nil, readyNode("l", node))}, "+1@l", 1, 1},
		"the next has room now":            {[]muster.ClusterSnapshot{dear(2, readyNode("d", node)), low(2, nil)}, "+1@d", 0, 1},
		"the first grows":                  {[]muster.ClusterSnapshot{dear(2), low(2, nil)}, "-1 scaling", 1, 0},
		"the first may not grow":           {[]muster.ClusterSnapshot{dear(2), low(1, nil, busy)}, "-1 scaling", 1, 1},
		"the first's provider fails":       {[]muster.ClusterSnapshot{dear(2), low(2, fails)}, "-1 scaling", 0, 1},
		"both providers fail":              {[]muster.ClusterSnapshot{failing(dear(2), fails), low(2, fails)}, "-1 provider", 1, 0},
		"neither may grow":                 {[]muster.ClusterSnapshot{dear(1, busy), low(1, nil, busy)}, "-1 capacity", 1, 1},
		"the first could never, the next":  {[]muster.ClusterSnapshot{dear(2), low(0, nil)}, "-1 scaling", 0, 1},
		"behind one that cannot start":     {[]muster.ClusterSnapshot{dear(1, busy), behind(low(2, nil, busy))}, "-2 capacity | -1 capacity", 1, 1},
		"the first is paused":              {[]muster.ClusterSnapshot{dear(2), paused(low(2, nil, readyNode("l", node)))}, "-1 scaling", 1, 1},
		"the first is for others":          {[]muster.ClusterSnapshot{dear(2, readyNode("d", node)), others(low(2, nil, readyNode("l", node)))}, "+1@d", 1, 1},
		"the next is paused":               {[]muster.ClusterSnapshot{paused(dear(2)), low(1, nil, busy)}, "-1 capacity", 1, 0},
		"the next is for others":           {[]muster.ClusterSnapshot{others(dear(2, readyNode("d", node))), low(1, nil, busy)}, "-1 capacity", 1, 1},
		"both are for others":              {[]muster.ClusterSnapshot{others(dear(2)), others(low(2, nil))}, "-1 closed", 0, 0},
		"an alternative that is not there": {[]muster.ClusterSnapshot{low(1, nil, busy)}, "-1 capacity", 1, -1},
	} {
		d := Decide(&muster.Snapshot{Now: t0, Clusters: c.clusters})
		got := map[string]int{"dear": -1}
		for _, s := range d.Scales {
			got[s.Cluster] = s.Nodes
		}
		for _, w := range d.Waits {
			if strings.Count(w.Reason.Message, "the max of cluster low") > 1 {
				t.Errorf("%s: told twice: %s", name, w.Reason.Message)
			}
		}
		if summary(d) != c.want || got["low"] != c.low || got["dear"] != c.dear {
			t.Errorf("%s: %s, %v, want %s, low %d, dear %d", name, summary(d), got, c.want, c.low, c.dear)
		}
	}
}
