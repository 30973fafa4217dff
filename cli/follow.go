package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

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

	some     bool // something was shown
	mu       sync.Mutex
	out, err io.Writer
	streams  io.Writer // where the run's stderr goes: err, or out
	held     string    // what is told once the logs have come that were written before it
}

func newFollower(c *cli.Context, api *client.Client, workspace, name string) *follower {
	return &follower{api: api, workspace: workspace, name: name, out: c.App.Writer, err: c.App.ErrWriter, streams: c.App.ErrWriter}
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

// logsCome is how long what follows the end of a command is held back at most:
// the last of its logs comes a moment later than the events.
const logsCome = 2 * time.Second

// events prints what happens; the end of the run, and of its last attempt, after
// the last line of its logs.
func (f *follower) events(ctx context.Context, read <-chan struct{}) error {
	late := time.AfterFunc(logsCome, f.release)
	defer late.Stop()
	for e, err := range f.api.Events(ctx, muster.EventFilter{Workspace: f.workspace, Run: f.name}) {
		if err != nil {
			return err
		}
		late.Stop()
		if e.To.Final() && e.Kind == muster.EventState {
			<-read
		}
		f.hold("-- " + eventLine(e) + "\n")
		switch {
		case e.Kind == muster.EventAttempt: // the next event says whether it was the last
		case afterCommand(e):
			late.Reset(logsCome)
		default:
			f.release()
		}
	}
	f.release()
	return context.Cause(ctx)
}

// afterCommand reports whether an event tells of what comes when a command has
// ended.
func afterCommand(e *muster.Event) bool {
	return e.Kind == muster.EventInstance && slices.ContainsFunc([]muster.Phase{muster.PhaseUploading, muster.PhaseDone}, func(p muster.Phase) bool {
		return strings.HasSuffix(e.Message, "phase "+string(p))
	})
}

// hold keeps a line back.
func (f *follower) hold(line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held += line
}

// release prints what is held back.
func (f *follower) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, _ = io.WriteString(f.err, f.held) // as print does
	f.held = ""
}

// logs prints the streams.
func (f *follower) logs(ctx context.Context, q client.LogQuery) error {
	p := newLogPrinter(f.out, f.streams, f.look)
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
		if err := f.show(func() error { return p.print(chunk) }); err != nil {
			return err
		}
	}
	if err := f.show(p.flush); err != nil {
		return err
	}
	f.some = p.shown
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
