// Package client is the typed client of Muster's two APIs: Client is for
// people and their programs, Agent for agents.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/muster-ml/muster"
)

// Client calls the people's API of one server. Its errors are *muster.Error.
type Client struct {
	// OnAway, where it is set, is called when a stream has lost the server and
	// goes on trying, once until it is back.
	OnAway func(error)

	// Secret, where it is set, gives the token of each request, in place of the
	// one that New got: for tokens that end before the work does.
	Secret func(context.Context) (string, error)

	addr  string
	token string
	trace string // the W3C context of this process: a run that it submits is of the same trace
	http  *http.Client
}

// New makes a client of the server at addr, a URL. Where the variable
// TRACEPARENT tells a W3C trace context, its requests carry it.
func New(addr, token string) *Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}
	return &Client{addr: strings.TrimSuffix(addr, "/"), token: token, trace: os.Getenv("TRACEPARENT"), http: &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, ResponseHeaderTimeout: 2 * time.Minute, IdleConnTimeout: time.Minute,
		MaxIdleConnsPerHost: 2 * DefaultParallel,
	}}}
}

// Addr returns the server's URL.
func (c *Client) Addr() string { return c.addr }

// Close gives up idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// request is one call.
type request struct {
	method string
	path   []string // segments below /api/v1
	query  url.Values
	header http.Header
	body   io.ReadCloser
	size   int64
	again  func() (io.ReadCloser, error) // the body once more; may be nil
}

// send sends a request; what is not success is an error.
func (c *Client) send(ctx context.Context, q request) (*http.Response, error) {
	segments := make([]string, len(q.path))
	for i, s := range q.path {
		segments[i] = url.PathEscape(s)
	}
	target := c.addr + "/api/v1/" + strings.Join(segments, "/")
	if len(q.query) > 0 {
		target += "?" + q.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, q.method, target, nil)
	if err != nil || req.URL.Host == "" || req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return nil, muster.Errorf(muster.CodeInvalid, "%q is not the URL of a server", c.addr).WithCure("write it like http://127.0.0.1:4750")
	}
	if q.header != nil {
		req.Header = q.header
	}
	token := c.token
	if c.Secret != nil {
		if token, err = c.Secret(ctx); err != nil {
			return nil, err
		}
	}
	if strings.ContainsFunc(token, unicode.IsControl) {
		return nil, muster.Errorf(muster.CodeInvalid, "the token has a line break or another control character in it").At("token").WithCure("copy it again, as one word")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if c.trace != "" {
		req.Header.Set("traceparent", c.trace)
	}
	if q.body != nil {
		req.Body, req.ContentLength, req.GetBody = q.body, q.size, q.again
		if q.size == 0 {
			_ = q.body.Close()
			req.Body = http.NoBody
		}
	}
	resp, err := c.do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, c.unreachable(err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, c.problem(q.method, resp)
}

// unreachable says that no server answered.
func (c *Client) unreachable(err error) *muster.Error {
	if u, ok := err.(*url.Error); ok {
		err = u.Err
	}
	if plain, ok := strings.CutPrefix(c.addr, "https://"); ok && errors.Is(err, http.ErrSchemeMismatch) {
		return muster.Errorf(muster.CodeUnreachable, "the server at %s speaks HTTP, and not HTTPS", c.addr).WithCure("write http://%s", plain)
	}
	return muster.Errorf(muster.CodeUnreachable, "no Muster server answers at %s (%v)", c.addr, err).
		WithCure("is it running? muster dev starts one here; --addr or MUSTER_ADDR names another")
}

// problem reads what the server answered instead of success.
func (c *Client) problem(method string, resp *http.Response) error {
	if method == http.MethodHead {
		return muster.Errorf(muster.CodeOfStatus(resp.StatusCode), "the server answers %s", resp.Status)
	}
	var p struct{ Code, Detail, Field, Cure string }
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // what broke off is no problem document
	if err := json.Unmarshal(text, &p); err != nil || p.Code == "" {
		return muster.Errorf(muster.CodeUnreachable, "%s answers %s, and not as a Muster server does", c.addr, resp.Status).
			WithCure("check --addr or MUSTER_ADDR")
	}
	return &muster.Error{Code: muster.Code(p.Code), Message: p.Detail, Field: p.Field, Cure: p.Cure}
}

// call sends a question as JSON, nil for none, and reads the answer, nil for
// none.
func (c *Client) call(ctx context.Context, q request, question, answer any) error {
	if question != nil {
		data, err := json.Marshal(question)
		if err != nil {
			return fmt.Errorf("encode %s: %w", strings.Join(q.path, "/"), err)
		}
		q.again = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
		q.body, _ = q.again()
		q.size = int64(len(data))
		if q.header == nil {
			q.header = http.Header{}
		}
		q.header.Set("Content-Type", "application/json")
	}
	resp, err := c.send(ctx, q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return muster.Errorf(muster.CodeUnreachable, "the answer of %s broke off: %v", c.addr, err)
	}
	return nil
}

// get reads an answer of type T.
func get[T any](ctx context.Context, c *Client, query url.Values, path ...string) (answer T, err error) {
	err = c.call(ctx, request{method: http.MethodGet, path: path, query: query}, nil, &answer)
	return answer, err
}

// post sends a question and reads an answer of type T.
func post[T any](ctx context.Context, c *Client, question any, path ...string) (answer T, err error) {
	err = c.call(ctx, request{method: http.MethodPost, path: path}, question, &answer)
	return answer, err
}

// tries are how long a request that is carried out once waits before it is sent
// again.
var tries = []time.Duration{0, 300 * time.Millisecond, time.Second}

// postOnce posts like post, and again while the server does not answer: by its
// idempotency key the request is carried out once, whichever of them arrive.
func postOnce[T any](ctx context.Context, c *Client, question any, path ...string) (answer T, err error) {
	key := muster.RandomID(16)
	for _, wait := range tries {
		select {
		case <-ctx.Done():
			return answer, context.Cause(ctx)
		case <-time.After(wait):
		}
		header := http.Header{muster.IdempotencyKeyHeader: {key}}
		err = c.call(ctx, request{method: http.MethodPost, path: path, header: header}, question, &answer)
		if muster.CodeOf(err) != muster.CodeUnreachable {
			return answer, err
		}
	}
	return answer, err
}

// values makes a query of the names that have a value.
func values(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Add(pairs[i], pairs[i+1])
		}
	}
	return v
}
