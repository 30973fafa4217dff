package server

import (
	"cmp"
	"log/slog"
	"net/http"
	"time"

	"github.com/muster-ml/muster"
)

// AccessLog says which requests are logged.
type AccessLog string

// What is logged.
const (
	AccessOn     AccessLog = "on"     // every request
	AccessErrors AccessLog = "errors" // those that were refused or failed
	AccessOff    AccessLog = "off"
)

// Validate refuses what is none of them; "" is AccessErrors.
func (l AccessLog) Validate() error {
	switch l {
	case "", AccessOn, AccessErrors, AccessOff:
		return nil
	}
	return muster.Errorf(muster.CodeInvalid, "--access-log is %q", string(l)).At("access-log").WithCure("use on, errors or off")
}

// logAccess writes one line about a request that was answered. It tells the
// route and not the path, and nothing of query and headers: what somebody pastes
// into the wrong place stays his.
func (s *Server) logAccess(r *http.Request, q *request, a *answer, status int) {
	mode := cmp.Or(s.AccessLog, AccessErrors)
	if mode == AccessOff || mode == AccessErrors && (status < 400 || status == statusHungUp) {
		return
	}
	level := slog.LevelInfo
	if status >= 500 {
		level = slog.LevelWarn
	}
	s.Log.Log(r.Context(), level, "request", "principal", cmp.Or(q.principal, "-"), "method", methodOf(r), "route", q.route,
		"status", status, "bytes", a.bytes, "duration", time.Since(q.began).Round(time.Microsecond), "request_id", q.id)
}
