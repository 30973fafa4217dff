package run

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// folder is where a run works on its node.
type folder struct {
	host string // where it lies: <muster dir>/<node id>/runs/<alloc id>
	view string // where agent and command see it; another path where the user may not pass through host's parents
	lock *os.File
	user account
}

// The parts of a run's folder. The folder itself belongs to the agent, so that
// the command cannot put a link in the place of a part.
const (
	partWork    = "work"
	partInputs  = "inputs"
	partOutputs = "outputs"
	partSpool   = "spool"
	partSaved   = "checkpoint"
	partTmp     = "tmp"
	partBin     = "bin"
	partMetrics = "metrics.jsonl"
	partToken   = "token"
	partCA      = "ca.pem"
	partLock    = "lock"
	partKept    = "kept" // a file that says: the spool holds what was never acknowledged
)

// viewRoot is where a run's folder is bound to when it lies below folders that
// the run-as user may not pass through.
const viewRoot = "/run/muster"

// path returns the path of a part as agent and command see it.
func (f *folder) path(parts ...string) string {
	return filepath.Join(append([]string{f.view}, parts...)...)
}

// makeFolder makes a run's folder, and locks it for as long as the agent lives.
func makeFolder(c *config, user account) (*folder, error) {
	runs, name := c.runs()
	if err := os.MkdirAll(runs, 0o711); err != nil {
		return nil, fmt.Errorf("make the node's Muster folder: %w", err)
	}
	f := &folder{host: filepath.Join(runs, name), user: user}
	f.view = f.host
	if err := os.Mkdir(f.host, 0o710); err != nil {
		return nil, fmt.Errorf("make the run's folder: %w", err)
	}
	var err error
	if f.lock, err = lockFolder(f.host, os.O_CREATE); err != nil {
		return nil, err
	}
	if err := f.makeParts(); err != nil {
		return nil, fmt.Errorf("make the run's folder: %w", err)
	}
	return f, nil
}

// lockFolder locks a run's folder, or fails with EWOULDBLOCK where its agent
// lives.
func lockFolder(dir string, flags int) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, partLock), os.O_RDWR|unix.O_NOFOLLOW|flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock folder: %w", err), lock.Close())
	}
	return lock, nil
}

// makeParts makes the parts with their owners and modes: no other user of the
// node gets in.
func (f *folder) makeParts() error {
	if err := f.own(f.host, false, 0o710); err != nil {
		return err
	}
	for _, p := range []struct {
		name  string
		users bool // belongs to the run-as user
		mode  fs.FileMode
	}{
		{partWork, true, 0o700}, {partOutputs, true, 0o700}, {partSaved, true, 0o700}, {partTmp, true, 0o700},
		{partInputs, false, 0o750}, {partBin, false, 0o750}, {partSpool, false, 0o700},
	} {
		dir := filepath.Join(f.host, p.name)
		if err := os.Mkdir(dir, p.mode); err != nil {
			return err
		}
		if err := f.own(dir, p.users, p.mode); err != nil {
			return err
		}
	}
	return copyAgent(filepath.Join(f.host, partBin, "muster-agent"))
}

// own sets owner and mode: the user's, or the agent's with the user's group.
func (f *folder) own(name string, users bool, mode fs.FileMode) error {
	if f.user.change {
		uid := 0
		if users {
			uid = f.user.uid
		}
		if err := os.Lchown(name, uid, f.user.gid); err != nil {
			return err
		}
	}
	return os.Chmod(name, mode)
}

// copyAgent puts a copy of the agent where the command finds it.
func copyAgent(to string) (err error) {
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer from.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, from)
	return errors.Join(err, out.Chmod(0o755), out.Close())
}

// reach makes the folder reachable for the run-as user: where a folder above it
// is closed to him, such as somebody's home, it is bound to a place in the
// agent's private mounts.
func (f *folder) reach() error {
	if !f.user.change || f.passable() {
		return nil
	}
	if os.Getenv(privateVar) == "" {
		return fmt.Errorf("user %s may not pass through the folders above %s, and there are no private mounts", f.user.name, f.host)
	}
	view := filepath.Join(viewRoot, filepath.Base(f.host))
	if err := os.MkdirAll(view, 0o711); err != nil {
		return fmt.Errorf("make the run's folder reachable: %w", err)
	}
	if err := unix.Mount(f.host, view, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("make the run's folder reachable: %w", err)
	}
	f.view = view
	return nil
}

// passable reports whether the run-as user may pass through all folders above.
func (f *folder) passable() bool {
	for dir := filepath.Dir(f.host); ; dir = filepath.Dir(dir) {
		var s unix.Stat_t
		if unix.Stat(dir, &s) != nil {
			return false
		}
		bit := uint32(0o001)
		switch {
		case int(s.Uid) == f.user.uid:
			bit = 0o100
		case int(s.Gid) == f.user.gid:
			bit = 0o010
		}
		if s.Mode&bit == 0 {
			return false
		}
		if dir == "/" || dir == "." {
			return true
		}
	}
}

// keep leaves the folder behind for somebody to look at, for a day.
func (f *folder) keep() error {
	return os.WriteFile(filepath.Join(f.host, partKept), nil, 0o600)
}

// remove removes the folder with all that is in it.
func (f *folder) remove() error {
	if f.view != f.host {
		if err := unix.Unmount(f.view, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount the run's folder: %w", err)
		}
	}
	return removeRun(f.host)
}

// removeRun removes a run's folder and where it was bound to. Its lock must be
// held.
func removeRun(host string) error {
	view := filepath.Join(viewRoot, filepath.Base(host))
	if os.Remove(view) == nil {
		_ = os.Remove(viewRoot) // the last one takes the folder along
	}
	if os.Geteuid() != 0 {
		makeWritable(host)
	}
	if err := os.RemoveAll(host); err != nil {
		return fmt.Errorf("remove the run's folder: %w", err)
	}
	return nil
}

// makeWritable lets a user who is not root remove folders that were made
// read-only.
func makeWritable(dir string) {
	_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(name, 0o700)
		}
		return nil
	})
}

// diskFull reports whether an error is that of a full disk.
func diskFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || err != nil && strings.Contains(err.Error(), "no space left on device")
}
