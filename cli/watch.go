package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
)

// every is the value of --watch: a bare --watch is every two seconds.
type every time.Duration

// The pauses of --watch.
const (
	usualPause    = every(2 * time.Second)
	shortestPause = every(100 * time.Millisecond)
)

// Set reads the value; the flag package writes "true" for a bare flag.
func (e *every) Set(text string) error {
	switch text {
	case "true":
		*e = usualPause
		return nil
	case "false":
		*e = 0
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || every(d) < shortestPause {
		return muster.Errorf(muster.CodeInvalid, "%q is no time between looks: write it like --watch=2s", text)
	}
	*e = every(d)
	return nil
}

// String shows it; "" where it is not set.
func (e *every) String() string {
	if e == nil || *e == 0 {
		return ""
	}
	return time.Duration(*e).String()
}

// IsBoolFlag lets the flag stand without a value.
func (*every) IsBoolFlag() bool { return true }

// frame is one look of --watch: what would have been written, and what it is
// about, which stays the same while "2s ago" becomes "4s ago".
type frame struct {
	bytes.Buffer
	under io.Writer
	about any
}

// same reports whether a frame tells nothing that the one before did not.
func (f *frame) same(before *frame) bool {
	return before != nil && bytes.Equal(encoded(f.about), encoded(before.about))
}

// encoded is v as bytes to compare.
func encoded(v any) []byte {
	text, _ := json.Marshal(v) // what cannot be encoded is never written either
	return text
}

// watched gives a verb the flag --watch, which does it again and again.
func watched(command *cli.Command) {
	pause, once := new(every), command.Action
	command.Flags = append(command.Flags, &cli.GenericFlag{Name: "watch", Value: pause,
		Usage: "look again each `TIME` (--watch alone: 2s); off a terminal it is written again only when it has changed"})
	command.Action = func(c *cli.Context) error {
		if *pause == 0 {
			return once(c)
		}
		return watch(c, once, time.Duration(*pause))
	}
}

// watch does what once does until Ctrl-C. A server that is away is waited for.
func watch(c *cli.Context, once cli.ActionFunc, pause time.Duration) error {
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt)
	defer stop()
	out := c.App.Writer
	defer func() { c.App.Writer = out }()
	c.Context = ctx
	tick := time.NewTicker(pause)
	defer tick.Stop()
	var before *frame
	for looks, away := 0, false; ; looks++ {
		f := &frame{under: out}
		c.App.Writer = f
		err := once(c)
		switch {
		case ctx.Err() != nil:
			return context.Cause(c.Context)
		case err != nil && (looks == 0 || muster.CodeOf(err) != muster.CodeUnreachable):
			return err
		case err != nil && !away:
			report(err, c.App.ErrWriter)
		case err == nil && (screenOf(f).terminal || !f.same(before)):
			if err := f.draw(); err != nil {
				return err
			}
			before = f
		}
		away = err != nil
		select {
		case <-ctx.Done():
			return context.Cause(c.Context)
		case <-tick.C:
		}
	}
}

// draw shows the frame: on a terminal in the place of the one before.
func (f *frame) draw() error {
	text := f.String()
	if screenOf(f).terminal {
		text = ansi.CursorHomePosition + ansi.EraseEntireScreen + text
	}
	if _, err := io.WriteString(f.under, text); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
