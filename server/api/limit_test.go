package api_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
	"github.com/muster-ml/muster/server/api"
)

// TestRate refuses a principal that asks too much, and nobody else.
func TestRate(t *testing.T) {
	d := open(t, func(s *api.Services) { s.Limits = api.Limits{Rate: 1, Burst: 5} })
	callers := d.callers()
	seen := map[int]int{}
	for range 20 {
		resp, text := d.call("GET", "/api/v1/whoami", "")
		seen[resp.StatusCode]++
		if resp.StatusCode == 429 && (resp.Header.Get("Retry-After") == "" || !strings.Contains(text, `"code":"rate_limited"`)) {
			t.Errorf("%s %v %s", resp.Status, resp.Header, text)
		}
	}
	if seen[200] < 5 || seen[429] < 10 || seen[200]+seen[429] != 20 {
		t.Errorf("got %v", seen)
	}
	if resp, text := d.as(callers["r"], "GET", "/whoami", ""); resp.StatusCode != 200 {
		t.Errorf("somebody else: %s %s", resp.Status, text)
	}
	if _, err := client.New(d.url, secret).Whoami(t.Context()); err != nil {
		t.Errorf("a client that waits: %v", err)
	}
	made, err := client.New(d.url, secret).CreateRun(t.Context(), "w", &muster.RunRequest{Spec: muster.Spec{Command: "a"}})
	if err != nil || made.State != muster.RunQueued {
		t.Errorf("a client that waits with a body: %+v, %v", made, err)
	}
}

// TestAcceptIsNoWayAround counts what asks for a stream and gets none.
func TestAcceptIsNoWayAround(t *testing.T) {
	d := open(t, func(s *api.Services) { s.Limits = api.Limits{Rate: 0.001, Burst: 3} })
	d.submit() // the first
	for n, want := range []int{201, 201, 429, 429} {
		resp, text := d.call("POST", runs, `{"spec":{"command":"a"}}`, "Accept", "text/event-stream, application/json")
		if resp.StatusCode != want {
			t.Errorf("request %d: %s, want %d: %s", n, resp.Status, want, text)
		}
	}
	if resp, text := d.call("GET", runs+"/r/events", ""); resp.StatusCode != 429 {
		t.Errorf("a page of events: %s %s", resp.Status, text)
	}
}

// deadlines are the connections of a server, which keep the last time by which
// something must have been read.
type deadlines struct {
	net.Listener
	last  atomic.Pointer[time.Time]
	times atomic.Int64 // how many were set that are not none
}

// timed is one of the connections.
type timed struct {
	net.Conn
	of *deadlines
}

func (l *deadlines) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &timed{c, l}, err
}

func (c *timed) SetReadDeadline(t time.Time) error {
	c.of.last.Store(&t)
	if !t.IsZero() {
		c.of.times.Add(1)
	}
	return c.Conn.SetReadDeadline(t)
}

// slowStore is told when it has all of a blob, before it says that it has.
type slowStore struct {
	muster.Blobs
	has func()
}

func (s slowStore) Put(ctx context.Context, key, want string, r io.Reader) (int64, string, error) {
	size, sum, err := s.Blobs.Put(ctx, key, want, r)
	s.has()
	return size, sum, err
}

// TestSlowStore holds that a caller must send on only as long as there is more
// to send: how long the store takes to keep it is not his matter.
func TestSlowStore(t *testing.T) {
	l, looked := &deadlines{}, 0
	var services api.Services
	d := open(t, func(s *api.Services) {
		s.Blobs = slowStore{s.Blobs, func() {
			looked++
			if at := l.last.Load(); at == nil || !at.IsZero() || l.times.Load() == 0 {
				t.Errorf("all is sent, and the server waits until %v for more", at)
			}
		}}
		services = *s
	})
	server := httptest.NewUnstartedServer(api.New(services))
	l.Listener, server.Listener = server.Listener, l
	server.Start()
	t.Cleanup(server.Close)
	d.url = server.URL
	sum := sha256.Sum256([]byte("data"))
	upload := "/api/v1/workspaces/w/uploads/" + hex.EncodeToString(sum[:])
	for _, path := range []string{upload, upload + "/parts/0"} {
		if resp, text := d.call("PUT", path, "data"); resp.StatusCode != 204 {
			t.Errorf("%s: %s %s", path, resp.Status, text)
		}
	}
	if looked < 2 {
		t.Errorf("the store was given %d blobs", looked)
	}
}

// TestUnproven limits callers who prove no identity by where they are, and not
// who has proved his from there before.
func TestUnproven(t *testing.T) {
	d := open(t, func(s *api.Services) { s.Limits = api.Limits{Rate: 0.001, Burst: 3} })
	callers := d.callers()
	if resp, text := d.as(callers["r"], "GET", "/whoami", ""); resp.StatusCode != 200 {
		t.Fatal(text)
	}
	for n, want := range []int{401, 401, 401, 429, 429} {
		resp, text := d.as(fmt.Sprint("muster_guess", n), "GET", "/whoami", "")
		if resp.StatusCode != want || want == 429 && (resp.Header.Get("Retry-After") == "" || !strings.Contains(text, "prove no identity")) {
			t.Errorf("guess %d: %s %s", n, resp.Status, text)
		}
	}
	if resp, _ := d.call("GET", "/api/v1/whoami", "", "Authorization", ""); resp.StatusCode != 429 {
		t.Errorf("no token: %s", resp.Status)
	}
	if resp, text := d.as(callers["r"], "GET", "/whoami", ""); resp.StatusCode != 200 {
		t.Errorf("who was here before: %s %s", resp.Status, text)
	}
	d.must(d.store.RevokeToken(t.Context(), "of-r"))
	for _, want := range []int{401, 429} {
		if resp, text := d.as(callers["r"], "GET", "/whoami", ""); resp.StatusCode != want {
			t.Errorf("revoked: %s, want %d: %s", resp.Status, want, text)
		}
	}
}

// TestStreams refuses one stream too many, until another ends.
func TestStreams(t *testing.T) {
	d := open(t, func(s *api.Services) { s.Limits = api.Limits{Streams: 2} })
	d.submit()
	follow := func() *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "GET", d.url+runs+"/r/events", nil)
		d.must(err)
		req.Header.Set("Authorization", "Bearer "+secret)
		req.Header.Set("Accept", "text/event-stream")
		resp, err := http.DefaultClient.Do(req)
		d.must(err)
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	one, two := follow(), follow()
	if one.StatusCode != 200 || two.StatusCode != 200 {
		t.Fatal(one.Status, two.Status)
	}
	if three := follow(); three.StatusCode != 429 || three.Header.Get("Retry-After") == "" {
		t.Errorf("the third: %s", three.Status)
	}
	if resp, _ := d.call("GET", "/api/v1/whoami", ""); resp.StatusCode != 200 {
		t.Errorf("a request beside them: %s", resp.Status)
	}
	one.Body.Close()
	for { // the server hears of it soon
		if four := follow(); four.StatusCode == 200 {
			return
		}
	}
}

// TestOrigins lets the pages of those origins call that are named, and no other.
func TestOrigins(t *testing.T) {
	const portal = "https://portal.example:8443"
	ask := func(d *door, origin string) *http.Response {
		resp, _ := d.call("OPTIONS", runs, "", "Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type,idempotency-key")
		return resp
	}
	d := open(t, func(s *api.Services) { s.Origins = []string{portal} })
	if resp := ask(d, portal); resp.StatusCode/100 != 2 || resp.Header.Get("Access-Control-Allow-Origin") != portal {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
	if resp, _ := d.call("GET", runs, "", "Origin", portal); resp.Header.Get("Access-Control-Allow-Origin") != portal || !strings.Contains(strings.ToLower(resp.Header.Get("Access-Control-Expose-Headers")), "etag") {
		t.Errorf("%v", resp.Header)
	}
	for _, other := range []string{"https://portal.example", "http://portal.example:8443", "null", "https://evil.example"} {
		if resp := ask(d, other); resp.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %v", other, resp.Header)
		}
	}
	if resp := ask(open(t), portal); resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("by default: %v", resp.Header)
	}
	for _, wrong := range []string{"*", "portal.example", "https://portal.example/", "https://*.example/x", "ftp://x", ""} {
		if api.CheckOrigin(wrong) == nil {
			t.Errorf("%q is taken for an origin", wrong)
		}
	}
}
