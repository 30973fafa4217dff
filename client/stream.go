package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/muster-ml/muster"
)

// How long a broken stream waits before it is opened again, and how long a
// stream may be silent: the server says every 15 s that it lives.
const (
	firstBackOff = 200 * time.Millisecond
	lastBackOff  = 2 * time.Second
	silence      = 45 * time.Second
)

// Events returns the events that f chooses, and those to come, until the run's
// last one; without a run, for ever. A connection that breaks is opened again
// until ctx ends.
func (c *Client) Events(ctx context.Context, f muster.EventFilter) iter.Seq2[*muster.Event, error] {
	s := &stream{Client: c, path: eventsPath(f), query: values("kind", kinds(f))}
	if f.After > 0 {
		s.last = strconv.FormatInt(f.After, 10)
	}
	return follow[muster.Event](ctx, s)
}

// ListEvents returns the first page of the events that f chooses.
func (c *Client) ListEvents(ctx context.Context, f muster.EventFilter) ([]*muster.Event, error) {
	return get[[]*muster.Event](ctx, c, values("after", strconv.FormatInt(f.After, 10), "kind", kinds(f)), eventsPath(f)...)
}

// eventsPath is where the events are, of a run or of all of a workspace.
func eventsPath(f muster.EventFilter) []string {
	if f.Run == "" {
		return []string{"workspaces", f.Workspace, "events"}
	}
	return []string{"workspaces", f.Workspace, "runs", f.Run, "events"}
}

// kinds puts the kinds into a word of a query.
func kinds(f muster.EventFilter) string {
	words := make([]string, len(f.Kinds))
	for i, k := range f.Kinds {
		words[i] = string(k)
	}
	return strings.Join(words, ",")
}

// Logs returns the chunks of a run's logs, live until its end. A connection
// that breaks is opened again until ctx ends; no byte comes twice.
func (c *Client) Logs(ctx context.Context, q LogQuery) iter.Seq2[*muster.Chunk, error] {
	return follow[muster.Chunk](ctx, &stream{Client: c, path: []string{"workspaces", q.Workspace, "runs", q.Run, "logs"}, query: values(q.query()...)})
}

// WaitRun waits until a run is final.
func (c *Client) WaitRun(ctx context.Context, workspace, name string) (*muster.RunView, error) {
	for _, err := range c.Events(ctx, muster.EventFilter{Workspace: workspace, Run: name}) {
		if err != nil {
			return nil, err
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return c.FollowedRun(ctx, workspace, name)
}

// FollowedRun returns a run whose stream has just ended. A server that is away
// by now was there a moment ago: it is asked until it answers.
func (c *Client) FollowedRun(ctx context.Context, workspace, name string) (*muster.RunView, error) {
	for wait := firstBackOff; ; wait = min(2*wait, lastBackOff) {
		r, err := c.Run(ctx, workspace, name)
		if err == nil || !Temporary(err) || muster.CodeOf(err) == muster.CodeUnauthenticated {
			return r, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// stream is a stream of server-sent events that resumes.
type stream struct {
	*Client
	path  []string
	query url.Values
	last  string // the id of the last event
}

// message is one server-sent event.
type message struct {
	kind string
	data []byte
}

// follow yields what a stream sends. The first connection must succeed; later
// ones are tried for as long as ctx lasts.
func follow[T any](ctx context.Context, s *stream) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		opened, away, wait := false, false, firstBackOff
		for ctx.Err() == nil {
			over, err := s.read(ctx, func(m message) (bool, error) {
				opened, away, wait = true, false, firstBackOff
				if m.kind == "" {
					return true, nil
				}
				v := new(T)
				if err := json.Unmarshal(m.data, v); err != nil {
					return false, muster.Errorf(muster.CodeInternal, "the server sent what is no event: %v", err)
				}
				return yield(v, nil), nil
			})
			if over || ctx.Err() != nil {
				return
			}
			if err != nil && (!opened || !Temporary(err) || muster.CodeOf(err) == muster.CodeUnauthenticated) {
				yield(nil, err)
				return
			}
			if err != nil && s.OnAway != nil && !away {
				away = true
				s.OnAway(err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(wait):
				wait = min(2*wait, lastBackOff)
			}
		}
	}
}

// read opens the stream once and calls each for every event, first with an
// empty one for the connection. over is true after the stream's own end, or
// when each wants no more.
func (s *stream) read(ctx context.Context, each func(message) (more bool, err error)) (over bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	header := http.Header{"Accept": {"text/event-stream"}}
	if s.last != "" {
		header.Set("Last-Event-ID", s.last)
	}
	resp, err := s.send(ctx, request{method: http.MethodGet, path: s.path, query: s.query, header: header})
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if more, err := each(message{}); !more || err != nil {
		return !more && err == nil, err
	}
	watchdog := time.AfterFunc(silence, func() { cancel(muster.Errorf(muster.CodeUnreachable, "the stream is silent")) })
	defer watchdog.Stop()
	lines, m := bufio.NewReaderSize(resp.Body, 64<<10), message{}
	for id := s.last; ; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return false, nil // it broke off; what was half sent comes again
		}
		watchdog.Reset(silence)
		field, value, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(": "))
		switch string(field) {
		case "id":
			id = string(value)
		case "event":
			m.kind = string(value)
		case "data":
			m.data = value
		case "":
			if m.kind == "end" {
				return true, nil
			}
			if m.kind != "" {
				more, err := each(m)
				if !more || err != nil {
					return err == nil, err
				}
				s.last, m = id, message{}
			}
		}
	}
}
