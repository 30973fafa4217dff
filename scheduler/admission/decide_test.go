package admission

import (
	"fmt"
	"reflect"
	"slices"
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

func size(cores, mhz, mib, gpus int64) muster.Allocatable {
	return muster.Allocatable{Cores: muster.Whole(cores), Resources: resources(mhz, mib, gpus)}
}

func readyNode(id string, s muster.Allocatable) muster.NodeSnapshot {
	return muster.NodeSnapshot{ID: id, Name: id, Ready: true, Size: s}
}

// whole asks for count whole nodes, part for a part of each.
func whole(count int) []muster.Group { return []muster.Group{{Name: "main", Count: count}} }

func part(count int, cores, mib int64, gpus int) []muster.Group {
	return []muster.Group{{Name: "main", Count: count, Ask: &muster.Ask{Cores: muster.Whole(cores), MiB: muster.Whole(mib), GPUs: muster.Whole(int64(gpus))}}}
}

func one(nodes []muster.NodeSnapshot, queue ...muster.Waiting) *muster.Snapshot {
	for i := range queue {
		if queue[i].RunID == 0 {
			queue[i].RunID = int64(i + 1)
		}
		if queue[i].Run == "" {
			queue[i].Run = fmt.Sprint("run", queue[i].RunID)
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
	busyBig := readyNode("busy big", big)
	busyBig.Used = resources(1000, 1000, 0)
	busyBig.Used.DiskMiB = 0
	gpu, unwell := readyNode("gpu", size(4, 4000, 4096, 2)), readyNode("unwell", size(4, 4000, 4096, 2))
	unwell.Unhealthy = resources(0, 0, 1).Devices
	// By memory the first group would go first, and take the node with devices.
	unlike := []muster.Group{{Name: "memory", Count: 1, Ask: &muster.Ask{Cores: muster.Whole(1), MiB: muster.Whole(4000)}},
		{Name: "device", Count: 1, Ask: &muster.Ask{Cores: muster.Whole(1), MiB: muster.Whole(100), GPUs: muster.Whole(1)}}}
	device, three := readyNode("device", size(4, 4000, 2048, 1)), slices.Clone(unlike)
	three[1].Count = 2
	engine := readyNode("engine", small)
	engine.Engine = true
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
		"others pass beside the head":    {one([]muster.NodeSnapshot{busyBig, readyNode("a", small)}, muster.Waiting{Groups: part(1, 1, 8000, 0)}, muster.Waiting{Groups: part(1, 1, 100, 0)}, muster.Waiting{Groups: part(1, 1, 4090, 0)}), "+2@a | -1 capacity | -3 ahead"},
		"a container wants an engine":    {one([]muster.NodeSnapshot{readyNode("a", small), engine}, muster.Waiting{Container: true, Groups: whole(1)}, muster.Waiting{Groups: whole(1)}), "+1@engine | +2@a"},
		"no engine works":                {one([]muster.NodeSnapshot{readyNode("a", small)}, muster.Waiting{Container: true, Groups: whole(1)}, muster.Waiting{Groups: whole(1)}), "+2@a | -1 no nodes"},
		"back-off":                       {one([]muster.NodeSnapshot{readyNode("a", small)}, muster.Waiting{NotBefore: t0.Add(1), Groups: whole(1)}, muster.Waiting{Groups: whole(1)}), "+2@a | -1 back-off"},
		"a small node that is down":      {one([]muster.NodeSnapshot{down, readyNode("a", big)}, muster.Waiting{Groups: whole(2)}), "-1 capacity"},
		"a device is unwell":             {one([]muster.NodeSnapshot{unwell}, muster.Waiting{Groups: part(1, 1, 100, 2)}, muster.Waiting{Groups: whole(1)}, muster.Waiting{Groups: part(1, 1, 100, 3)}), "-1 capacity | -2 capacity | x3"},
		"what is well is given":          {one([]muster.NodeSnapshot{unwell}, muster.Waiting{Groups: part(1, 1, 100, 1)}, muster.Waiting{Groups: part(1, 1, 100, 1)}), "+1@unwell | -2 capacity"},
		"unlike groups":                  {one([]muster.NodeSnapshot{gpu, readyNode("plain", small)}, muster.Waiting{Groups: unlike}), "+1@plain,gpu"},
		"one moves on for another":       {one([]muster.NodeSnapshot{gpu, readyNode("large", big), device}, muster.Waiting{Groups: three}), "+1@large,gpu,device"},
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
	d := Decide(one([]muster.NodeSnapshot{foreign}, muster.Waiting{Groups: whole(1)}))
	if got, want := d.Waits[0].Reason.Message, "other Nomad jobs use 1.5 cores (1500 MHz) and 512 MiB on node n1; without them it would start: on node n1: 4 cores (4000 MHz) asked, 2.5 cores (2500 MHz) free; 4096 MiB memory asked, 3584 free"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	gpus := readyNode("n2", size(8, 16000, 4096, 2))
	gpus.Used.Devices = resources(0, 0, 2).Devices
	for _, c := range []struct {
		node muster.NodeSnapshot
		want []muster.Group
		text string
	}{
		{foreign, part(1, 1, 9000, 0), "it can never start: an instance asks for 1 core (1000 MHz) and 9000 MiB, and the largest node of cluster c, n1, has 4 cores (4000 MHz) and 4096 MiB"},
		{foreign, part(1, 1, 100, 8), "it can never start: an instance asks for 1 core (1000 MHz) and 100 MiB and 8 gpus, and the largest node of cluster c, n1, has 4 cores (4000 MHz) and 4096 MiB, and has no gpu"},
		{gpus, part(1, 1, 100, 8), "it can never start: an instance asks for 1 core (2000 MHz) and 100 MiB and 8 gpus, and the largest node of cluster c, n2, has 8 cores (16000 MHz) and 4096 MiB and 2 H200 gpus"},
		{foreign, part(2, 1, 100, 0), "it can never start: it asks for 2 instances, each on a node of its own, and cluster c has 1 node"},
		{gpus, part(1, 1, 100, 1), "on node n2: 1 gpu asked, none free"},
	} {
		d := Decide(one([]muster.NodeSnapshot{c.node}, muster.Waiting{Groups: c.want}))
		got := ""
		if len(d.Refusals) > 0 {
			got = d.Refusals[0].Reason
		} else if len(d.Waits) > 0 {
			got = d.Waits[0].Reason.Message
		}
		if got != c.text {
			t.Errorf("got  %s\nwant %s", got, c.text)
		}
	}
}

// drawSnapshot makes any cluster: some nodes, some of them busy, some down, and
// a queue that is often too long for it.
func drawSnapshot(t *rapid.T) *muster.Snapshot {
	var nodes []muster.NodeSnapshot
	for i := range rapid.IntRange(0, 6).Draw(t, "nodes") {
		n := readyNode(fmt.Sprintf("n%d", i), size(4, 4000, rapid.SampledFrom([]int64{2048, 4096, 8192}).Draw(t, "mib"), rapid.Int64Range(0, 2).Draw(t, "gpus")))
		n.Ready = rapid.IntRange(0, 9).Draw(t, "ready") > 0
		if d := n.Size.Devices; len(d) > 0 && rapid.IntRange(0, 4).Draw(t, "unwell") == 0 {
			n.Unhealthy = resources(0, 0, 1).Devices
		}
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
			for range rapid.IntRange(1, 3).Draw(t, "groups") {
				w.Groups = append(w.Groups, part(count, rapid.Int64Range(1, 5).Draw(t, "cores"), rapid.Int64Range(100, 9000).Draw(t, "ask mib"), rapid.IntRange(0, 3).Draw(t, "ask gpus"))...)
			}
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
			for _, d := range n.Unhealthy {
				have[n.ID].gpus -= int64(d.Count)
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
			if want := (&muster.Spec{Groups: groups[start.RunID]}).Instances(); len(start.Places) != want || len(nodes) != want {
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

// drawUnlike makes a run of unlike groups on unlike nodes, where it matters who
// goes where.
func drawUnlike(t *rapid.T) *muster.Snapshot {
	mib, gpus := rapid.SampledFrom([]int64{2000, 4000, 8000}), rapid.IntRange(0, 2)
	var nodes []muster.NodeSnapshot
	for i := range 5 {
		nodes = append(nodes, readyNode(fmt.Sprintf("n%d", i), size(4, 4000, mib.Draw(t, "mib"), int64(gpus.Draw(t, "gpus")))))
	}
	var groups []muster.Group
	for range rapid.IntRange(2, 5).Draw(t, "groups") {
		groups = append(groups, part(1, 1, mib.Draw(t, "ask mib"), gpus.Draw(t, "ask gpus"))...)
	}
	return one(nodes, muster.Waiting{Groups: groups})
}

// smallest returns the size by which asks are measured.
func smallest(nodes []muster.NodeSnapshot, readyOnly bool) muster.Allocatable {
	var all []*muster.Node
	for _, n := range nodes {
		if n.Ready || !readyOnly {
			all = append(all, &muster.Node{State: muster.NodeIdle, Allocatable: n.Size})
		}
	}
	if size := muster.SizeOf(all); size != nil {
		return *size
	}
	return muster.Allocatable{}
}

// tryAll reports whether needs have a node each, by trying every way.
func tryAll(needs []muster.Resources, free []muster.Resources) bool {
	if len(needs) == 0 {
		return true
	}
	for i, f := range free {
		if _, short := f.Take(needs[0]); short == nil && tryAll(needs[1:], slices.Delete(slices.Clone(free), i, i+1)) {
			return true
		}
	}
	return false
}

// needsOf lists what the instances of a run take of a node.
func needsOf(groups []muster.Group, size muster.Allocatable) (needs []muster.Resources) {
	for _, g := range groups {
		for range g.Count {
			needs = append(needs, g.Need(size))
		}
	}
	return needs
}

// TestNothingFitsThatWaits proves that the first waiting run of a queue does
// not wait for nothing, and that a run is refused when, and only when, it would
// find no place on all the cluster's nodes, ready, well and empty: a search by
// brute force finds none either.
func TestNothingFitsThatWaits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		if rapid.Bool().Draw(t, "unlike") {
			s = drawUnlike(t)
		}
		d := Decide(s)
		nodes := s.Clusters[0].Nodes
		now, all := smallest(nodes, true), smallest(nodes, false)
		if now.MHz == 0 {
			now = all
		}
		var free, empty []muster.Resources
		for _, n := range nodes {
			empty = append(empty, n.Size.Resources)
			if n.Ready {
				free = append(free, n.Size.Sub(n.Used).Sub(n.Foreign).Sub(muster.Resources{Devices: n.Unhealthy}))
			}
		}
		refused := map[int64]bool{}
		for _, r := range d.Refusals {
			refused[r.RunID] = true
		}
		started := map[int64]bool{}
		for _, start := range d.Starts {
			started[start.RunID] = true
		}
		for _, w := range s.Clusters[0].Queue {
			if started[w.RunID] || !w.NotBefore.IsZero() || len(nodes) == 0 {
				continue
			}
			if may := tryAll(needsOf(w.Groups, now), empty) || tryAll(needsOf(w.Groups, all), empty); may == refused[w.RunID] {
				t.Fatalf("run %d may start some day: %v; refused: %v", w.RunID, may, refused[w.RunID])
			}
			if len(d.Starts) == 0 && tryAll(needsOf(w.Groups, now), free) && w.RunID == d.Waits[0].RunID {
				t.Fatalf("run %d waits (%s), and there is room for all its instances", w.RunID, d.Waits[0].Reason.Message)
			}
		}
	})
}

// BenchmarkDecide is a queue of 10,000 before 100 nodes that are full.
func BenchmarkDecide(b *testing.B) {
	var nodes []muster.NodeSnapshot
	for i := range 100 {
		n := readyNode(fmt.Sprint("n", i), size(4, 4000, 4096, 2))
		n.Used = resources(4000, 4096, 2)
		nodes = append(nodes, n)
	}
	queue := make([]muster.Waiting, 10_000)
	for i := range queue {
		queue[i].Groups = part(1, 1, int64(100+i%20), 1)
	}
	s := one(nodes, queue...)
	for b.Loop() {
		Decide(s)
	}
}

// TestDeepQueue holds that who waits behind the hundredth has a reason that
// stays as it is, whatever becomes of the cluster.
func TestDeepQueue(t *testing.T) {
	busy := readyNode("a", size(4, 4000, 4096, 0))
	busy.Used = resources(4000, 4096, 0)
	away := busy
	away.Ready = false
	queue := make([]muster.Waiting, 10_000)
	for i := range queue {
		queue[i].Groups = part(1, 1, int64(100+i%200), 0)
	}
	var before []muster.Wait
	for _, n := range []muster.NodeSnapshot{busy, away} {
		began := time.Now()
		waits := Decide(one([]muster.NodeSnapshot{n}, queue...)).Waits
		t.Logf("Decide: %s", time.Since(began))
		if before != nil && (!reflect.DeepEqual(before[100:], waits[100:]) || reflect.DeepEqual(before[99], waits[99])) {
			t.Errorf("the last run: %+v, then %+v", before[len(queue)-1], waits[len(queue)-1])
		}
		before = waits
	}
}
