package admission

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/muster-ml/muster"
)

// growing is a snapshot of an elastic cluster whose new nodes have 4 cores.
func growing(low, high int, nodes []muster.NodeSnapshot, queue ...muster.Waiting) *muster.Snapshot {
	s := one(nodes, queue...)
	s.Clusters[0].Scale = &muster.ScaleSnapshot{Min: low, Max: high, Idle: time.Minute, Offer: size(4, 4000, 4096, 0)}
	return s
}

// idle is a node that has been empty for so long.
func idle(name string, since time.Duration) muster.NodeSnapshot {
	n := readyNode(name, size(4, 4000, 4096, 0))
	n.IdleSince = t0.Add(-since)
	return n
}

func TestScale(t *testing.T) {
	busy := idle("busy", 0)
	busy.Used, busy.IdleSince = resources(4000, 4096, 0), time.Time{}
	ending := busy
	ending.Ending = busy.Used
	held := idle("held", time.Hour)
	held.Ready, held.Held = false, true
	coming := idle("coming", 0)
	coming.Ready, coming.Coming = false, true
	leaving := idle("leaving", time.Hour)
	leaving.Ready, leaving.Leaving = false, true
	evicting := idle("evicting", time.Hour)
	evicting.Ready, evicting.Unfit = false, true
	run := func(n int) muster.Waiting { return muster.Waiting{Groups: whole(n)} }
	failing := growing(0, 4, nil, run(1))
	failing.Clusters[0].Scale.Failure = &muster.BuyFailure{Kind: muster.FailQuota, Message: "none left"}
	unready := growing(1, 4, []muster.NodeSnapshot{coming}, run(2))
	unready.Clusters[0].Scale.Failure = &muster.BuyFailure{Kind: muster.FailSetup, Message: "2 nodes in a row could not be made ready"}
	engineless := idle("a", time.Hour)
	engineless.Engine = false
	contained := muster.Waiting{Container: true, Groups: whole(1)}
	small := idle("small", time.Hour)
	small.Size, small.Ready, small.Unfit, small.Lacks = size(1, 1000, 512, 0), false, true, "it has 1 core for runs, and its size promises 4"
	closing := growing(0, 0, nil, run(1))
	closing.Clusters[0].Closing = true
	full := growing(2, 2, []muster.NodeSnapshot{evicting, evicting}, run(1))
	full.Clusters[0].Scale.Failure = unready.Clusters[0].Scale.Failure
	paused := growing(0, 4, []muster.NodeSnapshot{idle("a", time.Hour)}, run(1))
	paused.Clusters[0].Paused = true
	for name, c := range map[string]struct {
		s     *muster.Snapshot
		nodes int
		spare []string
		waits string
	}{
		"from zero":                         {growing(0, 4, nil, run(1)), 1, nil, "-1 scaling"},
		"a whole gang":                      {growing(0, 4, nil, run(3)), 3, nil, "-1 scaling"},
		"beside one in use":                 {growing(0, 4, []muster.NodeSnapshot{busy}, run(2)), 3, nil, "-1 scaling"},
		"never part of a gang":              {growing(0, 4, []muster.NodeSnapshot{busy, busy}, run(3)), 2, nil, "-1 capacity"},
		"nothing behind one that waits":     {growing(0, 3, []muster.NodeSnapshot{busy}, run(3), run(1)), 1, nil, "-1 capacity | -2 capacity"},
		"more than its max":                 {growing(0, 2, nil, run(3)), 0, nil, "x1"},
		"larger than its size":              {growing(0, 2, nil, muster.Waiting{Groups: part(1, 1, 5000, 0)}), 0, nil, "x1"},
		"two parts on one new node":         {growing(0, 4, nil, muster.Waiting{Groups: part(1, 2, 100, 0)}, muster.Waiting{Groups: part(1, 2, 100, 0)}), 1, nil, "-1 scaling | -2 scaling"},
		"it comes already":                  {growing(0, 4, []muster.NodeSnapshot{coming}, run(1)), 1, nil, "-1 scaling"},
		"room that is free in a moment":     {growing(0, 4, []muster.NodeSnapshot{ending}, run(1)), 1, nil, "-1 capacity"},
		"beside one out of service":         {growing(0, 2, []muster.NodeSnapshot{held}, run(1)), 2, nil, "-1 scaling"},
		"min beside one out of service":     {growing(1, 2, []muster.NodeSnapshot{held}), 2, nil, ""},
		"no more than max beside it":        {growing(1, 1, []muster.NodeSnapshot{held}), 1, nil, ""},
		"one out of service counts":         {growing(0, 1, []muster.NodeSnapshot{held}, run(1)), 1, nil, "-1 no nodes"},
		"min stays":                         {growing(2, 4, []muster.NodeSnapshot{idle("a", time.Hour), idle("b", 2*time.Hour), idle("c", 3*time.Hour)}), 3, []string{"c"}, ""},
		"min is bought":                     {growing(2, 4, nil), 2, nil, ""},
		"idle for long enough":              {growing(0, 4, []muster.NodeSnapshot{idle("a", time.Minute), idle("b", 59*time.Second)}), 2, []string{"a"}, ""},
		"over its max at once":              {growing(0, 1, []muster.NodeSnapshot{idle("a", time.Second), idle("b", 2*time.Second)}), 2, []string{"b"}, ""},
		"one that leaves does not count":    {growing(0, 4, []muster.NodeSnapshot{leaving}, run(1)), 1, nil, "-1 scaling"},
		"beside one that is taken soon":     {growing(0, 4, []muster.NodeSnapshot{evicting}, run(1)), 2, nil, "-1 scaling"},
		"its provider fails":                {failing, 1, nil, "-1 provider"},
		"set-ups fail":                      {unready, 1, nil, "-1 provider"},
		"full of what cannot be made ready": {full, 2, nil, "-1 provider"},
		"none has an engine":                {growing(0, 3, []muster.NodeSnapshot{engineless}, contained), 1, nil, "-1 no nodes"},
		"of a larger size now":              {growing(0, 3, []muster.NodeSnapshot{small}, muster.Waiting{Groups: part(1, 3, 3000, 0)}), 2, nil, "-1 scaling"},
		"being deleted":                     {closing, 0, nil, "-1 closed"},
		"paused":                            {paused, 1, nil, "-1 paused"},
		"kept for a gang that waits":        {growing(0, 2, []muster.NodeSnapshot{busy, idle("a", time.Hour)}, run(2)), 2, nil, "-1 capacity"},
	} {
		d := Decide(c.s)
		if got := d.Scales[0]; got.More > 0 && c.s.Clusters[0].Scale.Failure.OfNodes() {
			t.Errorf("%s: %d more are not bought", name, got.More)
		}
		if got := d.Scales[0]; got.Nodes != c.nodes || !slices.Equal(got.Spare, c.spare) || summary(d) != c.waits || got.Reason == "" {
			t.Errorf("%s: %q, %+v", name, summary(d), got)
		}
	}
}

// TestOver holds which nodes in use are emptied of a cluster that may have fewer
// now: as many as are too many, those with least on them, and none where runs go
// on to their end.
func TestOver(t *testing.T) {
	busy := func(name string, mhz int64) muster.NodeSnapshot {
		n := idle(name, 0)
		n.Used, n.IdleSince = resources(mhz, 100, 0), time.Time{}
		return n
	}
	nodes := []muster.NodeSnapshot{busy("a", 3000), busy("b", 1000), idle("c", time.Second), busy("d", 2000)}
	for most, want := range map[int][]string{4: nil, 3: nil, 2: {"b"}, 1: {"b", "d"}} {
		for _, shrinks := range []bool{true, false} {
			s := growing(0, most, nodes)
			s.Clusters[0].Scale.Shrinks = shrinks
			if !shrinks {
				want = nil
			}
			if got := Decide(s).Scales[0].Over; !slices.Equal(got, want) {
				t.Errorf("at most %d, shrinks %v: %v, want %v", most, shrinks, got, want)
			}
		}
	}
}

// TestNeverBought holds that what a run asks too much is told by what a node to
// come offers, whether there is one or not.
func TestNeverBought(t *testing.T) {
	for _, nodes := range [][]muster.NodeSnapshot{nil, {idle("a", 0)}} {
		for _, c := range []struct {
			groups []muster.Group
			want   string
		}{
			{part(1, 1, 5000, 0), "it can never start: an instance asks for 1 core (1000 MHz) and 5000 MiB, and a node of cluster c has 4 cores (4000 MHz) and 4096 MiB"},
			{part(1, 1, 100, 1), "it can never start: an instance asks for 1 core (1000 MHz) and 100 MiB and 1 gpu, and a node of cluster c has 4 cores (4000 MHz) and 4096 MiB, and has no gpu"},
			{whole(3), "it can never start: it asks for 3 instances, each on a node of its own, and cluster c may have 2 nodes at the most"},
		} {
			d := Decide(growing(0, 2, nodes, muster.Waiting{Groups: c.groups}))
			if len(d.Refusals) != 1 || d.Refusals[0].Reason != c.want {
				t.Errorf("with %d nodes: %+v, want %s", len(nodes), d, c.want)
			}
		}
	}
}

// TestScaleNever holds what must never be, whatever waits: more nodes than max or
// fewer than min, a node that somebody uses or waits for among the spare ones, or
// nodes bought from which no waiting run would start as a whole.
func TestScaleNever(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		low := rapid.IntRange(0, 2).Draw(t, "min")
		s := growing(low, low+rapid.IntRange(1, 5).Draw(t, "more"), nil)
		c := &s.Clusters[0]
		for i := range rapid.IntRange(0, 6).Draw(t, "nodes") {
			n := idle(fmt.Sprint("n", i), time.Duration(rapid.IntRange(0, 120).Draw(t, "idle"))*time.Second)
			if used := rapid.SampledFrom([]int64{0, 1000, 4000}).Draw(t, "used"); used > 0 {
				n.Used, n.IdleSince = resources(used, used, 0), time.Time{}
			}
			c.Nodes = append(c.Nodes, n)
		}
		for i := range rapid.IntRange(0, 8).Draw(t, "runs") {
			c.Queue = append(c.Queue, muster.Waiting{RunID: int64(i + 1), Groups: part(rapid.IntRange(1, 4).Draw(t, "count"), int64(rapid.IntRange(1, 4).Draw(t, "cores")), 100, 0)})
		}
		d := Decide(s)
		scale := d.Scales[0]
		if most := max(c.Scale.Max, len(c.Nodes)); scale.Nodes > most || scale.Nodes-len(scale.Spare) < min(low, scale.Nodes) || scale.Nodes < low {
			t.Fatalf("%d nodes less %v, of %d to %d, with %d there", scale.Nodes, scale.Spare, low, c.Scale.Max, len(c.Nodes))
		}
		started := map[string]bool{}
		for _, start := range d.Starts {
			for _, p := range start.Places {
				started[p.NodeID] = true
			}
		}
		for _, n := range c.Nodes {
			if slices.Contains(scale.Spare, n.ID) && (!n.Empty() || started[n.ID]) {
				t.Fatalf("node %s is spare, and in use", n.ID)
			}
		}
		bought := scale.Nodes - max(len(c.Nodes), low)
		if bought <= 0 {
			return
		}
		// Once the nodes bought are there, another run starts, whole.
		if after := Decide(later(s, d, scale.Nodes-len(c.Nodes))); len(after.Starts) == 0 {
			t.Fatalf("%d nodes were bought, and nothing starts: %s, then %s", bought, summary(d), summary(after))
		}
	})
}

// later is the snapshot when what was decided has started and more nodes are
// there.
func later(s *muster.Snapshot, d *muster.Decision, more int) *muster.Snapshot {
	c := s.Clusters[0]
	c.Nodes, c.Queue = slices.Clone(c.Nodes), slices.Clone(c.Queue)
	for _, start := range d.Starts {
		c.Queue = slices.DeleteFunc(c.Queue, func(w muster.Waiting) bool { return w.RunID == start.RunID })
		for _, p := range start.Places {
			i := slices.IndexFunc(c.Nodes, func(n muster.NodeSnapshot) bool { return n.ID == p.NodeID })
			c.Nodes[i].Used = c.Nodes[i].Used.Add(start.Each[p.Group])
		}
	}
	for i := range more {
		c.Nodes = append(c.Nodes, idle(fmt.Sprint("x", i), 0))
	}
	return &muster.Snapshot{Now: s.Now, Clusters: []muster.ClusterSnapshot{c}}
}
