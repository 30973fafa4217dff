package dev_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/muster-ml/muster/autoscaler"
	"github.com/muster-ml/muster/dev"
)

// asPlatform, set in the environment, makes the test binary run a platform on
// the folder that it names, for tests that kill one or run it as another user.
const asPlatform = "MUSTER_TEST_PLATFORM"

// offline, set too, says that it has no network yet, not even a loopback.
const offline = "MUSTER_TEST_OFFLINE"

func TestMain(m *testing.M) {
	switch {
	case filepath.Base(os.Args[0]) == autoscaler.Driver:
		runAutoscaler(os.Args[1:])
		return
	case len(os.Args) > 1 && os.Args[1] == playServer:
		runServer(os.Args[2:])
		return
	}
	if folder := os.Getenv(asPlatform); folder != "" {
		if os.Getenv(offline) != "" {
			if err := raiseLoopback(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		runPlatform(folder)
		return
	}
	os.Exit(m.Run())
}

// raiseLoopback switches the loopback on.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// runPlatform opens a platform, tells its Nomad address, and closes it when its
// input ends.
func runPlatform(folder string) {
	c := dev.Config{DataDir: folder, HeartbeatGrace: 2 * time.Second, Out: os.Stderr}
	if program := os.Getenv(withAutoscaler); program != "" {
		c.Command, c.Autoscaler = []string{os.Args[0], playServer}, program
	}
	p, err := dev.Open(context.Background(), c)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(p.NomadAddr)
	io.Copy(io.Discard, os.Stdin)
	if err := p.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// open opens a platform for a test, which closes it.
func open(t *testing.T, c dev.Config) *dev.Platform {
	t.Helper()
	c.HeartbeatGrace = 2 * time.Second
	c.Out = t.Output()
	p, err := dev.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// nomad sends a request to Nomad and reads the answer into out, if there is one.
func nomad(t *testing.T, method, url string, in, out any) {
	t.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, url, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err = io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s %s %v", method, url, resp.Status, b, err)
	}
	if out != nil {
		if err := json.Unmarshal(b, out); err != nil {
			t.Fatal(err)
		}
	}
}

// count is a job that writes its process's number and then counts into a file
// until it is asked to stop, which it notes. Its user is root's or nobody, as
// Muster's agent and its runs are.
type count struct {
	name string
	file string // its folder is open to everybody
	pool string
	user string
}

// submit runs the job, and returns when Nomad's client has noted that it runs:
// one that is killed before starts the task again.
func (c count) submit(t *testing.T, nomadAddr string) {
	t.Helper()
	script := `trap 'echo stopped >> "$1"; exit 0' INT TERM; echo pid $$ > "$1"; while :; do echo tick >> "$1"; sleep 0.05; done`
	task := map[string]any{"Name": "main", "Driver": "raw_exec", "User": c.user,
		"Config":    map[string]any{"command": "/bin/sh", "args": []string{"-c", script, "sh", c.file}},
		"Resources": map[string]any{"CPU": 50, "MemoryMB": 32}, "KillSignal": "SIGTERM"}
	nomad(t, "PUT", nomadAddr+"/v1/jobs", map[string]any{"Job": map[string]any{"ID": c.name, "Name": c.name, "Type": "batch", "NodePool": c.pool,
		"TaskGroups": []any{map[string]any{"Name": "g", "Count": 1, "Tasks": []any{task}}}}}, nil)
	c.runs(t, nomadAddr)
	eventually(t, "job "+c.name+" counts", func() bool { return c.ticks() > 0 })
}

// runs waits until Nomad says that the job's one allocation runs. A client that
// has just come back says "pending" for a moment.
func (c count) runs(t *testing.T, nomadAddr string) {
	t.Helper()
	eventually(t, "the one allocation of job "+c.name+" runs", func() bool {
		var allocs []struct{ ClientStatus string }
		nomad(t, "GET", nomadAddr+"/v1/job/"+c.name+"/allocations", nil, &allocs)
		return len(allocs) == 1 && allocs[0].ClientStatus == "running"
	})
}

// lines returns what the job has written.
func (c count) lines() []string {
	b, _ := os.ReadFile(c.file)
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// ticks counts the ticks of the present process.
func (c count) ticks() int { return len(c.lines()) - 1 }

// pid returns the number of the job's process.
func (c count) pid() int {
	pid, _ := strconv.Atoi(strings.TrimPrefix(c.lines()[0], "pid "))
	return pid
}

// goesOn waits until the same process has counted on.
func (c count) goesOn(t *testing.T, pid int) {
	t.Helper()
	before := c.ticks()
	eventually(t, "job "+c.name+" counts on", func() bool { return c.ticks() > before+3 })
	if c.pid() != pid {
		t.Errorf("job %s runs as process %d, and was %d: it was started again", c.name, c.pid(), pid)
	}
}

// publicFolder makes a folder that any user may reach and write into: the one
// that testing makes is its owner's.
func publicFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// alive reports whether a process runs.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.HasPrefix(string(b[bytes.LastIndexByte(b, ')')+1:]), " Z")
}

// processesOf lists the processes whose arguments or environment name the
// folder.
func processesOf(t *testing.T, folder string) []string {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var of []string
	for _, dir := range found {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		env, _ := os.ReadFile(filepath.Join(dir, "environ"))
		if pid != os.Getpid() && alive(pid) && (bytes.Contains(args, []byte(folder)) || bytes.Contains(env, []byte(folder))) {
			of = append(of, string(bytes.ReplaceAll(args, []byte{0}, []byte(" "))))
		}
	}
	return of
}

// enginesOf lists the agents among processesOf.
func enginesOf(t *testing.T, folder string) []string {
	t.Helper()
	return slices.DeleteFunc(processesOf(t, folder), func(args string) bool { return !strings.Contains(args, " agent -config") })
}
