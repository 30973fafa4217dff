package target

import (
	"maps"
	"slices"
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
		{"shrink takes no more than wanted", view{scaling: wants(1, "b", "a"), asked: true, machines: []sight{up("a"), up("b")}}, 0, map[string]act{"b": actStop}},
		{"leaving, but wanted", view{scaling: wants(2, "b"), asked: true, machines: []sight{up("a"), up("b")}}, 0, nil},
		{"leaving is one that starts", view{scaling: wants(0, "a"), asked: true, machines: []sight{{name: "a", state: starting, due: now.Add(1)}}}, 0, map[string]act{"a": actStop}},
		{"one that stops does not count", view{scaling: wants(1), asked: true, machines: []sight{{name: "a", state: stopping}}}, 1, nil},
		{"dead", view{scaling: wants(1), asked: true, machines: []sight{with(up("a"), func(s *sight) { s.alive = false })}}, 1, map[string]act{"a": actBury}},
		{"dead, and the server away", view{machines: []sight{with(up("a"), func(s *sight) { s.alive = false })}}, 0, map[string]act{"a": actBury}},
		{"evicted", view{scaling: evicting, asked: true, machines: []sight{up("a"), up("b")}}, 1, map[string]act{"a": actEvict}},
		{"due", view{machines: []sight{{name: "a", state: starting, due: now}, {name: "b", state: starting, due: now.Add(1)}}}, 0, map[string]act{"a": actStart}},
		{"ready", view{nodes: true, machines: []sight{with(up("a"), func(s *sight) { s.state, s.ready = starting, true })}}, 0, map[string]act{"a": actSettle}},
		{"too late", view{scaling: wants(1), asked: true, nodes: true, machines: []sight{with(up("a"), func(s *sight) { s.state = starting })}}, 1, map[string]act{"a": actGiveUp}},
		{"late, but who knows", view{machines: []sight{with(up("a"), func(s *sight) { s.state = starting })}}, 0, nil},
		{"reboot", view{machines: []sight{with(up("a"), func(s *sight) { s.reboot = true })}}, 0, map[string]act{"a": actReboot}},
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
		v := view{now: now, startLimit: time.Minute, asked: rapid.Bool().Draw(t, "asked"), nodes: rapid.Bool().Draw(t, "nodes")}
		v.scaling = wants(rapid.IntRange(0, 6).Draw(t, "wanted"), rapid.SliceOfDistinct(rapid.SampledFrom(names), rapid.ID).Draw(t, "leaving")...)
		for _, name := range names {
			if rapid.Bool().Draw(t, "there") {
				v.machines = append(v.machines, sight{name: name, state: rapid.SampledFrom([]muster.MachineState{starting, running, stopping}).Draw(t, "state"),
					due: now.Add(-rapid.SampledFrom([]time.Duration{0, time.Second, time.Hour}).Draw(t, "age")), started: rapid.Bool().Draw(t, "started"),
					alive: rapid.Bool().Draw(t, "alive"), ready: rapid.Bool().Draw(t, "ready")})
			}
		}
		p := decide(v)
		left := p.have - p.stops()
		switch {
		case p.buy > 0 && (p.stops() > 0 || !v.asked || p.have+p.buy != v.scaling.Wanted.Nodes):
			t.Fatalf("buys %d beside %d and stops %d of wanted %d", p.buy, p.have, p.stops(), v.scaling.Wanted.Nodes)
		case p.stops() > 0 && left < v.scaling.Wanted.Nodes:
			t.Fatalf("stops %d of %d though %d are wanted", p.stops(), p.have, v.scaling.Wanted.Nodes)
		}
		for name, do := range p.acts {
			if do == actStop && !slices.Contains(v.scaling.Leaving, name) {
				t.Fatalf("%s is stopped and does not leave", name)
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
