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
	names := append([]string{o.name}, o.more...)
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
	says := func(e *muster.Event) {
		if e != nil && e.Kind == muster.EventWait {
			fmt.Fprintf(c.App.ErrWriter, "-- %s run %s waits: %s\n", clock(e.At), name, e.Message)
		}
	}
	f := muster.EventFilter{Workspace: workspace, Run: name, Kinds: []muster.EventKind{muster.EventState, muster.EventWait}}
	past, err := pagesOfEvents(ctx, api, f)
	if err != nil {
		return nil, err
	}
	if n := len(past); n > 0 {
		says(past[n-1])
		f.After = past[n-1].Seq
	}
	for e, err := range api.Events(ctx, f) {
		if err != nil {
			return nil, err
		}
		says(e)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return api.FollowedRun(ctx, workspace, name)
}
