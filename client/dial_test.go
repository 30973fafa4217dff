package client_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/muster-ml/muster/client"
)

// TestDial breaks an answer that stalls, and none that goes on.
func TestDial(t *testing.T) {
	const idle = 500 * time.Millisecond
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range 10 {
			_, _ = w.Write([]byte("on "))
			w.(http.Flusher).Flush()
			time.Sleep(idle / 5)
		}
		if r.URL.Path == "/stall" {
			<-r.Context().Done()
		}
	}))
	defer server.Close()
	web := &http.Client{Transport: &http.Transport{DialContext: client.Dial(idle)}}
	for path, stalls := range map[string]bool{"/": false, "/stall": true} {
		resp, err := web.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if errors.Is(err, os.ErrDeadlineExceeded) != stalls || len(text) != 30 {
			t.Errorf("%s: %d bytes, %v", path, len(text), err)
		}
	}
}
