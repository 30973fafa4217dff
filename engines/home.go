package engines

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// elsewhere holds the homes of root's nodes when they would lie where the user
// that runs are cannot get to, such as in root's own home.
const elsewhere = "/var/lib/muster/dev"

// maxWork is the longest path of a node's Muster folder.
const maxWork = 1024

// Home is where a node works. Its running tasks know it by these names, so who
// starts it again must use the same.
type Home struct {
	Folder string `json:"folder"` // holds the two folders of allocations and of agents
	Allocs string `json:"allocs"` // the name under which Nomad knows the folder of allocations
	Work   string `json:"work"`   // the name under which agents know theirs
}

// NewHome returns a home in the folder, or, where runs may not enter base, which
// is above it, in one that they may.
func NewHome(base, folder string) Home {
	if os.Getuid() == 0 && !Traversable(base) {
		folder = filepath.Join(elsewhere, shortHash(base), filepath.Base(folder))
	}
	return Home{Folder: folder}
}

// allocs and work are the folders behind the names.
func (h Home) allocs() string { return filepath.Join(h.Folder, "allocs") }
func (h Home) work() string   { return filepath.Join(h.Folder, "muster") }

// Make makes the folders, and the names where they need short ones.
func (h *Home) Make() error {
	for _, dir := range []string{filepath.Dir(h.Folder), h.Folder, h.allocs(), h.work()} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("make home of a node: %w", err)
		}
		if err := os.Chmod(dir, 0o711); err != nil {
			return fmt.Errorf("open home of a node: %w", err)
		}
	}
	var err error
	if h.Allocs, err = Shorten(h.allocs(), MaxAllocs); err != nil {
		return err
	}
	h.Work, err = Shorten(h.work(), maxWork)
	return err
}

// Clear takes away what a node that does not run leaves: tasks, mounts, folders
// of allocations and short names. What an agent could not send stays.
func (h Home) Clear() error {
	if err := h.empty(); err != nil {
		return err
	}
	if err := os.RemoveAll(h.allocs()); err != nil {
		return fmt.Errorf("clear home of a node: %w", err)
	}
	for folder, name := range map[string]string{h.allocs(): h.Allocs, h.work(): h.Work} {
		if name == "" {
			continue
		}
		if err := RemoveShort(folder, name); err != nil {
			return err
		}
	}
	if strings.HasPrefix(h.Folder, elsewhere+"/") {
		removeEmpty(h.Folder, filepath.Dir(elsewhere))
	}
	return nil
}

// Remove is Clear, and nothing stays.
func (h Home) Remove() error {
	if err := h.Clear(); err != nil {
		return err
	}
	if err := os.RemoveAll(h.work()); err != nil {
		return fmt.Errorf("remove home of a node: %w", err)
	}
	if strings.HasPrefix(h.Folder, elsewhere+"/") {
		removeEmpty(h.Folder, filepath.Dir(elsewhere))
	}
	return nil
}

// empty kills the tasks of a node that does not run, and takes away its mounts
// and control groups.
func (h Home) empty() error {
	if h.Allocs != "" {
		if err := KillTasks(h.Allocs); err != nil {
			return err
		}
	}
	if err := Unmount(h.Folder); err != nil {
		return err
	}
	allocs, err := os.ReadDir(h.allocs())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list allocations of a node: %w", err)
	}
	for _, a := range allocs {
		SystemCgroups().drop(a.Name())
	}
	return nil
}

// removeEmpty removes the empty folders below a folder, itself, and those above
// it up to and with the last.
func removeEmpty(folder, last string) {
	var below []string
	filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			below = append(below, path)
		}
		return nil
	})
	for _, dir := range slices.Backward(below) {
		os.Remove(dir)
	}
	for dir := folder; strings.HasPrefix(dir, last); dir = filepath.Dir(dir) {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
}

// shortHash names a folder in few letters.
func shortHash(folder string) string {
	sum := sha256.Sum256([]byte(folder))
	return hex.EncodeToString(sum[:])[:10]
}
