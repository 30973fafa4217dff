package artifact

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/muster-ml/muster"
)

func open(t *testing.T) (*Bucket, string) {
	dir := filepath.Join(t.TempDir(), "a folder")
	b, err := OpenFolder(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b, dir
}

func TestPutAndOpen(t *testing.T) {
	b, _ := open(t)
	size, sum, err := b.Put(t.Context(), "runs/1/a b/ü", "", strings.NewReader("hello"))
	if err != nil || size != 5 || sum != "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" {
		t.Fatalf("Put = %d, %s, %v", size, sum, err)
	}
	r, err := b.Open(t.Context(), "runs/1/a b/ü", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, _ := io.ReadAll(r); string(got) != "llo" {
		t.Errorf("from offset 2 = %q", got)
	}
	if n, err := b.Size(t.Context(), "runs/1/a b/ü"); n != 5 || err != nil {
		t.Errorf("Size = %d, %v", n, err)
	}
}

// TestNames keeps what a folder could not under its own name, each apart from
// all others.
func TestNames(t *testing.T) {
	b, _ := open(t)
	long := strings.Repeat("deep/", 800)
	keys := []string{"x", "x.attrs", "y", "y.attrs/z", hashed("x.attrs"), hashed(hashed("x.attrs")), "a b%2f?*\\#", "~tmp", "new\nline", "new__0xa__line",
		"up../b", "up../c", "\xff", "\xfe", "\ufffd", strings.Repeat("n", 234), strings.Repeat("n", 255), strings.Repeat("ü", 120) + "/deep.attrs",
		strings.Repeat("\x01/", 2000), long + "one", long + "two", hashed("runs/1/2/0/artifacts/" + long + "one")}
	for _, key := range keys {
		if _, _, err := b.Put(t.Context(), "runs/1/2/0/artifacts/"+key, "", strings.NewReader(key)); err != nil {
			t.Errorf("%.100q: %v", key, err)
		}
	}
	for _, key := range keys {
		if n, err := b.Size(t.Context(), "runs/1/2/0/artifacts/"+key); n != int64(len(key)) || err != nil {
			t.Errorf("%.100q: %d bytes, %v", key, n, err)
		}
		if got := read(t, b, "runs/1/2/0/artifacts/"+key); got != key {
			t.Errorf("%.100q holds %.100q", key, got)
		}
	}
}

// read returns what a key holds.
func read(t *testing.T, b *Bucket, key string) string {
	t.Helper()
	r, err := b.Open(t.Context(), key, 0)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	return string(got)
}

// TestInTheWay refuses a file where a folder is needed, and the other way
// round, for good.
func TestInTheWay(t *testing.T) {
	b, _ := open(t)
	for _, key := range []string{"file", "folder/x"} {
		if _, _, err := b.Put(t.Context(), key, "", strings.NewReader("1")); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"file/x", "file/x/y", "folder"} {
		if _, _, err := b.Put(t.Context(), key, "", strings.NewReader("2")); muster.CodeOf(err) != muster.CodeInvalid {
			t.Errorf("Put of %s: %v", key, err)
		}
		if _, err := b.Size(t.Context(), key); muster.CodeOf(err) != muster.CodeNotFound {
			t.Errorf("Size of %s: %v", key, err)
		}
	}
	if got := read(t, b, "file") + read(t, b, "folder/x"); got != "11" {
		t.Errorf("what was there first is %q", got)
	}
}

// BenchmarkPut tells what it costs to keep a log chunk durably.
func BenchmarkPut(b *testing.B) {
	bucket, err := OpenFolder(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer bucket.Close()
	for _, size := range []int{100, 256 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			chunk := bytes.Repeat([]byte("x"), size)
			for i := 0; b.Loop(); i++ {
				if _, _, err := bucket.Put(b.Context(), muster.LogID{RunID: int64(size), Stream: muster.Stdout}.ChunkKey(int64(i)), "", bytes.NewReader(chunk)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestMissing(t *testing.T) {
	b, _ := open(t)
	if _, err := b.Open(t.Context(), "no", 0); muster.CodeOf(err) != muster.CodeNotFound {
		t.Errorf("Open of nothing: %v", err)
	}
	if _, err := b.Size(t.Context(), "no"); muster.CodeOf(err) != muster.CodeNotFound {
		t.Errorf("Size of nothing: %v", err)
	}
}

// TestPutThatFails proves that a broken upload leaves neither a key nor a file
// behind.
func TestPutThatFails(t *testing.T) {
	b, dir := open(t)
	broken := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errors.New("broken off")))
	if _, _, err := b.Put(t.Context(), "k", "", broken); err == nil {
		t.Fatal("Put of a broken reader succeeded")
	}
	if _, err := b.Size(t.Context(), "k"); muster.CodeOf(err) != muster.CodeNotFound {
		t.Errorf("after a broken Put: %v", err)
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			t.Errorf("left behind: %s, %v", path, err)
		}
		return nil
	})
}

// TestOtherBytes keeps nothing of bytes that are not those that were promised.
func TestOtherBytes(t *testing.T) {
	b, _ := open(t)
	if _, _, err := b.Put(t.Context(), "k", "", strings.NewReader("first")); err != nil {
		t.Fatal(err)
	}
	const hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	if _, sum, err := b.Put(t.Context(), "k", hello, strings.NewReader("hullo")); !errors.Is(err, muster.ErrDigest) || sum == hello {
		t.Errorf("other bytes: %s, %v", sum, err)
	}
	if n, err := b.Size(t.Context(), "k"); n != 5 || err != nil {
		t.Errorf("the key holds %d bytes, %v", n, err)
	}
	r, err := b.Open(t.Context(), "k", 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); string(got) != "first" || err != nil {
		t.Errorf("the key holds %q, %v", got, err)
	}
	if r.Close(); t.Failed() {
		return
	}
	if _, sum, err := b.Put(t.Context(), "k", hello, strings.NewReader("hello")); err != nil || sum != hello {
		t.Errorf("the promised bytes: %s, %v", sum, err)
	}
}
