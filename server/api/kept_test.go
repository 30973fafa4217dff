package api_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/server/api"
)

// TestUploadsAreSeen holds that whoever is told that an upload is here keeps it
// from retention.
func TestUploadsAreSeen(t *testing.T) {
	d := open(t)
	w, err := d.store.FindWorkspace(t.Context(), "w")
	d.must(err)
	d.submit()
	kept := func(sum string) bool {
		all, err := d.store.KeptUploads(t.Context(), w.ID, time.Now().Add(-time.Minute))
		d.must(err)
		return all[muster.UploadRef(sum)]
	}
	for i, c := range []struct {
		method, path, body string
		status             int
	}{
		{"HEAD", "/uploads/SUM", "", 204}, {"PUT", "/uploads/SUM", "x", 204}, {"POST", "/uploads/SUM/complete?size=1", "", 204},
		{"POST", "/runs", `{"name":"r","spec":{"command":"a","code":"upload:sha256:SUM"}}`, 409}, // a run of that name is there
	} {
		sum := strings.Repeat(fmt.Sprint(i), 64)
		d.putBlob(muster.UploadKey(w.ID, sum), "x")
		with := strings.NewReplacer("SUM", sum)
		if resp, text := d.call(c.method, "/api/v1/workspaces/w"+with.Replace(c.path), with.Replace(c.body)); resp.StatusCode != c.status || !kept(sum) {
			t.Errorf("%s %s: %s %s, kept: %v", c.method, c.path, resp.Status, text, kept(sum))
		}
	}
	none := strings.Repeat("f", 64)
	if resp, _ := d.call("HEAD", "/api/v1/workspaces/w/uploads/"+none, ""); resp.StatusCode != 404 || kept(none) {
		t.Errorf("what is not here: %s, kept: %v", resp.Status, kept(none))
	}
}

// putBlob keeps bytes.
func (d *door) putBlob(key, text string) {
	d.Helper()
	_, _, err := d.bucket.Put(d.Context(), key, "", strings.NewReader(text))
	d.must(err)
}

// overtaken lets somebody else finish before it lists parts.
type overtaken struct {
	muster.Blobs
	first func()
}

func (o *overtaken) List(ctx context.Context, prefix string) iter.Seq2[muster.Blob, error] {
	if f := o.first; f != nil {
		o.first = nil
		f()
	}
	return o.Blobs.List(ctx, prefix)
}

// TestTwoComplete holds that both of two who complete the same upload hear that
// it is here.
func TestTwoComplete(t *testing.T) {
	o := &overtaken{}
	d := open(t, func(s *api.Services) { o.Blobs, s.Blobs = s.Blobs, o })
	data := "of one part"
	sum := sha256.Sum256([]byte(data))
	at := "/api/v1/workspaces/w/uploads/" + hex.EncodeToString(sum[:])
	if resp, text := d.call("PUT", at+"/parts/0", data); resp.StatusCode != 204 {
		t.Fatal(text)
	}
	complete := func() {
		if resp, text := d.call("POST", fmt.Sprintf("%s/complete?size=%d", at, len(data)), ""); resp.StatusCode != 204 {
			t.Errorf("%s %s", resp.Status, text)
		}
	}
	o.first = complete
	complete()
	if resp, _ := d.call("HEAD", at, ""); resp.StatusCode != 204 || o.first != nil {
		t.Errorf("after both: %s", resp.Status)
	}
}

// TestParts refuses parts that no whole is made of.
func TestParts(t *testing.T) {
	d := open(t)
	at := "/api/v1/workspaces/w/uploads/" + strings.Repeat("a", 64) + "/parts"
	for offset, status := range map[int64]int{0: 204, muster.PartSize: 204, muster.MaxWhole - muster.PartSize: 204, 1: 400, muster.PartSize - 1: 400, muster.MaxWhole: 400, 1 << 60: 400} {
		if resp, text := d.call("PUT", fmt.Sprintf("%s/%d", at, offset), "x"); resp.StatusCode != status || status == 400 && !strings.Contains(text, `"field":"offset"`) {
			t.Errorf("a part at %d: %s %s", offset, resp.Status, text)
		}
	}
}

// failing are bytes that cannot be removed, or not kept whole.
type failing struct {
	muster.Blobs
	put, remove error
}

func (f *failing) Put(ctx context.Context, key, want string, r io.Reader) (int64, string, error) {
	if f.put != nil {
		return 0, "", f.put
	}
	return f.Blobs.Put(ctx, key, want, r)
}

func (f *failing) Delete(ctx context.Context, key string) error {
	if f.remove != nil {
		return f.remove
	}
	return f.Blobs.Delete(ctx, key)
}

// TestJoinWhatFails holds that a whole that is kept is no error, and that parts
// stay which are still of use.
func TestJoinWhatFails(t *testing.T) {
	d := open(t)
	f := &failing{Blobs: d.bucket}
	d.must(muster.PutPart(t.Context(), f, "parts/", 0, "", strings.NewReader("x")))
	f.put = muster.Errorf(muster.CodeInvalid, "a folder is in the way")
	if err := muster.JoinParts(t.Context(), f, "parts/", "whole", "", 1); !errors.Is(err, f.put) {
		t.Errorf("without a place for the whole: %v", err)
	}
	if kept, err := muster.ListParts(t.Context(), f, "parts/"); err != nil || len(kept.Parts) != 1 {
		t.Errorf("the parts after that: %+v, %v", kept, err)
	}
	f.put, f.remove = nil, errors.New("the store is away")
	if err := muster.JoinParts(t.Context(), f, "parts/", "whole", "", 1); err != nil {
		t.Errorf("a whole that is kept: %v", err)
	}
	f.remove = nil
	if err := muster.JoinParts(t.Context(), f, "parts/", "other", strings.Repeat("a", 64), 1); !errors.Is(err, muster.ErrDigest) {
		t.Errorf("a whole of another digest: %v", err)
	}
	if kept, err := muster.ListParts(t.Context(), f, "parts/"); err != nil || len(kept.Parts) != 0 {
		t.Errorf("parts of no use: %+v, %v", kept, err)
	}
}

// TestLogsThatWereRemoved holds that logs which retention removed do not pass for
// empty ones.
func TestLogsThatWereRemoved(t *testing.T) {
	d := open(t)
	r, l := d.submit(), d.lead()
	x := l.admit(r)
	d.write(muster.LogID{RunID: r.ID, Attempt: 1, Stream: muster.Stdout}, 0, "line\n")
	l.end(x, muster.LaunchOver, muster.OutcomeSucceeded, muster.RunStarting, muster.RunRunning, muster.RunSucceeded)
	if resp, text := d.call("GET", runs+"/r/logs/stdout", ""); resp.StatusCode != 200 || text != "line\n" {
		t.Errorf("before: %s %q", resp.Status, text)
	}
	may, err := d.store.MarkRemoved(t.Context(), &muster.Left{RunID: r.ID}, false, true)
	d.must(err)
	says := "the logs of run r were removed by retention on " + time.Now().UTC().Format(time.DateOnly)
	for _, path := range []string{"/logs", "/logs?follow=false", "/logs/stdout", "/logs/stderr?attempt=1"} {
		if resp, text := d.call("GET", runs+"/r"+path, ""); !may || resp.StatusCode != 404 || !strings.Contains(text, says) || !strings.Contains(text, "muster run archive") {
			t.Errorf("%s: %s %s", path, resp.Status, text)
		}
	}
}

// TestRetentionIsConditional holds that If-Match protects how long a workspace
// keeps what runs left, and that the account says who changed it.
func TestRetentionIsConditional(t *testing.T) {
	d := open(t)
	const at = "/api/v1/workspaces/w"
	first, _ := d.call("GET", at, "")
	tag := first.Header.Get("ETag")
	resp, text := d.call("PUT", at+"/retention", `{"keep_artifacts":60,"keep_logs":60}`, "If-Match", tag)
	if resp.StatusCode != 200 || resp.Header.Get("ETag") == "" || resp.Header.Get("ETag") == tag {
		t.Errorf("%s, ETag %s: %s", resp.Status, resp.Header.Get("ETag"), text)
	}
	if resp, text := d.call("PUT", at+"/retention", `{"keep_artifacts":0,"keep_logs":0}`, "If-Match", tag); resp.StatusCode != 412 {
		t.Errorf("of old: %s %s", resp.Status, text)
	}
	page, text := d.account(secret, "?workspace=w")
	if len(page.Entries) != 2 || page.Entries[1].Action != "set-retention" || page.Entries[1].Actor != "anna" || page.Entries[1].Outcome != muster.AuditDone || page.Entries[0].Outcome != string(muster.CodePrecondition) {
		t.Errorf("the account: %s", text)
	}
}
