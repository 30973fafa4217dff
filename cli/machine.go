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
	d.agent()
	for _, engine := range []string{"nomad", "consul"} {
		path, err := dev.Engine(d.Context.Context, engine)
		if err != nil {
			d.add(engine, checkWarn, `build it by "make engines", or use a server elsewhere`, "not on this machine: muster dev cannot start here")
			continue
		}
		d.add(engine, checkOK, "", "%s", path)
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

// agent looks for the program that nodes run.
func (d *diagnosis) agent() {
	self, err := os.Executable()
	if err != nil {
		d.judge("agent", fmt.Errorf("find this program: %w", err), "")
		return
	}
	path := cmp.Or(os.Getenv("MUSTER_AGENT_BINARY"), filepath.Join(filepath.Dir(self), "muster-agent"))
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o111 == 0 {
		d.add("agent", checkWarn, `build it by "make build"; only servers and muster dev need it`, "%s is no program", path)
		return
	}
	d.add("agent", checkOK, "", "%s", path)
}
