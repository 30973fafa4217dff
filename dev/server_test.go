package dev

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/muster-ml/muster"
)

// answering is a platform whose server answers as a map says, by method and path.
func answering(t *testing.T, answers map[string]string) *Platform {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := map[string]int{"not_found": 404, "conflict": 409, "unauthenticated": 401, "invalid": 400}
		code, detail, _ := strings.Cut(answers[r.Method+" "+r.URL.Path], ": ")
		if code == "" {
			return
		}
		w.WriteHeader(status[code])
		_, _ = w.Write([]byte(`{"code":"` + code + `","detail":"` + detail + `","cure":"do it"}`))
	}))
	t.Cleanup(server.Close)
	return &Platform{Addr: server.URL}
}

// TestServerSays puts into words what the server says of a token that it does
// not know, and of what it does not make.
func TestServerSays(t *testing.T) {
	p := answering(t, map[string]string{"GET /api/v1/whoami": "unauthenticated: this token is not known here"})
	err := p.believed(t.Context(), "/data/server/token")
	if muster.CodeOf(err) != muster.CodeUnauthenticated || !strings.Contains(err.Error(), "/data/server/token") || strings.Contains(err.Error(), "{") {
		t.Errorf("a token that is revoked: %v", err)
	}
	p = answering(t, map[string]string{"GET /w/default": "not_found: none", "POST /w": "conflict: it was deleted"})
	if err := p.create(t.Context(), "/w", map[string]string{"name": "default"}); err != nil || len(p.Lacks) != 1 || p.Lacks[0] != "it was deleted: do it" {
		t.Errorf("a name that is taken for ever: %v, lacks %q", err, p.Lacks)
	}
	p = answering(t, map[string]string{"GET /w/default": "not_found: none", "POST /w": "invalid: no such cluster"})
	if err := p.create(t.Context(), "/w", map[string]string{"name": "default"}); err == nil || err.Error() != "create default: no such cluster: do it" {
		t.Errorf("what is refused: %v", err)
	}
	p = answering(t, nil)
	if err := p.create(t.Context(), "/w", map[string]string{"name": "default"}); err != nil || len(p.Lacks) != 0 {
		t.Errorf("what is there: %v, lacks %q", err, p.Lacks)
	}
}
