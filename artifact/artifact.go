// Package artifact keeps the bytes of artifacts, logs and uploads in a bucket.
package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"sync"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/fileblob" // the scheme file://
	"gocloud.dev/gcerrors"
	"golang.org/x/sys/unix"

	"github.com/muster-ml/muster"
)

// Bucket implements muster.Blobs.
type Bucket struct {
	b      *blob.Bucket
	dir    string
	making sync.Mutex // of folders in dir
}

// OpenFolder opens a folder as a bucket, and makes it where it is missing.
func OpenFolder(ctx context.Context, dir string) (*Bucket, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open artifacts: %w", err)
	}
	if err := makeFolder(dir); err != nil {
		return nil, fmt.Errorf("open artifacts: %w", err)
	}
	// Without these the store would write into the system's temporary folder,
	// and an attribute file beside each blob.
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(dir), RawQuery: "no_tmp_dir=true&metadata=skip"}
	b, err := blob.OpenBucket(ctx, u.String())
	if err != nil {
		return nil, fmt.Errorf("open artifacts in %s: %w", dir, err)
	}
	return &Bucket{b: b, dir: dir}, nil
}

// Close closes the bucket.
func (b *Bucket) Close() error { return b.b.Close() }

// Put stores what r holds. A reader that fails, or holds other bytes than are
// wanted, leaves the key as it was.
func (b *Bucket) Put(ctx context.Context, key, want string, r io.Reader) (size int64, sum string, err error) {
	name := fit(key)
	folder := filepath.Join(b.dir, path.Dir(name))
	if err := b.makeFolder(folder); err != nil {
		return 0, "", notKept(key, err)
	}
	// Cancelling the context before Close makes the store drop what was written.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var file *os.File // that the store writes to; it syncs nothing itself
	w, err := b.b.NewWriter(ctx, name, &blob.WriterOptions{ContentType: "application/octet-stream", BeforeWrite: func(as func(any) bool) error {
		if !as(&file) {
			return errors.New("the store writes no file")
		}
		return nil
	}})
	if err != nil {
		return 0, "", notKept(key, err)
	}
	hash := sha256.New()
	size, err = io.Copy(io.MultiWriter(w, hash), r)
	sum = hex.EncodeToString(hash.Sum(nil))
	switch {
	case err != nil:
	case want != "" && sum != want:
		err = muster.ErrDigest
	default:
		err = file.Sync()
	}
	if err != nil {
		cancel()
		w.Close()
		return 0, sum, fmt.Errorf("keep %s: %w", key, err)
	}
	if err := w.Close(); err != nil {
		return 0, "", notKept(key, err)
	}
	if err := syncFolder(folder); err != nil {
		return 0, "", fmt.Errorf("keep %s: %w", key, err)
	}
	return size, sum, nil
}

// makeFolder makes a folder in the bucket. One at a time: nobody is to find a
// folder that another has made and not yet synced.
func (b *Bucket) makeFolder(dir string) error {
	b.making.Lock()
	defer b.making.Unlock()
	return makeFolder(dir)
}

// notKept tells a key that stands in the way of another, or is stood in the way
// of, from other errors: no later try cures that.
func notKept(key string, err error) error {
	for _, no := range []error{unix.ENOTDIR, unix.EISDIR, unix.EEXIST, unix.ENAMETOOLONG} {
		if errors.Is(err, no) {
			return muster.Errorf(muster.CodeInvalid, "%s cannot be kept: %v", key, no).WithCure("use another name: no file can be kept below a file, nor in the place of a folder")
		}
	}
	return fmt.Errorf("keep %s: %w", key, err)
}

// Open returns the bytes of a key from offset on.
func (b *Bucket) Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	r, err := b.b.NewRangeReader(ctx, fit(key), offset, -1, nil)
	if err != nil {
		return nil, notFound(key, err)
	}
	return r, nil
}

// Size returns the size of what a key holds.
func (b *Bucket) Size(ctx context.Context, key string) (int64, error) {
	a, err := b.b.Attributes(ctx, fit(key))
	if err != nil {
		return 0, notFound(key, err)
	}
	return a.Size, nil
}

// notFound tells a key that is missing from other errors.
func notFound(key string, err error) error {
	if gcerrors.Code(err) == gcerrors.NotFound || errors.Is(err, unix.ENOTDIR) {
		return muster.Errorf(muster.CodeNotFound, "nothing is kept under %s", key)
	}
	return fmt.Errorf("read %s: %w", key, err)
}
