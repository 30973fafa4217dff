package client

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/muster-ml/muster"
)

// transferTries is how often a transfer that breaks off is tried.
const transferTries = 5

// DefaultParallel is how many requests a download has under way.
const DefaultParallel = 8

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

// Download says what of a run is put where. Each file is written under another
// name until all of it is there and its SHA-256 is right; what an earlier try
// left is not fetched again.
type Download struct {
	Workspace, Run string
	Files          []*muster.Artifact
	Dir            string
	Parallel       int           // requests under way; 0 is DefaultParallel
	Moved          func(n int64) // called with bytes that are there, from several goroutines; may be nil
}

// download is a Download under way.
type download struct {
	*Client
	what Download
	root *os.Root
	slot chan struct{} // one a request
}

// Download puts files of a run into a folder, below their paths in the run:
// several at once, and a large one in several parts at once.
func (c *Client) Download(ctx context.Context, what Download) error {
	if err := os.MkdirAll(what.Dir, 0o777); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	root, err := os.OpenRoot(what.Dir)
	if err != nil {
		return fmt.Errorf("open folder: %w", err)
	}
	defer root.Close()
	n := cmp.Or(what.Parallel, DefaultParallel)
	d := &download{Client: c, what: what, root: root, slot: make(chan struct{}, n)}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(n)
	for _, a := range what.Files {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return d.file(ctx, a) })
	}
	return g.Wait()
}

// file fetches one file.
func (d *download) file(ctx context.Context, a *muster.Artifact) error {
	if err := muster.CheckPath(a.Path); err != nil {
		return err
	}
	to := filepath.FromSlash(a.Path)
	if err := d.root.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return fmt.Errorf("make folder of %s: %w", a.Path, err)
	}
	// Named after the path too: two files of the same content are fetched at once.
	name := sha256.Sum256([]byte(a.Path + "\x00" + a.SHA256))
	part := filepath.Join(filepath.Dir(to), "."+hex.EncodeToString(name[:8])+".part")
	f, err := d.root.OpenFile(part, os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return fmt.Errorf("write %s: %w", a.Path, err)
	}
	defer f.Close()
	if a.Size > muster.PartSize {
		err = d.parts(ctx, a, f, part+"s")
	} else {
		err = d.whole(ctx, a, f)
	}
	if errors.Is(err, errDamaged) {
		_ = d.root.Remove(part) // what is in it is of no use
		_ = d.root.Remove(part + "s")
	}
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write %s: %w", a.Path, err)
	}
	if err := d.root.Rename(part, to); err != nil {
		return fmt.Errorf("write %s: %w", a.Path, err)
	}
	if a.Size > muster.PartSize {
		_ = d.root.Remove(part + "s") // it says nothing that the file does not
	}
	return nil
}

// errDamaged says that all bytes came, and not the right ones.
var errDamaged = errors.New("the file arrived damaged")

// whole fetches a small file at once.
func (d *download) whole(ctx context.Context, a *muster.Artifact, f *os.File) error {
	err := retry(ctx, func() error {
		if err := f.Truncate(0); err != nil {
			return fmt.Errorf("empty %s: %w", f.Name(), err)
		}
		if a.Size == 0 {
			return nil
		}
		return d.fetch(ctx, a, muster.Part{Size: a.Size}, f)
	})
	if err != nil {
		return err
	}
	return check(a, f)
}

// check compares a file with its digest.
func check(a *muster.Artifact, f *os.File) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read %s: %w", f.Name(), err)
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return fmt.Errorf("read %s: %w", f.Name(), err)
	}
	if hex.EncodeToString(hash.Sum(nil)) != a.SHA256 {
		return fmt.Errorf("download %s: %w", a.Path, errDamaged)
	}
	return nil
}

// parts fetches the parts of a large file that are not there. Beside it lies a
// list of those that are, one a line.
func (d *download) parts(ctx context.Context, a *muster.Artifact, f *os.File, list string) error {
	have, err := d.root.OpenFile(list, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o666)
	if err != nil {
		return fmt.Errorf("write %s: %w", a.Path, err)
	}
	defer have.Close()
	kept := &muster.Parts{}
	all := muster.PartsOf(a.Size)
	for lines := bufio.NewScanner(have); lines.Scan(); {
		if i, err := strconv.Atoi(lines.Text()); err == nil && i >= 0 && i < len(all) && !slices.Contains(kept.Parts, all[i]) {
			kept.Parts = append(kept.Parts, all[i])
			d.moved(all[i].Size)
		}
	}
	if err := f.Truncate(a.Size); err != nil {
		return fmt.Errorf("make room for %s: %w", a.Path, err)
	}
	var listing sync.Mutex
	g, parts := errgroup.WithContext(ctx)
	for _, p := range kept.Missing(a.Size) {
		g.Go(func() error {
			if err := retry(parts, func() error { return d.fetch(parts, a, p, f) }); err != nil {
				return err
			}
			listing.Lock()
			defer listing.Unlock()
			_, err := fmt.Fprintln(have, p.Offset/muster.PartSize)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return check(a, f)
}

// moved tells of bytes that are there.
func (d *download) moved(n int64) {
	if d.what.Moved != nil {
		d.what.Moved(n)
	}
}

// fetch fetches one part of a file to its place in f.
func (d *download) fetch(ctx context.Context, a *muster.Artifact, p muster.Part, f *os.File) error {
	select {
	case d.slot <- struct{}{}:
		defer func() { <-d.slot }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	q := request{method: http.MethodGet, path: append([]string{"workspaces", d.what.Workspace, "runs", d.what.Run, "artifacts"}, strings.Split(a.Path, "/")...)}
	ranged := p.Size < a.Size
	if ranged {
		q.header = http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", p.Offset, p.Offset+p.Size-1)}, "If-Range": {`"` + a.SHA256 + `"`}}
	}
	resp, err := d.send(ctx, q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if ranged && resp.StatusCode != http.StatusPartialContent {
		return muster.Errorf(muster.CodeConflict, "%s is another file by now", a.Path).WithCure("download it again")
	}
	n, err := io.Copy(io.NewOffsetWriter(f, p.Offset), &moving{from: io.LimitReader(resp.Body, p.Size), moved: d.moved})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil || n < p.Size {
		d.moved(-n)
		if _, disk := errors.AsType[*os.PathError](err); disk {
			return fmt.Errorf("write %s: %w", a.Path, err)
		}
		return muster.Errorf(muster.CodeUnreachable, "the download of %s broke off: %v", a.Path, err)
	}
	return nil
}

// moving tells of each piece that is read.
type moving struct {
	from  io.Reader
	moved func(int64)
}

// Read reads on.
func (m *moving) Read(p []byte) (int, error) {
	n, err := m.from.Read(p)
	m.moved(int64(n))
	return n, err
}
