package cli

import (
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
)

// held is a way to the platform on which requests whose path ends in a text are
// held up until the test lets them go.
func (p *platform) held(method, suffix string) (way string, letGo func()) {
	p.Helper()
	to, err := url.Parse(p.url)
	p.must(err)
	gate := make(chan struct{})
	proxy := httputil.NewSingleHostReverseProxy(to)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == method && strings.HasSuffix(r.URL.Path, suffix) {
			select {
			case <-gate:
			case <-r.Context().Done():
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	p.Cleanup(s.Close)
	return s.URL, func() { close(gate) }
}

// TestProgress looks at the bar that is drawn while files are on their way.
func TestProgress(t *testing.T) {
	p := open(t)
	p.submitted("a")
	x := p.start("a")
	p.leave(x, "outputs/first", strings.Repeat("1", 3<<20))
	p.leave(x, "outputs/second", strings.Repeat("2", 1<<20))
	way, letGo := p.held(http.MethodGet, "/outputs/second")
	dir := t.TempDir()
	args := []string{"run", "download", "a", "--dir", dir}
	text := p.onTerminalWhen([]string{"MUSTER_ADDR=" + way}, "3.0 MiB / 4.0 MiB", letGo, args...)
	if !strings.Contains(text, "download 3.0 MiB / 4.0 MiB") || !strings.Contains(text, "MiB/s") {
		t.Errorf("three of four MiB are there, and it shows\n%q", text)
	}
	last := text[strings.LastIndex(text, "MiB / 4.0 MiB"):]
	if !strings.Contains(last, "2 files, 4.0 MiB, in "+dir) {
		t.Errorf("it ends with\n%q", text)
	}
	if o := p.do(args...); o.code != 0 || strings.Contains(o.out+o.err, "/ 4.0 MiB") || strings.Contains(o.out+o.err, "\x1b") {
		t.Errorf("piped:\n%s%s", o.out, o.err)
	}
	if text := ansi.Strip(p.onTerminal(nil, "", append(args, "-o", "json")...)); strings.Contains(text, "/ 4.0 MiB") {
		t.Errorf("-o json:\n%s", text)
	}
}

// TestProgressOfUpload looks at the bar of a code folder that is sent in parts.
func TestProgressOfUpload(t *testing.T) {
	p := open(t)
	code := t.TempDir()
	noise := make([]byte, 17<<20)
	_, _ = rand.Read(noise) // it never fails
	p.must(os.WriteFile(filepath.Join(code, "data"), noise, 0o644))
	job := p.file("command: a\ncode: " + code)
	way, letGo := p.held(http.MethodPut, "/parts/0")
	text := p.onTerminalWhen([]string{"MUSTER_ADDR=" + way}, "1.0 MiB / 17.0 MiB", letGo, "run", "submit", job)
	if !strings.Contains(text, "code 1.0 MiB / 17.0 MiB") {
		t.Errorf("the last of two parts is there, and it shows\n%q", text)
	}
	last := text[strings.LastIndex(text, "MiB / 17.0 MiB"):]
	if !strings.Contains(last, "code: 1 file, 17.0 MiB packed, sent") {
		t.Errorf("it ends with\n%q", text)
	}
}
