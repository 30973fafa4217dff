package api

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/time/rate"

	"github.com/muster-ml/muster"
)

// Limits say how much one principal may ask for. What is 0 is not limited.
type Limits struct {
	Rate    float64 // requests a second, over a while
	Burst   int     // requests at once
	Streams int     // streams and transfers at a time
}

// DefaultLimits are wide for people and their programs, and narrow for a loop
// that went wild.
func DefaultLimits() Limits { return Limits{Rate: 50, Burst: 200, Streams: 50} }

// transfers are the operations that are bounded by how many there are at a time
// and not by how many a second: somebody may well fetch 10,000 small files.
var transfers = map[string]bool{"get-artifact": true, "get-log": true, "put-upload": true, "put-part": true, "has-upload": true}

// streaming reports whether a request lasts, or moves files. Only events come
// as a page or as a stream: what any other operation is asked to accept must
// not take it out of the count.
func streaming(o operation, c huma.Context) bool {
	switch o.id {
	case "follow-logs":
		return true
	case "workspace-events", "run-events":
		return strings.Contains(c.Header("Accept"), "text/event-stream")
	}
	return transfers[o.id]
}

// limiter counts what principals ask for.
type limiter struct {
	Limits
	mu     sync.Mutex
	asking map[string]*asking
}

// asking is what one principal asks for.
type asking struct {
	rate    *rate.Limiter
	streams int
	last    time.Time
}

// forgetAfter is how long somebody must be silent to be forgotten: by then his
// burst is full again.
const forgetAfter = time.Minute

func newLimiter(l Limits) *limiter { return &limiter{Limits: l, asking: map[string]*asking{}} }

// enter counts a request, or says that it is one too many, and after how long it
// may be tried again. leave ends a stream.
func (l *limiter) enter(who string, stream bool, now time.Time) (leave func(), wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.of(who, now)
	if stream {
		if l.Streams > 0 && a.streams >= l.Streams {
			return nil, time.Second
		}
		a.streams++
		return func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			a.streams--
		}, 0
	}
	if l.Rate > 0 {
		r := a.rate.ReserveN(now, 1)
		if wait = r.DelayFrom(now); wait > 0 {
			r.CancelAt(now)
			return nil, wait
		}
	}
	return func() {}, 0
}

// of finds what somebody asks for, and forgets who has been silent.
func (l *limiter) of(who string, now time.Time) *asking {
	a := l.asking[who]
	if a == nil {
		for other, b := range l.asking {
			if b.streams == 0 && now.Sub(b.last) > forgetAfter {
				delete(l.asking, other)
			}
		}
		a = &asking{rate: rate.NewLimiter(rate.Limit(l.Rate), max(1, l.Burst))}
		l.asking[who] = a
	}
	a.last = now
	return a
}

// limited lets a request in, or refuses it.
func (a *API) limited(c huma.Context, o operation, p *muster.Principal) (leave func(), err error) {
	stream := streaming(o, c)
	leave, wait := a.limiter.enter(identity(p), stream, time.Now())
	if leave != nil {
		return leave, nil
	}
	seconds := int(math.Ceil(wait.Seconds()))
	c.SetHeader("Retry-After", fmt.Sprint(seconds))
	if stream {
		return nil, muster.Errorf(muster.CodeRateLimited, "%s has %d streams and transfers open", p.Name, a.limiter.Streams).
			WithCure("end some first, or start the server with a higher --max-streams")
	}
	return nil, muster.Errorf(muster.CodeRateLimited, "%s asks more than %g times a second", p.Name, a.limiter.Rate).
		WithCure("wait %d s, and ask for more at once: lists come in pages, runs are submitted in bulk; --rate-limit of the server sets the limit", seconds)
}

// bodyTime is how long a caller may take to send the body of a request. The
// connection's deadline stays while the request is carried out, and ends it: it is
// longer than a store that is busy ever takes.
const bodyTime = 2 * time.Minute

// patience is how long an upload may stand still.
const patience = time.Minute

// patient reads a body that may take long, but not stand still.
type patient struct{ huma.Context }

// Read reads on. Once nothing more is to come the time is up for nobody: the
// server goes on reading, to hear whether the caller leaves, and would take a
// store that is slow to keep the bytes for that.
func (p patient) Read(b []byte) (int, error) {
	// A connection that cannot have a deadline is one of a test.
	_ = p.SetReadDeadline(time.Now().Add(patience))
	n, err := p.BodyReader().Read(b)
	if err != nil {
		_ = p.SetReadDeadline(time.Time{})
	}
	return n, err
}

// exposed are the headers of answers that pages of other origins may read, and
// accepted those that they may send.
var (
	exposed  = []string{"ETag", "Retry-After", "Location", "Content-Range", "X-Request-Id", muster.TotalHeader, muster.NextHeader, muster.ReplayedHeader, muster.ContentSHA256Header}
	accepted = []string{"Authorization", "Content-Type", "Accept", "Range", "If-Match", "If-None-Match", "Last-Event-ID", "X-Request-Id", muster.IdempotencyKeyHeader, muster.ContentSHA256Header}
	methods  = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
)
