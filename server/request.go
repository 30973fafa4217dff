package server

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/muster-ml/muster"
)

// request is what is known of a request while it is answered.
type request struct {
	began     time.Time
	principal string // "" is nobody that we know
	route     string // with names in the place of values
	id        string
	parent    trace.SpanContext // the span in which the caller asks; not valid where he tells none
	made      []*muster.Run     // with traces only
}

type requestKey struct{}

// called notes who made a request: the front doors find that out.
func called(ctx context.Context, principal string) {
	if q, ok := ctx.Value(requestKey{}).(*request); ok {
		q.principal = principal
	}
}

// watched counts and logs the requests that next answers.
func (s *Server) watched(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := &request{began: time.Now(), id: r.Header.Get("X-Request-Id")}
		q.parent = parseParent(r.Header.Get(traceProperty))
		if q.id == "" || len(q.id) > 64 {
			q.id = muster.RandomID(8)
			r.Header.Set("X-Request-Id", q.id)
		}
		w.Header().Set("X-Request-Id", q.id)
		a := &answer{ResponseWriter: w, open: s.metrics.streams, gone: func() bool { return hungUp(r) }}
		r = r.WithContext(context.WithValue(r.Context(), requestKey{}, q))
		defer func() { s.answered(q, a, r) }() // a handler that gives up panics
		next.ServeHTTP(a, r)
	})
}

// statusHungUp stands in the log and the metrics for a call whose caller hung up
// before it was answered: nothing failed, and nobody hears the answer.
const statusHungUp = 499

// hungUp reports whether the caller of a request no longer waits.
func hungUp(r *http.Request) bool { return errors.Is(r.Context().Err(), context.Canceled) }

// answered counts and logs a request that is answered.
func (s *Server) answered(q *request, a *answer, r *http.Request) {
	a.end()
	q.route = s.route(r)
	method, status := methodOf(r), cmp.Or(a.status, http.StatusOK)
	if a.began.IsZero() && hungUp(r) {
		status = statusHungUp
	}
	began := a.began
	if began.IsZero() {
		began = time.Now()
	}
	s.metrics.requests.WithLabelValues(q.route, method, strconv.Itoa(status)).Inc()
	s.metrics.answers.WithLabelValues(q.route, method).Observe(began.Sub(q.began).Seconds())
	s.logAccess(r, q, a, status)
	if s.tracer != nil {
		s.tracer.submitted(q, method, status)
	}
}

// route returns the pattern that a request met, and "none" where there is none:
// of paths there is no end.
func (s *Server) route(r *http.Request) string {
	pattern := r.Pattern
	if pattern == "/api/" {
		pattern = s.people.Route(r)
	}
	if _, path, ok := strings.Cut(pattern, " "); ok {
		pattern = path
	}
	if pattern == "" || pattern == "/" || pattern == "/agent/v1/" {
		return "none"
	}
	return strings.TrimSuffix(pattern, "{$}")
}

// methodOf returns a request's method, and "other" for one that no route takes.
func methodOf(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return r.Method
	}
	return "other"
}

// answer watches an answer on its way.
type answer struct {
	http.ResponseWriter
	open interface{ Add(float64) } // counts streams
	gone func() bool               // whether nobody waits for the answer any more

	began  time.Time // when its head was sent
	status int
	bytes  int64
	stream bool
}

// WriteHeader sends the head.
func (a *answer) WriteHeader(status int) {
	if a.began.IsZero() && status >= 200 {
		a.began, a.status = time.Now(), status
		if status >= 500 && a.gone() { // what was asked of others was broken off with the call
			a.status = statusHungUp
		}
		if strings.HasPrefix(a.Header().Get("Content-Type"), "text/event-stream") {
			a.stream = true
			a.open.Add(1)
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the body.
func (a *answer) Write(p []byte) (int, error) {
	a.head()
	n, err := a.ResponseWriter.Write(p)
	a.bytes += int64(n)
	return n, err
}

// ReadFrom sends what r holds: files go the short way.
func (a *answer) ReadFrom(r io.Reader) (int64, error) {
	a.head()
	n, err := io.Copy(a.ResponseWriter, r)
	a.bytes += n
	return n, err
}

// Flush sends what was written.
func (a *answer) Flush() {
	a.head()
	_ = http.NewResponseController(a.ResponseWriter).Flush() // who cannot flush sends it later
}

// Unwrap returns the writer below, for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// head sends the head if it was not.
func (a *answer) head() {
	if a.began.IsZero() {
		a.WriteHeader(http.StatusOK)
	}
}

// end is called when nothing more is sent.
func (a *answer) end() {
	if a.stream {
		a.open.Add(-1)
	}
}
