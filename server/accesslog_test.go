package server

import (
	"bytes"
	"log/slog"
	"net/http"
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
		get(t, s, "/api/v1/workspaces?token="+secret, known)
		get(t, s, "/api/v1/workspaces/none?token="+secret, known)
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
