package ship

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// maxFailures is how often a server may fail to keep one file, for some minutes.
const maxFailures = 60

// ErrNotKept says that a file is not one that is kept: a link that leads out,
// something special, or a file that the run's user could not read.
var ErrNotKept = errors.New("not kept")

// Folder is where the files of a run lie, and whose they are. The files were
// written by code that nobody vouches for, and are read with the rights of the
// agent: links are followed only inside, and nothing is read that the user
// could not have read.
type Folder struct {
	Root     *os.Root
	UID, GID int
}

// open opens a regular file.
func (f Folder) open(name string) (*os.File, os.FileInfo, error) {
	file, err := f.Root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a named pipe must not hold us
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrNotKept, err)
	}
	info, err := file.Stat()
	if err == nil {
		err = f.check(info)
	}
	if err != nil {
		_ = file.Close()
		return nil, nil, fmt.Errorf("%w: %w", ErrNotKept, err)
	}
	return file, info, nil
}

// check refuses what is no file of the user's: a hard link can name any.
func (f Folder) check(info os.FileInfo) error {
	if !info.Mode().IsRegular() {
		return errors.New("it is not a regular file")
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	mode := info.Mode().Perm()
	if !ok || int(stat.Uid) != f.UID && mode&0o004 == 0 && (int(stat.Gid) != f.GID || mode&0o040 == 0) {
		return errors.New("the run's user may not read it")
	}
	return nil
}

// Send hands in the file name of the folder as the artifact at path, and tries
// again until it is kept or refused. ErrNotKept is not worth the run's end.
func (f Folder) Send(ctx context.Context, agent *client.Agent, name, path string) error {
	size, sum, err := f.digest(name)
	if err != nil {
		return err
	}
	file := client.File{Path: path, Size: size, SHA256: sum, Open: func() (io.ReadCloser, error) {
		file, _, err := f.open(name)
		return file, err
	}}
	failures := 0
	return Retry(ctx, func(ctx context.Context) error {
		_, err := agent.PutArtifact(ctx, file)
		if muster.CodeOf(err) != muster.CodeInternal {
			return err // a server that is away comes back some time
		}
		if failures++; failures == maxFailures {
			return muster.Errorf(muster.CodeRefused, "%s: the server failed to keep it %d times, at last: %v", path, failures, err)
		}
		return err
	})
}

// digest reads a file through.
func (f Folder) digest(name string) (size int64, sum string, err error) {
	file, _, err := f.open(name)
	if err != nil {
		return 0, "", err
	}
	defer file.Close()
	hash := sha256.New()
	if size, err = io.Copy(hash, file); err != nil {
		return 0, "", fmt.Errorf("read %s: %w", name, err)
	}
	return size, hex.EncodeToString(hash.Sum(nil)), nil
}
