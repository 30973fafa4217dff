package host

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// AllocVar tells every process of a run which allocation it belongs to.
const AllocVar = "MUSTER_ALLOC_ID"

// The ages at which the sweep takes a folder.
const (
	youngest = time.Minute    // one without a lock may just be made
	keptFor  = 24 * time.Hour // one whose spool was never acknowledged
)

// Sweep removes what agents left that died on this node: processes and folders,
// all but those of the allocation own. A folder whose agent lives is locked.
// What cannot be removed now is left for the next sweep.
func Sweep(runs, own string, log *slog.Logger) {
	list, err := os.ReadDir(runs)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			log.Warn("sweep left-over runs", "error", err)
		}
		return
	}
	for _, d := range list {
		if d.Name() == own || !d.IsDir() {
			continue
		}
		if err := sweepRun(filepath.Join(runs, d.Name())); err != nil {
			log.Warn("sweep left-over run", "allocation", d.Name(), "error", err)
		}
	}
}

// sweepRun removes one folder unless its agent lives.
func sweepRun(dir string) error {
	if info, err := os.Stat(filepath.Join(dir, keptFile)); err == nil && time.Since(info.ModTime()) < keptFor {
		return nil
	}
	lock, err := TakeLock(dir, 0)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		if info, err := os.Stat(dir); err != nil || time.Since(info.ModTime()) < youngest {
			return err
		}
	case err != nil:
		return err
	default:
		defer lock.Close()
	}
	killLeftOver(filepath.Base(dir))
	return Remove(dir)
}

// killLeftOver kills the processes that were started for an allocation.
func killLeftOver(alloc string) {
	self := append(descendants(os.Getpid()), os.Getpid(), os.Getppid())
	for end := time.Now().Add(straysLimit); time.Now().Before(end); {
		found := false
		for pid := range procs() {
			if slices.Contains(self, pid) || !environHolds(pid, "NOMAD_ALLOC_ID="+alloc, AllocVar+"="+alloc) {
				continue
			}
			found = unix.Kill(pid, unix.SIGKILL) == nil || found
		}
		if !found {
			return
		}
		time.Sleep(10 * time.Millisecond) // the kernel takes a moment to end what was killed
	}
}
