package engines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/muster-ml/muster"
)

// Lock is a locked file that names its holder. The kernel gives it back when
// the holder dies.
type Lock struct{ file *os.File }

// TryLock locks the file, or returns the process that holds it: 0 where that
// has not written its number yet.
func TryLock(path string) (lock *Lock, holder int, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("open lock: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		b, _ := io.ReadAll(f)
		f.Close()
		holder, _ = strconv.Atoi(strings.TrimSpace(string(b)))
		return nil, holder, muster.Errorf(muster.CodeConflict, "%s is locked by process %d", path, holder)
	}
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("write lock: %w", err)
	}
	if _, err := fmt.Fprintln(f, os.Getpid()); err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("write lock: %w", err)
	}
	return &Lock{f}, 0, nil
}

// Release gives the lock back. The file stays: who removes a lock file may
// remove that of the next holder.
func (l *Lock) Release() error {
	if err := l.file.Truncate(0); err != nil {
		l.file.Close()
		return fmt.Errorf("empty lock: %w", err)
	}
	return l.file.Close()
}

// waitLock waits for the lock; waiting is called once if it is held.
func waitLock(ctx context.Context, path string, waiting func(holder int)) (*Lock, error) {
	for told := false; ; {
		lock, holder, err := TryLock(path)
		if err == nil || muster.CodeOf(err) != muster.CodeConflict {
			return lock, err
		}
		if !told {
			waiting(holder)
			told = true
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// flock waits for the kernel's lock of an open file.
func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
