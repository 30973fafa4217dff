package admission

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/muster-ml/muster"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// resources makes what a test needs, in whole units.
func resources(mhz, mib, gpus int64) muster.Resources {
	r := muster.Resources{MHz: muster.Whole(mhz), MiB: muster.Whole(mib), DiskMiB: muster.Whole(1000)}
	if gpus > 0 {
		r.Devices = []muster.Devices{{Vendor: "nvidia", Type: "gpu", Name: "H200", Count: muster.Whole(gpus)}}
	}
	return r
}

func size(cores, mhz, mib, gpus int64) muster.NodeSize {
	return muster.NodeSize{Cores: muster.Whole(cores), Resources: resources(mhz, mib, gpus)}
}

func readyNode(id string, s muster.NodeSize) muster.NodeSnapshot {
	return muster.NodeSnapshot{ID: id, Name: id, Ready: true, Size: s}
}

// whole asks for count whole nodes, part for a part of each.
func whole(count int) []muster.Group { return []muster.Group{{Name: "main", Count: count}} }

func part(count int, cores, mib int64, gpus int) []muster.Group {
	return []muster.Group{{Name: "main", Count: count, Ask: &muster.Ask{Cores: muster.Whole(cores), MiB: muster.Whole(mib), GPUs: gpus}}}
}

func one(nodes []muster.NodeSnapshot, queue ...muster.Waiting) *muster.Snapshot {
	for i := range queue {
		if queue[i].RunID == 0 {
			queue[i].RunID = int64(i + 1)
		}
		if queue[i].Name == "" {
			queue[i].Name = fmt.Sprint("run", queue[i].RunID)
		}
	}
	return &muster.Snapshot{Now: t0, Clusters: []muster.ClusterSnapshot{{Name: "c", Nodes: nodes, Queue: queue}}}
}

// summary puts a decision into a line: +1@n1 starts, -2 capacity waits, x3 is refused.
func summary(d *muster.Decision) string {
	var parts []string
	for _, s := range d.Starts {
		var nodes []string
		for _, p := range s.Places {
			nodes = append(nodes, p.NodeID)
		}
		parts = append(parts, fmt.Sprintf("+%d@%s", s.RunID, strings.Join(nodes, ",")))
	}
	for _, w := range d.Waits {
		parts = append(parts, fmt.Sprintf("-%d %s", w.RunID, w.Reason.Code))
	}
	for _, r := range d.Refusals {
		parts = append(parts, fmt.Sprintf("x%d", r.RunID))
	}
	return strings.Join(parts, " | ")
}

func TestDecide(t *testing.T) {
	small, big := size(4, 4000, 4096, 0), size(4, 4000, 8192, 0)
	busy := readyNode("busy", small)
	busy.Used = resources(3000, 1000, 0)
	foreign := readyNode("foreign", small)
	foreign.Foreign = resources(1000, 512, 0)
	down := readyNode("down", small)
	down.Ready = false
	gpu := readyNode("gpu", size(4, 4000, 4096, 2))
	for name, c := range map[string]struct {
		s    *muster.Snapshot
		want string
	}{
		"a whole node":                   {one([]muster.NodeSnapshot{readyNode("a", small)}, muster.Waiting{Groups: whole(1)}), "+1@a"},
		"priority, then first come":      {one([]muster.NodeSnapshot{readyNode("a", small)}, muster.Waiting{QueuedAt: t0, Priority: 50, Groups: whole(1)}, muster.Waiting{QueuedAt: t0.Add(1), Priority: 75, Groups: whole(1)}), "+2@a | -1 capacity"},
		"two share a node":               {one([]muster.NodeSnapshot{readyNode("a", small)}, muster.Waiting{Groups: part(1, 1, 1024, 0)}, muster.Waiting{Groups: part(1, 3, 1024, 0)}), "+1@a | +2@a"},
		"memory runs out first":          {one([]muster.NodeSnapshot{readyNode("a", small)}, muster.Waiting{Groups: part(1, 1, 3000, 0)}, muster.Waiting{Groups: part(1, 1, 3000, 0)}), "+1@a | -2 capacity"},
		"a gang on different nodes":      {one([]muster.NodeSnapshot{readyNode("a", small), readyNode("b", small)}, muster.Waiting{Groups: part(2, 1, 100, 0)}), "+1@a,b"},
		"never half a gang":              {one([]muster.NodeSnapshot{busy, readyNode("a", small)}, muster.Waiting{Groups: whole(2)}), "-1 capacity"},
		"foreign use is named":           {one([]muster.NodeSnapshot{foreign}, muster.Waiting{Groups: whole(1)}), "-1 foreign"},
		"never: too many nodes":          {one([]muster.NodeSnapshot{readyNode("a", small)}, muster.Waiting{Groups: whole(2)}), "x1"},
		"never: too much memory":         {one([]muster.NodeSnapshot{readyNode("a", small)}, muster.Waiting{Groups: part(1, 1, 5000, 0)}), "x1"},
		"never: no such device":          {one([]muster.NodeSnapshot{readyNode("a", small)}, muster.Waiting{Groups: part(1, 1, 100, 1)}), "x1"},
		"devices":                        {one([]muster.NodeSnapshot{gpu}, muster.Waiting{Groups: part(1, 1, 100, 1)}, muster.Waiting{Groups: part(1, 1, 100, 2)}, muster.Waiting{Groups: part(1, 1, 100, 3)}), "+1@gpu | -2 capacity | x3"},
		"no ready node":                  {one([]muster.NodeSnapshot{down}, muster.Waiting{Groups: whole(1)}), "-1 no nodes"},
		"no node at all":                 {one(nil, muster.Waiting{Groups: whole(1)}), "-1 no nodes"},
		"a node that is down may return": {one([]muster.NodeSnapshot{down, readyNode("a", small)}, muster.Waiting{Groups: whole(2)}), "-1 capacity"},
		"the size is the smallest":       {one([]muster.NodeSnapshot{readyNode("a", big), readyNode("b", small)}, muster.Waiting{Groups: whole(2)}), "+1@b,a"},
		"the head keeps its nodes":       {one([]muster.NodeSnapshot{busy, readyNode("a", small)}, muster.Waiting{Groups: whole(2)}, muster.Waiting{Groups: part(1, 1, 100, 0)}), "-1 capacity | -2 ahead"},
		"others pass beside the head":    {one([]muster.NodeSnapshot{busy, readyNode("a", small), readyNode("b", small)}, muster.Waiting{Groups: whole(3)}, muster.Waiting{Groups: whole(1)}), "-1 capacity | -2 ahead"},
		"back-off":                       {one([]muster.NodeSnapshot{readyNode("a", small)}, muster.Waiting{NotBefore: t0.Add(1), Groups: whole(1)}, muster.Waiting{Groups: whole(1)}), "+2@a | -1 back-off"},
		"held":                           {one([]muster.NodeSnapshot{readyNode("a", small)}, muster.Waiting{Held: "anna", Groups: whole(1)}), "-1 held"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := summary(Decide(c.s)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestReasonsHaveNumbers(t *testing.T) {
	foreign := readyNode("n1", size(4, 4000, 4096, 0))
	foreign.Foreign = resources(1500, 512, 0)
	foreign.Foreign.DiskMiB = 0
	d := Decide(one([]muster.NodeSnapshot{foreign}, muster.Waiting{Groups: whole(1)}, muster.Waiting{Groups: part(1, 1, 9000, 0)}))
	if got, want := d.Waits[0].Reason.Message, "other Nomad jobs use 1500 MHz and 512 MiB on node n1; without them it would start: on node n1: 4000 MHz asked, 2500 free; 4096 MiB memory asked, 3584 free"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := d.Refusals[0].Reason, "it can never start: an instance asks for 1000 MHz and 9000 MiB, and the largest node of cluster c, n1, has 4000 MHz and 4096 MiB"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// drawSnapshot makes any cluster: some nodes, some of them busy, some down, and
// a queue that is often too long for it.
func drawSnapshot(t *rapid.T) *muster.Snapshot {
	var nodes []muster.NodeSnapshot
	for i := range rapid.IntRange(0, 6).Draw(t, "nodes") {
		n := readyNode(fmt.Sprintf("n%d", i), size(4, 4000, rapid.SampledFrom([]int64{2048, 4096, 8192}).Draw(t, "mib"), rapid.Int64Range(0, 2).Draw(t, "gpus")))
		n.Ready = rapid.IntRange(0, 9).Draw(t, "ready") > 0
		if rapid.Bool().Draw(t, "busy") {
			n.Used = resources(rapid.Int64Range(0, 2000).Draw(t, "used mhz"), rapid.Int64Range(0, 1024).Draw(t, "used mib"), 0)
			n.Used.DiskMiB = 0
		}
		if rapid.Bool().Draw(t, "foreign") {
			n.Foreign = resources(rapid.Int64Range(0, 2000).Draw(t, "foreign mhz"), rapid.Int64Range(0, 1024).Draw(t, "foreign mib"), 0)
			n.Foreign.DiskMiB = 0
		}
		nodes = append(nodes, n)
	}
	var queue []muster.Waiting
	for range rapid.IntRange(0, 12).Draw(t, "queue") {
		w := muster.Waiting{Priority: rapid.SampledFrom([]int{25, 50, 75}).Draw(t, "priority"), QueuedAt: t0.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "at")))}
		count := rapid.IntRange(1, 3).Draw(t, "count")
		if rapid.Bool().Draw(t, "whole") {
			w.Groups = whole(count)
		} else {
			w.Groups = part(count, rapid.Int64Range(1, 5).Draw(t, "cores"), rapid.Int64Range(100, 9000).Draw(t, "ask mib"), rapid.IntRange(0, 3).Draw(t, "ask gpus"))
		}
		if rapid.IntRange(0, 9).Draw(t, "back-off") == 0 {
			w.NotBefore = t0.Add(time.Minute)
		}
		queue = append(queue, w)
	}
	return one(nodes, queue...)
}

// TestNeverOverCapacity adds up what was given away, without the code that
// gives: no node ends with less than nothing in any dimension.
func TestNeverOverCapacity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		type sum struct{ mhz, mib, disk, gpus int64 }
		have := map[string]*sum{}
		for _, n := range s.Clusters[0].Nodes {
			have[n.ID] = &sum{int64(n.Size.MHz - n.Used.MHz - n.Foreign.MHz), int64(n.Size.MiB - n.Used.MiB - n.Foreign.MiB), int64(n.Size.DiskMiB), 0}
			for _, d := range n.Size.Devices {
				have[n.ID].gpus += int64(d.Count)
			}
		}
		ready := map[string]bool{}
		for _, n := range s.Clusters[0].Nodes {
			ready[n.ID] = n.Ready
		}
		for _, start := range Decide(s).Starts {
			for _, p := range start.Places {
				need, left := start.Each[p.Group], have[p.NodeID]
				left.mhz -= int64(need.MHz)
				left.mib -= int64(need.MiB)
				left.disk -= int64(need.DiskMiB)
				for _, d := range need.Devices {
					left.gpus -= int64(d.Count)
				}
				if left.mhz < 0 || left.mib < 0 || left.disk < 0 || left.gpus < 0 || !ready[p.NodeID] {
					t.Fatalf("run %d does not fit on node %s (ready %v): %+v left", start.RunID, p.NodeID, ready[p.NodeID], *left)
				}
			}
		}
	})
}

// TestWholeGangs proves that every start has all its instances, on different
// nodes, and that each waiting run is decided exactly once.
func TestWholeGangs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		d := Decide(s)
		decided := map[int64]int{}
		for _, w := range d.Waits {
			decided[w.RunID]++
			if w.Reason.Code == "" || w.Reason.Message == "" {
				t.Fatalf("run %d waits without a reason", w.RunID)
			}
		}
		for _, r := range d.Refusals {
			decided[r.RunID]++
		}
		groups := map[int64][]muster.Group{}
		for _, w := range s.Clusters[0].Queue {
			groups[w.RunID] = w.Groups
		}
		for _, start := range d.Starts {
			decided[start.RunID]++
			nodes := map[string]bool{}
			for _, p := range start.Places {
				nodes[p.NodeID] = true
			}
			if want := groups[start.RunID][0].Count; len(start.Places) != want || len(nodes) != want {
				t.Fatalf("run %d of %d instances has %d places on %d nodes", start.RunID, want, len(start.Places), len(nodes))
			}
		}
		for id := range groups {
			if decided[id] != 1 {
				t.Fatalf("run %d is decided %d times", id, decided[id])
			}
		}
	})
}

// TestSameSnapshotSameDecision also shuffles the queue, whose order must not
// matter, and proves that the snapshot is not changed.
func TestSameSnapshotSameDecision(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		want := Decide(s)
		if got := Decide(s); !reflect.DeepEqual(got, want) {
			t.Fatalf("twice the same snapshot:\n%s\n%s", summary(want), summary(got))
		}
		shuffled := *s
		c := s.Clusters[0]
		c.Queue = rapid.Permutation(c.Queue).Draw(t, "queue order")
		shuffled.Clusters = []muster.ClusterSnapshot{c}
		if got := Decide(&shuffled); !reflect.DeepEqual(got, want) {
			t.Fatalf("in another order:\n%s\n%s", summary(want), summary(got))
		}
	})
}

// TestNoRunPassesAnEqualOne proves that of two runs that ask for the same, the
// one that comes first by priority and time never waits while the other starts.
func TestNoRunPassesAnEqualOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		started := map[int64]bool{}
		for _, start := range Decide(s).Starts {
			started[start.RunID] = true
		}
		for _, a := range s.Clusters[0].Queue {
			for _, b := range s.Clusters[0].Queue {
				before := a.Priority > b.Priority || a.Priority == b.Priority && (a.QueuedAt.Before(b.QueuedAt) || a.QueuedAt.Equal(b.QueuedAt) && a.RunID < b.RunID)
				if before && a.NotBefore.IsZero() && reflect.DeepEqual(a.Groups, b.Groups) && started[b.RunID] && !started[a.RunID] {
					t.Fatalf("run %d passed its equal %d", b.RunID, a.RunID)
				}
			}
		}
	})
}

// TestNothingFitsThatWaits proves that the first waiting run of a queue does
// not wait for nothing: a brute-force search finds no place for it either.
func TestNothingFitsThatWaits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		d := Decide(s)
		if len(d.Starts) > 0 || len(d.Waits) == 0 {
			return
		}
		w := d.Waits[0]
		if w.Reason.Code == muster.WaitBackOff {
			return
		}
		var groups []muster.Group
		for _, q := range s.Clusters[0].Queue {
			if q.RunID == w.RunID {
				groups = q.Groups
			}
		}
		var all []*muster.Node
		for _, n := range s.Clusters[0].Nodes {
			if n.Ready {
				all = append(all, &muster.Node{State: muster.NodeIdle, Allocatable: n.Size})
			}
		}
		size := muster.SizeOf(all)
		if size == nil {
			return
		}
		fits := 0
		for _, n := range s.Clusters[0].Nodes {
			if _, short := n.Size.Sub(n.Used).Sub(n.Foreign).Take(groups[0].Need(*size)); n.Ready && short == nil {
				fits++
			}
		}
		if fits >= groups[0].Count {
			t.Fatalf("run %d waits (%s), and %d nodes have room for its %d instances", w.RunID, w.Reason.Message, fits, groups[0].Count)
		}
	})
}
