package run

import (
	"context"
	"slices"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/ship"
	"github.com/muster-ml/muster/client"
)

// maxNotes is how many notes a run may have.
const maxNotes = 100

// reporter tells the server what the instance does, and hears what is wanted.
type reporter struct {
	line   *ship.Line[muster.Report, muster.Orders]
	onStop func(muster.StopReason)
	onGo   func()
	onOver func(error) // the server wants no more of this instance
}

// newReporter makes the reporter of an assignment.
func newReporter(agent *client.Agent, a *muster.Assignment, fence time.Duration) *reporter {
	hold := max(min(fence/6, 30*time.Second), time.Second).Truncate(time.Second)
	send := func(ctx context.Context, report muster.Report, hold time.Duration) (*muster.Orders, error) {
		report.WaitSeconds = int(hold / time.Second)
		return agent.Report(ctx, &report)
	}
	return &reporter{line: ship.NewLine(muster.Report{Attempt: a.Attempt, Instance: a.Instance}, hold, send)}
}

// enter tells that a phase begins.
func (r *reporter) enter(p muster.Phase) {
	r.line.Change(func(rep *muster.Report) {
		rep.Phases = append(slices.Clip(rep.Phases), muster.PhaseChange{Phase: p, At: time.Now().UTC()})
	})
}

// note tells something worth knowing, once.
func (r *reporter) note(text string) {
	notes := r.line.Report().Notes
	if slices.Contains(notes, text) || len(notes) > maxNotes {
		return
	}
	if len(notes) == maxNotes {
		text = "there are more notes, which are not kept"
	}
	r.line.Change(func(rep *muster.Report) { rep.Notes = append(slices.Clip(rep.Notes), text) })
}

// end tells the result; run returns once it is acknowledged.
func (r *reporter) end(res *muster.Result) {
	r.line.Change(func(rep *muster.Report) {
		rep.Phases = append(slices.Clip(rep.Phases), muster.PhaseChange{Phase: muster.PhaseDone, At: time.Now().UTC()})
		rep.Result = res
	})
}

// run reports until the result is acknowledged, the server wants no more, or
// ctx ends.
func (r *reporter) run(ctx context.Context) error {
	err := r.line.Run(ctx, func(told muster.Report, o *muster.Orders) (last bool) {
		if told.Result != nil {
			return true
		}
		r.hear(o)
		return false
	})
	if err != nil && ctx.Err() == nil {
		r.onOver(err)
	}
	return err
}

// hear acts on the server's orders.
func (r *reporter) hear(o *muster.Orders) {
	if o.Go {
		r.onGo()
	}
	if o.Stop != "" && !r.line.Report().Stopping {
		r.line.Change(func(rep *muster.Report) { rep.Stopping = true })
		r.onStop(o.Stop)
	}
}
