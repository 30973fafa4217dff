package controller_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/muster-ml/muster"
)

// after lets the bubble's clock run, and then reads what there is.
func (l *lab) after(d time.Duration, read func()) {
	time.Sleep(d) // the bubble's clock: it takes no time
	synctest.Wait()
	l.ledger.mu.Lock()
	defer l.ledger.mu.Unlock()
	l.engine.mu.Lock()
	defer l.engine.mu.Unlock()
	read()
}

// bubble runs a test with a controller on a clock of its own.
func bubble(t *testing.T, tick time.Duration, f func(l *lab), runs ...*muster.Run) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := start(t, tick, runs...)
		f(l)
		if l.stop != nil {
			l.stop()
		}
	})
}

// part asks for a part of the lab's node.
func part(name string, cores int64) *muster.Run {
	ask := &muster.Ask{Cores: muster.Whole(cores), MiB: muster.Whole(100)}
	return &muster.Run{Name: name, Spec: muster.Spec{Command: "true", Groups: []muster.Group{{Ask: ask}}}}
}

// TestARingIsATurn holds that loops sleep without a reason, and that a ring
// makes one turn.
func TestARingIsATurn(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		l.run()
		var looks, turns int
		count := func() { looks, turns = len(l.engine.looks), l.ledger.turns }
		l.after(time.Second, count)
		if looks == 0 || turns == 0 {
			t.Fatalf("%d looks and %d turns at the start", looks, turns)
		}
		beforeLooks, beforeTurns := looks, turns
		l.after(time.Hour, count)
		if looks != beforeLooks || turns != beforeTurns {
			t.Errorf("%d looks and %d turns in an hour without a ring or a tick", looks-beforeLooks, turns-beforeTurns)
		}
		l.engine.wake()
		beforeLooks, beforeTurns = looks, turns
		l.after(time.Second, count)
		if looks != beforeLooks+1 || turns != beforeTurns+1 {
			t.Errorf("a ring made %d looks and %d turns", looks-beforeLooks, turns-beforeTurns)
		}
		for range 100 {
			l.engine.wake()
		}
		beforeLooks = looks
		l.after(time.Second, count)
		if n := looks - beforeLooks; n < 1 || n > 2 {
			t.Errorf("a hundred rings at once made %d looks", n)
		}
	})
}

// TestTold holds that each turn of a loop is told with its error, each decision
// too, and which term it is.
func TestTold(t *testing.T) {
	bubble(t, time.Minute, func(l *lab) {
		var mu sync.Mutex
		turns, failed, decided := map[string]int{}, map[string]int{}, 0
		l.Turned = func(loop string, _ time.Duration, err error) {
			mu.Lock()
			defer mu.Unlock()
			turns[loop]++
			if err != nil {
				failed[loop]++
			}
		}
		l.Decided = func(time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			decided++
		}
		if l.Term() != 0 {
			t.Errorf("term %d before the first", l.Term())
		}
		l.engine.lookErr = errors.New("connection refused")
		l.run()
		l.after(time.Second, func() {
			mu.Lock()
			defer mu.Unlock()
			if failed["look"] == 0 || decided != 0 {
				t.Errorf("Nomad is away: %v failed, %d decisions", failed, decided)
			}
			l.engine.lookErr = nil
		})
		l.after(10*time.Second, func() {
			mu.Lock()
			defer mu.Unlock()
			if decided == 0 || turns["look"] <= failed["look"] || len(turns) != 8 || len(failed) != 1 {
				t.Errorf("Nomad is back: turns %v, failed %v, %d decisions", turns, failed, decided)
			}
		})
		if l.Term() != 1 {
			t.Errorf("term %d in the first", l.Term())
		}
	}, part("a", 1))
}

func TestTick(t *testing.T) {
	bubble(t, time.Minute, func(l *lab) {
		l.run()
		var before, after int
		l.after(time.Second, func() { before = len(l.engine.looks) })
		l.after(10*time.Minute, func() { after = len(l.engine.looks) })
		if n := after - before; n < 9 || n > 11 {
			t.Errorf("%d looks in ten minutes with a tick of one", n)
		}
	})
}

// TestNomadAway holds that a loop backs off while there are errors, that who
// waits is told so, and that all goes on by itself.
func TestNomadAway(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		var applied int
		l.engine.lookErr = errors.New("connection refused")
		l.run()
		l.after(2*time.Minute, func() {
			looks := l.engine.looks
			last := time.Duration(0)
			for i := range looks[1:] {
				gap := looks[i+1].Sub(looks[i])
				if gap < last || gap < 200*time.Millisecond || gap > 5100*time.Millisecond {
					t.Errorf("a pause of %s after one of %s", gap, last)
				}
				last = gap
			}
			if len(looks) > 40 || last < 5*time.Second {
				t.Errorf("%d looks in two minutes, at last every %s", len(looks), last)
			}
			if r, w := l.ledger.runs[0], l.Away(); r.State != muster.RunQueued || w == nil || w.Code != muster.WaitNomad {
				t.Errorf("the run is %s, and Nomad away: %+v", r.State, w)
			}
			l.engine.lookErr = nil
		})
		l.after(6*time.Second, func() {
			if r := l.ledger.runs[0]; r.State != muster.RunStarting || l.Away() != nil {
				t.Errorf("Nomad is back, and the run is %s", r.State)
			}
			l.engine.lookErr = errors.New("connection refused")
			l.ledger.runs[1].State, l.ledger.runs[1].Stop = muster.RunQueued, ""
		})
		l.Wake()
		l.after(time.Second, func() {
			if w := l.Away(); w == nil || w.Code != muster.WaitNomad || !strings.Contains(w.Message, "it did last at 00:02:0") {
				t.Errorf("the second run waits for %+v", w)
			}
			applied = len(l.ledger.applied)
		})
		l.Wake()
		l.after(time.Minute, func() {
			if n := len(l.ledger.applied) - applied; n > 0 {
				t.Errorf("%d decisions written while Nomad is away", n)
			}
		})
	}, part("a", 1), &muster.Run{Name: "later", Stop: muster.StopCancel})
}

// TestTermEnds holds that nothing is done for a term that is over, not even
// what was under way, and that a store that answers again is led again.
func TestTermEnds(t *testing.T) {
	bubble(t, time.Second, func(l *lab) {
		l.engine.hang = true
		l.run()
		l.after(time.Second, func() {
			if l.engine.dispatches["muster-a0"] != 1 {
				t.Errorf("dispatches: %v", l.engine.dispatches)
			}
			l.ledger.holder, l.ledger.term = "other", l.ledger.term+1
		})
		var turns int
		l.after(2*time.Second, func() { turns = l.ledger.turns })
		if l.Leading() {
			t.Error("it still leads")
		}
		l.after(time.Minute, func() {
			if l.ledger.turns != turns || l.ledger.live[0].Launch.State != muster.LaunchReserved {
				t.Errorf("%d turns after the term's end", l.ledger.turns-turns)
			}
			l.ledger.holder, l.engine.hang = "", false
		})
		l.after(3*time.Second, func() {
			if l.engine.dispatches["muster-a0"] != 2 || l.ledger.runs[0].State != muster.RunStarting {
				t.Errorf("in the new term: %v, the run is %s", l.engine.dispatches, l.ledger.runs[0].State)
			}
		})
		if !l.Leading() {
			t.Error("it does not lead again")
		}
	}, part("a", 1))
}

// TestStoreAway holds that a leader whose store does not answer leads until its
// lease is over, and no longer.
func TestStoreAway(t *testing.T) {
	bubble(t, time.Second, func(l *lab) {
		l.run()
		l.after(time.Second, func() { l.ledger.leaseErr = errors.New("disk I/O error") })
		l.after(2*time.Second, func() {})
		if !l.Leading() {
			t.Error("it gave up before its lease was over")
		}
		l.after(muster.LeaseLength, func() {})
		if l.Leading() {
			t.Error("it leads without a lease")
		}
		l.after(time.Second, func() { l.ledger.leaseErr = nil })
		l.after(2*time.Second, func() {})
		if !l.Leading() {
			t.Error("it does not lead again")
		}
	})
}

// TestBackOffEndsByItself holds that a run that may not start before a moment
// starts then, without a ring or a tick.
func TestBackOffEndsByItself(t *testing.T) {
	r := part("a", 1)
	bubble(t, 0, func(l *lab) {
		r.NotBefore = time.Now().Add(30 * time.Second)
		l.run()
		l.after(29*time.Second, func() {
			if r.State != muster.RunQueued {
				t.Errorf("it is %s before its time", r.State)
			}
		})
		l.after(1100*time.Millisecond, func() {
			if r.State != muster.RunStarting {
				t.Errorf("it is %s after its time", r.State)
			}
		})
	}, r)
}

// TestRefusedByNomad holds that a launch that Nomad refuses is withdrawn, and
// tried again after a while, each time a longer one.
func TestRefusedByNomad(t *testing.T) {
	r := part("a", 1)
	bubble(t, 0, func(l *lab) {
		l.engine.dispatchErr = muster.Errorf(muster.CodeRefused, "Nomad refuses: no such pool")
		l.run()
		l.after(time.Second, func() {
			if r.State != muster.RunQueued || r.Losses != 1 || !strings.Contains(r.Reason, "no such pool") || l.ledger.live[0].Launch.State != muster.LaunchPurged {
				t.Errorf("the run is %s for %q after %d losses", r.State, r.Reason, r.Losses)
			}
		})
		l.after(900*time.Millisecond, func() {
			if len(l.ledger.live) != 1 {
				t.Error("it was tried again too early")
			}
		})
		l.after(300*time.Millisecond, func() {
			if r.Losses != 2 || len(l.ledger.live) != 2 {
				t.Errorf("after the first pause the run has lost %d attempts", r.Losses)
			}
			l.engine.dispatchErr = nil
		})
		l.after(7*time.Second, func() {
			if len(l.ledger.live) != 2 {
				t.Error("the second time it was tried again too early")
			}
		})
		l.after(2*time.Second, func() {
			if r.State != muster.RunStarting || len(l.ledger.live) != 3 {
				t.Errorf("after the pause the run is %s", r.State)
			}
		})
	}, r)
}

// TestCancelBeforeDispatch holds that a run that is cancelled while Nomad does
// not answer is never dispatched, and gives its room back.
func TestCancelBeforeDispatch(t *testing.T) {
	a, b := part("a", 2), part("b", 2)
	bubble(t, 0, func(l *lab) {
		l.engine.dispatchErr = muster.Errorf(muster.CodeUnreachable, "Nomad: connection refused")
		l.run()
		var tried int
		l.after(10*time.Second, func() {
			if a.State != muster.RunAdmitted || b.State != muster.RunQueued || l.ledger.live[0].Launch.State != muster.LaunchReserved {
				t.Errorf("a is %s, b is %s", a.State, b.State)
			}
			tried, a.Stop = l.engine.dispatches["muster-a0"], muster.StopCancel
		})
		l.Wake()
		l.after(6*time.Second, func() {
			if a.State != muster.RunCancelled || l.engine.dispatches["muster-a0"] != tried || tried < 3 {
				t.Errorf("a is %s, dispatched %d times, and %d before", a.State, l.engine.dispatches["muster-a0"], tried)
			}
			if b.State != muster.RunAdmitted {
				t.Errorf("b is %s: it does not get the room of a", b.State)
			}
		})
	}, a, b)
}

// TestFreedRoomIsUsed holds that the end of one run starts the next by a ring.
func TestFreedRoomIsUsed(t *testing.T) {
	a, b := part("a", 2), part("b", 2)
	bubble(t, 0, func(l *lab) {
		l.run()
		l.after(10*time.Second, func() {
			if a.State != muster.RunStarting || b.State != muster.RunQueued {
				t.Fatalf("a is %s, b is %s", a.State, b.State)
			}
			l.ledger.live[0].Launch.Instances[0].Result = &muster.Result{Started: true}
			l.engine.sight.Allocs[0].Client = "complete"
		})
		l.engine.wake()
		l.after(time.Second, func() {
			if a.State != muster.RunSucceeded || b.State != muster.RunStarting {
				t.Errorf("a is %s, b is %s", a.State, b.State)
			}
			if l.ledger.live[0].Launch.State != muster.LaunchPurged || len(l.engine.stops) != 1 {
				t.Errorf("the launch is %s, stopped: %v", l.ledger.live[0].Launch.State, l.engine.stops)
			}
		})
	}, a, b)
}

// TestStopIsWrittenFirst holds that Nomad is told to stop a job only once the
// reason is written down: a server that died in between would take the stopped
// job for an operator's doing.
func TestStopIsWrittenFirst(t *testing.T) {
	r := part("a", 1)
	bubble(t, 0, func(l *lab) {
		l.engine.onStop = func() {
			l.ledger.mu.Lock()
			defer l.ledger.mu.Unlock()
			if x := l.ledger.live[0].Launch; x.Stop != muster.StopGang {
				t.Errorf("the job is stopped while the launch is told %q", x.Stop)
			}
		}
		l.run()
		l.after(time.Duration(muster.DefaultGangLimit)+10*time.Second, func() {
			if len(l.engine.stops) == 0 || r.State != muster.RunStarting && r.State != muster.RunQueued {
				t.Errorf("stopped: %v, the run is %s", l.engine.stops, r.State)
			}
			l.engine.onStop = nil
		})
	}, r)
}

// TestUnplaced holds that a launch for which Nomad finds no node goes back to the
// queue, and says why; and that one whose placement was not heard of stays.
func TestUnplaced(t *testing.T) {
	for _, placed := range []bool{false, true} {
		t.Run(fmt.Sprint("placed ", placed), func(t *testing.T) {
			r := part("a", 1)
			bubble(t, 0, func(l *lab) {
				l.engine.full = true
				l.run()
				l.after(5*time.Second, func() {
					if placed { // and nobody rings
						l.engine.sight.Allocs = append(l.engine.sight.Allocs, muster.SeenAlloc{ID: "late", JobID: l.ledger.live[0].Launch.ChildID, Namespace: l.ledger.live[0].Launch.Namespace,
							Ours: true, Group: "main", NodeID: "n", NodeName: "node", Client: "running", Desired: "run"})
					}
				})
				var looks int
				l.after(muster.PlaceLimit-6*time.Second, func() {
					looks = len(l.engine.looks)
					if len(l.engine.stops) > 0 {
						t.Errorf("stopped before the time is up: %v", l.engine.stops)
					}
				})
				l.after(20*time.Second, func() {
					first := l.ledger.live[0].Launch
					if placed {
						if len(l.engine.looks) == looks {
							t.Error("Nomad is not looked at anew before the launch is judged")
						}
						if first.Stop != "" || !first.Instances[0].Placed || r.State != muster.RunStarting {
							t.Errorf("it is placed and told to stop: %q, the run is %s", first.Stop, r.State)
						}
						return
					}
					if first.Stop != muster.StopUnplaced || !slices.Equal(l.ledger.whys, []string{"Nomad has not placed it within 1m0s: its node is full"}) || r.Losses != 1 {
						t.Errorf("it is told to stop: %q, as %q; the run is %s", first.Stop, l.ledger.whys, r.State)
					}
				})
			}, r)
		})
	}
}

// TestCopies holds what happens to jobs that no launch knows as its own.
func TestCopies(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		l.run()
		l.after(5*time.Second, func() {
			l.engine.sight.Jobs = append(l.engine.sight.Jobs,
				muster.SeenJob{ID: "shape/copy", Namespace: "ns", Launch: "a0", Status: "running"},
				muster.SeenJob{ID: "shape/dead-copy", Namespace: "ns", Launch: "a0", Status: "dead"},
				muster.SeenJob{ID: "shape/nobodys", Namespace: "ns", Launch: "gone", Status: "running"})
		})
		l.engine.wake()
		l.after(time.Second, func() {
			if got := strings.Join(l.engine.stops, " "); got != "shape/dead-copy shape/nobodys" {
				t.Errorf("removed at once: %s", got)
			}
		})
		l.after(28*time.Second, func() {
			if len(l.engine.stops) != 2 {
				t.Errorf("the copy was given %v", l.engine.stops)
			}
		})
		l.after(4*time.Second, func() {
			if got := strings.Join(l.engine.stops, " "); got != "shape/dead-copy shape/nobodys shape/copy" {
				t.Errorf("removed after 33 s: %s", got)
			}
			if len(l.ledger.notes) != 2 || !strings.Contains(l.ledger.notes[1], "shape/copy was a copy that somebody dispatched by hand") {
				t.Errorf("notes: %q", l.ledger.notes)
			}
			if r := l.ledger.runs[0]; r.State != muster.RunStarting || l.ledger.live[0].Launch.State != muster.LaunchDispatched {
				t.Errorf("the run itself is %s", r.State)
			}
		})
	}, part("a", 1))
}

// TestOrders holds that who waits for orders hears of a stop.
func TestOrders(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		l.run()
		l.after(time.Second, func() { l.ledger.runs[0].Stop = muster.StopCancel })
		ordered := l.Ordered()
		l.Wake()
		l.after(time.Second, func() {
			if l.ledger.live[0].Launch.Stop != muster.StopCancel {
				t.Errorf("the launch is told %q", l.ledger.live[0].Launch.Stop)
			}
		})
		select {
		case <-ordered:
		default:
			t.Error("nobody was told")
		}
	}, part("a", 1))
}

// TestForsakenNamespaces holds that the namespaces of deleted workspaces go, each
// once.
func TestForsakenNamespaces(t *testing.T) {
	bubble(t, 0, func(l *lab) {
		l.ledger.forsaken = []string{"ws-a", "ws-b"}
		l.run()
		l.after(time.Second, func() {
			if got := strings.Join(l.engine.dropped, " "); got != "ws-a ws-b" || len(l.ledger.forsaken) != 0 {
				t.Errorf("dropped %q, left %v", got, l.ledger.forsaken)
			}
		})
		l.engine.wake()
		l.after(time.Second, func() {
			if len(l.engine.dropped) != 2 {
				t.Errorf("dropped again: %v", l.engine.dropped)
			}
		})
	})
}
