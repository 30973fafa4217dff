package api_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/server/api"
)

// began is when the logs of these tests begin, in milliseconds.
const began = 1_750_000_000_000

// chunk keeps a chunk whose pieces were written at the times before them, in
// milliseconds, and returns where the next begins.
func (d *door) chunk(id muster.LogID, offset int64, pieces ...any) int64 {
	d.Helper()
	var marks []muster.Mark
	at := offset
	text := ""
	for i := 0; i+1 < len(pieces); i += 2 {
		marks = append(marks, muster.Mark{Offset: at, Ms: began + int64(pieces[i].(int))})
		text += pieces[i+1].(string)
		at = offset + int64(len(text))
	}
	_, _, err := d.bucket.Put(d.Context(), id.TimesKey(offset), "", strings.NewReader(muster.FormatMarks(offset, marks)))
	d.must(err)
	d.write(id, offset, text)
	return at
}

// gang is a run of two instances, which has ended.
func (d *door) gang() (at func(instance int, s muster.Stream) muster.LogID) {
	d.Helper()
	r, l := d.submit(), d.lead()
	_, err := l.Apply(d.Context(), &muster.Decision{Starts: []muster.Start{{RunID: r.ID, Cluster: "c", Cores: 1000,
		Each: []muster.Resources{{MHz: 1000, MiB: 1000}}, Places: []muster.Place{{NodeID: "n", NodeName: "node"}, {NodeID: "m", NodeName: "other"}}}}})
	d.must(err)
	all, err := l.Launches(d.Context(), muster.LaunchReserved)
	d.must(err)
	l.end(all[0], muster.LaunchOver, muster.OutcomeSucceeded, muster.RunStarting, muster.RunRunning, muster.RunSucceeded)
	return func(instance int, s muster.Stream) muster.LogID {
		return muster.LogID{RunID: r.ID, Attempt: 1, Instance: instance, Stream: s}
	}
}

// merged reads a stream to its end as text, each piece behind its instance, and
// the ids.
func (f *follower) merged() (text string, ids []string) {
	f.Helper()
	for {
		id, c := f.next()
		if c == nil {
			return text, ids
		}
		ids = append(ids, id)
		text += fmt.Sprintf("%d%s@%d:%s|", c.Instance, c.Stream[3:], c.Marks[0].Ms-began, c.Data)
	}
}

// TestMerged reads the logs of a gang by time, from everywhere on.
func TestMerged(t *testing.T) {
	d := open(t)
	at := d.gang()
	d.chunk(at(0, muster.Stdout), d.chunk(at(0, muster.Stdout), 0, 10, "a\n", 30, "c\n"), 50, "e\n")
	d.chunk(at(0, muster.Stderr), 0, 35, "oops\n")
	d.chunk(at(1, muster.Stdout), 0, 20, "b\n", 40, "d", 45, "d\n", 60, "f\n")
	const all = "0out@10:a\n|1out@20:b\n|0out@30:c\n|0err@35:oops\n|1out@40:dd\n|0out@50:e\n|1out@60:f\n|"
	text, ids := d.follow(runs+"/r/logs?instance=all", "").merged()
	if text != all {
		t.Errorf("together they are %q", text)
	}
	for i, id := range ids {
		rest, _ := d.follow(runs+"/r/logs?instance=all&tail=1", id).merged()
		if want := strings.Join(strings.SplitAfter(all, "|")[i+1:], ""); rest != want {
			t.Errorf("after %s there is %q, want %q", id, rest, want)
		}
	}
	since := func(ms int) string { return time.UnixMilli(began + int64(ms)).UTC().Format(time.RFC3339Nano) }
	for query, want := range map[string]string{
		"tail=1": "1out@60:f\n|", "tail=3": "1out@40:dd\n|0out@50:e\n|1out@60:f\n|", "tail=99": all,
		"since=" + since(35): "0err@35:oops\n|1out@40:dd\n|0out@50:e\n|1out@60:f\n|", "since=" + since(41): "0out@50:e\n|1out@60:f\n|", "since=" + since(99): "",
		"tail=2&since=" + since(60): "1out@60:f\n|", "since=" + since(45) + "&stream=stderr": "", "stream=stderr&tail=1": "0err@35:oops\n|",
	} {
		if text, _ := d.follow(runs+"/r/logs?follow=false&instance=all&"+query, "").merged(); text != want {
			t.Errorf("%s: %q, want %q", query, text, want)
		}
	}
	if text, _ := d.follow(runs+"/r/logs?instance=1&tail=1", "").merged(); text != "1out@60:f\n|" {
		t.Errorf("one instance: %q", text)
	}
}

// TestOldChunksHaveATime reads what an agent sent that tells no times.
func TestOldChunksHaveATime(t *testing.T) {
	d := open(t)
	at := d.gang()
	d.write(at(0, muster.Stdout), 0, "old\n")
	_, c := d.follow(runs+"/r/logs", "").next()
	if c == nil || len(c.Marks) != 1 || time.Since(time.UnixMilli(c.Marks[0].Ms)) > time.Minute {
		t.Errorf("got %+v", c)
	}
}

// counting counts what is read.
type counting struct {
	muster.Blobs
	opened atomic.Int64
}

// Open counts a read.
func (c *counting) Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	c.opened.Add(1)
	return c.Blobs.Open(ctx, key, offset)
}

// TestFewReads reads the end of a log of 50 MB, and counts the blobs that are
// read: not one in ten.
func TestFewReads(t *testing.T) {
	d := open(t)
	at := d.gang()
	const chunks, lines = 200, 4096
	block := strings.Repeat(strings.Repeat("x", 63)+"\n", lines)
	offset := int64(0)
	for i := range chunks {
		offset = d.chunk(at(0, muster.Stdout), offset, 1000*i, block[:len(block)/2], 1000*i+500, block[:len(block)/2])
	}
	blobs := &counting{Blobs: d.bucket}
	server := httptest.NewServer(api.New(api.Services{Workspaces: d.store, Experiments: d.store, Clusters: d.store, Nodes: noNomad{}, Runs: d.store,
		Attempts: d.store, Events: d.store, Artifacts: d.store, Archive: d.store, Blobs: blobs, Metrics: d.store, Tokens: d.store, Audit: d.store, Receipts: d.store,
		Site: muster.DefaultSite(), Wake: func() {}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}))
	defer server.Close()
	d.url = server.URL
	since := time.UnixMilli(began + 1000*(chunks-2)).UTC().Format(time.RFC3339Nano)
	for query, want := range map[string]int{"tail=10": 10, "tail=5000": 5000, "since=" + since: 2 * lines} {
		blobs.opened.Store(0)
		got := 0
		for f := d.follow(runs+"/r/logs?follow=false&instance=all&"+query, ""); ; {
			_, c := f.next()
			if c == nil {
				break
			}
			got += strings.Count(string(c.Data), "\n")
		}
		if n := blobs.opened.Load(); got != want || n > 2*chunks/10 {
			t.Errorf("%s: %d lines of %d bytes, with %d reads", query, got, offset, n)
		}
	}
}
