package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The files by which the agents of a node tell each other of a folder.
const (
	lockFile = "lock"
	keptFile = "kept" // it says that the folder's spool holds what was never acknowledged
)

// ViewRoot is where a run's folder is bound to when it lies below folders that
// the run-as user may not pass through.
const ViewRoot = "/run/muster"

// Lock makes the lock of a folder, and holds it for as long as the agent lives.
// It appears locked: a sweep never meets it in between.
func Lock(dir string) (*os.File, error) {
	name := filepath.Join(dir, lockFile)
	lock, err := os.OpenFile(name+".new", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make lock: %w", err)
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		err = os.Rename(lock.Name(), name)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock folder: %w", err), lock.Close())
	}
	return lock, nil
}

// TakeLock takes over the lock of a folder, or fails with EWOULDBLOCK where its
// agent lives. With os.O_CREATE it makes one that is missing.
func TakeLock(dir string, flags int) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|unix.O_NOFOLLOW|flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock folder: %w", err), lock.Close())
	}
	return lock, nil
}

// Keep leaves a run's folder behind for somebody to look at, for a day.
func Keep(dir string) error { return os.WriteFile(filepath.Join(dir, keptFile), nil, 0o600) }

// Remove removes a run's folder and where it was bound to. Its lock must be
// held.
func Remove(dir string) error {
	view := filepath.Join(ViewRoot, filepath.Base(dir))
	if os.Remove(view) == nil {
		_ = os.Remove(ViewRoot) // the last one takes the folder along
	}
	if err := Clear(dir); err != nil {
		return fmt.Errorf("remove the run's folder: %w", err)
	}
	return nil
}

// Clear removes a folder, also below folders that were made read-only.
func Clear(dir string) error {
	if os.Geteuid() != 0 {
		_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				_ = os.Chmod(name, 0o700)
			}
			return nil
		})
	}
	return os.RemoveAll(dir)
}
