package run

import (
	"context"
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
	size int64
	at   time.Time
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
		info, err := root.Stat(name)
		if err != nil {
			return fmt.Errorf("restore checkpoint %s: %w", name, err)
		}
		c.known[c.prefix()+name] = stamp{info.Size(), info.ModTime()}
	}
	if len(files) > 0 {
		c.reporter.note(fmt.Sprintf("%d files of the checkpoint folder are back from earlier attempts", len(files)))
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
		n, err := io.Copy(file, body)
		err = errors.Join(err, file.Close())
		if diskFull(err) {
			return orNil(err)
		}
		if err != nil {
			return muster.Errorf(muster.CodeUnreachable, "%d bytes arrived: %v", n, err)
		}
		return nil
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
// first, and then forgets those that were removed: whoever removes an old one has
// written a new one before. At last, when nobody writes any more, it takes all.
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
	folder := ship.Folder{Root: root, UID: c.user.uid, GID: c.user.gid}
	names := slices.SortedFunc(maps.Keys(there), func(a, b string) int { return there[a].at.Compare(there[b].at) })
	for _, name := range names {
		at := c.prefix() + name
		if c.known[at] == there[name] || !last && time.Since(there[name].at) < saveRest {
			continue
		}
		if err := c.sendOutput(ctx, folder, outputFile{path.Join(partSaved, name), at}); err != nil {
			return err
		}
		if now, err := root.Stat(path.Join(partSaved, name)); err == nil && (stamp{now.Size(), now.ModTime()}) == there[name] {
			c.known[at] = there[name] // else it was written to meanwhile, and goes once more
		}
	}
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
			there[inside] = stamp{info.Size(), info.ModTime()}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look through the checkpoint folder: %w", err)
	}
	return there, nil
}
