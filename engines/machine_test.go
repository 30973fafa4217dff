package engines

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
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

// pidOf returns the process of a machine's client.
func pidOf(t *testing.T, m *Machine) int {
	t.Helper()
	pid, err := m.Pid()
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestMachine takes a machine through its life. It needs no server for that.
func TestMachine(t *testing.T) {
	ms, spec := machines(t)
	m := order(t, ms, spec)
	if pidOf(t, m) != 0 || m.Started {
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
	if err != nil || pidOf(t, found) != pidOf(t, m) || found.Boot != m.Boot {
		t.Fatalf("found %+v, %v", found, err)
	}
	pid, boot := pidOf(t, m), m.Boot
	for _, text := range []string{"", "{"} {
		os.Remove(m.noteFile())
		if text != "" {
			write(t, m.noteFile(), text, 0o600)
		}
		if got := pidOf(t, m); got != pid {
			t.Errorf("with the note %q it is process %d, want %d", text, got, pid)
		}
	}
	config, err := os.ReadFile(filepath.Join(m.Folder(), "config.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`servers           = ["127.0.0.1:1"]`, `muster_cluster = "c"`, `muster_boot = "` + boot + `"`, "memory = 64", "cpu_total_compute = 2000"} {
		if !strings.Contains(string(config), want) {
			t.Errorf("the configuration lacks %s:\n%s", want, config)
		}
	}

	if err := found.Reboot(); err != nil {
		t.Fatal(err)
	}
	if runs(pid) || found.Boot == boot || pidOf(t, found) == 0 {
		t.Errorf("after the reboot process %d runs: %v, boot %s was %s, process %d", pid, runs(pid), found.Boot, boot, pidOf(t, found))
	}
	if found, err = ms.Find("c-1"); err != nil {
		t.Fatal(err)
	}
	if err := found.Stop(20*time.Second, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(found.Folder()); !errors.Is(err, fs.ErrNotExist) || pidOf(t, found) != 0 {
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

// TestMachineUnknown keeps a client from being called dead where /proc or its
// note cannot be read.
func TestMachineUnknown(t *testing.T) {
	ms, spec := machines(t)
	m := order(t, ms, spec)
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	pid := pidOf(t, m)
	unknown := func(why string) {
		t.Helper()
		if alive, err := m.Alive(); err == nil {
			t.Errorf("%s: alive is %v, and nobody can know", why, alive)
		}
		if err := m.Kill(); err == nil || !runs(pid) {
			t.Errorf("%s: the kill says %v, and the client runs: %v", why, err, runs(pid))
		}
	}
	starved := func(why string) {
		var old syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 3, Max: old.Max}); err != nil {
			t.Fatal(err)
		}
		alive, err := m.Alive()
		if err2 := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err2 != nil {
			t.Fatal(err2)
		}
		if !errors.Is(err, syscall.EMFILE) {
			t.Errorf("%s, and no file may be opened: alive is %v, %v", why, alive, err)
		}
	}
	starved("with a note")
	kept := m.noteFile() + ".kept"
	if err := os.Rename(m.noteFile(), kept); err != nil {
		t.Fatal(err)
	}
	starved("without a note")
	if err := os.Mkdir(m.noteFile(), 0o700); err != nil {
		t.Fatal(err)
	}
	unknown("the note is a folder")
	if err := os.Remove(m.noteFile()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(kept, m.noteFile()); err != nil {
		t.Fatal(err)
	}
	if alive, err := m.Alive(); !alive || err != nil {
		t.Errorf("with its note it is alive: %v, %v", alive, err)
	}
}

// TestMachineTorn tears a machine's file: the others are there as before, its name
// and port stay taken, and it can be stopped.
func TestMachineTorn(t *testing.T) {
	ms, spec := machines(t)
	m := order(t, ms, spec)
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	pid := pidOf(t, m)
	second := spec
	second.Name = "c-2"
	order(t, ms, second)
	for _, text := range []string{"", "{}", `{"name":`} {
		write(t, filepath.Join(m.Folder(), machineFile), text, 0o600)
		whole, err := ms.List("")
		if err != nil || len(whole) != 1 || whole[0].Name != "c-2" {
			t.Errorf("with %q there are %v, %v", text, whole, err)
		}
		torn, err := ms.Torn("c")
		if err != nil || len(torn) != 1 || torn[0].Name != "c-1" || torn[0].Port != m.Port || torn[0].Home != m.Home || pidOf(t, torn[0]) != pid {
			t.Errorf("with %q there are torn %+v, %v, want %+v", text, torn, err, m)
		}
	}
	if _, err := ms.Order(spec); muster.CodeOf(err) != muster.CodeConflict {
		t.Errorf("the name is given again: %v", err)
	}
	if _, err := ms.Find("c-1"); muster.CodeOf(err) != muster.CodeRefused {
		t.Errorf("a torn machine is found: %v", err)
	}
	if err := ms.Forget("c"); muster.CodeOf(err) != muster.CodeConflict {
		t.Errorf("the group is forgotten: %v", err)
	}
	torn, err := ms.Torn("")
	if err != nil {
		t.Fatal(err)
	}
	if err := StopMachines(torn, time.Second, nil); err != nil || runs(pid) {
		t.Errorf("it is stopped: %v, and its client runs: %v", err, runs(pid))
	}
}

// TestOrderFails stands in the way of a machine's home: no folder stays that
// nobody counts, and the next order gets the name.
func TestOrderFails(t *testing.T) {
	ms, spec := machines(t)
	temp := t.TempDir()
	if err := os.Chmod(filepath.Dir(temp), 0o711); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", temp)
	t.Setenv("XDG_RUNTIME_DIR", "")
	folder := filepath.Join(ms.Dir, spec.Group, spec.Name)
	block := filepath.Join(runtimeFolders()[0], shortHash(NewHome(ms.Dir, folder).work()))
	write(t, filepath.Join(block, "file"), "", 0o600)
	if err := os.Chmod(filepath.Dir(block), 0o711); err != nil {
		t.Fatal(err)
	}
	if m, err := ms.Order(spec); err == nil {
		t.Fatalf("machine %+v is made", m)
	}
	if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its folder is left: %v", err)
	}
	if err := os.RemoveAll(block); err != nil {
		t.Fatal(err)
	}
	order(t, ms, spec)
}

// TestMoveCutOff moves a machine whose client cannot start: it is still moving,
// and the next try goes on with its tasks.
func TestMoveCutOff(t *testing.T) {
	ms, spec := machines(t)
	m := order(t, ms, spec)
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	boot, task := m.Boot, startTask(t, "NOMAD_TASK_DIR="+filepath.Join(m.Home.Allocs, "0a1b", "main", "local"))
	program := m.Program
	m.Program = "/nowhere"
	if err := m.Move([]string{"127.0.0.1:2"}, ""); err == nil || !m.Moving() {
		t.Errorf("the move says %v, and it goes on: %v", err, m.Moving())
	}
	m.Program = program
	if err := m.Move([]string{"127.0.0.1:2"}, ""); err != nil || m.Moving() || m.Boot != boot || !runs(task) || pidOf(t, m) == 0 {
		t.Errorf("the second move says %v; moving %v, boot %s was %s, the task runs: %v", err, m.Moving(), m.Boot, boot, runs(task))
	}
}
