package host

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// leaveCgroups takes this process out of the cgroups of an allocation, which
// bound its memory and are killed with it, into what lies around them. Where
// there are none, or a mere user cannot, it stays where it is.
func leaveCgroups(alloc string) (err error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || os.Geteuid() != 0 {
		return nil
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if dir := cgroupAround(line, alloc); dir != "" {
			err = errors.Join(err, enterCgroup(dir))
		}
	}
	return err
}

// cgroupAround returns where a line of /proc/self/cgroup leads to from within
// an allocation, "" from elsewhere. Of the second version only a leaf may have
// processes: it is one beside the slice that Nomad keeps its tasks in.
func cgroupAround(line, alloc string) string {
	parts := strings.SplitN(line, ":", 3)
	if len(parts) < 3 {
		return ""
	}
	around, _, found := strings.Cut(parts[2], "/"+alloc)
	switch root := "/sys/fs/cgroup"; {
	case !found || alloc == "":
		return ""
	case parts[1] != "":
		return filepath.Join(root, strings.TrimPrefix(parts[1], "name="), around)
	default:
		if _, err := os.Stat(filepath.Join(root, "unified")); err == nil {
			root = filepath.Join(root, "unified")
		}
		return filepath.Join(root, filepath.Dir(around), "muster")
	}
}

// enterCgroup moves this process.
func enterCgroup(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0o644)
}
