package client

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// TestIdle breaks a connection once nothing has moved on it for its time, however
// long it has been open.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := &idleConn{near, time.Minute}
		began := time.Now()
		go func() {
			for range 3 {
				time.Sleep(50 * time.Second) // the bubble's clock: it takes no time
				_, _ = far.Write([]byte("on "))
			}
			for range 3 { // and while an answer is waited for, its question moves on
				time.Sleep(50 * time.Second)
				go func() { _, _ = io.CopyN(io.Discard, far, 1) }()
				_, _ = c.Write([]byte("x"))
			}
		}()
		text, err := io.ReadAll(c)
		if string(text) != "on on on " || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q, %v", text, err)
		}
		if took := time.Since(began); took != 6*50*time.Second+time.Minute {
			t.Errorf("it broke after %s", took)
		}
	})
}

// TestDial breaks an answer that stalls.
func TestDial(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("begun"))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer server.Close()
	web := &http.Client{Transport: &http.Transport{DialContext: Dial(200 * time.Millisecond)}}
	resp, err := web.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); string(text) != "begun" || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%q, %v", text, err)
	}
}
