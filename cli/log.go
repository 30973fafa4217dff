package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

func logsOfRun(c *cli.Context) error {
	o, err := aboutRun(c)
	if err != nil {
		return err
	}
	defer o.api.Close()
	q := client.LogQuery{Workspace: o.workspace, Run: o.name, Attempt: c.Int("attempt"), Instance: c.Int("instance")}
	var streams []muster.Stream
	switch s := c.String("stream"); s {
	case "both":
		streams = []muster.Stream{muster.Stdout, muster.Stderr}
	case string(muster.Stdout), string(muster.Stderr):
		q.Stream = muster.Stream(s)
		streams = []muster.Stream{q.Stream}
	default:
		return muster.Errorf(muster.CodeInvalid, "--stream is %q", s).WithCure("use stdout, stderr or both")
	}
	f := newFollower(c, o.api, o.workspace, o.name)
	if len(streams) == 1 {
		f.err = f.out // one stream that was asked for belongs on stdout
	}
	if c.Bool("follow") {
		ctx, stop := signal.NotifyContext(c.Context, os.Interrupt)
		defer stop()
		if to, ok := c.App.ErrWriter.(*os.File); !ok || !isTerminal(to) {
			o.api.OnAway = nil // a file behind stderr gets the run's own and nothing else
		}
		return f.logs(ctx, q)
	}
	run, err := o.api.Run(c.Context, o.workspace, o.name)
	if err != nil {
		return err
	}
	if len(run.Attempts) == 0 {
		fmt.Fprintf(c.App.ErrWriter, "run %s has not started (%s)\n", o.name, run.State)
		return nil
	}
	for _, q.Stream = range streams {
		to := f.out
		if q.Stream == muster.Stderr {
			to = f.err
		}
		if err := o.api.WriteLog(c.Context, q, to); err != nil {
			return err
		}
	}
	return nil
}

func eventsOfRun(c *cli.Context) error {
	o, err := aboutRun(c)
	if err != nil {
		return err
	}
	defer o.api.Close()
	if c.Bool("follow") {
		return o.followEvents()
	}
	all, err := o.allEvents()
	if err != nil {
		return err
	}
	return list(c, all, listing[*muster.Event]{
		head: []string{"NUMBER", "TIME", "KIND", "BY", "MESSAGE"},
		row: func(e *muster.Event) []string {
			return []string{fmt.Sprint(e.Seq), clock(e.At), string(e.Kind), e.Actor, eventText(e)}
		},
		empty: "Nothing has happened to the run yet.",
	})
}

// eventText says what an event tells, with the states it is about.
func eventText(e *muster.Event) string {
	switch {
	case e.Kind == muster.EventState && e.From != "":
		return strings.TrimSuffix(fmt.Sprintf("%s → %s: %s", e.From, e.To, e.Message), ": ")
	case e.Kind == muster.EventState:
		return fmt.Sprintf("%s: %s", e.To, e.Message)
	}
	return e.Message
}

// allEvents reads every page of a run's events.
func (o *ofRun) allEvents() (all []*muster.Event, err error) {
	for after := int64(0); ; after = all[len(all)-1].Seq {
		page, err := o.api.ListEvents(o.Context.Context, o.workspace, o.name, after)
		if err != nil || len(page) == 0 {
			return all, err
		}
		all = append(all, page...)
	}
}

// followEvents prints events as they come; as JSON one a line.
func (o *ofRun) followEvents() error {
	ctx, stop := signal.NotifyContext(o.Context.Context, os.Interrupt)
	defer stop()
	out := json.NewEncoder(o.App.Writer)
	for e, err := range o.api.Events(ctx, o.workspace, o.name, 0) {
		if err == nil && o.String("output") == "json" {
			err = out.Encode(e)
		} else if err == nil {
			_, err = fmt.Fprintln(o.App.Writer, eventLine(e))
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}
