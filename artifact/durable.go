package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
)

// folder is a bucket's folder. A nil one is a store that needs none of this.
type folder struct {
	dir    string
	making sync.Mutex // of folders in dir
}

// prepare makes the folder of a key. One at a time: nobody is to find a folder
// that another has made and not yet synced.
func (f *folder) prepare(name string) error {
	if f == nil {
		return nil
	}
	f.making.Lock()
	defer f.making.Unlock()
	return makeFolder(filepath.Join(f.dir, path.Dir(name)))
}

// settle makes the name of a key that was written survive a loss of power.
func (f *folder) settle(name string) error {
	if f == nil {
		return nil
	}
	return syncFolder(filepath.Join(f.dir, path.Dir(name)))
}

// makeFolder makes a folder and those above it, so that they survive a loss of
// power. Whoever finds one there may rely on it as long as nobody else is at
// work in the same place.
func makeFolder(dir string) error {
	switch _, err := os.Stat(dir); {
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	above := filepath.Dir(dir)
	if err := makeFolder(above); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(above)
}

// syncFolder makes the names in a folder survive a loss of power.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return errors.Join(f.Sync(), f.Close())
}
