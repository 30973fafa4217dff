package engines

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/muster-ml/muster"
)

// Traversable reports whether any user may pass through all folders of an
// absolute path. Folders that do not exist yet count: they will be made so.
func Traversable(path string) bool {
	for dir := path; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err == nil && info.Mode()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

// Shorten returns a path of the folder of at most limit bytes and without
// blanks, which users' commands may not quote: its own, or a
// link to it in a folder for such things, which RemoveShort removes. A link
// that is there already is used again.
func Shorten(folder string, limit int) (string, error) {
	if len(folder) <= limit && !strings.ContainsAny(folder, " \t\n") {
		return folder, nil
	}
	name := shortHash(folder)
	for _, base := range runtimeFolders() {
		link := filepath.Join(base, name)
		if len(link) > limit {
			continue
		}
		if target, err := os.Readlink(link); err == nil && target == folder {
			return link, nil
		}
		if err := makeRuntimeFolder(base); err != nil {
			continue
		}
		os.Remove(link)
		if err := os.Symlink(folder, link); err != nil {
			return "", fmt.Errorf("make short name of %s: %w", folder, err)
		}
		return link, nil
	}
	return "", muster.Errorf(muster.CodeRefused, "no folder takes a short name of %s", folder).WithCure("make the system's temporary folder writable")
}

// shortened returns the link to a folder that Shorten made, or the folder's own
// path where there is none.
func shortened(folder string) string {
	for _, base := range runtimeFolders() {
		link := filepath.Join(base, shortHash(folder))
		if target, err := os.Readlink(link); err == nil && target == folder {
			return link
		}
	}
	return folder
}

// RemoveShort removes the link that Shorten made, and its folder with the last
// one.
func RemoveShort(folder, short string) error {
	if short == folder {
		return nil
	}
	if err := os.Remove(short); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove short name: %w", err)
	}
	err := os.Remove(filepath.Dir(short))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return fmt.Errorf("remove folder of short names: %w", err)
	}
	return nil
}

// runtimeFolders lists where short names may lie, the best first.
func runtimeFolders() []string {
	var dirs []string
	own := "muster-" + strconv.Itoa(os.Getuid())
	for _, base := range []string{os.Getenv("XDG_RUNTIME_DIR"), os.TempDir(), "/tmp", "/var/tmp"} {
		// Root's tasks run as another user, who must get through.
		if base != "" && filepath.IsAbs(base) && (os.Getuid() != 0 || Traversable(base)) {
			dirs = append(dirs, filepath.Join(base, own))
		}
	}
	return dirs
}

// makeRuntimeFolder makes the folder, and takes one that is there only if it is
// a real folder of ours: others may write beside it.
func makeRuntimeFolder(dir string) error {
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(stat.Uid) != os.Getuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not ours", dir)
	}
	return os.Chmod(dir, 0o711)
}

// writeWhole writes a file that is there as a whole or not at all, also after a
// power cut.
func writeWhole(path string, content []byte) error {
	partial := path + ".partial"
	f, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(partial, path); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// Unmount takes away every mount below the folder, the innermost first, and
// returns an error if one stays: then nothing below may be deleted, as it may
// be somebody's.
func Unmount(folder string) error {
	real, err := filepath.EvalSymlinks(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for mounts: %w", err)
	}
	mounts, err := mountsBelow(real)
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(mounts) {
		if err := syscall.Unmount(m, syscall.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", m, err)
		}
	}
	if mounts, err = mountsBelow(real); err == nil && len(mounts) > 0 {
		return fmt.Errorf("%s is still mounted", mounts[0])
	}
	return err
}

// mountsBelow lists the mounts below a folder in the order of mounting.
func mountsBelow(folder string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer f.Close()
	var found []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		if m := unescapeMount(fields[4]); strings.HasPrefix(m, folder+"/") {
			found = append(found, m)
		}
	}
	return found, nil
}

// unescapeMount undoes the kernel's escapes of blanks and backslashes.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
