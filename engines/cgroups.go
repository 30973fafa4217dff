package engines

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Cgroups removes the control groups that Nomad clients leave behind. Several
// platforms of one machine share them, so a file counts the users: the first
// one remembers which were there before, the last one removes the others.
type Cgroups struct {
	Root string // where the kernel shows control groups
	File string // the users and what was there before them
	busy func() (bool, error)
}

// SystemCgroups are those of this machine.
func SystemCgroups() Cgroups {
	return Cgroups{Root: "/sys/fs/cgroup", File: "/run/muster-cgroups.json", busy: nomadRuns}
}

// use is what the file holds.
type use struct {
	Before []string `json:"before"`
	Users  []string `json:"users"` // data folders; a crashed platform stays one until its clean stop
}

// Enter counts the user in.
func (c Cgroups) Enter(user string) error {
	return c.change(func(u *use) error {
		if len(u.Users) == 0 {
			u.Before = c.present()
		}
		if !slices.Contains(u.Users, user) {
			u.Users = append(u.Users, user)
		}
		return nil
	})
}

// Leave counts the user out. The last one removes the empty groups that were
// not there before, unless somebody else's Nomad client may need them.
func (c Cgroups) Leave(user string) error {
	return c.change(func(u *use) error {
		u.Users = slices.DeleteFunc(u.Users, func(s string) bool { return s == user })
		if len(u.Users) > 0 {
			return nil
		}
		foreign, err := c.busy()
		if err != nil || foreign {
			return err
		}
		for _, group := range c.present() {
			if !slices.Contains(u.Before, group) {
				if err := removeGroup(group); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// change reads the file, changes it and writes it back, one process at a time.
// The last user's change removes it.
func (c Cgroups) change(do func(*use) error) error {
	lock, err := lockNow(c.File + ".lock")
	if err != nil {
		return err
	}
	defer lock.Close()
	var u use
	b, err := os.ReadFile(c.File)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read users of control groups: %w", err)
	}
	if err == nil {
		if err := json.Unmarshal(b, &u); err != nil {
			return fmt.Errorf("read users of control groups in %s: %w", c.File, err)
		}
	}
	// Who is gone with all its data needs nothing any more.
	u.Users = slices.DeleteFunc(u.Users, func(folder string) bool {
		_, err := os.Stat(folder)
		return errors.Is(err, fs.ErrNotExist)
	})
	if err := do(&u); err != nil {
		return fmt.Errorf("tidy control groups: %w", err)
	}
	if len(u.Users) == 0 {
		os.Remove(c.File)
		return os.Remove(c.File + ".lock")
	}
	if b, err = json.Marshal(u); err != nil {
		return err
	}
	return os.WriteFile(c.File, b, 0o600)
}

// lockNow locks a file that its holders remove: who gets the lock of one that
// is not there any more tries again.
func lockNow(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lock users of control groups: %w", err)
		}
		if err := flock(f); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock users of control groups: %w", err)
		}
		ours, err1 := f.Stat()
		there, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(ours, there) {
			return f, nil
		}
		f.Close()
	}
}

// present lists Nomad's groups: one per controller in version 1, one slice in
// version 2.
func (c Cgroups) present() []string {
	v1, _ := filepath.Glob(filepath.Join(c.Root, "*", "nomad"))
	v2, _ := filepath.Glob(filepath.Join(c.Root, "nomad.slice"))
	return dropLinks(append(v1, v2...))
}

// dropLinks leaves out what is reached through a link, such as cpuacct, which
// is another name of cpu,cpuacct.
func dropLinks(paths []string) []string {
	return slices.DeleteFunc(paths, func(path string) bool {
		real, err := filepath.EvalSymlinks(path)
		return err != nil || real != path
	})
}

// removeGroup removes one of Nomad's groups with the two that it makes below.
// The kernel refuses to remove one in use, and that one stays.
func removeGroup(group string) error {
	for _, sub := range []string{"share", "reserve", "share.slice", "reserve.slice", ""} {
		err := os.Remove(filepath.Join(group, sub))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EBUSY) && !errors.Is(err, syscall.ENOTEMPTY) {
			return err
		}
	}
	return nil
}

// drop removes the groups of an allocation whose tasks are dead: only a client
// that ends them itself does so. One that is not empty stays.
func (c Cgroups) drop(alloc string) {
	for _, pattern := range []string{"*/nomad", "*/nomad/share", "*/nomad/reserve", "nomad.slice/share.slice", "nomad.slice/reserve.slice"} {
		groups, _ := filepath.Glob(filepath.Join(c.Root, pattern, alloc+".*"))
		for _, group := range groups {
			os.Remove(group)
		}
	}
}

// nomadRuns reports whether a Nomad agent runs on this machine.
func nomadRuns() (bool, error) {
	found := false
	err := processes(func(pid int) {
		args := strings.Split(string(procField(pid, "cmdline")), "\x00")
		found = found || len(args) > 1 && filepath.Base(args[0]) == "nomad" && args[1] == "agent"
	})
	return found, err
}
