package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/muster-ml/muster"
)

// maxKey is the longest idempotency key, in bytes.
const maxKey = 255

// receiptKey finds in a request's context the receipt that is to be written with
// what the request does.
type receiptKey struct{}

// secretive are the operations whose answer holds a secret: of these it is kept
// that they were done, and not what was answered.
var secretive = map[string]bool{"create-token": true}

// twins makes requests with the same idempotency key wait for one another.
type twins struct {
	mu   sync.Mutex
	busy map[string]chan struct{}
}

// enter waits until nobody else is busy with the key.
func (t *twins) enter(ctx context.Context, key string) (leave func(), err error) {
	for {
		t.mu.Lock()
		other, busy := t.busy[key]
		if !busy {
			done := make(chan struct{})
			t.busy[key] = done
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				delete(t.busy, key)
				t.mu.Unlock()
				close(done)
			}, nil
		}
		t.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// onlyOnce stands before a POST: a request with an idempotency key that was
// carried out already gets the answer of then. What was refused has done
// nothing, and is tried anew.
func (a *API) onlyOnce(o operation) func(huma.Context, func(huma.Context)) {
	return func(c huma.Context, next func(huma.Context)) {
		key := c.Header(muster.IdempotencyKeyHeader)
		if key == "" {
			next(c)
			return
		}
		if err := a.once(c, o, key, next); err != nil {
			a.refuse(c, err)
		}
	}
}

// once carries a request out, or answers as before. An error is the answer, too.
func (a *API) once(c huma.Context, o operation, key string, next func(huma.Context)) error {
	if len(key) > maxKey {
		return muster.Errorf(muster.CodeInvalid, "the key is longer than %d bytes", maxKey).At(muster.IdempotencyKeyHeader)
	}
	request, err := takeBody(c, o.limit())
	if err != nil {
		return err
	}
	r := &muster.Receipt{Principal: identity(principal(c.Context())), Key: key, Request: fingerprint(c, request.bytes)}
	leave, err := a.twins.enter(c.Context(), r.Principal+"\n"+key)
	if err != nil {
		return err
	}
	defer leave()
	kept, err := a.Receipts.FindReceipt(c.Context(), r.Principal, key)
	if err != nil {
		return err
	}
	if kept != nil {
		return replay(c, o, r, kept)
	}
	answer := &recorder{exchange: huma.WithValue(request, receiptKey{}, r)}
	next(answer)
	if answer.status < 200 || answer.status > 299 || r.Kept {
		return nil
	}
	r.Status = answer.status
	if !secretive[o.id] {
		r.Body = answer.body.String()
	}
	if err := a.Receipts.KeepReceipt(context.WithoutCancel(c.Context()), r); err != nil {
		a.Logger.Error("the receipt of a request is lost", "error", err, "operation", o.id, "request_id", origin(c.Context()).RequestID)
	}
	return nil
}

// replay gives the answer of before.
func replay(c huma.Context, o operation, r, kept *muster.Receipt) error {
	if kept.Request != r.Request {
		return muster.Errorf(muster.CodeRefused, "idempotency key %s belongs to another request", r.Key).At(muster.IdempotencyKeyHeader).
			WithCure("make a new key for each request, and use it again only to send that very request again")
	}
	if secretive[o.id] {
		return muster.Errorf(muster.CodeConflict, "this was done already, and its answer held a secret that is told once").At(muster.IdempotencyKeyHeader).
			WithCure("if the answer was lost, revoke what was made and make another with a new key")
	}
	c.SetHeader(muster.ReplayedHeader, "true")
	if kept.Body != "" {
		c.SetHeader("Content-Type", "application/json")
	}
	c.SetStatus(kept.Status)
	_, _ = io.WriteString(c.BodyWriter(), kept.Body) // a caller that is gone hears nothing
	return nil
}

// identity names a principal among all: a name alone may be that of a token and
// that of a person of the issuer.
func identity(p *muster.Principal) string {
	return fmt.Sprintf("%s %v %d", p.Name, p.Grants, p.RunID)
}

// fingerprint is the digest of what a request asks for.
func fingerprint(c huma.Context, body []byte) string {
	h, u := sha256.New(), c.URL()
	fmt.Fprintf(h, "%s %s\n%s\n%s\n", c.Method(), u.RequestURI(), c.Header("Content-Type"), c.Header("If-Match"))
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

// exchange is huma's context, under a name that its method Context leaves free.
type exchange huma.Context

// taken is a request whose body was read already.
type taken struct {
	exchange
	bytes       []byte
	contentType string // in place of the request's; "" is the request's
}

// takeBody reads the body of a request, so that it can be looked at and read
// again.
func takeBody(c huma.Context, limit int64) (*taken, error) {
	text, err := io.ReadAll(io.LimitReader(c.BodyReader(), limit+1))
	if err != nil {
		return nil, muster.Errorf(muster.CodeInvalid, "the body broke off: %v", err)
	}
	if int64(len(text)) > limit {
		return nil, tooLarge(limit)
	}
	return &taken{exchange: c, bytes: text}, nil
}

// BodyReader reads the body from its beginning.
func (t *taken) BodyReader() io.Reader { return bytes.NewReader(t.bytes) }

// Header returns a header of the request.
func (t *taken) Header(name string) string {
	if t.contentType != "" && http.CanonicalHeaderKey(name) == "Content-Type" {
		return t.contentType
	}
	return t.exchange.Header(name)
}

// recorder keeps the answer while it is given.
type recorder struct {
	exchange
	status int
	body   bytes.Buffer
}

// SetStatus sets the status.
func (r *recorder) SetStatus(status int) {
	r.status = status
	r.exchange.SetStatus(status)
}

// BodyWriter writes the answer to the caller, and keeps it.
func (r *recorder) BodyWriter() io.Writer { return io.MultiWriter(&r.body, r.exchange.BodyWriter()) }

// tooLarge refuses a body.
func tooLarge(limit int64) *muster.Error {
	return muster.Errorf(muster.CodeTooLarge, "the body is larger than %d MiB", limit>>20).WithCure("upload files, and name them in the run")
}
