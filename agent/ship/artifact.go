package ship

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// DefaultPatience is how long a server may fail to keep one file.
const DefaultPatience = 10 * time.Minute

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
	Patience time.Duration // how long a server may fail to keep one of them; 0 is DefaultPatience
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
// again until it is kept or refused, or the server has failed at it for too
// long: the node is not to be held for ever. A server that is away comes back
// some time. ErrNotKept is not worth the run's end.
func (f Folder) Send(ctx context.Context, agent *client.Agent, name, path string) error {
	size, sum, err := f.digest(name)
	if err != nil {
		return err
	}
	file := client.File{Path: path, Size: size, SHA256: sum, Open: func() (io.ReadCloser, error) {
		file, _, err := f.open(name)
		return file, err
	}, OpenAt: func(p muster.Part) (io.ReadCloser, error) {
		file, _, err := f.open(name)
		if err != nil {
			return nil, err
		}
		return part{io.NewSectionReader(file, p.Offset, p.Size), file}, nil
	}}
	patience := cmp.Or(f.Patience, DefaultPatience)
	var since time.Time // when the server began to fail
	return Retry(ctx, func(ctx context.Context) error {
		_, err := agent.PutArtifact(ctx, file)
		switch now := time.Now(); {
		case !client.Failed(err):
			since = time.Time{}
		case since.IsZero():
			since = now
		case now.Sub(since) >= patience:
			return muster.Errorf(muster.CodeRefused, "the server has failed to keep it for %s, at last: %v", patience, err)
		}
		return err
	})
}

// part is a part of a file.
type part struct {
	io.Reader
	io.Closer
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
