package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/muster-ml/muster"
)

// TestBoot looks that a simulated machine tells its boots apart.
func TestBoot(t *testing.T) {
	boots := map[string]bool{}
	for own, differs := range map[string]bool{"": true, "${meta.muster_boot}": false, "1": true, "2": true} {
		t.Setenv(muster.AgentBootVar, own)
		boot, err := Boot()
		if err != nil {
			t.Fatal(err)
		}
		if kernel, part, _ := strings.Cut(boot, "/"); len(kernel) != 36 || differs && part != own || !differs && part != "" {
			t.Errorf("with %q it is %q", own, boot)
		}
		boots[boot] = true
	}
	if len(boots) != 3 {
		t.Errorf("there are %v", boots)
	}
}

// TestCgroupAround looks where a process goes that leaves an allocation.
func TestCgroupAround(t *testing.T) {
	const v2 = "/sys/fs/cgroup/nomad.slice/muster"
	for line, want := range map[string]string{
		"4:memory:/nomad/0123abcd.node":                        "/sys/fs/cgroup/memory/nomad",
		"7:cpu,cpuacct:/nomad/0123abcd.node":                   "/sys/fs/cgroup/cpu,cpuacct/nomad",
		"9:name=systemd:/nomad/0123abcd.node":                  "/sys/fs/cgroup/systemd/nomad",
		"3:cpuset:/nomad/share":                                "",
		"4:memory:/docker/4711":                                "",
		"0::/nomad.slice/share.slice/0123abcd.node.scope":      v2,
		"0::/nomad.slice/reserve.slice/0123abcd.node.scope/in": v2,
		"0::/system.slice/nomad.service":                       "",
		"":                                                     "",
	} {
		if got := strings.Replace(cgroupAround(line, "0123abcd"), "/unified", "", 1); got != want {
			t.Errorf("from %q it goes to %q, want %q", line, got, want)
		}
	}
	if got := cgroupAround("4:memory:/docker/4711", ""); got != "" {
		t.Errorf("without an allocation it goes to %q", got)
	}
}

// TestLock looks that a folder's lock is never there without being held.
func TestLock(t *testing.T) {
	dir := t.TempDir()
	lock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(list) != 1 {
		t.Errorf("there are %q, %v", list, err)
	}
	if _, err := TakeLock(dir, 0); err == nil {
		t.Error("it is taken from one that lives")
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := TakeLock(dir, 0); err != nil {
		t.Errorf("it is not taken over: %v", err)
	}
	if _, err := TakeLock(t.TempDir(), os.O_CREATE); err != nil {
		t.Errorf("it is not made: %v", err)
	}
}
