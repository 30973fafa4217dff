package target

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/muster-ml/muster"
)

const (
	starting = muster.MachineStarting
	running  = muster.MachineRunning
	stopping = muster.MachineStopping
)

// now is when the decisions of the tests are made.
var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// wants is a scaling of a local cluster.
func wants(nodes int, leaving ...string) *muster.Scaling {
	return &muster.Scaling{Provider: muster.ProviderLocal, Wanted: muster.Wanted{Nodes: nodes}, Leaving: leaving}
}

func TestDecide(t *testing.T) {
	up := func(name string) sight {
		return sight{name: name, state: running, due: now.Add(-time.Hour), started: true, alive: true}
	}
	evicting := wants(2)
	evicting.Evict = []muster.Eviction{{Machine: "a", At: now}, {Machine: "b", At: now.Add(1)}}
	cloud := wants(9)
	cloud.Provider = muster.ProviderAWS
	with := func(s sight, change func(*sight)) sight { change(&s); return s }
	for _, c := range []struct {
		name string
		view view
		buy  int
		acts map[string]act
	}{
		{"grow", view{scaling: wants(3), asked: true, machines: []sight{up("a")}}, 2, nil},
		{"not asked", view{scaling: wants(3), machines: []sight{up("a")}}, 0, nil},
		{"another provider's", view{scaling: cloud, asked: true}, 0, nil},
		{"backing off", view{scaling: wants(1), asked: true, until: now.Add(1)}, 0, nil},
		{"backed off", view{scaling: wants(1), asked: true, until: now}, 1, nil},
		{"shrink without leaving", view{scaling: wants(0), asked: true, machines: []sight{up("a"), up("b")}}, 0, nil},
		{"shrink takes what leaves", view{scaling: wants(1, "b"), asked: true, machines: []sight{up("a"), up("b")}}, 0, map[string]act{"b": actStop}},
		{"all that leave are taken", view{scaling: wants(0, "b", "a"), asked: true, machines: []sight{up("a"), up("b")}}, 0, map[string]act{"a": actStop, "b": actStop}},
		{"leaving, and another wanted", view{scaling: wants(2, "b"), asked: true, machines: []sight{up("a"), up("b")}}, 1, map[string]act{"b": actStop}},
		{"leaving, and nobody asked", view{scaling: wants(1, "b"), machines: []sight{up("a"), up("b")}}, 0, map[string]act{"b": actStop}},
		{"leaving, by an old answer", view{scaling: wants(2, "b"), late: true, asked: true, machines: []sight{up("a"), up("b")}}, 1, nil},
		{"leaving, and a reboot asked", view{scaling: wants(0, "a"), machines: []sight{with(up("a"), func(s *sight) { s.reboot = true })}}, 0, map[string]act{"a": actStop}},
		{"leaving is one that starts", view{scaling: wants(0, "a"), asked: true, machines: []sight{{name: "a", state: starting, due: now.Add(1)}}}, 0, map[string]act{"a": actStop}},
		{"one that stops does not count", view{scaling: wants(1), asked: true, machines: []sight{{name: "a", state: stopping}}}, 1, nil},
		{"dead", view{scaling: wants(1), asked: true, machines: []sight{with(up("a"), func(s *sight) { s.alive = false })}}, 1, map[string]act{"a": actBury}},
		{"dead, and the server away", view{machines: []sight{with(up("a"), func(s *sight) { s.alive = false })}}, 0, map[string]act{"a": actBury}},
		{"evicted", view{scaling: evicting, asked: true, machines: []sight{up("a"), up("b")}}, 0, map[string]act{"a": actEvict}},
		{"evicted, and being taken", view{scaling: evicting, asked: true, machines: []sight{{name: "a", state: stopping}, up("b")}}, 0, nil},
		{"evicted, and the server has not heard", view{scaling: evicting, asked: true, machines: []sight{up("b")}}, 0, nil},
		{"due", view{machines: []sight{{name: "a", state: starting, due: now}, {name: "b", state: starting, due: now.Add(1)}}}, 0, map[string]act{"a": actStart}},
		{"ready", view{nodes: true, machines: []sight{with(up("a"), func(s *sight) { s.state, s.ready = starting, true })}}, 0, map[string]act{"a": actSettle}},
		{"too late, but proven", view{scaling: wants(1), asked: true, nodes: true, machines: []sight{with(up("a"), func(s *sight) { s.state, s.proven = starting, true })}}, 0, nil},
		{"too late", view{scaling: wants(1), asked: true, nodes: true, machines: []sight{with(up("a"), func(s *sight) { s.state = starting })}}, 1, map[string]act{"a": actGiveUp}},
		{"late, but who knows", view{machines: []sight{with(up("a"), func(s *sight) { s.state = starting })}}, 0, nil},
		{"reboot", view{machines: []sight{with(up("a"), func(s *sight) { s.reboot = true })}}, 0, map[string]act{"a": actReboot}},
		{"reboot cut off", view{machines: []sight{with(up("a"), func(s *sight) { s.reboot, s.alive = true, false })}}, 0, map[string]act{"a": actReboot}},
		{"reboot failed", view{machines: []sight{with(up("a"), func(s *sight) { s.reboot, s.alive, s.until = true, false, now.Add(1) })}}, 0, nil},
		{"move cut off", view{machines: []sight{with(up("a"), func(s *sight) { s.moving, s.alive = true, false })}}, 0, map[string]act{"a": actMove}},
		{"move failed", view{machines: []sight{with(up("a"), func(s *sight) { s.moving, s.until = true, now.Add(1) })}}, 0, nil},
		{"servers elsewhere", view{machines: []sight{with(up("a"), func(s *sight) { s.moved = true })}}, 0, map[string]act{"a": actMove}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.view.now, c.view.startLimit = now, time.Minute
			p := decide(c.view)
			if p.buy != c.buy || !maps.Equal(p.acts, c.acts) {
				t.Errorf("buys %d and does %v, want %d and %v", p.buy, p.acts, c.buy, c.acts)
			}
		})
	}
}

// TestDecideNever looks, in many cases, for what must never happen.
func TestDecideNever(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"a", "b", "c", "d", "e"}
		v := view{now: now, startLimit: time.Minute, asked: rapid.Bool().Draw(t, "asked"), nodes: rapid.Bool().Draw(t, "nodes"), late: rapid.Bool().Draw(t, "late")}
		v.scaling = wants(rapid.IntRange(0, 6).Draw(t, "wanted"), rapid.SliceOfDistinct(rapid.SampledFrom(names), rapid.ID).Draw(t, "leaving")...)
		stays := 0
		for _, name := range names {
			if rapid.Bool().Draw(t, "there") {
				m := sight{name: name, state: rapid.SampledFrom([]muster.MachineState{starting, running, stopping}).Draw(t, "state"),
					due: now.Add(-rapid.SampledFrom([]time.Duration{0, time.Second, time.Hour}).Draw(t, "age")), started: rapid.Bool().Draw(t, "started"),
					alive: rapid.Bool().Draw(t, "alive"), ready: rapid.Bool().Draw(t, "ready"), proven: rapid.Bool().Draw(t, "proven"),
					moving: rapid.Bool().Draw(t, "moving"), reboot: rapid.Bool().Draw(t, "reboot")}
				v.machines = append(v.machines, m)
				if m.state != stopping && !v.leaves(name) {
					stays++
				}
			}
		}
		p := decide(v)
		switch {
		case p.have > stays:
			t.Fatalf("counts %d though %d stay at the most", p.have, stays)
		case p.buy > 0 && (!v.asked || p.have+p.buy != v.scaling.Wanted.Nodes):
			t.Fatalf("buys %d beside %d of wanted %d", p.buy, p.have, v.scaling.Wanted.Nodes)
		case v.asked && p.have+p.buy < v.scaling.Wanted.Nodes:
			t.Fatalf("has %d and buys %d, and %d are wanted", p.have, p.buy, v.scaling.Wanted.Nodes)
		}
		for _, m := range v.machines {
			do := p.acts[m.name]
			switch {
			case do == actStop && (v.late || !v.leaves(m.name)):
				t.Fatalf("%+v is stopped and does not leave", m)
			case do == actBury && (m.alive || !m.started || m.moving || m.reboot), do == actGiveUp && m.proven:
				t.Fatalf("%+v: %s", m, do)
			}
		}
	})
}

// TestDecideConverges lets a server that says its number without those that leave,
// the agent and a target come to rest: then there are as many machines as are
// wanted, and all that stayed at first are still there.
func TestDecideConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state := map[string]muster.MachineState{}
		scaling := wants(rapid.IntRange(0, 6).Draw(t, "wanted"))
		first := 0
		for i := range rapid.IntRange(0, 6).Draw(t, "machines") {
			name := fmt.Sprint("old-", i)
			state[name] = running
			if rapid.Bool().Draw(t, "leaves") {
				scaling.Leaving = append(scaling.Leaving, name)
				continue
			}
			first++
		}
		bought, quiet := 0, 0
		for round := 0; quiet < 2; round++ {
			if round > 10 {
				t.Fatalf("no rest: %v of wanted %d, %q leave", state, scaling.Wanted.Nodes, scaling.Leaving)
			}
			v := view{now: now, startLimit: time.Minute, scaling: scaling}
			count := 0 // as Status says it
			for name, s := range state {
				v.machines = append(v.machines, sight{name: name, state: s, due: now, started: true, alive: true})
				if s != stopping && !v.leaves(name) {
					count++
				}
			}
			v.asked = count != scaling.Wanted.Nodes
			p := decide(v)
			maps.DeleteFunc(state, func(_ string, s muster.MachineState) bool { return s == stopping && rapid.Bool().Draw(t, "gone") })
			for name, do := range p.acts {
				if do != actStop || !v.leaves(name) {
					t.Fatalf("%s: %s", name, do)
				}
				state[name] = stopping
			}
			for range p.buy {
				bought++
				state[fmt.Sprint("new-", bought)] = running
			}
			if quiet++; len(p.acts) > 0 || p.buy > 0 {
				quiet = 0
			}
			stay := 0
			for _, s := range state {
				if s == running {
					stay++
				}
			}
			if stay != max(first, scaling.Wanted.Nodes) {
				t.Fatalf("%d machines stay after round %d; %d stayed at first, and %d are wanted", stay, round, first, scaling.Wanted.Nodes)
			}
		}
	})
}

func TestFail(t *testing.T) {
	var f *muster.BuyFailure
	at := now
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		f = fail(f, at, muster.FailQuota, "no more")
		if wait := f.Until.Sub(at); wait != want*time.Second || f.Tries != i+1 || f.Since != now {
			t.Errorf("try %d waits %s: %+v", i+1, wait, f)
		}
		at = f.Until
	}
	f.Tries = 1 << 40
	if f = fail(f, now, muster.FailQuota, ""); f.Until.Sub(now) != time.Minute {
		t.Errorf("after very many tries it waits %s", f.Until.Sub(now))
	}
}

// TestFailureStays keeps a failure while it may still be in somebody's plans.
func TestFailureStays(t *testing.T) {
	f := fail(nil, now, muster.FailCapacity, "none")
	if stale(nil, now) || stale(f, f.Until.Add(10*time.Minute)) || !stale(f, f.Until.Add(10*time.Minute+1)) {
		t.Errorf("%+v is not kept for ten minutes", f)
	}
}
