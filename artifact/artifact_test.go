package artifact

import (
	"errors"
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
	size, sum, err := b.Put(t.Context(), "runs/1/a b/ü", strings.NewReader("hello"))
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

// TestNames keeps what a folder could not under its own name.
func TestNames(t *testing.T) {
	b, _ := open(t)
	for _, key := range []string{"runs/1/x.attrs", "runs/1/" + strings.Repeat("n", 255), "runs/1/" + strings.Repeat("ü", 120) + "/deep.attrs", "runs/1/a b%2f?*\\"} {
		if _, _, err := b.Put(t.Context(), key, strings.NewReader(key)); err != nil {
			t.Error(err)
			continue
		}
		r, err := b.Open(t.Context(), key, 0)
		if err != nil {
			t.Error(err)
			continue
		}
		got, err := io.ReadAll(r)
		if r.Close(); err != nil || string(got) != key {
			t.Errorf("%s: %q, %v", key, got, err)
		}
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
	if _, _, err := b.Put(t.Context(), "k", broken); err == nil {
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
