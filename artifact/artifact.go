// Package artifact keeps the bytes of artifacts, logs and uploads in a bucket.
package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/fileblob" // the scheme file://
	"gocloud.dev/gcerrors"

	"github.com/muster-ml/muster"
)

// Bucket implements muster.Blobs.
type Bucket struct{ b *blob.Bucket }

// OpenFolder opens a folder as a bucket, and makes it where it is missing.
func OpenFolder(ctx context.Context, dir string) (*Bucket, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open artifacts: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open artifacts: %w", err)
	}
	// Without these the store would write into the system's temporary folder,
	// and an attribute file beside each blob.
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(dir), RawQuery: "no_tmp_dir=true&metadata=skip"}
	b, err := blob.OpenBucket(ctx, u.String())
	if err != nil {
		return nil, fmt.Errorf("open artifacts in %s: %w", dir, err)
	}
	return &Bucket{b}, nil
}

// maxSegment is the longest part of a key between slashes: the store writes
// under a name that is some bytes longer first, and a file's name has 255.
const maxSegment = 200

// fit turns a key into one that a folder can hold: parts that are too long, or
// end as the store's own files do, are named by their SHA-256 instead.
func fit(key string) string {
	parts := strings.Split(key, "/")
	for i, part := range parts {
		if len(part) > maxSegment || strings.HasSuffix(part, ".attrs") {
			sum := sha256.Sum256([]byte(part))
			parts[i] = "~" + hex.EncodeToString(sum[:])
		}
	}
	return strings.Join(parts, "/")
}

// Close closes the bucket.
func (b *Bucket) Close() error { return b.b.Close() }

// Put stores what r holds. A reader that fails leaves the key as it was.
func (b *Bucket) Put(ctx context.Context, key string, r io.Reader) (size int64, sum string, err error) {
	// Cancelling the context before Close makes the store drop what was written.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := b.b.NewWriter(ctx, fit(key), &blob.WriterOptions{ContentType: "application/octet-stream"})
	if err != nil {
		return 0, "", fmt.Errorf("keep %s: %w", key, err)
	}
	hash := sha256.New()
	size, err = io.Copy(io.MultiWriter(w, hash), r)
	if err != nil {
		cancel()
		w.Close()
		return 0, "", fmt.Errorf("keep %s: %w", key, err)
	}
	if err := w.Close(); err != nil {
		return 0, "", fmt.Errorf("keep %s: %w", key, err)
	}
	return size, hex.EncodeToString(hash.Sum(nil)), nil
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
	if gcerrors.Code(err) == gcerrors.NotFound {
		return muster.Errorf(muster.CodeNotFound, "nothing is kept under %s", key)
	}
	return fmt.Errorf("read %s: %w", key, err)
}
