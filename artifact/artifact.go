// Package artifact keeps the bytes of artifacts, logs and uploads in a bucket.
package artifact

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
	"golang.org/x/sys/unix"

	"github.com/muster-ml/muster"
)

// Bucket implements muster.Blobs.
type Bucket struct {
	b      *blob.Bucket
	name   string  // as the operator wrote it, for errors
	folder *folder // where the bucket is one; nil for a store on the network
}

// Close closes the bucket.
func (b *Bucket) Close() error { return b.b.Close() }

// Put stores what r holds. A reader that fails, or holds other bytes than are
// wanted, leaves the key as it was.
func (b *Bucket) Put(ctx context.Context, key, want string, r io.Reader) (size int64, sum string, err error) {
	name := b.fit(key)
	if err := b.folder.prepare(name); err != nil {
		return 0, "", b.notKept(key, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &source{from: r, want: want, hash: sha256.New(), drop: cancel}
	o := &blob.WriterOptions{ContentType: "application/octet-stream"}
	if b.folder != nil {
		o.BeforeWrite = s.syncFile
	}
	err = b.b.Upload(ctx, name, s, o)
	switch {
	case s.err != nil && s.err != io.EOF:
		return 0, s.sum(), fmt.Errorf("keep %s: %w", key, s.err)
	case err != nil:
		return 0, "", b.notKept(key, err)
	}
	if err := b.folder.settle(name); err != nil {
		return 0, "", fmt.Errorf("keep %s: %w", key, err)
	}
	return s.size, s.sum(), nil
}

// notKept tells a key that stands in the way of another, or is stood in the way
// of, from other errors: no later try cures that.
func (b *Bucket) notKept(key string, err error) error {
	for _, no := range []error{unix.ENOTDIR, unix.EISDIR, unix.EEXIST, unix.ENAMETOOLONG} {
		if errors.Is(err, no) {
			return muster.Errorf(muster.CodeInvalid, "%s cannot be kept: %v", key, no).WithCure("use another name: no file can be kept below a file, nor in the place of a folder")
		}
	}
	return fmt.Errorf("keep %s: %w", key, b.failed(err))
}

// failed says of an error that a store on the network has answered to the last
// try that the store is away: the caller may come again. What a folder answers
// is this machine's own trouble.
func (b *Bucket) failed(err error) error {
	if b.folder != nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return muster.Errorf(muster.CodeUnreachable, "the artifact store %s fails: %v", b.name, err).WithCure("it is tried again; the server's log and the store's own say more")
}

// Open returns the bytes of a key from offset on.
func (b *Bucket) Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	r, err := b.b.NewRangeReader(ctx, b.fit(key), offset, -1, nil)
	if err != nil {
		return nil, b.notFound(key, err)
	}
	return r, nil
}

// Size returns the size of what a key holds.
func (b *Bucket) Size(ctx context.Context, key string) (int64, error) {
	a, err := b.b.Attributes(ctx, b.fit(key))
	if err != nil {
		return 0, b.notFound(key, err)
	}
	return a.Size, nil
}

// Delete removes a key. One that is not there is no error.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	if err := b.b.Delete(ctx, b.fit(key)); err != nil && muster.CodeOf(b.notFound(key, err)) != muster.CodeNotFound {
		return fmt.Errorf("remove %s: %w", key, b.failed(err))
	}
	return nil
}

// List yields the keys that begin with a prefix in their order, a page of the
// store at a time. A key that the store could not hold as it is comes under the
// name that it has there.
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[muster.Blob, error] {
	return func(yield func(muster.Blob, error) bool) {
		all := b.b.List(&blob.ListOptions{Prefix: prefix})
		for {
			o, err := all.Next(ctx)
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(muster.Blob{}, fmt.Errorf("list %s: %w", prefix, b.failed(err)))
				return
			}
			if !yield(muster.Blob{Key: o.Key, Size: o.Size, At: o.ModTime}, nil) {
				return
			}
		}
	}
}

// Purge removes what is kept under the keys that begin with a prefix and that
// which chooses, nil is all; a dry run only counts.
func (b *Bucket) Purge(ctx context.Context, prefix string, which func(muster.Blob) bool, dryRun bool) (n int, bytes int64, err error) {
	for o, err := range b.List(ctx, prefix) {
		if err != nil {
			return n, bytes, err
		}
		if which != nil && !which(o) {
			continue
		}
		if !dryRun { // under the name that it has in the store
			if err := b.b.Delete(ctx, o.Key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
				return n, bytes, fmt.Errorf("remove %s: %w", o.Key, b.failed(err))
			}
		}
		n, bytes = n+1, bytes+o.Size
	}
	return n, bytes, nil
}

// notFound tells a key that is missing from other errors.
func (b *Bucket) notFound(key string, err error) error {
	if gcerrors.Code(err) == gcerrors.NotFound || errors.Is(err, unix.ENOTDIR) {
		return muster.Errorf(muster.CodeNotFound, "nothing is kept under %s", key)
	}
	return fmt.Errorf("read %s: %w", key, b.failed(err))
}
