package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// logFlags choose what of a run's logs is shown, and how.
func logFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "stream", Usage: "`STREAM`: stdout, stderr or both", Value: "both"},
		&cli.IntFlag{Name: "attempt", Usage: "`NUMBER` of the attempt (default: the last)"},
		&cli.IntFlag{Name: "instance", Aliases: []string{"rank"}, Usage: "`NUMBER` of the instance, from 0 (default: all, by time)"},
		&cli.IntFlag{Name: "tail", Usage: "only the last `MANY` lines"},
		&cli.StringFlag{Name: "since", Usage: "only what was written since a `TIME`, such as 5m, 3d, 15:04:05 or 2006-01-02T15:04:05Z"},
		&cli.StringFlag{Name: "grep", Usage: "only lines that match a regular `EXPRESSION`, of those that --tail and --since choose"},
		&cli.BoolFlag{Name: "timestamps", Aliases: []string{"t"}, Usage: "begin each line with the time at which it was written"},
		&cli.StringFlag{Name: "color", Usage: "`WHEN` the command's own colours are kept: auto is on terminals, always, never", Value: "auto"},
		&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on until the run ends"},
	}
}

func logsOfRun(c *cli.Context) error {
	o, err := aboutRun(c)
	if err != nil {
		return err
	}
	defer o.api.Close()
	q, look, err := o.logFlags()
	if err != nil {
		return err
	}
	run, err := o.api.Run(c.Context, o.workspace, o.name)
	if err != nil {
		return err
	}
	look.ranks = q.All && instancesOf(run) > 1
	f := newFollower(c, o.api, o.workspace, o.name)
	f.look = look
	if q.Stream != "" {
		f.streams = f.out // one stream that was asked for belongs on stdout
	}
	ctx := c.Context
	switch {
	case c.Bool("follow"):
		var stop func()
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt)
		defer stop()
		if to, ok := c.App.ErrWriter.(*os.File); !ok || !isTerminal(to) {
			o.api.OnAway = nil // a file behind stderr gets the run's own and nothing else
		}
		stopTelling := f.tellWaits(ctx, run)
		defer stopTelling()
	case len(run.Attempts) == 0:
		return notStarted(c, run)
	}
	q.Once = !c.Bool("follow")
	if err := f.logs(ctx, q); err != nil || f.some || !q.Once || look.json {
		return err
	}
	fmt.Fprintln(c.App.ErrWriter, nothingLogged(c, run))
	return nil
}

// notStarted says that a run has no logs, as it has never been started. What is
// asked for must exist all the same.
func notStarted(c *cli.Context, run *muster.RunView) error {
	if n := c.Int("attempt"); n > 0 {
		return muster.Errorf(muster.CodeNotFound, "run %s has no attempt %d", run.Name, n).WithCure("it has none yet: muster run why %s says why", run.Name)
	}
	if n, has := c.Int("instance"), instancesOf(run); n >= has {
		return muster.Errorf(muster.CodeNotFound, "run %s has no instance %d", run.Name, n).WithCure("it has %d, numbered from 0", has)
	}
	if run.State.Final() {
		fmt.Fprintf(c.App.ErrWriter, "run %s was never started: %s\n", run.Name, stateWords(string(run.State), run.Reason))
		return nil
	}
	fmt.Fprintf(c.App.ErrWriter, "run %s has not started (%s)\n", run.Name, run.State)
	return nil
}

// nothingLogged says that no line was shown, and why.
func nothingLogged(c *cli.Context, run *muster.RunView) string {
	if c.String("grep") != "" || c.IsSet("since") {
		return "run " + run.Name + " has written no such line"
	}
	text := "run " + run.Name + " has written nothing"
	if stream := c.String("stream"); stream != "both" {
		text += " to " + stream
	}
	if !run.State.Final() {
		text += " yet"
	}
	return text
}

// logFlags reads the flags.
func (o *ofRun) logFlags() (q client.LogQuery, look logLook, err error) {
	q = client.LogQuery{Workspace: o.workspace, Run: o.name, Attempt: o.Int("attempt"), Instance: o.Int("instance"), All: !o.IsSet("instance"), Tail: o.Int("tail")}
	look = logLook{stamps: o.Bool("timestamps"), json: o.String("output") == "json", colour: o.String("color")}
	switch s := o.String("stream"); s {
	case "both":
	case string(muster.Stdout), string(muster.Stderr):
		q.Stream = muster.Stream(s)
	default:
		return q, look, muster.Errorf(muster.CodeInvalid, "--stream is %q", s).WithCure("use stdout, stderr or both")
	}
	for _, flag := range []string{"tail", "attempt", "instance"} {
		if n := o.Int(flag); n < 0 {
			return q, look, muster.Errorf(muster.CodeInvalid, "--%s is %d", flag, n).WithCure("use a number from 0 on, or leave it out for all")
		}
	}
	if !slices.Contains([]string{"auto", "always", "never"}, look.colour) {
		return q, look, muster.Errorf(muster.CodeInvalid, "--color is %q", look.colour).WithCure("use auto, always or never")
	}
	if q.Since, err = readSince(o.String("since"), time.Now()); err != nil {
		return q, look, err
	}
	if grep := o.String("grep"); grep != "" {
		if look.grep, err = regexp.Compile(grep); err != nil {
			return q, look, muster.Errorf(muster.CodeInvalid, "--grep: %v", err)
		}
	}
	return q, look, nil
}

// instancesOf counts the instances of a run.
func instancesOf(r *muster.RunView) (n int) {
	for _, g := range r.Spec.Groups {
		n += max(1, g.Count)
	}
	return max(1, n)
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
		return string(e.From) + " → " + stateWords(string(e.To), e.Message)
	case e.Kind == muster.EventState:
		return stateWords(string(e.To), e.Message)
	}
	return e.Message
}

// allEvents reads every page of a run's events.
func (o *ofRun) allEvents() (all []*muster.Event, err error) {
	return pagesOfEvents(o.Context.Context, o.api, o.eventFilter())
}

// pagesOfEvents reads every page of the events that f chooses.
func pagesOfEvents(ctx context.Context, api *client.Client, f muster.EventFilter) (all []*muster.Event, err error) {
	for ; ; f.After = all[len(all)-1].Seq {
		page, err := api.ListEvents(ctx, f)
		if err != nil || len(page) == 0 {
			return all, err
		}
		all = append(all, page...)
	}
}

// eventFilter chooses the run's events, of the kinds that --kind names where the
// verb has it.
func (o *ofRun) eventFilter() muster.EventFilter {
	f := muster.EventFilter{Workspace: o.workspace, Run: o.name}
	for _, kind := range o.StringSlice("kind") {
		f.Kinds = append(f.Kinds, muster.EventKind(kind))
	}
	return f
}

// followEvents prints events as they come; as JSON one a line.
func (o *ofRun) followEvents() error {
	ctx, stop := signal.NotifyContext(o.Context.Context, os.Interrupt)
	defer stop()
	out := json.NewEncoder(o.App.Writer)
	for e, err := range o.api.Events(ctx, o.eventFilter()) {
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
