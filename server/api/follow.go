package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/muster-ml/muster"
)

// Times of streams: how often a follower looks without being woken, and how
// often a silent stream says that it lives.
const (
	lookAgain = time.Second
	chunkPoll = 150 * time.Millisecond
	alive     = 15 * time.Second
)

// InEvents chooses events, as a page or a stream.
type InEvents struct {
	InWorkspace
	After     int64    `query:"after" doc:"Only events with a higher number."`
	Kind      []string `query:"kind" doc:"Only events of these kinds, separated by commas." example:"state,note"`
	LastEvent string   `header:"Last-Event-ID" doc:"Where a stream goes on."`
	Accept    string   `header:"Accept" doc:"text/event-stream follows."`
}

func (a *API) registerStreams() {
	const run = "/workspaces/{workspace}/runs/{run}"
	handle(a, operation{"GET", "/workspaces/{workspace}/events", "workspace-events", "A workspace's events: a page, or as text/event-stream all and those to come", 200, "events", muster.RoleReader},
		func(ctx context.Context, in *InEvents) (*huma.StreamResponse, error) { return a.events(ctx, in, "") })
	handle(a, operation{"GET", run + "/events", "run-events", "A run's events: a page, or as text/event-stream until its end", 200, "events", muster.RoleReader},
		func(ctx context.Context, in *struct {
			InEvents
			Run string `path:"run"`
		}) (*huma.StreamResponse, error) {
			return a.events(ctx, &in.InEvents, in.Run)
		})
	handle(a, operation{"GET", run + "/logs", "follow-logs", "Logs as text/event-stream with their times, live until the run's end", 200, "logs", muster.RoleReader},
		func(ctx context.Context, in *inLogs) (*huma.StreamResponse, error) { return a.followLogs(ctx, in) })
	handle(a, operation{"GET", run + "/logs/{stream}", "get-log", "One stream of an attempt as text, as far as it is here", 200, "logs", muster.RoleReader},
		func(ctx context.Context, in *struct {
			InRun
			Stream   muster.Stream `path:"stream" enum:"stdout,stderr"`
			Attempt  int           `query:"attempt" minimum:"0" doc:"0 is the last."`
			Instance int           `query:"instance" minimum:"0"`
		}) (*huma.StreamResponse, error) {
			return a.log(ctx, in.InRun, muster.LogID{Attempt: in.Attempt, Instance: in.Instance, Stream: in.Stream})
		})
}

// sse writes server-sent events.
type sse struct {
	c    huma.Context
	last time.Time
}

func newSSE(c huma.Context) *sse {
	c.SetHeader("Content-Type", "text/event-stream")
	c.SetHeader("Cache-Control", "no-store")
	c.SetStatus(200)
	s := &sse{c: c, last: time.Now()}
	s.flush()
	return s
}

// send writes one event.
func (s *sse) send(id, kind string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.c.BodyWriter(), "id: %s\nevent: %s\ndata: %s\n\n", id, kind, text)
	s.last = time.Now()
	s.flush()
	return err
}

// beat says that the stream lives, when it has been silent.
func (s *sse) beat() error {
	if time.Since(s.last) < alive {
		return nil
	}
	s.last = time.Now()
	_, err := io.WriteString(s.c.BodyWriter(), ": alive\n\n")
	s.flush()
	return err
}

func (s *sse) flush() {
	if f, is := s.c.BodyWriter().(interface{ Flush() }); is {
		f.Flush()
	}
}

// untilClosing returns a context that also ends when the server does: its
// requests may finish, but streams would not.
func (a *API) untilClosing(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancel(ctx)
	go func() {
		select {
		case <-a.Closing:
			end()
		case <-ctx.Done():
		}
	}()
	return ctx, end
}

// events answers with a page of events, or follows them. A run's stream ends
// with "end" after its final event.
func (a *API) events(ctx context.Context, in *InEvents, run string) (*huma.StreamResponse, error) {
	f := muster.EventFilter{Workspace: in.Workspace, Run: run, After: in.After}
	for _, word := range in.Kind {
		kind := muster.EventKind(word)
		if !slices.Contains(muster.EventKinds(), kind) {
			return nil, muster.Errorf(muster.CodeInvalid, "%q is no kind of event", word).At("kind").WithCure("use one of %s", words(muster.EventKinds()))
		}
		f.Kinds = append(f.Kinds, kind)
	}
	if in.LastEvent != "" {
		n, err := strconv.ParseInt(in.LastEvent, 10, 64)
		if err != nil {
			return nil, muster.Errorf(muster.CodeInvalid, "%q is no number of an event", in.LastEvent).At("Last-Event-ID")
		}
		f.After = max(f.After, n)
	}
	first, err := a.Events.ListEvents(ctx, f)
	if err != nil {
		return nil, err
	}
	if first == nil {
		first = []*muster.Event{}
	}
	if !strings.Contains(in.Accept, "text/event-stream") {
		return &huma.StreamResponse{Body: func(c huma.Context) {
			c.SetHeader("Content-Type", "application/json")
			c.SetStatus(200)
			_ = json.NewEncoder(c.BodyWriter()).Encode(first) // a caller that is gone hears nothing
		}}, nil
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		ctx, end := a.untilClosing(ctx)
		defer end()
		if err := a.followEvents(ctx, newSSE(c), f); err != nil && ctx.Err() == nil {
			a.Logger.Warn("a stream of events broke off", "error", err)
		}
	}}, nil
}

// followEvents sends events as they come.
func (a *API) followEvents(ctx context.Context, out *sse, f muster.EventFilter) error {
	for {
		changed := a.Events.EventsChanged()
		over, err := a.over(ctx, f.Workspace, f.Run)
		if err != nil {
			return err
		}
		events, err := a.Events.ListEvents(ctx, f)
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := out.send(strconv.FormatInt(e.Seq, 10), "event", e); err != nil {
				return nil // the reader is gone
			}
			f.After = e.Seq
		}
		if over && len(events) == 0 {
			return out.send(strconv.FormatInt(f.After, 10), "end", struct{}{})
		}
		if len(events) > 0 {
			continue
		}
		if err := out.beat(); err != nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(lookAgain):
		}
	}
}

// over reports whether a run is final; no run is never.
func (a *API) over(ctx context.Context, workspace, run string) (bool, error) {
	if run == "" {
		return false, nil
	}
	r, err := a.Runs.FindRun(ctx, workspace, run)
	return err == nil && r.State.Final(), err
}

// log streams the text of one log as far as it is kept.
func (a *API) log(ctx context.Context, in InRun, id muster.LogID) (*huma.StreamResponse, error) {
	r, attempts, err := a.attempts(ctx, in)
	if err != nil {
		return nil, err
	}
	id.RunID, id.Attempt = r.ID, cmp.Or(id.Attempt, len(attempts))
	if len(attempts) > 0 {
		if err := checkInstance(attempts, id.Attempt, id.Instance); err != nil {
			return nil, err
		}
		if err := a.logsKept(ctx, r); err != nil {
			return nil, err
		}
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		c.SetHeader("Content-Type", "text/plain; charset=utf-8")
		c.SetStatus(200)
		for offset := int64(0); ; {
			n, err := a.copyChunk(ctx, c.BodyWriter(), id, offset)
			if n == 0 && err == nil && len(attempts) > 0 {
				err = a.logsKept(ctx, r) // else it is removed while it is read
			}
			if err != nil {
				if ctx.Err() == nil {
					a.Logger.Warn("a log broke off", "error", err)
				}
				panic(http.ErrAbortHandler) // a log that merely ended would pass for the whole
			}
			if n == 0 {
				return
			}
			offset += n
		}
	}}, nil
}

// logsKept refuses to read logs that retention has removed: they would pass for
// empty ones.
func (a *API) logsKept(ctx context.Context, r *muster.Run) error {
	at, err := a.Archive.LogsRemoved(ctx, r.ID)
	if err != nil || at.IsZero() {
		return err
	}
	return removed("the logs of run "+r.Name+" were", at)
}

// attempts returns a run with its attempts.
func (a *API) attempts(ctx context.Context, in InRun) (*muster.Run, []*muster.Attempt, error) {
	r, err := a.Runs.FindRun(ctx, in.Workspace, in.Run)
	if err != nil {
		return nil, nil, err
	}
	attempts, err := a.Attempts.ListAttempts(ctx, r.ID)
	return r, attempts, err
}

// checkInstance refuses an instance that an attempt does not have.
func checkInstance(attempts []*muster.Attempt, attempt, instance int) error {
	if err := checkAttempt(attempts, attempt); err != nil {
		return err
	}
	if n := len(attempts[attempt-1].Instances); instance < 0 || instance >= n {
		return muster.Errorf(muster.CodeNotFound, "attempt %d has no instance %d", attempt, instance).At("instance").WithCure("it has %d, numbered from 0", n)
	}
	return nil
}

// checkAttempt refuses an attempt that a run does not have.
func checkAttempt(attempts []*muster.Attempt, attempt int) error {
	if attempt < 1 || attempt > len(attempts) {
		return muster.Errorf(muster.CodeNotFound, "the run has no attempt %d", attempt).At("attempt").WithCure("it has %d", len(attempts))
	}
	return nil
}

// copyChunk copies the chunk at an offset; 0 bytes mean that there is none yet.
func (a *API) copyChunk(ctx context.Context, w io.Writer, id muster.LogID, offset int64) (int64, error) {
	r, err := a.Blobs.Open(ctx, id.ChunkKey(offset), 0)
	if muster.CodeOf(err) == muster.CodeNotFound {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return io.Copy(w, r)
}
