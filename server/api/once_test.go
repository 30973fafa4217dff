package api_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// TestOnce sends requests again under the same key: they are carried out once,
// and answered alike.
func TestOnce(t *testing.T) {
	d := open(t)
	d.submit()
	for path, body := range map[string]string{"/workspaces": `{"name":"x"}`, "/clusters": `{"name":"d","node_pool":"d"}`, "/workspaces/w/runs": `{"spec":{"command":"a & b"}}`,
		"/workspaces/w/runs:bulk": `{"runs":[{"name":"b1","spec":{"command":"<a>"}},{"spec":{"command":"a"}}]}`, "/workspaces/w/runs/r/cancel": ""} {
		first, text := d.call("POST", "/api/v1"+path, body, muster.IdempotencyKeyHeader, "key of "+path)
		if first.StatusCode/100 != 2 || first.Header.Get(muster.ReplayedHeader) != "" {
			t.Errorf("%s: %s %s", path, first.Status, text)
		}
		before := d.everything()
		again, same := d.call("POST", "/api/v1"+path, body, muster.IdempotencyKeyHeader, "key of "+path)
		if again.StatusCode != first.StatusCode || same != text || again.Header.Get(muster.ReplayedHeader) != "true" || again.Header.Get("Content-Type") != first.Header.Get("Content-Type") {
			t.Errorf("%s again: %s\n%s\nwant\n%s", path, again.Status, same, text)
		}
		if after := d.everything(); after != before {
			t.Errorf("%s was carried out twice", path)
		}
		if resp, text := d.call("POST", "/api/v1"+path, body+" ", muster.IdempotencyKeyHeader, "key of "+path); resp.StatusCode != 422 || !strings.Contains(text, "belongs to another request") {
			t.Errorf("%s, another request: %s %s", path, resp.Status, text)
		}
	}
}

// TestOnceOfRefusals holds what is not kept: refusals, secrets, and other
// people's answers.
func TestOnceOfRefusals(t *testing.T) {
	d := open(t)
	callers := d.callers()
	const key = muster.IdempotencyKeyHeader
	for range 2 {
		if resp, text := d.call("POST", runs, `{"name":"a b","spec":{"command":"a"}}`, key, "1"); resp.StatusCode != 400 || resp.Header.Get(muster.ReplayedHeader) != "" {
			t.Errorf("%s %s", resp.Status, text)
		}
	}
	if resp, text := d.call("POST", runs, `{"name":"ab","spec":{"command":"a"}}`, key, "1"); resp.StatusCode != 201 {
		t.Errorf("corrected: %s %s", resp.Status, text)
	}
	if resp, text := d.call("POST", runs, `{"name":"ab","spec":{"command":"a"}}`, key, "1", "Authorization", "Bearer "+callers["c"]); resp.StatusCode != 409 || strings.Contains(text, key) {
		t.Errorf("another's key: %s %s", resp.Status, text)
	}
	if resp, _ := d.call("POST", runs, `{"name":"ab","spec":{"command":"a"}}`, key, "1", "Authorization", "Bearer "+callers["r"]); resp.StatusCode != 403 {
		t.Errorf("a reader: %s", resp.Status)
	}
	if resp, text := d.call("POST", runs, `{}`, key, strings.Repeat("x", 300)); resp.StatusCode != 400 {
		t.Errorf("a long key: %s %s", resp.Status, text)
	}
	const ask = `{"name":"t","role":"reader","workspace":"w"}`
	if resp, text := d.call("POST", "/api/v1/tokens", ask, key, "2"); resp.StatusCode != 201 || !strings.Contains(text, "secret") {
		t.Errorf("%s %s", resp.Status, text)
	}
	if resp, text := d.call("POST", "/api/v1/tokens", ask, key, "2"); resp.StatusCode != 409 || !strings.Contains(text, "told once") {
		t.Errorf("the secret again: %s %s", resp.Status, text)
	}
	if r, err := d.store.FindReceipt(t.Context(), "anna [administrator] 0", "2"); err != nil || r == nil || r.Body != "" {
		t.Errorf("the receipt of a secret is %+v, %v", r, err)
	}
}

// TestTwins sends the same request many times at once: one is carried out.
func TestTwins(t *testing.T) {
	d := open(t)
	answers := make([]string, 20)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() {
			resp, text := d.call("POST", runs, `{"spec":{"command":"a"}}`, muster.IdempotencyKeyHeader, "twin")
			answers[i] = resp.Status + text
		})
	}
	all.Wait()
	for _, a := range answers {
		if a != answers[0] || !strings.HasPrefix(a, "201") {
			t.Errorf("%s, want %s", a, answers[0])
		}
	}
	if page := d.page("", ""); len(page.Runs) != 1 {
		t.Errorf("%d runs are made", len(page.Runs))
	}
}

// TestLostAnswer loses the answer to a submission on its way: the client sends
// it again by itself, and one run is made.
func TestLostAnswer(t *testing.T) {
	d := open(t)
	lost := 0
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		there, err := url.Parse(d.url)
		d.must(err)
		if lost == 0 {
			lost++
			(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(there) }}).ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler) // the server has done it, and the caller hears nothing
		}
		(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(there) }}).ServeHTTP(w, r)
	}))
	defer proxy.Close()
	r, err := client.New(proxy.URL, secret).CreateRun(t.Context(), "w", &muster.RunRequest{Name: "once", Spec: muster.Spec{Command: "a"}})
	if err != nil || r.Name != "once" || lost != 1 {
		t.Errorf("%+v, %v, lost %d", r, err, lost)
	}
	if page := d.page("", ""); len(page.Runs) != 1 {
		t.Errorf("%d runs are made", len(page.Runs))
	}
}
