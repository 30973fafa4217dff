package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/muster-ml/muster"
)

// TestConformance holds every kind of bucket to the same promises. A store that
// no test can start is held to them by MUSTER_TEST_ARTIFACTS=URL.
func TestConformance(t *testing.T) {
	kinds := map[string]func(*testing.T) string{"folder": aFolder, "s3": s3Server, "gcs": gcsServer}
	if url := os.Getenv("MUSTER_TEST_ARTIFACTS"); url != "" {
		kinds = map[string]func(*testing.T) string{"given": func(*testing.T) string { return url }}
	}
	for name, where := range kinds {
		t.Run(name, func(t *testing.T) {
			url := where(t)
			b, err := Open(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { b.Close() })
			for what, holds := range map[string]func(*testing.T, *Bucket){
				"ranges": holdsRanges, "keys": holdsKeys, "broken": holdsBroken, "digest": holdsDigest,
				"races": holdsRaces, "delete": holdsDelete, "pages": holdsPages, "large": holdsLarge,
			} {
				t.Run(what, func(t *testing.T) { holds(t, b) })
			}
			t.Run("killed", func(t *testing.T) { holdsKilled(t, b, url) })
			for o, err := range b.List(t.Context(), "probe-") {
				t.Errorf("the trial of the store left %s, %v", o.Key, err)
			}
		})
	}
}

func aFolder(t *testing.T) string { return t.TempDir() + "/a folder" }

// put keeps a text.
func put(t *testing.T, b *Bucket, key, text string) {
	t.Helper()
	n, sum, err := b.Put(t.Context(), key, "", strings.NewReader(text))
	want := sha256.Sum256([]byte(text))
	if err != nil || n != int64(len(text)) || sum != hex.EncodeToString(want[:]) {
		t.Fatalf("Put of %.60s = %d, %s, %v", key, n, sum, err)
	}
}

// keys lists what is kept below a prefix.
func keys(t *testing.T, b *Bucket, prefix string) (all []string) {
	t.Helper()
	for o, err := range b.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s=%d", o.Key, o.Size))
	}
	return all
}

func holdsRanges(t *testing.T, b *Bucket) {
	put(t, b, "ranges/empty", "")
	put(t, b, "ranges/ten", "0123456789")
	for offset, want := range map[int64]string{0: "0123456789", 3: "3456789", 9: "9"} {
		r, err := b.Open(t.Context(), "ranges/ten", offset)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); string(got) != want || err != nil {
			t.Errorf("from %d on there is %q, %v", offset, got, err)
		}
		r.Close()
	}
	if n, err := b.Size(t.Context(), "ranges/empty"); n != 0 || err != nil || read(t, b, "ranges/empty") != "" {
		t.Errorf("an empty key has %d bytes, %v", n, err)
	}
	put(t, b, "ranges/ten", "anew")
	if got := read(t, b, "ranges/ten"); got != "anew" {
		t.Errorf("a key that was written again holds %q", got)
	}
}

func holdsKeys(t *testing.T, b *Bucket) {
	long := strings.Repeat("deep/", 300)
	names := []string{"a b", "ü/日本語", `quote"back\slash`, "per%25cent%2f", "q?x=1&y#z", "new\nline", "tab\t", "..hidden", "up../b", "~tmp", "x.attrs",
		"\xff", "plus+equals=", "dot/./", strings.Repeat("n", 255), long + "one", long + "two", strings.Repeat("ü", 120) + "/deep"}
	names = slices.DeleteFunc(names, func(n string) bool { return muster.CheckPath(n) != nil && n != "\xff" })
	for _, n := range names {
		put(t, b, "keys/"+n, n)
	}
	for _, n := range names {
		if got := read(t, b, "keys/"+n); got != n {
			t.Errorf("%.60q holds %.60q", n, got)
		}
	}
	if n := len(keys(t, b, "keys/")); n != len(names) {
		t.Errorf("%d keys are listed of %d", n, len(names))
	}
}

func holdsBroken(t *testing.T, b *Bucket) {
	put(t, b, "broken/k", "as it was")
	why := errors.New("broken off")
	for _, half := range []string{"", "half", strings.Repeat("much", 4<<20)} {
		r := io.MultiReader(strings.NewReader(half), iotest.ErrReader(why))
		for _, key := range []string{"broken/k", "broken/new"} {
			if _, _, err := b.Put(t.Context(), key, "", r); !errors.Is(err, why) {
				t.Errorf("a reader that fails after %d bytes: %v", len(half), err)
			}
			r = io.MultiReader(strings.NewReader(half), iotest.ErrReader(why))
		}
	}
	if got := keys(t, b, "broken/"); !slices.Equal(got, []string{"broken/k=9"}) || read(t, b, "broken/k") != "as it was" {
		t.Errorf("after broken ones there is %q", got)
	}
}

func holdsDigest(t *testing.T, b *Bucket) {
	put(t, b, "digest/k", "first")
	sum := sha256.Sum256([]byte("hello"))
	want := hex.EncodeToString(sum[:])
	if _, _, err := b.Put(t.Context(), "digest/k", want, strings.NewReader("hullo")); !errors.Is(err, muster.ErrDigest) || read(t, b, "digest/k") != "first" {
		t.Errorf("other bytes than were promised: %v", err)
	}
	if _, got, err := b.Put(t.Context(), "digest/k", want, strings.NewReader("hello")); err != nil || got != want || read(t, b, "digest/k") != "hello" {
		t.Errorf("the promised bytes: %v", err)
	}
}

// holdsRaces writes one key from eight at once: it holds one of the texts, whole.
func holdsRaces(t *testing.T, b *Bucket) {
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			if _, _, err := b.Put(t.Context(), "races/k", "", strings.NewReader(strings.Repeat(fmt.Sprint(i), 100_000))); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	got := read(t, b, "races/k")
	if len(got) != 100_000 || strings.Trim(got, got[:1]) != "" {
		t.Errorf("%d bytes, of more than one writer", len(got))
	}
}

func holdsDelete(t *testing.T, b *Bucket) {
	put(t, b, "delete/a/b", "x")
	for range 2 {
		if err := b.Delete(t.Context(), "delete/a/b"); err != nil {
			t.Error(err)
		}
	}
	if _, err := b.Size(t.Context(), "delete/a/b"); muster.CodeOf(err) != muster.CodeNotFound {
		t.Errorf("what was removed: %v", err)
	}
	if _, err := b.Open(t.Context(), "delete/a/b", 0); muster.CodeOf(err) != muster.CodeNotFound {
		t.Errorf("what was removed: %v", err)
	}
	put(t, b, "delete/a/b", "y")
}

// holdsPages lists more keys than a store tells in one answer.
func holdsPages(t *testing.T, b *Bucket) {
	const many = 2500
	next := make(chan int)
	var writers sync.WaitGroup
	for range 16 {
		writers.Go(func() {
			for i := range next {
				if _, _, err := b.Put(t.Context(), fmt.Sprintf("pages/%05d", i), "", strings.NewReader("x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range many {
		next <- i
	}
	close(next)
	writers.Wait()
	put(t, b, "pagesother", "x")
	all := keys(t, b, "pages/")
	if len(all) != many || !slices.IsSorted(all) || all[many-1] != fmt.Sprintf("pages/%05d=1", many-1) {
		t.Errorf("%d keys are listed of %d", len(all), many)
	}
	for range b.List(t.Context(), "pages/") {
		break // the reader may stop early
	}
}

// holdsLarge keeps a file that a store takes in several parts.
func holdsLarge(t *testing.T, b *Bucket) {
	block := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	var text []byte
	for i := range 24 {
		text = append(append(text, block...), byte(i))
	}
	put(t, b, "large/k", string(text))
	r, err := b.Open(t.Context(), "large/k", 20<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, text[20<<20:]) {
		t.Errorf("%d bytes from 20 MiB on, %v", len(got), err)
	}
}

// holdsKilled kills a process in the middle of a Put: the key is as it was.
func holdsKilled(t *testing.T, b *Bucket, url string) {
	put(t, b, "killed/k", "as it was")
	child := exec.Command(os.Args[0], "-test.run=^TestPutForEver$")
	child.Env = append(os.Environ(), "MUSTER_TEST_PUT="+url)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 7)); err != nil {
		t.Errorf("the child did not begin to write: %v", err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = child.Wait()
	if got := read(t, b, "killed/k"); got != "as it was" {
		t.Errorf("after the kill there are %d bytes", len(got))
	}
	put(t, b, "killed/k", "after")
	if got := read(t, b, "killed/k"); got != "after" {
		t.Errorf("a later Put left %q", got)
	}
}

// TestPutForEver is the child of holdsKilled: it writes 32 MiB to a key, says so,
// and never ends. By itself it holds that a Put ends with its context.
func TestPutForEver(t *testing.T) {
	url, ctx := os.Getenv("MUSTER_TEST_PUT"), t.Context()
	child := url != ""
	if !child {
		url = t.TempDir()
		ended, end := context.WithCancel(ctx)
		end()
		ctx = ended
	}
	b, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	r, w := io.Pipe()
	go func() {
		_, _ = w.Write(bytes.Repeat([]byte("x"), 32<<20))
		if child {
			fmt.Print("written")
			select {}
		}
		w.Close()
	}()
	if _, _, err := b.Put(ctx, "killed/k", "", r); err == nil {
		t.Error("a Put whose context is over succeeded")
	}
	r.Close()
}

// TestOpenRefused holds what an operator reads who names a wrong place.
func TestOpenRefused(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for where, says := range map[string]string{
		"ftp://x": "names no store", "s3://": "names no store", "file://host/x": "no URL of a folder", file: "not a directory", file + "/below": "not a directory",
		"s3://b?region=x&colour=red": "colour", "s3://b?region=x&endpoint=http://127.0.0.1:1&use_path_style=true": "cannot be written",
	} {
		t.Setenv("AWS_ACCESS_KEY_ID", "k")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
		t.Setenv("AWS_MAX_ATTEMPTS", "1")
		b, err := Open(t.Context(), where)
		e, ok := errors.AsType[*muster.Error](err)
		if !ok || e.Code != muster.CodeInvalid || e.Field != "artifacts" || e.Cure == "" || !strings.Contains(e.Message, says) {
			t.Errorf("%s: %v, %v", where, b, err)
		}
	}
}
