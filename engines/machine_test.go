package engines

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// machines makes a folder for machines that others may pass through, and clears
// it at the end.
func machines(t *testing.T) (*Machines, MachineSpec) {
	t.Helper()
	program, err := Find(t.Context(), "nomad")
	if err != nil {
		t.Fatal(err)
	}
	ms := &Machines{Dir: filepath.Join(t.TempDir(), "some machines")}
	t.Cleanup(func() {
		left, err := ms.List("")
		if err != nil {
			t.Error(err)
		}
		for _, m := range left {
			if err := m.Kill(); err != nil {
				t.Error(err)
			}
		}
	})
	return ms, MachineSpec{Group: "c", Name: "c-1", Program: program, Servers: []string{"127.0.0.1:1"}, Pool: "c", MHz: 2000, MiB: 512, Reserved: 64, Meta: map[string]string{"muster_cluster": "c"}}
}

// order makes a machine.
func order(t *testing.T, ms *Machines, spec MachineSpec) *Machine {
	t.Helper()
	m, err := ms.Order(spec)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestMachine takes a machine through its life. It needs no server for that.
func TestMachine(t *testing.T) {
	ms, spec := machines(t)
	m := order(t, ms, spec)
	if m.Alive() || m.Started {
		t.Error("a machine that was only ordered runs")
	}
	if _, err := ms.Order(spec); muster.CodeOf(err) != muster.CodeConflict {
		t.Errorf("a second machine of the name: %v", err)
	}
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the client answers", func() bool { return m.Answers(t.Context()) == nil })

	// Another process finds it, with a note of its process and without.
	found, err := ms.Find("c-1")
	if err != nil || found.Pid() != m.Pid() || found.Boot != m.Boot {
		t.Fatalf("found %+v, %v", found, err)
	}
	pid, boot := m.Pid(), m.Boot
	for _, text := range []string{"", "{"} {
		os.Remove(m.noteFile())
		if text != "" {
			write(t, m.noteFile(), text, 0o600)
		}
		if got := m.Pid(); got != pid {
			t.Errorf("with the note %q it is process %d, want %d", text, got, pid)
		}
	}
	config, err := os.ReadFile(filepath.Join(m.Folder(), "config.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`servers          = ["127.0.0.1:1"]`, `muster_cluster = "c"`, `muster_boot = "` + boot + `"`, "memory = 64", "cpu_total_compute = 2000"} {
		if !strings.Contains(string(config), want) {
			t.Errorf("the configuration lacks %s:\n%s", want, config)
		}
	}

	if err := found.Reboot(); err != nil {
		t.Fatal(err)
	}
	if runs(pid) || found.Boot == boot || !found.Alive() {
		t.Errorf("after the reboot process %d runs: %v, boot %s was %s, alive %v", pid, runs(pid), found.Boot, boot, found.Alive())
	}
	if found, err = ms.Find("c-1"); err != nil {
		t.Fatal(err)
	}
	if err := found.Stop(20*time.Second, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(found.Folder()); !errors.Is(err, fs.ErrNotExist) || found.Alive() {
		t.Errorf("after the stop its folder is there (%v), or it is alive", err)
	}
	if err := ms.Forget("c"); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(ms.Dir, "*")); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}

// TestMachineLong lays a machine into a folder with a long name: Nomad gets short
// ones, and they go with the machine.
func TestMachineLong(t *testing.T) {
	ms, spec := machines(t)
	if err := os.Chmod(filepath.Dir(filepath.Dir(ms.Dir)), 0o711); err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("XDG_RUNTIME_DIR", "")
	ms.Dir = filepath.Join(ms.Dir, strings.Repeat("a long name ", 10))
	m := order(t, ms, spec)
	if !strings.HasPrefix(m.Home.Folder, ms.Dir) || len(m.Home.Allocs) > MaxAllocs || strings.Contains(m.Home.Work, " ") {
		t.Errorf("the home is %+v", m.Home)
	}
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the client answers", func() bool { return m.Answers(t.Context()) == nil })
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{m.Home.Allocs, m.Home.Work} {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the short name %s is left: %v", name, err)
		}
	}
}

// TestMachineBoot starts a client anew, with a task alive and without: only then
// it has booted.
func TestMachineBoot(t *testing.T) {
	ms, spec := machines(t)
	m := order(t, ms, spec)
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	boot := m.Boot
	task := filepath.Join(m.Home.Allocs, "0a1b", "main")
	alive := startTask(t, "NOMAD_TASK_DIR="+filepath.Join(task, "local"))
	if err := os.MkdirAll(task, 0o711); err != nil {
		t.Fatal(err)
	}
	chrooted := startTask(t, "NOMAD_TASK_DIR=/local", "NOMAD_ALLOC_ID=0a1b")
	if err := m.Move([]string{"127.0.0.1:2"}, ""); err != nil {
		t.Fatal(err)
	}
	if m.Boot != boot || !runs(alive) {
		t.Errorf("a client that moved has booted: %s, was %s, or its task is dead", m.Boot, boot)
	}
	if err := m.Reboot(); err != nil {
		t.Fatal(err)
	}
	if m.Boot == boot || runs(alive) || runs(chrooted) {
		t.Errorf("a machine that was rebooted has boot %s as before, or its task lives", m.Boot)
	}
}

// startTask runs a process as one of a task with these variables.
func startTask(t *testing.T, env ...string) (pid int) {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	cmd.Env = env
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); cmd.Wait() }()
	t.Cleanup(func() { cmd.Process.Kill(); <-done })
	return cmd.Process.Pid
}

// TestMachinePorts makes more machines than there are ranges of ports for tasks.
func TestMachinePorts(t *testing.T) {
	ms, spec := machines(t)
	ports, ranges := map[int]bool{}, map[int]int{}
	for range taskRanges + 2 {
		spec.Name = "c-" + muster.RandomID(3)
		m := order(t, ms, spec)
		ports[m.Port] = true
		ranges[m.Index]++
	}
	if len(ports) != taskRanges+2 || len(ranges) != taskRanges || ranges[taskRanges-1] != 2 || ranges[0] != 1 {
		t.Errorf("ports %v, ranges %v", ports, ranges)
	}
}
