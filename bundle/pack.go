// Package bundle packs code folders and data into archives whose bytes depend
// on the content alone, and unpacks archives that nobody vouches for.
package bundle

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/muster-ml/muster"
)

// Bundle is a folder or file made ready for upload: what it would be as a
// gzipped tar archive. The archive itself exists only while it is read.
type Bundle struct {
	Size    int64    // of the archive, in bytes
	SHA256  string   // of the archive, in hex
	Files   int      // how many files it holds
	Skipped []string // symbolic links that lead out of the folder, and so are left out
	Ignored int      // files and folders that ignore files name
	entries []entry
}

// entry is one member of the archive.
type entry struct {
	name string // slash-separated
	file string // where it lies
	mode fs.FileMode
	link string
}

// Pack looks through a folder or a single file and works out size and digest
// of its archive. Names are sorted, times and owners left out, modes 0644 or
// 0755: the same content gives the same bytes. A folder's .amlignore or, where
// it has none, .gitignore is honoured, in every subfolder too; .git is always
// left out.
func Pack(name string) (*Bundle, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, muster.Errorf(muster.CodeInvalid, "%s cannot be read: %v", name, err)
	}
	b := &Bundle{}
	switch {
	case info.IsDir():
		err = b.walk(name, "", nil)
	case info.Mode().IsRegular():
		err = b.add(entry{name: filepath.Base(name), file: name, mode: info.Mode()})
	default:
		err = unfit(name, info.Mode())
	}
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	if b.Size, err = b.write(sum); err != nil {
		return nil, err
	}
	b.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return b, nil
}

// walk adds what a folder holds, in the order of the names.
func (b *Bundle) walk(dir, prefix string, above []rules) error {
	own, err := readRules(dir, prefix)
	if err != nil {
		return err
	}
	all := append(above[:len(above):len(above)], own)
	list, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("pack %s: %w", dir, err)
	}
	for _, d := range list {
		name, file := prefix+d.Name(), filepath.Join(dir, d.Name())
		if d.Name() == ".git" {
			continue
		}
		if isIgnored(all, name, d.IsDir()) {
			b.Ignored++
			continue
		}
		if d.IsDir() {
			b.entries = append(b.entries, entry{name: name + "/", mode: fs.ModeDir})
			if err := b.walk(file, name+"/", all); err != nil {
				return err
			}
			continue
		}
		if err := b.add(entry{name: name, file: file, mode: d.Type()}); err != nil {
			return err
		}
	}
	return nil
}

// isIgnored asks the nearest ignore file first.
func isIgnored(all []rules, name string, isDir bool) bool {
	for i := len(all) - 1; i >= 0; i-- {
		if v := all[i].judge(name, isDir); v != silent {
			return v == ignored
		}
	}
	return false
}

// add adds a file or a symbolic link.
func (b *Bundle) add(e entry) error {
	switch {
	case e.mode.IsRegular():
		info, err := os.Stat(e.file)
		if err != nil {
			return fmt.Errorf("pack %s: %w", e.file, err)
		}
		e.mode = info.Mode()
		b.Files++
	case e.mode&fs.ModeSymlink != 0:
		target, err := os.Readlink(e.file)
		if err != nil {
			return fmt.Errorf("pack %s: %w", e.file, err)
		}
		if e.link = filepath.ToSlash(target); leadsOut(e.name, e.link) {
			b.Skipped = append(b.Skipped, e.name)
			return nil
		}
	default:
		return unfit(e.file, e.mode)
	}
	b.entries = append(b.entries, e)
	return nil
}

// unfit refuses what is neither file, folder nor link.
func unfit(file string, mode fs.FileMode) error {
	kind := "a special file"
	switch {
	case mode&fs.ModeSocket != 0:
		kind = "a socket"
	case mode&fs.ModeDevice != 0:
		kind = "a device"
	case mode&fs.ModeNamedPipe != 0:
		kind = "a named pipe"
	}
	return muster.Errorf(muster.CodeInvalid, "%s is %s and cannot be uploaded", file, kind).WithCure("remove it, or name it in .amlignore")
}

// leadsOut reports whether a link's target may lie outside the archive. A ".."
// behind a name counts as one that does: the name may be a link itself.
func leadsOut(name, target string) bool {
	if target == "" || path.IsAbs(target) {
		return true
	}
	up, down, depth := 0, false, strings.Count(name, "/")
	for step := range strings.SplitSeq(target, "/") {
		switch step {
		case "", ".":
		case "..":
			if up++; down {
				return true
			}
		default:
			down = true
		}
	}
	return up > depth
}

// Open returns the archive's bytes. A file that was changed since Pack makes
// them other than SHA256 says, and whoever receives them refuses them.
func (b *Bundle) Open() io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		_, err := b.write(w)
		_ = w.CloseWithError(err)
	}()
	return r
}

// counter counts the bytes that go through.
type counter struct {
	w io.Writer
	n int64
}

// Write passes p on.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// write writes the archive and returns its size.
func (b *Bundle) write(w io.Writer) (int64, error) {
	count := &counter{w: w}
	zip, err := gzip.NewWriterLevel(count, gzip.BestSpeed) // what is large is seldom text
	if err != nil {
		return 0, err
	}
	archive := tar.NewWriter(zip)
	for _, e := range b.entries {
		if err := e.write(archive); err != nil {
			return 0, fmt.Errorf("pack %s: %w", e.name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return 0, fmt.Errorf("end archive: %w", err)
	}
	if err := zip.Close(); err != nil {
		return 0, fmt.Errorf("end archive: %w", err)
	}
	return count.n, nil
}

// write writes one member.
func (e entry) write(archive *tar.Writer) error {
	h := &tar.Header{Name: e.name, Mode: 0o644, Format: tar.FormatPAX}
	switch {
	case e.mode.IsDir():
		h.Typeflag, h.Mode = tar.TypeDir, 0o755
		return archive.WriteHeader(h)
	case e.link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.link, 0o777
		return archive.WriteHeader(h)
	}
	f, err := os.Open(e.file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if h.Typeflag, h.Size = tar.TypeReg, info.Size(); e.mode&0o100 != 0 {
		h.Mode = 0o755
	}
	if err := archive.WriteHeader(h); err != nil {
		return err
	}
	if _, err := io.CopyN(archive, f, h.Size); err != nil {
		return fmt.Errorf("the file was changed while it was read: %w", err)
	}
	return nil
}
