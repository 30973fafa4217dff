package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/server/api"
)

// leader moves runs as a leader's loops would.
type leader struct {
	*door
	muster.Ledger
}

func (d *door) lead() *leader {
	d.Helper()
	lease, err := d.store.AcquireLease(d.Context(), "test", true)
	d.must(err)
	return &leader{d, d.store.Lead(lease.Term)}
}

// submit makes run r.
func (d *door) submit() *muster.Run {
	d.Helper()
	if resp, text := d.call("POST", runs, `{"name":"r","spec":{"command":"a"}}`); resp.StatusCode != 201 {
		d.Fatal(text)
	}
	r, err := d.store.FindRun(d.Context(), "w", "r")
	d.must(err)
	return r
}

// admit begins the next attempt of a run.
func (l *leader) admit(r *muster.Run) *muster.Execution {
	l.Helper()
	n, err := l.Apply(l.Context(), &muster.Decision{Starts: []muster.Start{{RunID: r.ID, Cluster: "c", Cores: 1000,
		Each: []muster.Resources{{MHz: 1000, MiB: 1000}}, Places: []muster.Place{{NodeID: "n", NodeName: "node"}}}}})
	l.must(err)
	all, err := l.Launches(l.Context(), muster.LaunchReserved)
	l.must(err)
	if n != 1 || len(all) != 1 {
		l.Fatalf("%d admitted, %d reserved", n, len(all))
	}
	return all[0]
}

// end ends the attempt, and takes the run where it goes from there.
func (l *leader) end(x *muster.Execution, over muster.LaunchState, outcome muster.Outcome, to ...muster.RunState) {
	l.Helper()
	m := &muster.Moves{Launch: over, Outcome: outcome}
	for _, state := range to {
		m.Runs = append(m.Runs, muster.RunMove{To: state, Reason: "test"})
	}
	l.must(l.Move(l.Context(), x, m))
}

// write keeps a chunk of a log.
func (d *door) write(id muster.LogID, offset int64, text string) {
	d.Helper()
	_, _, err := d.bucket.Put(d.Context(), id.ChunkKey(offset), "", strings.NewReader(text))
	d.must(err)
}

// follower reads a stream of logs, event by event.
type follower struct {
	*door
	resp *http.Response
	buf  []byte
}

func (d *door) follow(path, last string) *follower {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), 20*time.Second)
	d.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", d.url+path, nil)
	d.must(err)
	req.Header.Set("Authorization", "Bearer "+secret)
	req.Header.Set("Last-Event-ID", last)
	resp, err := http.DefaultClient.Do(req)
	d.must(err)
	d.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 {
		d.Fatal(resp.Status)
	}
	return &follower{door: d, resp: resp}
}

// next returns the next event's id and chunk; the chunk is nil at the end.
func (f *follower) next() (id string, chunk *muster.Chunk) {
	f.Helper()
	for !bytes.Contains(f.buf, []byte("\n\n")) {
		more := make([]byte, 4096)
		n, err := f.resp.Body.Read(more)
		f.buf = append(f.buf, more[:n]...)
		if n == 0 && err != nil {
			f.Fatalf("the stream broke off: %v, after %q", err, f.buf)
		}
	}
	event, rest, _ := bytes.Cut(f.buf, []byte("\n\n"))
	f.buf = rest
	for line := range strings.Lines(string(event)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch {
		case name == "id":
			id = value
		case name == "event" && value == "end":
			return id, nil
		case name == "data":
			chunk = &muster.Chunk{}
			f.must(json.Unmarshal([]byte(value), chunk))
		}
	}
	return id, chunk
}

// all reads to the end, and returns what came of each attempt's streams and
// the id after each event.
func (f *follower) all() (texts map[int]map[muster.Stream]string, ids []string) {
	f.Helper()
	texts = map[int]map[muster.Stream]string{}
	for {
		id, c := f.next()
		if c == nil {
			return texts, ids
		}
		ids = append(ids, id)
		if texts[c.Attempt] == nil {
			texts[c.Attempt] = map[muster.Stream]string{}
		}
		texts[c.Attempt][c.Stream] += string(c.Data)
	}
}

// TestLogsThroughAttempts follows a run from before its first attempt, which is
// withdrawn, through one that fails to one that succeeds.
func TestLogsThroughAttempts(t *testing.T) {
	d := open(t)
	r, l := d.submit(), d.lead()
	f := d.follow(runs+"/r/logs", "")
	l.end(l.admit(r), muster.LaunchPurged, muster.OutcomeWithdrawn, muster.RunQueued)
	x := l.admit(r)
	out, errs := muster.LogID{RunID: r.ID, Attempt: 2, Stream: muster.Stdout}, muster.LogID{RunID: r.ID, Attempt: 2, Stream: muster.Stderr}
	d.write(out, 0, "ab")
	if id, c := f.next(); c == nil || string(c.Data) != "ab" || c.Attempt != 2 || c.Offset != 0 || id != "2.2.0" {
		t.Fatalf("first %s %+v", id, c)
	}
	d.write(errs, 0, "E")
	d.write(out, 2, "cd")
	l.end(x, muster.LaunchOver, muster.OutcomeFailed, muster.RunStarting, muster.RunRunning, muster.RunQueued)
	x = l.admit(r)
	out.Attempt = 3
	d.write(out, 0, "third")
	l.end(x, muster.LaunchOver, muster.OutcomeSucceeded, muster.RunStarting, muster.RunRunning, muster.RunSucceeded)
	texts, ids := f.all()
	if texts[2][muster.Stdout] != "cd" || texts[2][muster.Stderr] != "E" || texts[3][muster.Stdout] != "third" {
		t.Errorf("the stream had %v", texts)
	}
	for _, id := range append(ids, "2.2.0", "1.0.0") {
		var attempt, outs, errs int
		_, err := fmt.Sscanf(id, "%d.%d.%d", &attempt, &outs, &errs)
		d.must(err)
		want := map[int]string{2: "abcd", 3: "third"}[attempt][outs:]
		if attempt == 2 {
			want += "E"[errs:]
		}
		if attempt == 1 {
			want = "abcdE"
		}
		if attempt < 3 {
			want += "third"
		}
		texts, _ := d.follow(runs+"/r/logs", id).all()
		if got := texts[2][muster.Stdout] + texts[2][muster.Stderr] + texts[3][muster.Stdout]; got != want {
			t.Errorf("after %s came %q, want %q", id, got, want)
		}
	}
	if texts, _ := d.follow(runs+"/r/logs?attempt=2&stream=stdout", "").all(); len(texts) != 1 || len(texts[2]) != 1 || texts[2][muster.Stdout] != "abcd" {
		t.Errorf("one stream of one attempt: %v", texts)
	}
	if texts, _ := d.follow(runs+"/r/logs", "").all(); len(texts) != 1 || texts[3][muster.Stdout] != "third" {
		t.Errorf("a follower who comes late: %v", texts)
	}
	for path, want := range map[string]string{"/logs/stdout": "third", "/logs/stderr": "", "/logs/stdout?attempt=2": "abcd", "/logs/stdout?attempt=1": ""} {
		if resp, text := d.call("GET", runs+"/r"+path, ""); resp.StatusCode != 200 || text != want || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s: %s %q", path, resp.Status, text)
		}
	}
}

// TestLogsThatAreNotThere holds that a follower of nothing hears so, and does
// not wait for ever.
func TestLogsThatAreNotThere(t *testing.T) {
	d := open(t)
	r, l := d.submit(), d.lead()
	x := l.admit(r)
	for path, says := range map[string]string{
		"/logs?instance=1": "attempt 1 has no instance 1", "/logs?attempt=2": "no attempt 2", "/logs?attempt=-1": "attempt must be",
		"/logs?instance=-1": "instance must be", "/logs?stream=all": "stream must be one of", "/logs/stdout?instance=1": "no instance 1",
	} {
		if resp, text := d.call("GET", runs+"/r"+path, ""); resp.StatusCode/100 != 4 || !strings.Contains(text, says) {
			t.Errorf("%s: %s %s", path, resp.Status, text)
		}
	}
	for _, id := range []string{"x", "1", "1.2", "-1.0.0", "1.-2.0", "7.0.0"} {
		if resp, text := d.call("GET", runs+"/r/logs", "", "Last-Event-ID", id); resp.StatusCode != 400 || !strings.Contains(text, "Last-Event-ID") {
			t.Errorf("id %s: %s %s", id, resp.Status, text)
		}
	}
	l.end(x, muster.LaunchPurged, muster.OutcomeCancelled, muster.RunCancelled)
	if texts, _ := d.follow(runs+"/r/logs", "").all(); len(texts) != 0 {
		t.Errorf("a run that never started logged %v", texts)
	}
}

// counted counts how often each blob is opened.
type counted struct {
	muster.Blobs
	mu     sync.Mutex
	opened map[string]int
	before func(key string) // told of what is opened, if not nil
}

func (c *counted) Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	c.mu.Lock()
	c.opened[key]++
	if c.before != nil {
		c.before(key)
	}
	c.mu.Unlock()
	return c.Blobs.Open(ctx, key, offset)
}

// TestDrainedLogsRest holds that a log that has nothing is not asked again for
// each chunk of another.
func TestDrainedLogsRest(t *testing.T) {
	var blobs *counted
	d := open(t, func(s *api.Services) {
		blobs = &counted{Blobs: s.Blobs, opened: map[string]int{}}
		s.Blobs = blobs
	})
	at := d.gang()
	const chunks = 50
	var end int64
	for n := range chunks {
		end = d.chunk(at(0, muster.Stdout), end, 10*n, "a\n")
	}
	d.chunk(at(1, muster.Stdout), 0, 15, "b\n")
	text, ids := d.follow(runs+"/r/logs?follow=false&instance=all", "").merged()
	if len(ids) != chunks+1 || !strings.HasPrefix(text, "0out@0:a\n|0out@10:a\n|1out@15:b\n|0out@20:a\n|") {
		t.Errorf("%d chunks came: %s", len(ids), text)
	}
	for _, id := range []struct {
		muster.LogID
		end int64
	}{{at(0, muster.Stdout), end}, {at(0, muster.Stderr), 0}, {at(1, muster.Stdout), 2}, {at(1, muster.Stderr), 0}} {
		if n := blobs.opened[id.ChunkKey(id.end)]; n < 1 || n > 2 {
			t.Errorf("%s of instance %d was asked %d times for what is not there, with one round that sent and one that did not", id.Stream, id.Instance, n)
		}
	}
}

// TestNoLogStarves holds that a log that always has more, however fast it is
// read, does not keep those from being heard that had nothing at first.
func TestNoLogStarves(t *testing.T) {
	var blobs *counted
	d := open(t, func(s *api.Services) {
		blobs = &counted{Blobs: s.Blobs, opened: map[string]int{}}
		s.Blobs = blobs
	})
	at := d.gang()
	busy, end, written := at(0, muster.Stdout), int64(0), 0
	blobs.before = func(key string) {
		if key != busy.ChunkKey(end) {
			return
		}
		end = d.chunk(busy, end, 10*written, "a\n")
		if written++; written == 5 {
			d.chunk(at(1, muster.Stdout), 0, 15, "b\n")
		}
	}
	defer func() { // the server may read on for a moment
		blobs.mu.Lock()
		defer blobs.mu.Unlock()
		blobs.before = nil
	}()
	f := d.follow(runs+"/r/logs?follow=false&instance=all", "")
	for range 300 {
		_, c := f.next()
		if c == nil {
			t.Fatal("the stream ended")
		}
		if c.Instance == 1 {
			return
		}
	}
	t.Error("300 chunks of one log came, and none of the other")
}
