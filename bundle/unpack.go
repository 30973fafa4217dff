package bundle

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/muster-ml/muster"
)

// Limits bound what an archive may unpack to.
type Limits struct {
	Entries int
	Bytes   int64
}

// DefaultLimits are wide enough for a data set and narrow enough for a disk.
var DefaultLimits = Limits{Entries: 1_000_000, Bytes: 256 << 30}

// Unpack unpacks an archive into a folder that exists. Whatever the archive
// says, nothing is written outside the folder: an archive that tries to is
// refused with CodeInvalid, as is one beyond the limits or with anything but
// files, folders and links that stay inside. What was unpacked before the error
// stays.
func Unpack(r io.Reader, dir string, limits Limits) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open folder to unpack into: %w", err)
	}
	defer root.Close()
	zip, err := gzip.NewReader(r)
	if err != nil {
		return broken(err)
	}
	archive := tar.NewReader(zip)
	for n := 1; ; n++ {
		h, err := archive.Next()
		if err == io.EOF {
			return readRest(zip)
		}
		if err != nil {
			return broken(err)
		}
		if n > limits.Entries {
			return muster.Errorf(muster.CodeInvalid, "the archive holds more than %d entries", limits.Entries)
		}
		if limits.Bytes -= max(h.Size, 0); limits.Bytes < 0 {
			return muster.Errorf(muster.CodeInvalid, "the archive unpacks to more bytes than are allowed")
		}
		if err := unpackEntry(root, h, archive); err != nil {
			return err
		}
	}
}

// readRest reads to the end of the compressed stream, where its checksum
// stands.
func readRest(zip io.Reader) error {
	if _, err := io.Copy(io.Discard, io.LimitReader(zip, 1<<20)); err != nil {
		return broken(err)
	}
	return nil
}

// broken says that the bytes are no archive. An error of the connection that
// they come from is passed on: it says nothing of the archive.
func broken(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || strings.HasPrefix(err.Error(), "flate: ") {
		return muster.Errorf(muster.CodeInvalid, "the archive is broken: %v", err)
	}
	return fmt.Errorf("read archive: %w", err)
}

// unpackEntry writes one member of the archive.
func unpackEntry(root *os.Root, h *tar.Header, content io.Reader) error {
	name := strings.TrimSuffix(h.Name, "/")
	if h.Typeflag == tar.TypeDir && (name == "." || name == "") && !path.IsAbs(h.Name) {
		return nil
	}
	name = strings.TrimPrefix(name, "./")
	if !fs.ValidPath(name) || strings.Contains(name, "\x00") {
		return refuse(h, "its name leads out of the folder")
	}
	var err error
	switch h.Typeflag {
	case tar.TypeDir:
		err = makeFolder(root, name)
	case tar.TypeReg:
		err = unpackFile(root, name, h, content)
	case tar.TypeSymlink:
		if leadsOut(name, h.Linkname) {
			return refuse(h, fmt.Sprintf("it is a link to %q, outside the folder", h.Linkname))
		}
		if err = makeFolder(root, path.Dir(name)); err == nil {
			err = root.Symlink(h.Linkname, name)
		}
	default:
		return refuse(h, "it is neither a file, a folder nor a symbolic link")
	}
	return explain(h, err)
}

// unpackFile writes a file that must not exist yet.
func unpackFile(root *os.Root, name string, h *tar.Header, content io.Reader) error {
	if err := makeFolder(root, path.Dir(name)); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if h.Mode&0o100 != 0 {
		mode = 0o755
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

// errThroughLink says that a member's folder is a link. Such an archive could
// lead later readers out of the folder.
var errThroughLink = errors.New("a folder of its name is a symbolic link or a file")

// makeFolder makes a folder and those above it, through no link.
func makeFolder(root *os.Root, name string) error {
	if name == "." {
		return nil
	}
	info, err := root.Lstat(name)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return errThroughLink
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := makeFolder(root, path.Dir(name)); err != nil {
		return err
	}
	return root.Mkdir(name, 0o755)
}

// explain turns what the file system or the archive answered into an error for
// whoever packed the archive, where it is his.
func explain(h *tar.Header, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		return refuse(h, "the name stands in it twice")
	case errors.Is(err, errThroughLink), errors.Is(err, syscall.ENOTDIR):
		return refuse(h, errThroughLink.Error())
	case errors.Is(err, io.ErrUnexpectedEOF), strings.HasPrefix(err.Error(), "flate: "), errors.Is(err, gzip.ErrChecksum):
		return broken(err)
	}
	return fmt.Errorf("unpack %s: %w", h.Name, err)
}

// refuse refuses an archive for one of its members.
func refuse(h *tar.Header, why string) error {
	return muster.Errorf(muster.CodeInvalid, "the archive's member %q is refused: %s", h.Name, why)
}
