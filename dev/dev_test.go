package dev_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/dev"
)

// TestNodeKilled kills a node's client: its work goes on, and the client that
// comes back takes it over.
func TestNodeKilled(t *testing.T) {
	p := open(t, dev.Config{DataDir: filepath.Join(t.TempDir(), "a b")})
	job := count{name: "count", pool: "local", file: filepath.Join(publicFolder(t), "ticks")}
	job.submit(t, p.NomadAddr)
	pid := job.pid()
	name := dev.NodeProcess("local")
	if err := p.Kill(name); err != nil {
		t.Fatal(err)
	}
	job.goesOn(t, pid)
	if err := p.Start(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	job.goesOn(t, pid)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if alive(pid) {
		t.Errorf("the job's process %d lives after the platform", pid)
	}
	if last := job.lines()[len(job.lines())-1]; last != "stopped" {
		t.Errorf("the job was not asked to stop: its last line is %q", last)
	}
}

// TestNodeDeadAtClose closes a platform whose node is dead, with work on it.
func TestNodeDeadAtClose(t *testing.T) {
	temp := publicFolder(t)
	t.Setenv("TMPDIR", temp)
	p := open(t, dev.Config{DataDir: t.TempDir()})
	job := count{name: "count", pool: "local", file: filepath.Join(publicFolder(t), "ticks")}
	job.submit(t, p.NomadAddr)
	if err := p.Kill(dev.NodeProcess("local")); err != nil {
		t.Fatal(err)
	}
	if minders := nomadHelpers(t); len(minders) == 0 {
		t.Error("no process of Nomad's looks after the job: the test does not test that it goes")
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if left := nomadHelpers(t); len(left) > 0 {
		t.Errorf("processes that looked after the job are left: %q", left)
	}
	if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) > 0 {
		t.Errorf("files are left: %q", left)
	}
	if alive(job.pid()) {
		t.Errorf("the job's process %d lives after the platform", job.pid())
	}
}

// TestLeavesNothing looks for what a platform might leave: processes, mounts,
// ports, control groups and files.
func TestLeavesNothing(t *testing.T) {
	temp := publicFolder(t)
	t.Setenv("TMPDIR", temp)
	t.Setenv("XDG_RUNTIME_DIR", "")
	groups := controlGroups(t)
	p := open(t, dev.Config{Ephemeral: true})
	folder := p.DataDir
	job := count{name: "count", pool: "local", file: filepath.Join(publicFolder(t), "ticks"), user: ordinary()}
	job.submit(t, p.NomadAddr)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if left := processesOf(t, folder); len(left) > 0 {
		t.Errorf("processes are left: %q", left)
	}
	if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) > 0 {
		t.Errorf("files are left: %q", left)
	}
	for _, path := range []string{"/proc/self/mounts", "/run/muster-cgroups.json"} {
		if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b), folder) {
			t.Errorf("%s names the folder: %s", path, b)
		}
	}
	// While another test's platform is here, new groups may be its.
	left := slices.DeleteFunc(controlGroups(t), func(group string) bool { return slices.Contains(groups, group) })
	if _, err := os.Stat("/run/muster-cgroups.json"); len(left) > 0 && err != nil && len(enginesOf(t, "nomad")) == 0 {
		t.Errorf("control groups %q are left", left)
	}
	for _, addr := range []string{p.NomadAddr, p.ConsulAddr} {
		if c, err := net.Dial("tcp", strings.TrimPrefix(addr, "http://")); err == nil {
			c.Close()
			t.Errorf("somebody listens at %s", addr)
		}
	}
}

// TestLongFolder runs a platform at a long path: a task has its socket of the
// task API all the same, and the short name for that goes with the platform.
func TestLongFolder(t *testing.T) {
	temp := publicFolder(t)
	t.Setenv("TMPDIR", temp)
	t.Setenv("XDG_RUNTIME_DIR", "")
	folder := filepath.Join(publicFolder(t), strings.Repeat("a long name ", 10), "data")
	p := open(t, dev.Config{DataDir: folder})
	job := count{name: "count", pool: "local", file: filepath.Join(publicFolder(t), "ticks"), user: ordinary()}
	job.submit(t, p.NomadAddr)
	sockets, err := filepath.Glob(filepath.Join(folder, "nodes", "local", "allocs", "*", "main", "secrets", "api.sock"))
	if err != nil || len(sockets) != 1 {
		t.Errorf("sockets of the task API: %q, %v", sockets, err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) > 0 {
		t.Errorf("files are left: %q", left)
	}
}

// TestStartsAgain closes a platform and opens it again: its nodes take work, at
// the same addresses, but for a port that another program has taken.
func TestStartsAgain(t *testing.T) {
	folder := t.TempDir()
	nodes := []dev.Node{{Name: "one", Pool: "local", MHz: 3000, MiB: 700}, {Name: "two", Pool: "other", MHz: 1000, MiB: 300}}
	first := open(t, dev.Config{DataDir: folder, Nodes: nodes})
	job := count{name: "before", pool: "other", file: filepath.Join(publicFolder(t), "ticks")}
	job.submit(t, first.NomadAddr)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", strings.TrimPrefix(first.NomadAddr, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()

	second := open(t, dev.Config{DataDir: folder, Nodes: nodes[:1]})
	if second.NomadAddr == first.NomadAddr || second.ConsulAddr != first.ConsulAddr {
		t.Errorf("Nomad at %s was at %s and should move; Consul at %s was at %s and should not", second.NomadAddr, first.NomadAddr, second.ConsulAddr, first.ConsulAddr)
	}
	if err := second.AddNode(t.Context(), nodes[1]); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		job := count{name: "on-" + n.Name, pool: n.Pool, file: filepath.Join(publicFolder(t), "ticks")}
		job.submit(t, second.NomadAddr)
	}
	var stubs []struct{ ID, Name, Status string }
	nomad(t, "GET", second.NomadAddr+"/v1/nodes", nil, &stubs)
	if len(stubs) != 2 {
		t.Errorf("nodes %+v, want the two of before", stubs)
	}
	for _, s := range stubs {
		var node struct {
			NodeResources struct{ Memory struct{ MemoryMB int } }
		}
		nomad(t, "GET", second.NomadAddr+"/v1/node/"+s.ID, nil, &node)
		want := nodes[slices.IndexFunc(nodes, func(n dev.Node) bool { return n.Name == s.Name })].MiB
		if got := node.NodeResources.Memory.MemoryMB; got != want {
			t.Errorf("node %s offers %d MiB, want %d", s.Name, got, want)
		}
	}
}

// TestSupervised kills processes behind the platform's back.
func TestSupervised(t *testing.T) {
	p := open(t, dev.Config{DataDir: t.TempDir()})
	for _, name := range []string{dev.Consul, dev.Nomad, dev.NodeProcess("local")} {
		pid := p.Pid(name)
		process, err := os.FindProcess(pid)
		if err != nil {
			t.Fatal(err)
		}
		if err := process.Kill(); err != nil {
			t.Fatal(err)
		}
		eventually(t, name+" is started again", func() bool { now := p.Pid(name); return now != 0 && now != pid })
	}
	for _, row := range p.Status() {
		if row.State != "running" || row.Restarts != 1 {
			t.Errorf("%+v, want it running after one restart", row)
		}
	}
	// Start waits until a process that runs is ready.
	for _, name := range []string{dev.Consul, dev.Nomad, dev.NodeProcess("local")} {
		if err := p.Start(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	if err := p.Kill("nobody"); muster.CodeOf(err) != muster.CodeNotFound {
		t.Errorf("killing what does not exist: %v", err)
	}
}

// TestSecondRefused opens two platforms on one folder.
func TestSecondRefused(t *testing.T) {
	p := open(t, dev.Config{DataDir: t.TempDir()})
	before := enginesOf(t, p.DataDir)
	_, err := dev.Open(t.Context(), dev.Config{DataDir: p.DataDir})
	if muster.CodeOf(err) != muster.CodeConflict || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("the second platform: %v", err)
	}
	if after := enginesOf(t, p.DataDir); !slices.Equal(before, after) {
		t.Errorf("the refused platform changed the agents from %q to %q", before, after)
	}
}

// TestServerThatEnds starts a Muster server that ends at once: its words are in
// the error, and nothing stays.
func TestServerThatEnds(t *testing.T) {
	folder := t.TempDir()
	_, err := dev.Open(t.Context(), dev.Config{DataDir: folder, Command: []string{"sh", "-c", "echo no such flag; exit 2", "sh"}, Agent: "none"})
	if muster.CodeOf(err) != muster.CodeUnreachable || !strings.Contains(err.Error(), "no such flag") {
		t.Errorf("the error is %v", err)
	}
	if left := processesOf(t, folder); len(left) > 0 {
		t.Errorf("processes are left: %q", left)
	}
}

// nomadHelpers lists the processes with which Nomad looks after tasks, of the
// test's own temporary folder.
func nomadHelpers(t *testing.T) []string {
	t.Helper()
	return slices.DeleteFunc(processesOf(t, "TMPDIR="+os.TempDir()), func(args string) bool {
		return !strings.Contains(args, "nomad executor") && !strings.Contains(args, "nomad logmon")
	})
}

// controlGroups lists Nomad's control groups.
func controlGroups(t *testing.T) []string {
	t.Helper()
	v1, err := filepath.Glob("/sys/fs/cgroup/*/nomad")
	if err != nil {
		t.Fatal(err)
	}
	v2, err := filepath.Glob("/sys/fs/cgroup/nomad.slice")
	if err != nil {
		t.Fatal(err)
	}
	return append(v1, v2...)
}
