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

	"github.com/muster-ml/muster/agent/host"
)

// folder is where a run works on its node.
type folder struct {
	host string // where it lies: <muster dir>/<node id>/runs/<alloc id>
	view string // where agent and command see it; another path where the user may not pass through host's parents
	lock *os.File
	user host.Account
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
)

// path returns the path of a part as agent and command see it.
func (f *folder) path(parts ...string) string {
	return filepath.Join(append([]string{f.view}, parts...)...)
}

// restarted reports whether an agent of the same allocation has begun before: the
// folder is made by whoever has won the claim.
func (c *config) restarted() bool {
	runs, name := c.runs()
	_, err := os.Lstat(filepath.Join(runs, name))
	return err == nil
}

// makeFolder makes a run's folder, and locks it for as long as the agent lives.
func makeFolder(c *config, user host.Account) (*folder, error) {
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
	if f.lock, err = host.Lock(f.host); err != nil {
		return nil, err
	}
	if err := f.makeParts(); err != nil {
		return nil, fmt.Errorf("make the run's folder: %w", err)
	}
	return f, nil
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
	if f.user.Change {
		uid := 0
		if users {
			uid = f.user.UID
		}
		if err := os.Lchown(name, uid, f.user.GID); err != nil {
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
	if !f.user.Change || f.user.MayPass(filepath.Dir(f.host)) {
		return nil
	}
	if os.Getenv(privateVar) == "" {
		return fmt.Errorf("user %s may not pass through the folders above %s, and there are no private mounts", f.user.Name, f.host)
	}
	view := filepath.Join(host.ViewRoot, filepath.Base(f.host))
	if err := os.MkdirAll(view, 0o711); err != nil {
		return fmt.Errorf("make the run's folder reachable: %w", err)
	}
	if err := unix.Mount(f.host, view, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("make the run's folder reachable: %w", err)
	}
	f.view = view
	return nil
}

// remove removes the folder with all that is in it.
func (f *folder) remove() error {
	if f.view != f.host {
		if err := unix.Unmount(f.view, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount the run's folder: %w", err)
		}
	}
	return host.Remove(f.host)
}

// diskFull reports whether an error is that of a full disk.
func diskFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || err != nil && strings.Contains(err.Error(), "no space left on device")
}
