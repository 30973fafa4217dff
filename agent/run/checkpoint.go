package run

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/ship"
)

// Times of checkpoints: how often the folder is looked at, and how long a file
// must have been left alone to be taken for whole.
const (
	savePeriod = 5 * time.Second
	saveRest   = 2 * time.Second
)

// checkpoint keeps the command's checkpoint folder at the server while it runs,
// so that the next attempt begins with it on whatever node.
type checkpoint struct {
	*agent
	mu    sync.Mutex       // one save at a time
	known map[string]stamp // what is kept, by path in the run
}

// stamp tells whether a file was written to.
type stamp struct {
	inode uint64
	size  int64
	at    time.Time
}

// stampOf reads the stamp of a file.
func stampOf(info os.FileInfo) stamp {
	s := stamp{size: info.Size(), at: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = sys.Ino
	}
	return s
}

// same reports whether nobody wrote to a file between two stamps.
func (s stamp) same(other stamp) bool {
	return s.inode == other.inode && s.size == other.size && s.at.Equal(other.at)
}

// prefix begins the paths of the instance's own files.
func (c *checkpoint) prefix() string { return muster.CheckpointPrefix(c.assignment.Instance) }

// restore brings the files that earlier attempts have left: the first instance's,
// and over them the instance's own.
func (c *checkpoint) restore(ctx context.Context) error {
	var files []*muster.Artifact
	err := ship.Retry(ctx, func(ctx context.Context) (err error) {
		files, err = c.client.Checkpoint(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("list checkpoints: %w", err)
	}
	root, err := os.OpenRoot(c.folder.path(partSaved))
	if err != nil {
		return fmt.Errorf("restore checkpoints: %w", err)
	}
	defer root.Close()
	for _, f := range files {
		name := strings.TrimPrefix(strings.TrimPrefix(f.Path, c.prefix()), muster.CheckpointPrefix(0))
		if err := c.bring(ctx, root, f, name); err != nil {
			return fmt.Errorf("restore checkpoint %s: %w", name, err)
		}
		if err := root.Chtimes(name, f.CreatedAt, f.CreatedAt); err != nil { // whoever takes the newest finds it
			return fmt.Errorf("restore checkpoint %s: %w", name, err)
		}
		info, err := root.Stat(name)
		if err != nil {
			return fmt.Errorf("restore checkpoint %s: %w", name, err)
		}
		c.known[c.prefix()+name] = stampOf(info)
	}
	if len(files) > 0 {
		c.reporter.note(muster.Counted(len(files), "file") + " of the checkpoint folder came back from earlier attempts")
	}
	return c.handOver(partSaved)
}

// bring fetches one file.
func (c *checkpoint) bring(ctx context.Context, root *os.Root, f *muster.Artifact, name string) error {
	if dir := path.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	var damaged damage
	return ship.Retry(ctx, func(ctx context.Context) error {
		body, err := c.client.OpenCheckpoint(ctx, f.Path)
		if err != nil {
			return err
		}
		defer body.Close()
		file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
		if err != nil {
			return orNil(err)
		}
		hash := sha256.New()
		n, err := io.Copy(file, io.TeeReader(body, hash))
		err = errors.Join(err, file.Close())
		if diskFull(err) {
			return orNil(err)
		}
		if err != nil {
			return muster.Errorf(muster.CodeUnreachable, "%d bytes arrived: %v", n, err)
		}
		if hex.EncodeToString(hash.Sum(nil)) == f.SHA256 {
			return nil
		}
		return damaged.again(f.Path, errors.New("its SHA-256 is another"))
	})
}

// keep saves the folder again and again until the command has ended.
func (c *checkpoint) keep(ctx context.Context, ended <-chan struct{}) {
	tick := time.NewTicker(savePeriod)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := c.save(ctx, false); err != nil && ctx.Err() == nil {
				c.log.Warn("save checkpoints", "error", err)
			}
		}
	}
}

// save sends the files that were written to since they were kept, the oldest
// first, and then forgets those that were removed. It forgets nothing while a file
// that is there is not kept: whoever removes an old one has written a new one. At
// last, when nobody writes any more, it takes all.
func (c *checkpoint) save(ctx context.Context, last bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	root, err := os.OpenRoot(c.folder.view)
	if err != nil {
		return fmt.Errorf("save checkpoints: %w", err)
	}
	defer root.Close()
	there, err := c.look(root)
	if err != nil {
		return err
	}
	folder := ship.Folder{Root: root, UID: c.user.UID, GID: c.user.GID}
	names := slices.SortedFunc(maps.Keys(there), func(a, b string) int { return there[a].at.Compare(there[b].at) })
	all := true
	for _, name := range names {
		at := c.prefix() + name
		if c.known[at].same(there[name]) {
			continue
		}
		kept, err := c.send(ctx, folder, name, at, last)
		if err != nil {
			return err
		}
		all = all && kept
	}
	if !all {
		return nil
	}
	return c.forget(ctx, there)
}

// forget drops what is kept of files that the command has removed.
func (c *checkpoint) forget(ctx context.Context, there map[string]stamp) error {
	for at := range c.known {
		if _, still := there[strings.TrimPrefix(at, c.prefix())]; still {
			continue
		}
		if err := ship.Retry(ctx, func(ctx context.Context) error { return c.client.DropCheckpoint(ctx, at) }); err != nil {
			return fmt.Errorf("forget checkpoint %s: %w", at, err)
		}
		delete(c.known, at)
	}
	return nil
}

// savedLink is a second name of the file that is being sent: another that is put
// in its place meanwhile changes neither what is sent nor whether it was left alone
// for long enough to be taken for whole.
const savedLink = partSpool + "/checkpoint"

// send keeps one file, once nobody has written to it for a while or, at last, at
// once. One that is written to meanwhile goes another time.
func (c *checkpoint) send(ctx context.Context, folder ship.Folder, name, at string, last bool) (kept bool, err error) {
	_ = folder.Root.Remove(savedLink)
	if err := folder.Root.Link(path.Join(partSaved, name), savedLink); err != nil {
		return false, ignoreGone(err)
	}
	defer folder.Root.Remove(savedLink) //nolint:errcheck // the next one does
	before, err := folder.Root.Lstat(savedLink)
	if err != nil {
		return false, ignoreGone(err)
	}
	if !last {
		ship.Pause(ctx, time.Until(before.ModTime().Add(saveRest)))
	}
	if rested, gone := folder.Root.Lstat(savedLink); gone != nil || !stampOf(rested).same(stampOf(before)) {
		return false, nil
	}
	err = c.sendOutput(ctx, folder, outputFile{savedLink, at})
	after, gone := folder.Root.Lstat(savedLink)
	if gone != nil || !stampOf(after).same(stampOf(before)) {
		return false, nil
	}
	if err == nil {
		c.known[at] = stampOf(before)
	}
	return err == nil, err
}

// ignoreGone passes over a file that was removed since it was listed.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// look lists the files of the folder.
func (c *checkpoint) look(root *os.Root) (map[string]stamp, error) {
	there := map[string]stamp{}
	err := fs.WalkDir(root.FS(), partSaved, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !d.Type().IsRegular() {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if inside := strings.TrimPrefix(name, partSaved+"/"); muster.CheckPath(inside) == nil {
			there[inside] = stampOf(info)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look through the checkpoint folder: %w", err)
	}
	return there, nil
}
