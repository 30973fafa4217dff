package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// serve serves f and returns a client of it.
func serve(t *testing.T, f http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	c := client.New(s.URL+"/", "secret")
	t.Cleanup(c.Close)
	return c
}

func TestErrors(t *testing.T) {
	answers := map[string]struct {
		status int
		body   string
		code   muster.Code
		says   string
	}{
		"problem":  {409, `{"code":"conflict","detail":"it exists","field":"name","cure":"choose another"}`, muster.CodeConflict, "it exists: choose another"},
		"proxy":    {502, "<html>Bad gateway</html>", muster.CodeUnreachable, "not as a Muster server does"},
		"not-ours": {404, "404 page not found", muster.CodeUnreachable, "not as a Muster server does"},
		"cut":      {200, `{"name":`, muster.CodeUnreachable, "broke off"},
	}
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		a := answers[r.URL.Path[len("/api/v1/clusters/"):]]
		if r.Header.Get("Authorization") != "Bearer secret" {
			a.status = 401
		}
		w.WriteHeader(a.status)
		fmt.Fprint(w, a.body)
	})
	for name, want := range answers {
		_, err := c.Cluster(t.Context(), name)
		if muster.CodeOf(err) != want.code || !strings.Contains(err.Error(), want.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	e, _ := errors.AsType[*muster.Error](func() error { _, err := c.Cluster(t.Context(), "problem"); return err }())
	if e == nil || e.Field != "name" {
		t.Errorf("the field is lost: %+v", e)
	}
	gone := client.New("http://127.0.0.1:1", "")
	if _, err := gone.Clusters(t.Context()); muster.CodeOf(err) != muster.CodeUnreachable || !strings.Contains(err.Error(), "muster dev") {
		t.Errorf("nobody there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Clusters(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestPathsAreEscaped sends names that would lead elsewhere.
func TestPathsAreEscaped(t *testing.T) {
	var got string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { got = r.RequestURI; fmt.Fprint(w, "{}") })
	if _, err := c.Run(t.Context(), "w/../x", "a?b#c%d"); err != nil || got != "/api/v1/workspaces/w%2F..%2Fx/runs/a%3Fb%23c%25d" {
		t.Errorf("%s, %v", got, err)
	}
}

// TestEventsResume breaks the stream after each event, in the middle of the
// next, and answers with errors in between.
func TestEventsResume(t *testing.T) {
	var asked []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("Last-Event-ID"))
		var last int
		fmt.Sscan(r.Header.Get("Last-Event-ID"), &last)
		if len(asked)%2 == 0 {
			w.WriteHeader(503)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		if last == 3 {
			fmt.Fprint(w, "id: 3\nevent: end\ndata: {}\n\n")
			return
		}
		fmt.Fprintf(w, ": alive\n\nid: %d\nevent: event\ndata: {\"seq\":%d}\n\nid: %d\nevent: event\ndata: {\"se", last+1, last+1, last+2)
	})
	told := 0
	c.OnAway = func(error) { told++ }
	var got []int64
	for e, err := range c.Events(t.Context(), muster.EventFilter{Workspace: "w", Run: "r"}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Seq)
	}
	if told != 3 {
		t.Errorf("told %d times that the server is away, want once a time", told)
	}
	if want := []int64{1, 2, 3}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if want := []string{"", "1", "1", "2", "2", "3", "3"}; !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}

func TestStreamsEnd(t *testing.T) {
	tries := 0
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if tries++; strings.Contains(r.URL.Path, "gone") && tries > 1 {
			w.WriteHeader(404)
			fmt.Fprint(w, `{"code":"not_found","detail":"there is no run gone"}`)
			return
		}
		if strings.Contains(r.URL.Path, "refused") {
			w.WriteHeader(503)
			return
		}
		for i := range 3 {
			fmt.Fprintf(w, "id: %d\nevent: event\ndata: {\"seq\":%d}\n\n", i+1, i+1)
		}
	})
	for _, err := range c.Events(t.Context(), muster.EventFilter{Workspace: "w", Run: "refused"}) {
		if muster.CodeOf(err) != muster.CodeUnreachable {
			t.Errorf("a first connection that fails: %v", err)
		}
	}
	tries = 0
	var last error
	for _, err := range c.Events(t.Context(), muster.EventFilter{Workspace: "w", Run: "gone"}) {
		last = err
	}
	if muster.CodeOf(last) != muster.CodeNotFound {
		t.Errorf("what cannot be cured ends the stream: %v", last)
	}
	n := 0
	for range c.Events(t.Context(), muster.EventFilter{Workspace: "w", Run: "r"}) {
		if n++; n == 2 {
			break
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range c.Events(ctx, muster.EventFilter{Workspace: "w", Run: "r"}) {
		cancel()
	}
}

// TestWrongScheme calls by HTTPS what speaks HTTP.
func TestWrongScheme(t *testing.T) {
	c := serve(t, func(http.ResponseWriter, *http.Request) {})
	addr := strings.Replace(c.Addr(), "http://", "https://", 1)
	_, err := client.New(addr, "").Whoami(t.Context())
	if e, ok := err.(*muster.Error); !ok || e.Code != muster.CodeUnreachable || e.Cure != "write "+c.Addr() {
		t.Errorf("%v", err)
	}
	if _, err := client.New(c.Addr(), "two\nlines").Whoami(t.Context()); muster.CodeOf(err) != muster.CodeInvalid || !strings.Contains(err.Error(), "line break") {
		t.Errorf("a token with a line break: %v", err)
	}
}

// TestWaitRun breaks off the last answer, as a server does that is killed.
func TestWaitRun(t *testing.T) {
	broken := false
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/events") {
			fmt.Fprint(w, "id: 1\nevent: event\ndata: {\"seq\":1}\n\nid: 1\nevent: end\ndata: {}\n\n")
			return
		}
		if !broken {
			broken = true
			panic(http.ErrAbortHandler)
		}
		fmt.Fprint(w, `{"name":"r","state":"failed"}`)
	})
	if v, err := c.WaitRun(t.Context(), "w", "r"); err != nil || v.State != muster.RunFailed {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestUpload(t *testing.T) {
	var mu sync.Mutex
	var calls []string
	kept := map[string]string{}
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, r.Method)
		name := filepath.Base(r.URL.Path)
		switch _, ok := kept[name]; {
		case r.Method == "HEAD" && !ok:
			w.WriteHeader(404)
		case r.Method == "PUT" && len(calls) == 2:
			panic(http.ErrAbortHandler)
		case r.Method == "PUT":
			body, _ := io.ReadAll(r.Body)
			kept[name] = string(body)
		}
	})
	opened := 0
	u := client.Upload{SHA256: "abc", Size: 5, Open: func() io.ReadCloser { opened++; return io.NopCloser(strings.NewReader("bytes")) }}
	if sent, err := c.PutUpload(t.Context(), "w", u); err != nil || sent != 5 || kept["abc"] != "bytes" || opened != 2 {
		t.Errorf("%d bytes in %d tries, kept %q, %v", sent, opened, kept, err)
	}
	if sent, err := c.PutUpload(t.Context(), "w", u); err != nil || sent != 0 || opened != 2 {
		t.Errorf("again: %d bytes in %d tries, %v", sent, opened, err)
	}
	if want := []string{"HEAD", "PUT", "PUT", "HEAD"}; !slices.Equal(calls, want) {
		t.Errorf("calls %v, want %v", calls, want)
	}
}

// TestUploadRefused says why an upload is refused, though HEAD is answered without
// a word.
func TestUploadRefused(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(401)
		if r.Method != "HEAD" {
			fmt.Fprint(w, `{"code":"unauthenticated","detail":"this token is not known here","cure":"give another"}`)
		}
	})
	u := client.Upload{SHA256: "abc", Size: 5, Open: func() io.ReadCloser { return io.NopCloser(strings.NewReader("bytes")) }}
	if _, err := c.PutUpload(t.Context(), "w", u); muster.CodeOf(err) != muster.CodeUnauthenticated || err.Error() != "this token is not known here: give another" {
		t.Errorf("%v", err)
	}
}

// TestDownload breaks off, comes again, and believes nothing that has another
// checksum.
func TestDownload(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 50_000)
	digest := sha256.Sum256(data)
	a := &muster.Artifact{Path: "outputs/deep/x.bin", Size: int64(len(data)), SHA256: hex.EncodeToString(digest[:])}
	var ranges []string
	damage := false
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		ranges = append(ranges, r.Header.Get("Range"))
		body := data
		if damage {
			body = bytes.Repeat([]byte("x"), len(data))
		}
		if len(ranges) == 1 {
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			_, _ = w.Write(data[:200_000])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("ETag", `"`+a.SHA256+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	})
	dir := t.TempDir()
	if err := c.Download(t.Context(), client.Download{Workspace: "w", Run: "r", Files: []*muster.Artifact{a}, Dir: dir}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "outputs", "deep", "x.bin"))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if want := []string{"", ""}; !slices.Equal(ranges, want) {
		t.Errorf("asked for %q, want %q", ranges, want)
	}
	damage = true
	if err := c.Download(t.Context(), client.Download{Workspace: "w", Run: "r", Files: []*muster.Artifact{a}, Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("other bytes: %v", err)
	}
	left, err := os.ReadDir(filepath.Join(dir, "outputs", "deep"))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestDownloadStaysInItsFolder(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "evil") })
	digest := sha256.Sum256([]byte("evil"))
	parent := t.TempDir()
	dir := filepath.Join(parent, "in")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(parent, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"../x", "/x", "a/../../x", "link/x", ""} {
		err := c.Download(t.Context(), client.Download{Workspace: "w", Run: "r", Dir: dir, Files: []*muster.Artifact{{Path: path, Size: 4, SHA256: hex.EncodeToString(digest[:])}}})
		if err == nil {
			t.Errorf("%q was written", path)
		}
	}
	if _, err := os.Stat(filepath.Join(parent, "x")); err == nil {
		t.Error("a file lies outside the folder")
	}
}
