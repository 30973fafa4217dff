package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/muster-ml/muster"
)

// transferTries is how often a transfer that breaks off is tried.
const transferTries = 5

// Upload is something to upload.
type Upload struct {
	SHA256 string
	Size   int64
	Open   func() io.ReadCloser // called once a try
}

// PutUpload uploads what the workspace does not have yet; sent is the number of
// bytes that went over the network.
func (c *Client) PutUpload(ctx context.Context, workspace string, u Upload) (sent int64, err error) {
	at := []string{"workspaces", workspace, "uploads", u.SHA256}
	resp, err := c.send(ctx, request{method: http.MethodHead, path: at})
	if err == nil {
		resp.Body.Close()
		return 0, nil
	}
	if muster.CodeOf(err) != muster.CodeNotFound {
		return 0, err
	}
	err = retry(ctx, func() error {
		resp, err := c.send(ctx, request{method: http.MethodPut, path: at, body: u.Open(), size: u.Size,
			header: http.Header{"Content-Type": {"application/octet-stream"}}})
		if err == nil {
			resp.Body.Close()
			sent += u.Size
		}
		return err
	})
	return sent, err
}

// retry tries what may end better later.
func retry(ctx context.Context, f func() error) (err error) {
	wait := firstBackOff
	for range transferTries {
		if err = f(); err == nil || muster.CodeOf(err) != muster.CodeUnreachable || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
			wait *= 2
		}
	}
	return err
}

// Download puts an artifact of a run into a folder, below its path in the run.
// It is written under another name until all of it is there and its SHA-256 is
// right; what an earlier try left is not fetched again.
func (c *Client) Download(ctx context.Context, workspace, run string, a *muster.Artifact, dir string) error {
	if err := muster.CheckPath(a.Path); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open folder: %w", err)
	}
	defer root.Close()
	to := filepath.FromSlash(a.Path)
	if err := root.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return fmt.Errorf("make folder of %s: %w", a.Path, err)
	}
	part := filepath.FromSlash(path.Join(path.Dir(a.Path), fmt.Sprintf(".%.16s.part", a.SHA256)))
	f, err := root.OpenFile(part, os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return fmt.Errorf("write %s: %w", a.Path, err)
	}
	defer f.Close()
	at := []string{"workspaces", workspace, "runs", run, "artifacts"}
	at = append(at, strings.Split(a.Path, "/")...)
	if err := retry(ctx, func() error { return c.fetch(ctx, at, a, f) }); err != nil {
		if errors.Is(err, errDamaged) {
			_ = root.Remove(part) // what is in it is of no use
		}
		return err
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write %s: %w", a.Path, err)
	}
	if err := root.Rename(part, to); err != nil {
		return fmt.Errorf("write %s: %w", a.Path, err)
	}
	return nil
}

// errDamaged says that all bytes came, and not the right ones.
var errDamaged = errors.New("the file arrived damaged")

// fetch reads the rest of an artifact into f and checks the whole.
func (c *Client) fetch(ctx context.Context, at []string, a *muster.Artifact, f *os.File) error {
	hash := sha256.New()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read %s: %w", f.Name(), err)
	}
	have, err := io.Copy(hash, f)
	if err != nil {
		return fmt.Errorf("read %s: %w", f.Name(), err)
	}
	if have < a.Size {
		q := request{method: http.MethodGet, path: at}
		if have > 0 {
			q.header = http.Header{"Range": {fmt.Sprintf("bytes=%d-", have)}, "If-Range": {`"` + a.SHA256 + `"`}}
		}
		resp, err := c.send(ctx, q)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if have > 0 && resp.StatusCode != http.StatusPartialContent {
			hash.Reset()
			if err := restart(f); err != nil {
				return err
			}
		}
		if _, err := io.Copy(io.MultiWriter(f, hash), resp.Body); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return muster.Errorf(muster.CodeUnreachable, "the download of %s broke off: %v", a.Path, err)
		}
	}
	if hex.EncodeToString(hash.Sum(nil)) != a.SHA256 {
		return fmt.Errorf("download %s: %w", a.Path, errDamaged)
	}
	return nil
}

// restart empties a file.
func restart(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("empty %s: %w", f.Name(), err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("empty %s: %w", f.Name(), err)
	}
	return nil
}
