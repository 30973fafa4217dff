package run

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/ship"
	"github.com/muster-ml/muster/client"
)

// maxNotes is how many notes a run may have.
const maxNotes = 100

// reporter tells the server what the instance does, at once when it changes,
// and otherwise keeps a report waiting there to hear what is wanted.
type reporter struct {
	agent  *client.Agent
	hold   time.Duration // how long a report may wait at the server
	onStop func(muster.StopReason)
	onGo   func()
	onOver func(error) // the server wants no more of this instance

	mu      sync.Mutex
	report  muster.Report
	version int           // of report
	changed chan struct{} // closed and made anew at every change
}

// newReporter makes the reporter of an assignment.
func newReporter(agent *client.Agent, a *muster.Assignment, fence time.Duration) *reporter {
	hold := max(min(fence/6, 30*time.Second), time.Second).Truncate(time.Second)
	return &reporter{agent: agent, hold: hold, version: 1, changed: make(chan struct{}),
		report: muster.Report{Attempt: a.Attempt, Instance: a.Instance}}
}

// change changes the report and wakes the sender.
func (r *reporter) change(f func(*muster.Report)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.report)
	r.version++
	close(r.changed)
	r.changed = make(chan struct{})
}

// enter tells that a phase begins.
func (r *reporter) enter(p muster.Phase) {
	r.change(func(rep *muster.Report) {
		rep.Phases = append(slices.Clip(rep.Phases), muster.PhaseChange{Phase: p, At: time.Now().UTC()})
	})
}

// note tells something worth knowing, once.
func (r *reporter) note(text string) {
	r.mu.Lock()
	known := slices.Contains(r.report.Notes, text) || len(r.report.Notes) > maxNotes
	full := len(r.report.Notes) == maxNotes
	r.mu.Unlock()
	if known {
		return
	}
	if full {
		text = "there are more notes, which are not kept"
	}
	r.change(func(rep *muster.Report) { rep.Notes = append(slices.Clip(rep.Notes), text) })
}

// end tells the result; run returns once it is acknowledged.
func (r *reporter) end(res *muster.Result) {
	r.change(func(rep *muster.Report) {
		rep.Phases = append(slices.Clip(rep.Phases), muster.PhaseChange{Phase: muster.PhaseDone, At: time.Now().UTC()})
		rep.Result = res
	})
}

// snapshot returns the report as it is now.
func (r *reporter) snapshot() (muster.Report, int, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.report, r.version, r.changed
}

// run reports until the result is acknowledged, the server wants no more, or
// ctx ends.
func (r *reporter) run(ctx context.Context) error {
	acked := 0
	for {
		rep, version, changed := r.snapshot()
		if version == acked {
			rep.WaitSeconds = int(r.hold / time.Second)
		} else {
			changed = nil // this report is the change: it is not to be broken off
		}
		began := time.Now()
		orders, err := r.send(ctx, &rep, changed)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case orders == nil && err == nil:
			continue
		case err != nil:
			r.onOver(err)
			return err
		}
		acked = version
		if rep.Result != nil {
			return nil
		}
		r.hear(orders)
		if rep.WaitSeconds > 0 && time.Since(began) < firstAnswer {
			pause(ctx, firstAnswer)
		}
	}
}

// firstAnswer is the least time between a report that may wait and the next.
const firstAnswer = 100 * time.Millisecond

// pause waits, or less when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// send sends a report until it is answered. One that waits at the server is
// broken off, without orders and error, when there is something new to tell.
func (r *reporter) send(ctx context.Context, rep *muster.Report, changed <-chan struct{}) (orders *muster.Orders, err error) {
	try, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-changed:
			cancel()
		case <-try.Done():
		}
	}()
	err = ship.Retry(try, func(ctx context.Context) error {
		once, stop := context.WithTimeout(ctx, time.Duration(rep.WaitSeconds)*time.Second+15*time.Second)
		defer stop()
		orders, err = r.agent.Report(once, rep)
		return err
	})
	if try.Err() != nil {
		return nil, nil
	}
	return orders, err
}

// hear acts on the server's orders.
func (r *reporter) hear(o *muster.Orders) {
	if o.Go {
		r.onGo()
	}
	if o.Stop == "" {
		return
	}
	r.mu.Lock()
	known := r.report.Stopping
	r.mu.Unlock()
	if !known {
		r.change(func(rep *muster.Report) { rep.Stopping = true })
		r.onStop(o.Stop)
	}
}
