package bundle_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/bundle"
)

// write makes files below dir; a name that ends in "/" is a folder.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			must(t, os.MkdirAll(file, 0o755))
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		must(t, os.WriteFile(file, []byte(content), 0o644))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pack packs and checks that the bytes are what the bundle says.
func pack(t *testing.T, name string) (*bundle.Bundle, []byte) {
	t.Helper()
	b, err := bundle.Pack(name)
	must(t, err)
	r := b.Open()
	defer r.Close()
	data, err := io.ReadAll(r)
	must(t, err)
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != b.SHA256 || int64(len(data)) != b.Size {
		t.Fatalf("the bytes are not what Pack said: %d bytes, want %d", len(data), b.Size)
	}
	return b, data
}

// names lists an archive's files and links.
func names(t *testing.T, data []byte) (list []string) {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(data))
	must(t, err)
	for archive := tar.NewReader(zip); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return list
		}
		must(t, err)
		if h.Typeflag != tar.TypeDir {
			list = append(list, h.Name)
		}
	}
}

func TestSameContentSameDigest(t *testing.T) {
	files := map[string]string{"train.py": "print(1)\n", "lib/a.py": "a", "lib/b.py": "b", "empty/": "", "data.bin": strings.Repeat("x", 1<<20)}
	one, two := t.TempDir(), t.TempDir()
	write(t, one, files)
	write(t, two, files)
	must(t, filepath.WalkDir(two, func(p string, d fs.DirEntry, err error) error {
		if !d.IsDir() {
			must(t, os.Chmod(p, 0o600))
		}
		return os.Chtimes(p, time.Now(), time.Unix(1e9, 0))
	}))
	a, _ := pack(t, one)
	b, _ := pack(t, two)
	if a.SHA256 != b.SHA256 {
		t.Error("times and modes of the group change the digest")
	}
	must(t, os.Chmod(filepath.Join(two, "train.py"), 0o755))
	if c, _ := pack(t, two); c.SHA256 == a.SHA256 {
		t.Error("the executable bit does not change the digest")
	}
}

func TestRoundTrip(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	write(t, from, map[string]string{"run.sh": "#!/bin/sh\n", "lib/deep/er/a.py": "a", "empty/": "", "ünï code": "u", strings.Repeat("n", 200): "long"})
	must(t, os.Chmod(filepath.Join(from, "run.sh"), 0o711))
	must(t, os.Symlink("../run.sh", filepath.Join(from, "lib", "inside")))
	must(t, os.Symlink("/etc/passwd", filepath.Join(from, "lib", "absolute")))
	must(t, os.Symlink("../../x", filepath.Join(from, "lib", "outside")))
	b, data := pack(t, from)
	if want := []string{"lib/absolute", "lib/outside"}; !slices.Equal(b.Skipped, want) {
		t.Errorf("skipped %q, want %q", b.Skipped, want)
	}
	must(t, bundle.Unpack(bytes.NewReader(data), to, bundle.DefaultLimits))
	if again, _ := pack(t, to); again.SHA256 != b.SHA256 {
		t.Error("what was unpacked packs to another digest")
	}
	if info, err := os.Stat(filepath.Join(to, "run.sh")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("run.sh: %v %v", info, err)
	}
	if target, _ := os.Readlink(filepath.Join(to, "lib", "inside")); target != "../run.sh" {
		t.Errorf("the link leads to %q", target)
	}
}

func TestPackOneFile(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"iris.csv": "1,2", ".gitignore": "*.csv"})
	_, data := pack(t, filepath.Join(dir, "iris.csv"))
	if got := names(t, data); !slices.Equal(got, []string{"iris.csv"}) {
		t.Errorf("holds %q", got)
	}
}

func TestPackRefuses(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	must(t, err)
	defer l.Close()
	if _, err := bundle.Pack(dir); muster.CodeOf(err) != muster.CodeInvalid || !strings.Contains(err.Error(), "is a socket") {
		t.Errorf("a socket: %v", err)
	}
	if _, err := bundle.Pack(filepath.Join(dir, "none")); muster.CodeOf(err) != muster.CodeInvalid {
		t.Errorf("a missing folder: %v", err)
	}
}

func TestAmlignoreComesFirst(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{".gitignore": "a", ".amlignore": "b", "a": "", "b": "", "sub/.gitignore": "c", "sub/c": "", "sub/d": "", ".git/config": ""})
	_, data := pack(t, dir)
	if got, want := names(t, data), []string{".amlignore", ".gitignore", "a", "sub/.gitignore", "sub/d"}; !slices.Equal(got, want) {
		t.Errorf("holds %q, want %q", got, want)
	}
}

// TestIgnoreAsGit packs random trees with random ignore files and compares
// with what git itself would add.
func TestIgnoreAsGit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is missing")
	}
	patterns := []string{"a", "*.b", "/a", "a/", "d/", "!a", "!*.b", "d/a", "**/a", "d/**", "**/d/a", "d/**/a", "!d/", "*", "!/d", "a?", "[ab]", "[!a]", "[a-c].b", "/*", "!/*/",
		"# c", `\#x`, `\!x`, "a ", `a\ `, "", "**", "d/*", "!d/a", "*a*", "[[:alpha:]]", "[]a]", "[^b]*", "a**", "[a", "d//a", "/", "!", `\a`, "[a-]", "e/d/", "**/e/**"}
	parts := []string{"a", "b", "d", "e", "a.b", "c.b", "ab", "#x", "!x", "a ", "]", "-"}
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 150 {
		dir := t.TempDir()
		for range 25 {
			var segments []string
			for range 1 + random.IntN(3) {
				segments = append(segments, parts[random.IntN(len(parts))])
			}
			file := filepath.Join(dir, filepath.Join(segments...))
			if os.MkdirAll(filepath.Dir(file), 0o755) == nil {
				_ = os.WriteFile(file, nil, 0o644)
			}
		}
		var written []string
		for _, where := range []string{"", "d", "e", "d/e"} {
			var lines []string
			for range random.IntN(4) {
				lines = append(lines, patterns[random.IntN(len(patterns))])
			}
			text := strings.Join(lines, "\n")
			if os.WriteFile(filepath.Join(dir, where, ".gitignore"), []byte(text), 0o644) == nil {
				written = append(written, fmt.Sprintf("%s: %q", where, lines))
			}
		}
		_, data := pack(t, dir)
		got := names(t, data)
		slices.Sort(got)
		if want := gitFiles(t, dir); !slices.Equal(got, want) {
			t.Fatalf("round %d, %v:\n got %q\nwant %q", round, written, got, want)
		}
	}
}

// gitFiles lists what git would add.
func gitFiles(t *testing.T, dir string) []string {
	t.Helper()
	git := func(args ...string) []byte {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		out, err := cmd.Output()
		must(t, err)
		return out
	}
	git("init", "-q")
	out := strings.Trim(string(git("ls-files", "-z", "--others", "--exclude-standard")), "\x00")
	if out == "" {
		return nil
	}
	list := strings.Split(out, "\x00")
	slices.Sort(list)
	return list
}

// archive makes a gzipped tar of the members.
func archive(t *testing.T, members ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	w := tar.NewWriter(zip)
	for _, h := range members {
		h.Mode = 0o644
		must(t, w.WriteHeader(&h))
		_, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size)))
		must(t, err)
	}
	must(t, w.Close())
	must(t, zip.Close())
	return out.Bytes()
}

func TestUnpackRefuses(t *testing.T) {
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 3} }
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	folder := tar.Header{Name: "p/q/", Typeflag: tar.TypeDir}
	for name, members := range map[string][]tar.Header{
		"dot dot":                  {file("../evil")},
		"dot dot inside":           {file("a/../../evil")},
		"absolute":                 {file("/tmp/evil")},
		"absolute folder":          {{Name: "/", Typeflag: tar.TypeDir}},
		"empty name":               {file("")},
		"backing out of a folder":  {{Name: "../evil/", Typeflag: tar.TypeDir}},
		"absolute link":            {link("l", "/etc"), file("l/passwd")},
		"link out":                 {link("l", "../out")},
		"link out by a name":       {folder, link("p/q/d", "../.."), link("p/q/x", "d/../evil")},
		"file through a link":      {folder, link("l", "p"), file("l/x")},
		"link through a link":      {folder, link("p/q/d", "../.."), link("p/q/d/x", "../../../evil")},
		"link over a file":         {file("a"), link("a", "b")},
		"file over a link":         {link("a", "b"), file("a")},
		"same file twice":          {file("a"), file("a")},
		"folder over a file":       {file("a"), {Name: "a/", Typeflag: tar.TypeDir}},
		"hard link":                {file("a"), {Name: "b", Typeflag: tar.TypeLink, Linkname: "a"}},
		"hard link to the outside": {{Name: "b", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}},
		"device":                   {{Name: "d", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}},
		"block device":             {{Name: "d", Typeflag: tar.TypeBlock}},
		"named pipe":               {{Name: "d", Typeflag: tar.TypeFifo}},
		"empty link":               {link("l", "")},
		"too many entries":         {file("1"), file("2"), file("3"), file("4"), file("5")},
		"too many bytes":           {{Name: "big", Typeflag: tar.TypeReg, Size: 101}},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			dir := filepath.Join(parent, "in", "here")
			must(t, os.MkdirAll(dir, 0o755))
			err := bundle.Unpack(bytes.NewReader(archive(t, members...)), dir, bundle.Limits{Entries: 4, Bytes: 100})
			if muster.CodeOf(err) != muster.CodeInvalid {
				t.Errorf("it was not refused: %v", err)
			}
			if found, _ := filepath.Glob(filepath.Join(parent, "*", "evil")); found != nil {
				t.Errorf("it wrote %q", found)
			}
		})
	}
}

func TestUnpackBroken(t *testing.T) {
	whole := archive(t, tar.Header{Name: "a", Typeflag: tar.TypeReg, Size: 5000})
	for name, data := range map[string][]byte{
		"empty": nil, "no archive": []byte("<html>Bad gateway</html>"), "cut short": whole[:len(whole)-30], "without its checksum": whole[:len(whole)-4],
		"a flipped bit": append(whole[:len(whole)-6:len(whole)-6], 1, 2, 3, 4, 5, 6),
	} {
		if err := bundle.Unpack(bytes.NewReader(data), t.TempDir(), bundle.DefaultLimits); muster.CodeOf(err) != muster.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
