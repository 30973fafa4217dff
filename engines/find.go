package engines

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/muster-ml/muster"
)

// versionRE is a version as all three programs print it.
var versionRE = regexp.MustCompile(`v(\d+)\.(\d+)\.(\d+)`)

// Find returns the path of the named program: the one on PATH where its version
// fits, else the one that was built into the cache.
func Find(ctx context.Context, name string) (string, error) {
	return find(ctx, toolsFolder(), name)
}

// find is Find with the folder of the tool modules, "" where it is not known.
func find(ctx context.Context, tools, name string) (string, error) {
	p, err := program(name)
	if err != nil {
		return "", err
	}
	path, old, err := onPath(ctx, p)
	if err != nil || path != "" {
		return path, err
	}
	if path, err = inCache(p, tools); err != nil || path != "" {
		return path, err
	}
	missing := muster.Errorf(muster.CodeRefused, "%s %s or newer is needed, and there is none", p.Name, p.Minimum)
	if old != "" {
		missing = muster.Errorf(muster.CodeRefused, "%s %s or newer is needed, and the one on PATH is %s", p.Name, p.Minimum, old)
	}
	return "", missing.WithCure(`build it once by "make engines" in Muster's sources, or put it on PATH`)
}

// onPath returns the program on PATH, or the version for which it was passed over.
func onPath(ctx context.Context, p Program) (path, old string, err error) {
	path, err = exec.LookPath(p.Name)
	if errors.Is(err, exec.ErrNotFound) {
		return "", "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("look for %s on PATH: %w", p.Name, err)
	}
	version, err := versionOf(ctx, path)
	if err != nil {
		return "", "of no known version", ctx.Err()
	}
	if older(version, p.Minimum) {
		return "", version, nil
	}
	path, err = filepath.Abs(path)
	return path, "", err
}

// versionOf asks a program for its version.
func versionOf(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "version").Output()
	if err != nil {
		return "", fmt.Errorf("run %s version: %w", path, err)
	}
	m := versionRE.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("run %s version: it prints no version", path)
	}
	return string(m[0][1:]), nil
}

// older reports whether version a is before b; both are of three numbers.
func older(a, b string) bool {
	x, y := versionRE.FindStringSubmatch("v"+a), versionRE.FindStringSubmatch("v"+b)
	for i := 1; i < len(x) && i < len(y); i++ {
		m, _ := strconv.Atoi(x[i])
		n, _ := strconv.Atoi(y[i])
		if m != n {
			return m < n
		}
	}
	return false
}

// cacheFolder is where built engines lie, for all clones of this user.
func cacheFolder() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", muster.Errorf(muster.CodeRefused, "there is no folder for the engines").WithCure("set HOME or XDG_CACHE_HOME")
	}
	return filepath.Join(base, "muster", "engines"), nil
}

// inCache returns the program that was built, "" where there is none. Without
// the tool modules any build of the pinned version will do.
func inCache(p Program, tools string) (string, error) {
	if tools != "" {
		path, err := cachePath(p, tools)
		if err != nil {
			return "", err
		}
		if executable(path) {
			return path, nil
		}
		return "", nil
	}
	cache, err := cacheFolder()
	if err != nil {
		return "", err
	}
	built, err := filepath.Glob(filepath.Join(cache, p.Name+"-"+p.Version+"-????????????", p.Name))
	if err != nil {
		return "", fmt.Errorf("look for %s: %w", p.Name, err)
	}
	for _, path := range built {
		if executable(path) {
			return path, nil
		}
	}
	return "", nil
}

// cachePath is where the program is put when it is built of the tool modules:
// another go.mod or go.sum makes another path.
func cachePath(p Program, tools string) (string, error) {
	cache, err := cacheFolder()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(filepath.Join(tools, p.Folder, name))
		if errors.Is(err, fs.ErrNotExist) {
			return "", muster.Errorf(muster.CodeNotFound, "%s lacks %s/%s", tools, p.Folder, name).WithCure("--tools is the folder tools of Muster's sources")
		}
		if err != nil {
			return "", fmt.Errorf("read the module of %s: %w", p.Name, err)
		}
		sum.Write(b)
	}
	key := hex.EncodeToString(sum.Sum(nil))[:12]
	return filepath.Join(cache, p.Name+"-"+p.Version+"-"+key, p.Name), nil
}

// executable reports whether path is a file that may be run.
func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// toolsFolder returns the tool modules of the sources in which this program was
// built, "" where it lies elsewhere.
func toolsFolder() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	tools := filepath.Join(filepath.Dir(self), "..", "tools")
	for _, p := range Programs {
		if _, err := os.Stat(filepath.Join(tools, p.Folder, "go.mod")); err != nil {
			return ""
		}
	}
	return tools
}
