package dev_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/muster-ml/muster/dev"
	"github.com/muster-ml/muster/engines"
)

// child is this test binary running a platform.
type child struct {
	*exec.Cmd
	nomad string
	stdin io.WriteCloser
}

// runChild starts a platform in a process of its own.
func runChild(t *testing.T, cmd *exec.Cmd, folder string) *child {
	t.Helper()
	cmd.Env = append(cmd.Environ(), asPlatform+"="+folder)
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the platform's process says no address: %v", err)
	}
	return &child{cmd, strings.TrimSpace(addr), stdin}
}

// TestPlatformKilled kills a whole platform: its processes die with it, the
// work on its node goes on, and the next start takes it over.
func TestPlatformKilled(t *testing.T) {
	folder := filepath.Join(publicFolder(t), "data")
	c := runChild(t, exec.Command(os.Args[0]), folder)
	job := count{name: "count", pool: "local", file: filepath.Join(publicFolder(t), "ticks"), user: ordinary()}
	job.submit(t, c.nomad)
	pid := job.pid()
	if agents := enginesOf(t, folder); len(agents) != 3 {
		t.Fatalf("agents %q run on the folder, want Consul, Nomad and a node", agents)
	}
	c.Process.Kill()
	c.Wait()
	eventually(t, "the engines die with the platform", func() bool { return len(enginesOf(t, folder)) == 0 })
	job.goesOn(t, pid)

	p := open(t, dev.Config{DataDir: folder})
	if p.NomadAddr != c.nomad {
		t.Errorf("Nomad is at %s, and was at %s", p.NomadAddr, c.nomad)
	}
	job.goesOn(t, pid)
	job.runs(t, p.NomadAddr)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if alive(pid) {
		t.Errorf("the job's process %d lives after the platform", pid)
	}
}

// ordinary is the user of root's tasks; who is not root has no choice.
func ordinary() string {
	if os.Getuid() == 0 {
		return "nobody"
	}
	return ""
}

// TestOrdinaryUser runs a platform as a user without rights, in a folder with a
// blank in its name.
func TestOrdinaryUser(t *testing.T) {
	folder := filepath.Join(publicFolder(t), "a home", "data")
	cmd := exec.Command(os.Args[0])
	if os.Getuid() == 0 {
		programs := publicFolder(t)
		cmd.Path = publicCopy(t, os.Args[0], programs)
		for _, name := range []string{"nomad", "consul"} {
			path, err := engines.Find(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			publicCopy(t, path, programs)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Env = append(os.Environ(), "HOME="+filepath.Dir(folder), "PATH="+programs+":"+os.Getenv("PATH"), "XDG_RUNTIME_DIR=")
		cmd.Dir = "/"
	}
	c := runChild(t, cmd, folder)
	job := count{name: "count", pool: "local", file: filepath.Join(publicFolder(t), "ticks")}
	job.submit(t, c.nomad)
	pid := job.pid()
	job.goesOn(t, pid)
	c.stdin.Close()
	if err := c.Wait(); err != nil {
		t.Errorf("the platform ended with %v", err)
	}
	if alive(pid) {
		t.Errorf("the job's process %d lives after the platform", pid)
	}
	if left := processesOf(t, folder); len(left) > 0 {
		t.Errorf("processes are left: %q", left)
	}
}

// TestOffline runs a platform on a machine that is on no network.
func TestOffline(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may take a process off the network")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), offline+"=yes")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	c := runChild(t, cmd, filepath.Join(publicFolder(t), "data")) // it opens when its node is ready
	c.stdin.Close()
	if err := c.Wait(); err != nil {
		t.Errorf("the platform ended with %v", err)
	}
}

// publicCopy puts a program into a folder under its own name.
func publicCopy(t *testing.T, program, folder string) string {
	t.Helper()
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, filepath.Base(program))
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
