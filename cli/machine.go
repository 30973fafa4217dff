package cli

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/muster-ml/muster/dev"
)

// machine checks this machine.
func (d *diagnosis) machine() {
	folder, err := dev.DefaultFolder()
	if err != nil {
		d.judge("data folder", err, "")
		return
	}
	if _, err := os.Stat(folder); err == nil { // else no platform was ever here
		d.disk(folder)
	}
	d.secrets(filepath.Join(folder, "token"), settingsFile())
	d.programs()
	for _, engine := range []struct{ name, without string }{
		{"nomad", "muster dev cannot start here"}, {"consul", "muster dev cannot start here"}, {"nomad-autoscaler", "no cluster grows by this machine"},
	} {
		path, err := dev.Engine(d.Context.Context, engine.name)
		if err != nil {
			d.add(engine.name, checkWarn, `build it by "make engines", or use a server elsewhere`, "not on this machine: %s", engine.without)
			continue
		}
		d.add(engine.name, checkOK, "", "%s", path)
	}
}

// leastDisk is how little room makes a warning, in bytes.
const leastDisk = 2 << 30

// disk tells how much room the data folder has.
func (d *diagnosis) disk(folder string) {
	var fs unix.Statfs_t
	if err := unix.Statfs(folder, &fs); err != nil {
		d.judge("disk", fmt.Errorf("look at %s: %w", folder, err), "")
		return
	}
	free := int64(fs.Bavail) * fs.Bsize
	state, cure := checkOK, ""
	if free < leastDisk {
		state, cure = checkWarn, "make room, or name another folder by muster dev --data-dir"
	}
	d.add("disk", state, cure, "%s free for %s", bytesOf(free), folder)
}

// secrets warns of files with secrets that others may read.
func (d *diagnosis) secrets(files ...string) {
	for _, file := range files {
		info, err := os.Stat(file)
		if file == "" || err != nil {
			continue
		}
		if info.Mode().Perm()&0o077 != 0 {
			d.add("secrets", checkFail, "chmod 600 "+file, "others may read %s", file)
			continue
		}
		d.add("secrets", checkOK, "", "nobody else may read %s", file)
	}
}

// settingsFile is the file with the user's settings; "" without a home folder.
func settingsFile() string {
	base := os.Getenv("XDG_CONFIG_HOME")
	if home, err := os.UserHomeDir(); err == nil && !filepath.IsAbs(base) {
		base = filepath.Join(home, ".config")
	}
	if base == "" {
		return ""
	}
	return filepath.Join(base, "muster", "config.yml")
}

// programs looks for those of ours that others start: they stand beside this one.
func (d *diagnosis) programs() {
	self, err := os.Executable()
	if err != nil {
		d.judge("programs", fmt.Errorf("find this program: %w", err), "")
		return
	}
	beside := func(name string) string { return filepath.Join(filepath.Dir(self), name) }
	d.program("agent", cmp.Or(os.Getenv("MUSTER_AGENT_BINARY"), beside("muster-agent")), "only servers and muster dev need it")
	d.program("autoscaler", beside("muster-autoscaler"), "only muster dev, and the machine on which it stands for a server, need it: clusters grow by it")
}

// program looks for one program.
func (d *diagnosis) program(name, path, who string) {
	if info, err := os.Stat(path); err != nil || info.IsDir() || info.Mode().Perm()&0o111 == 0 {
		d.add(name, checkWarn, `build it by "make build"; `+who, "%s is no program", path)
		return
	}
	d.add(name, checkOK, "", "%s", path)
}
