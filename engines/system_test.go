package engines

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestPorts(t *testing.T) {
	p := Ports{}
	if moved, err := p.Choose("a", "b", "c"); err != nil || len(moved) > 0 {
		t.Fatalf("choose: %v moved, %v", moved, err)
	}
	if p["a"] == p["b"] || p["b"] == p["c"] || p["a"] == p["c"] {
		t.Errorf("ports %v are not three", p)
	}
	for _, port := range p {
		if port < firstPort || port > lastPort {
			t.Errorf("port %d is not between %d and %d", port, firstPort, lastPort)
		}
	}
	before := Ports{"a": p["a"], "b": p["b"], "c": p["c"]}
	taken, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p["b"])))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	moved, err := p.Choose("a", "b")
	if err != nil || !slices.Equal(moved, []string{"b"}) {
		t.Errorf("choose again: %v moved, %v, want b", moved, err)
	}
	if p["a"] != before["a"] || p["b"] == before["b"] || p["b"] == before["c"] {
		t.Errorf("ports are %v, and were %v", p, before)
	}
}

// TestCgroups has two platforms come and go on a tree like the kernel's.
func TestCgroups(t *testing.T) {
	busy := false
	c := Cgroups{Root: t.TempDir(), File: filepath.Join(t.TempDir(), "users.json"), busy: func() (bool, error) { return busy, nil }}
	one, two := t.TempDir(), t.TempDir()
	group := func(path string) string {
		dir := filepath.Join(c.Root, path)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	there := func(dir string) bool { _, err := os.Stat(dir); return err == nil }
	act := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	old := group("memory/nomad")
	act(c.Enter(one))
	group("cpuset/nomad/share")
	group("cpuset/nomad/reserve")
	slice := group("nomad.slice/share.slice")
	used := group("freezer/nomad/a-task")
	act(c.Enter(two))
	act(c.Enter(one)) // it crashed and came back
	act(c.Leave(one))
	if !there(filepath.Join(c.Root, "cpuset/nomad/share")) {
		t.Error("the first to leave removed what the second needs")
	}
	act(c.Leave(two))
	if there(filepath.Join(c.Root, "cpuset/nomad")) || there(filepath.Dir(slice)) {
		t.Error("the last to leave left the groups")
	}
	if !there(old) || !there(used) {
		t.Error("a group was removed that was there before, or that is in use")
	}
	if left, _ := filepath.Glob(c.File + "*"); len(left) > 0 {
		t.Errorf("files %v are left", left)
	}

	gone := filepath.Join(t.TempDir(), "gone")
	act(os.Mkdir(gone, 0o755))
	act(c.Enter(gone)) // crashes, and its data is removed
	act(os.Remove(gone))
	act(c.Enter(one))
	mine := group("cpuset/nomad")
	busy = true
	act(c.Leave(one))
	if !there(mine) {
		t.Error("groups were removed while a Nomad agent ran")
	}
	if there(c.File) {
		t.Error("a platform whose data is gone is still counted")
	}
}

func TestShorten(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), strings.Repeat("long/", 20)))
	short := "/some/folder"
	if got, err := Shorten(short, MaxAllocs); got != short || err != nil {
		t.Errorf("a short path becomes %q, %v", got, err)
	}
	folder := filepath.Join(t.TempDir(), strings.Repeat("x", MaxAllocs))
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	link, err := Shorten(folder, MaxAllocs)
	if err != nil {
		t.Fatal(err)
	}
	if target, err := os.Readlink(link); target != folder || len(link) > MaxAllocs {
		t.Errorf("%q leads to %q, %v", link, target, err)
	}
	if again, err := Shorten(folder, MaxAllocs); again != link || err != nil {
		t.Errorf("the second time it is %q, %v, want %q", again, err, link)
	}
	if err := RemoveShort(folder, link); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(link); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the link is still there: %v", err)
	}
	if err := RemoveShort(folder, link); err != nil {
		t.Errorf("removing it twice: %v", err)
	}
}

// TestRuntimeFolder takes no folder for short names that others could change.
func TestRuntimeFolder(t *testing.T) {
	base := t.TempDir()
	if err := makeRuntimeFolder(filepath.Join(base, "new")); err != nil {
		t.Error(err)
	}
	open := filepath.Join(base, "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(base, "link")
	if err := os.Symlink(filepath.Join(base, "new"), link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{open, link} {
		if err := makeRuntimeFolder(dir); err == nil {
			t.Errorf("%s is taken", filepath.Base(dir))
		}
	}
}

func TestTraversable(t *testing.T) {
	open := t.TempDir()
	if err := os.Chmod(filepath.Dir(open), 0o711); err != nil {
		t.Fatal(err)
	}
	closed := filepath.Join(open, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{open: true, filepath.Join(open, "not yet"): true, closed: false, filepath.Join(closed, "not yet"): false} {
		if got := Traversable(dir); got != want {
			t.Errorf("Traversable(%s) = %v, want %v", dir, got, want)
		}
	}
}

// TestUnmount leaves a folder without mounts, and another one's alone.
func TestUnmount(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	base := t.TempDir()
	inner, other := filepath.Join(base, "a folder", "b", "c"), filepath.Join(base, "a folder too")
	for _, dir := range []string{filepath.Dir(inner), inner, other} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
			t.Skipf("mounting is not allowed here: %v", err)
		}
		t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	}
	if err := Unmount(filepath.Join(base, "a folder")); err != nil {
		t.Fatal(err)
	}
	if left, err := mountsBelow(base); err != nil || !slices.Equal(left, []string{other}) {
		t.Errorf("mounts %q are left, %v, want %q", left, err, other)
	}
	if err := Unmount(filepath.Join(base, "none")); err != nil {
		t.Error(err)
	}
}
