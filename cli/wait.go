package cli

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// waitRuns waits until each of some runs has ended.
func waitRuns(c *cli.Context) error {
	o, err := aboutRun(c, "[NAME…]")
	if err != nil {
		return err
	}
	defer o.api.Close()
	names := o.names()
	all := make([]fullView, len(names))
	for i, name := range names {
		v, err := awaitEnd(c.Context, c, o.api, o.workspace, name)
		if err != nil {
			return err
		}
		all[i] = full(v)
	}
	if len(all) == 1 {
		if err := show(c, all[0], func(t *table) { t.line("%s", all[0].State) }); err != nil {
			return err
		}
		return ended(all[0].RunView, true)
	}
	if err := list(c, all, listing[fullView]{
		head: []string{"NAME", "STATE", "RAN", "REASON"},
		row: func(v fullView) []string {
			return []string{v.Name, string(v.State), lastedRun(v.RunView), orDash(because(v.RunView))}
		},
		values: map[string]func(fullView) any{"RAN": func(v fullView) any { return ranOf(v.RunView) }},
	}); err != nil {
		return err
	}
	var last error
	for _, v := range all {
		if err := ended(v.RunView, true); err != nil {
			if last != nil {
				report(last, c.App.ErrWriter) // each is told, and the last one's exit code is ours
			}
			last = err
		}
	}
	return last
}

// awaitEnd waits until a run is final. Why it waits is said on stderr: what is
// so now, and each change of the kind.
func awaitEnd(ctx context.Context, c *cli.Context, api *client.Client, workspace, name string) (*muster.RunView, error) {
	f := newFollower(c, api, workspace, name)
	if err := f.waits(ctx, func(*muster.Event) bool { return false }); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return api.FollowedRun(ctx, workspace, name)
}

// waits says why the run waits: what is so now, and each change of the kind,
// until its end or an event after which nobody wants to hear of it.
func (f *follower) waits(ctx context.Context, enough func(*muster.Event) bool) error {
	says := func(e *muster.Event) {
		if e.Kind == muster.EventWait {
			f.print(f.err, fmt.Appendf(nil, "-- %s run %s waits: %s\n", clock(e.At), f.name, e.Message))
		}
	}
	chosen := muster.EventFilter{Workspace: f.workspace, Run: f.name, Kinds: []muster.EventKind{muster.EventState, muster.EventWait}}
	past, err := pagesOfEvents(ctx, f.api, chosen)
	if err != nil {
		return err
	}
	if n := len(past); n > 0 {
		says(past[n-1])
		chosen.After = past[n-1].Seq
	}
	for e, err := range f.api.Events(ctx, chosen) {
		if err != nil {
			return err
		}
		says(e)
		if enough(e) {
			return nil
		}
	}
	return nil
}

// tellWaits says why a run waits while its logs are waited for, until it leaves
// the queue. The logs alone tell of an error.
func (f *follower) tellWaits(ctx context.Context, run *muster.RunView) (stop func()) {
	if run.State != muster.RunQueued {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	told := make(chan struct{})
	go func() {
		defer close(told)
		_ = f.waits(ctx, func(e *muster.Event) bool { return e.Kind == muster.EventState && e.To != muster.RunQueued })
	}()
	return func() { cancel(); <-told }
}
