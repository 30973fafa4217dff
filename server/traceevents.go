package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/muster-ml/muster"
)

// maxSpans is how many spans go into one message, about.
const maxSpans = 500

// sendLimit is how long one message may take, tries included.
const sendLimit = 30 * time.Second

// traceEvents sends the spans of what has ended since this installation was
// last traced: how far that is stands in a file of the data folder.
func (s *Server) traceEvents(ctx context.Context) error {
	file := filepath.Join(s.DataDir, "traced")
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read how far runs are traced: %w", err)
	}
	after, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		if after, err = s.store.LastEvent(ctx); err != nil {
			return err
		}
	}
	s.follow(ctx, after, func(ctx context.Context, page []*muster.Event) error {
		if err := s.trace(ctx, page); err != nil {
			return fmt.Errorf("send spans: %w", err)
		}
		return os.WriteFile(file, []byte(strconv.FormatInt(page[len(page)-1].Seq, 10)+"\n"), 0o600)
	})
	return nil
}

// trace sends the spans of a page of events.
func (s *Server) trace(ctx context.Context, page []*muster.Event) error {
	g := &gathered{}
	send := func() error {
		if len(g.spans) == 0 {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, sendLimit)
		defer cancel()
		err := s.tracer.exporter.ExportSpans(ctx, g.spans)
		g.spans = nil
		return err
	}
	for _, e := range page {
		r, spans, err := s.tracer.spansOf(ctx, s.store, e)
		if muster.CodeOf(err) == muster.CodeNotFound {
			continue // it was deleted
		}
		if err != nil {
			return err
		}
		if len(spans) > 0 {
			s.tracer.make(r, spans, g)
		}
		if len(g.spans) >= maxSpans {
			if err := send(); err != nil {
				return err
			}
		}
	}
	return send()
}

// tracedRuns keeps with new runs the trace of who submits them.
type tracedRuns struct{ *runs }

// CreateRun makes a run.
func (r tracedRuns) CreateRun(ctx context.Context, run *muster.Run, by muster.Origin) error {
	begin(ctx, run)
	err := r.runs.CreateRun(ctx, run, by)
	if err == nil {
		made(ctx, run)
	}
	return err
}

// CreateRuns makes all runs, or none.
func (r tracedRuns) CreateRuns(ctx context.Context, all []muster.NewRun, by muster.Origin) error {
	for _, n := range all {
		begin(ctx, n.Run)
	}
	err := r.runs.CreateRuns(ctx, all, by)
	if err == nil {
		for _, n := range all {
			made(ctx, n.Run)
		}
	}
	return err
}

// begin gives a run that is to be made the trace of its request, and takes away
// one that it was copied with.
func begin(ctx context.Context, r *muster.Run) {
	q, ok := ctx.Value(requestKey{}).(*request)
	if !ok {
		return
	}
	r.Properties = maps.Clone(r.Properties)
	delete(r.Properties, traceProperty)
	if q.parent.IsValid() {
		if r.Properties == nil {
			r.Properties = map[string]string{}
		}
		r.Properties[traceProperty] = formatParent(q.parent)
	}
}

// made notes a run that a request made.
func made(ctx context.Context, r *muster.Run) {
	if q, ok := ctx.Value(requestKey{}).(*request); ok {
		q.made = append(q.made, r)
	}
}

// submitted makes the span of the request that made runs, once for each.
func (t *tracer) submitted(q *request, method string, status int) {
	for _, r := range q.made {
		s := t.below(r, q.parent.SpanID(), spanSubmit, q.began, time.Now())
		s.attributes = []attribute.KeyValue{attribute.String("http.request.method", method), attribute.String("http.route", q.route),
			attribute.Int("http.response.status_code", status), attribute.String("muster.principal", q.principal), attribute.String("muster.request_id", q.id)}
		t.make(r, []span{s}, t.made)
	}
}

// putInTrace tells an instance's agent in which trace its command works.
func (s *Server) putInTrace(ctx context.Context, launch string, a *muster.Assignment) error {
	l, err := s.store.FindLaunch(ctx, launch)
	if err != nil {
		return err
	}
	r, err := s.store.FindRunByID(ctx, l.RunID)
	if err != nil {
		return err
	}
	a.TraceParent, a.OTLPEndpoint = s.tracer.commandParent(r, a.Attempt, a.Instance), s.tracer.endpoint
	return nil
}
