package server

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/muster-ml/muster"
)

// TestAccessLog holds which requests each mode logs, that a line tells who asked
// for what and how it ended, and that no line tells a secret.
func TestAccessLog(t *testing.T) {
	const secret = "a-secret-in-the-wrong-place"
	for _, c := range []struct {
		mode  AccessLog
		lines int
	}{{"", 3}, {AccessErrors, 3}, {AccessOn, 4}, {AccessOff, 0}} {
		log := &bytes.Buffer{}
		s := openServer(t, func(conf *Config) {
			conf.AccessLog, conf.Log = c.mode, slog.New(slog.NewTextHandler(log, nil))
		})
		log.Reset()
		known := token(t, s)
		known.Set("X-Request-Id", "request-1")
		get(t, s, "/api/v1/workspaces?name="+secret, known)
		get(t, s, "/api/v1/workspaces/none", known)
		get(t, s, "/api/v1/workspaces", http.Header{"Authorization": {"Bearer " + secret}})
		get(t, s, "/"+secret, nil)
		text := log.String()
		if n := strings.Count(text, "msg=request"); n != c.lines {
			t.Errorf("mode %q: %d lines, want %d:\n%s", c.mode, n, c.lines, text)
		}
		own := strings.TrimPrefix(known.Get("Authorization"), "Bearer ")
		if strings.Contains(text, secret) || strings.Contains(text, own) {
			t.Errorf("mode %q: a secret is in the log:\n%s", c.mode, text)
		}
		if c.lines == 0 {
			continue
		}
		for _, want := range []string{"principal=admin method=GET route=/api/v1/workspaces/{workspace} status=404 bytes=", "request_id=request-1",
			"principal=- method=GET route=/api/v1/workspaces status=401 ", "route=none status=404"} {
			if !strings.Contains(text, want) {
				t.Errorf("mode %q: nothing says %q:\n%s", c.mode, want, text)
			}
		}
	}
	if err := AccessLog("some").Validate(); muster.CodeOf(err) != muster.CodeInvalid {
		t.Errorf("a mode that is none: %v", err)
	}
}

// TestHungUp holds that a caller who no longer waits is no failure of the
// server: the log and the metrics have 499, and nothing warns. A failure that
// somebody hears stays one.
func TestHungUp(t *testing.T) {
	log := &bytes.Buffer{}
	s := openServer(t, func(conf *Config) { conf.AccessLog, conf.Log = AccessOn, slog.New(slog.NewTextHandler(log, nil)) })
	fails := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }
	silent := func(http.ResponseWriter, *http.Request) {}
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		gone    bool
		want    string // in the log of every request
	}{
		{"a hold that is broken off", fails, true, "level=INFO msg=request principal=- method=POST route=none status=499"},
		{"nothing was said yet", silent, true, "status=499"},
		{"a failure", fails, false, "level=WARN msg=request principal=- method=POST route=none status=500"},
		{"all is well", silent, false, "status=200"},
	} {
		log.Reset()
		ctx, hangUp := context.WithCancel(t.Context())
		if c.gone {
			hangUp()
		}
		s.watched(c.handler).ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodPost, "/agent/v1/launches/a/report", nil))
		hangUp()
		if text := log.String(); !strings.Contains(text, c.want) {
			t.Errorf("%s: the log has %q, want %q", c.name, text, c.want)
		}
	}
	log.Reset()
	s.AccessLog = AccessErrors
	ctx, hangUp := context.WithCancel(t.Context())
	hangUp()
	s.watched(http.HandlerFunc(fails)).ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodPut, "/", nil))
	if log.Len() > 0 {
		t.Errorf("among the errors is a call whose caller hung up:\n%s", log)
	}
	if text := get(t, s, "/metrics", nil).Body.String(); !strings.Contains(text, `muster_http_requests_total{method="POST",route="none",status="499"} 2`) {
		t.Errorf("the metrics do not tell of two that hung up:\n%s", text)
	}
}
