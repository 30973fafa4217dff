package api_test

import (
	"net/http"
	"strings"
	"testing"

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
