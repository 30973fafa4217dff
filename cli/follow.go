package cli

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// follower prints a run while it happens: its streams to ours, and what happens
// to it to stderr.
type follower struct {
	api             *client.Client
	workspace, name string
	look            logLook

	some     bool // something was read
	mu       sync.Mutex
	out, err io.Writer
}

func newFollower(c *cli.Context, api *client.Client, workspace, name string) *follower {
	return &follower{api: api, workspace: workspace, name: name, out: c.App.Writer, err: c.App.ErrWriter}
}

// follow prints until the run's end.
func (f *follower) follow(ctx context.Context) (*muster.RunView, error) {
	fmt.Fprintf(f.err, "run %s\n", f.name)
	g, streams := errgroup.WithContext(ctx)
	read := make(chan struct{}) // closed when all of the logs is printed
	g.Go(func() error { return f.events(streams, read) })
	g.Go(func() error {
		defer close(read)
		run, err := f.api.Run(streams, f.workspace, f.name)
		if err != nil {
			return err
		}
		f.look.ranks = instancesOf(run) > 1
		return f.logs(streams, client.LogQuery{Workspace: f.workspace, Run: f.name, All: true})
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return f.api.FollowedRun(ctx, f.workspace, f.name)
}

// events prints what happens; the end of the run, and of its last attempt, after
// the last line of its logs.
func (f *follower) events(ctx context.Context, read <-chan struct{}) error {
	var held string // how an attempt ended: the next event says whether it was the last
	for e, err := range f.api.Events(ctx, muster.EventFilter{Workspace: f.workspace, Run: f.name}) {
		if err != nil {
			return err
		}
		if e.To.Final() && e.Kind == muster.EventState {
			<-read
		}
		line := "-- " + eventLine(e) + "\n"
		if e.Kind == muster.EventAttempt {
			held += line
			continue
		}
		f.print(f.err, []byte(held+line))
		held = ""
	}
	return context.Cause(ctx)
}

// logs prints the streams.
func (f *follower) logs(ctx context.Context, q client.LogQuery) error {
	p := newLogPrinter(f.out, f.err, f.look)
	attempt := max(1, q.Attempt)
	for chunk, err := range f.api.Logs(ctx, q) {
		if err != nil {
			return err
		}
		if chunk.Attempt > attempt {
			if err := f.show(p.flush); err != nil {
				return err
			}
			attempt = chunk.Attempt
			if !f.look.json && !q.Once {
				f.print(f.err, fmt.Appendf(nil, "-- attempt %d\n", attempt))
			}
		}
		f.some = f.some || f.look.grep == nil && len(chunk.Data) > 0
		if err := f.show(func() error { return p.print(chunk) }); err != nil {
			return err
		}
	}
	if err := f.show(p.flush); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// show shows something while nothing else is shown.
func (f *follower) show(what func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return what()
}

// print writes one piece whole.
func (f *follower) print(to io.Writer, data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, _ = to.Write(data) // a terminal that is gone sends a signal of its own
}

// eventLine shows an event in a line.
func eventLine(e *muster.Event) string {
	text := clock(e.At) + " "
	switch {
	case e.Kind == muster.EventState:
		text += stateWords(string(e.To), e.Message)
	case e.Kind == muster.EventWait:
		text += "waits: " + e.Message
	default:
		text += e.Message
	}
	return text
}
