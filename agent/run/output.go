package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"sync"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/ship"
)

// sending is how many artifacts are sent at a time.
const sending = 4

// The folders of the working folder that are kept without being named.
var keptFolders = []string{"outputs", "logs"}

// makeOutputs makes the folders that the command may write its outputs to, and
// remembers their paths.
func (a *agent) makeOutputs() error {
	for _, name := range keptFolders {
		if err := a.makeUsers(partWork, name); err != nil {
			return failed(muster.FaultCommand, "the folder ./%s cannot be made: %v", name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.spec().Outputs)) {
		out := a.spec().Outputs[name]
		if err := a.makeUsers(partOutputs, name); err != nil {
			return err
		}
		a.outputs[name] = a.folder.path(partOutputs, name)
		if out.Type == muster.TypeURIFile {
			a.outputs[name] = a.folder.path(partOutputs, name, name)
		}
		if out.Mode == "rw_mount" || out.Mode == "direct" {
			a.reporter.note(fmt.Sprintf("output %s: %s acts as upload at the end", name, out.Mode))
		}
	}
	return nil
}

// makeUsers makes a folder of the run-as user in a part of the run's folder.
// What code brought may stand there already.
func (a *agent) makeUsers(part, name string) error {
	root, err := os.OpenRoot(a.folder.path(part))
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if info, err := root.Stat(name); err != nil || !info.IsDir() {
		return errors.Join(err, fmt.Errorf("%s is not a folder", name))
	}
	if !a.user.Change {
		return nil
	}
	return root.Lchown(name, a.user.UID, a.user.GID)
}

// outputFile is a file to be kept.
type outputFile struct {
	name string // in the run's folder
	path string // in the run
}

// uploadOutputs sends what the command left, whether it ended well or not. It
// returns what could not be kept: a file that the server refuses for what it is
// does not hold back the others.
func (a *agent) uploadOutputs(ctx context.Context) error {
	root, err := os.OpenRoot(a.folder.view)
	if err != nil {
		return fmt.Errorf("collect outputs: %w", err)
	}
	defer root.Close()
	files := make(chan outputFile)
	folder := ship.Folder{Root: root, UID: a.user.UID, GID: a.user.GID}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var senders sync.WaitGroup
	var refused error
	var first sync.Once
	for range sending {
		senders.Go(func() {
			for f := range files {
				err := a.sendOutput(ctx, folder, f)
				switch muster.CodeOf(err) {
				case "":
				case muster.CodeInvalid, muster.CodeTooLarge:
					a.reporter.note(err.Error())
					first.Do(func() { refused = err })
				default:
					cancel(err)
				}
			}
		})
	}
	a.collect(ctx, root, files)
	close(files)
	senders.Wait()
	return cmp.Or(context.Cause(ctx), refused)
}

// sendOutput sends one file. One that may not be kept is told of.
func (a *agent) sendOutput(ctx context.Context, folder ship.Folder, f outputFile) error {
	err := folder.Send(ctx, a.client, f.name, f.path)
	if errors.Is(err, ship.ErrNotKept) {
		a.reporter.note(fmt.Sprintf("%s is %v", f.path, err))
		return nil
	}
	if err != nil {
		return fmt.Errorf("upload %s: %w", f.path, err)
	}
	return nil
}

// collect lists the files to keep: ./outputs, ./logs and the named outputs.
func (a *agent) collect(ctx context.Context, root *os.Root, files chan<- outputFile) {
	for _, name := range keptFolders {
		a.collectFolder(ctx, root, files, outputFile{path.Join(partWork, name), name})
	}
	for _, name := range slices.Sorted(maps.Keys(a.spec().Outputs)) {
		from := outputFile{path.Join(partOutputs, name), name}
		if a.spec().Outputs[name].Type == muster.TypeURIFile {
			if from.name = path.Join(from.name, name); !exists(root, from.name) {
				a.reporter.note(fmt.Sprintf("output %s: the command left no file", name))
				continue
			}
			a.hand(ctx, files, from)
			continue
		}
		a.collectFolder(ctx, root, files, from)
	}
}

// exists reports whether a name stands in a folder.
func exists(root *os.Root, name string) bool {
	_, err := root.Lstat(name)
	return err == nil
}

// collectFolder lists the files below a folder. Links to folders are not
// followed, what cannot be kept is told of.
func (a *agent) collectFolder(ctx context.Context, root *os.Root, files chan<- outputFile, from outputFile) {
	_ = fs.WalkDir(root.FS(), from.name, func(name string, d fs.DirEntry, err error) error {
		at := from.path + name[len(from.name):]
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			a.reporter.note(fmt.Sprintf("%s is not kept: %v", at, err))
			return nil
		case d.IsDir():
			return ctx.Err()
		case d.Type()&fs.ModeSymlink != 0:
			if info, err := root.Stat(name); err == nil && info.IsDir() {
				a.reporter.note(at + " is not kept: it is a link to a folder")
				return nil
			}
		}
		if err := muster.CheckPath(at); err != nil {
			a.reporter.note(err.Error())
			return nil
		}
		return a.hand(ctx, files, outputFile{name, at})
	})
}

// hand gives a file to a sender. The first instance of a gang keeps the plain
// paths; what the others left stands below instance-1, instance-2, …
func (a *agent) hand(ctx context.Context, files chan<- outputFile, f outputFile) error {
	if i := a.assignment.Instance; i > 0 {
		f.path = fmt.Sprintf("instance-%d/%s", i, f.path)
	}
	select {
	case files <- f:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
