package dev_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/autoscaler"
	"github.com/muster-ml/muster/autoscaler/apm"
	"github.com/muster-ml/muster/autoscaler/policy"
	"github.com/muster-ml/muster/autoscaler/target"
	"github.com/muster-ml/muster/dev"
	"github.com/muster-ml/muster/engines"
)

// playServer, as the first argument, makes the test binary play the Muster
// server; withAutoscaler, in the environment, is the autoscaler's program for
// runPlatform.
const (
	playServer     = "play-the-server"
	withAutoscaler = "TEST_DEV_AUTOSCALER"
)

// runAutoscaler makes the test binary muster-autoscaler.
func runAutoscaler(args []string) {
	switch args[0] {
	case "apm":
		apm.Serve()
	case "target":
		target.Serve()
	default:
		os.Exit(policy.Main(args))
	}
}

// autoscalerProgram is the test binary under the name of muster-autoscaler.
func autoscalerProgram(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), autoscaler.Driver)
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// runServer plays a server with one cluster "c", of which it wants as many nodes
// as the file "wanted" in its folder says.
func runServer(args []string) {
	flags := flag.NewFlagSet(playServer, flag.ExitOnError)
	folder, listen, nomadAddr := flags.String("data-dir", "", ""), flags.String("listen", "", ""), flags.String("nomad-addr", "", "")
	for _, name := range []string{"consul-addr", "agent-binary", "site"} {
		flags.String(name, "", "")
	}
	flags.Parse(args)
	if err := os.MkdirAll(*folder, 0o700); err != nil { // it may be quicker than the note of its start
		panic(err)
	}
	if err := os.WriteFile(filepath.Join(*folder, "token"), []byte("secret"), 0o600); err != nil {
		panic(err)
	}
	answer := func(what any) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(what)
		}
	}
	c := &muster.Cluster{Name: "c", Provider: muster.ProviderLocal, ClusterSettings: muster.ClusterSettings{Max: 4}}
	c.Complete()
	mux := http.NewServeMux()
	mux.HandleFunc("/", answer(struct{}{}))
	mux.HandleFunc("GET /api/v1/clusters", answer([]*muster.Cluster{c}))
	mux.HandleFunc("GET /api/v1/clusters/c/scaling", func(w http.ResponseWriter, r *http.Request) {
		b, _ := os.ReadFile(filepath.Join(*folder, "wanted"))
		nodes, _ := strconv.Atoi(string(b))
		answer(muster.Scaling{Cluster: "c", NodePool: c.NodePool, Provider: c.Provider, Size: muster.NodeSize{Name: "local.tiny", Cores: 1, MiB: 512},
			Wanted: muster.Wanted{Nodes: nodes}})(w, r)
	})
	mux.HandleFunc("GET /api/v1/nodes", func(w http.ResponseWriter, r *http.Request) {
		resp, err := http.Get(*nomadAddr + "/v1/nodes")
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		defer resp.Body.Close()
		var stubs []struct{ Name, Status string }
		json.NewDecoder(resp.Body).Decode(&stubs)
		nodes := []muster.Node{}
		for _, s := range stubs {
			nodes = append(nodes, muster.Node{Name: s.Name, Status: s.Status})
		}
		answer(nodes)(w, r)
	})
	fmt.Println(http.ListenAndServe(*listen, mux))
}

// want makes the server want so many nodes.
func want(t *testing.T, folder string, nodes int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, "server", "wanted"), []byte(strconv.Itoa(nodes)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// machinesOf lists the machines of a platform that are ready nodes.
func machinesOf(t *testing.T, folder string) (ready []*engines.Machine) {
	t.Helper()
	all := engines.Machines{Dir: filepath.Join(folder, "autoscaler")}
	found, err := all.List("")
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(found, func(m *engines.Machine) bool { return m.Ready.IsZero() })
}

// TestAutoscaler has a platform grow by machines, and closes it: nothing of them
// stays, and their work was asked to stop.
func TestAutoscaler(t *testing.T) {
	temp := publicFolder(t)
	t.Setenv("TMPDIR", temp)
	t.Setenv("XDG_RUNTIME_DIR", "")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	groups := controlGroups(t)
	p := open(t, dev.Config{Ephemeral: true, Command: []string{self, playServer}, Autoscaler: autoscalerProgram(t)})
	folder := p.DataDir
	want(t, folder, 2)
	eventually(t, "two machines are ready", func() bool { return len(machinesOf(t, folder)) == 2 })
	job := count{name: "count", pool: "muster-c", file: filepath.Join(publicFolder(t), "ticks"), user: ordinary()}
	job.submit(t, p.NomadAddr)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if last := job.lines()[len(job.lines())-1]; last != "stopped" {
		t.Errorf("the job was not asked to stop: its last line is %q", last)
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
	left := slices.DeleteFunc(controlGroups(t), func(group string) bool { return slices.Contains(groups, group) })
	if _, err := os.Stat("/run/muster-cgroups.json"); len(left) > 0 && err != nil && len(enginesOf(t, "nomad")) == 0 {
		t.Errorf("control groups %q are left", left)
	}
}

// TestAutoscalerKilled kills a platform with a machine: the next one goes on with
// it, and the work on it, and one without an autoscaler takes it away.
func TestAutoscalerKilled(t *testing.T) {
	folder := filepath.Join(publicFolder(t), "data")
	t.Setenv(withAutoscaler, autoscalerProgram(t))
	c := runChild(t, exec.Command(os.Args[0]), folder)
	want(t, folder, 1)
	eventually(t, "a machine is ready", func() bool { return len(machinesOf(t, folder)) == 1 })
	machine := machinesOf(t, folder)[0]
	job := count{name: "count", pool: "muster-c", file: filepath.Join(publicFolder(t), "ticks"), user: ordinary()}
	job.submit(t, c.nomad)
	pid := job.pid()
	c.Process.Kill()
	c.Wait()
	job.goesOn(t, pid)

	again := runChild(t, exec.Command(os.Args[0]), folder)
	job.goesOn(t, pid)
	job.runs(t, again.nomad)
	if now := machinesOf(t, folder); len(now) != 1 || now[0].Name != machine.Name || pidOf(t, now[0]) != pidOf(t, machine) || now[0].Boot != machine.Boot {
		t.Errorf("the machine is %+v, and was %+v", now, machine)
	}
	again.Process.Kill()
	again.Wait()

	t.Setenv(withAutoscaler, "")
	last := runChild(t, exec.Command(os.Args[0]), folder)
	if left := machinesOf(t, folder); len(left) > 0 || alive(pid) {
		t.Errorf("machines %v are left, or the job lives: %v", left, alive(pid))
	}
	last.stdin.Close()
	if err := last.Wait(); err != nil {
		t.Errorf("the platform ended with %v", err)
	}
	if left := processesOf(t, folder); len(left) > 0 {
		t.Errorf("processes are left: %q", left)
	}
}

// TestAutoscalerHurry closes a platform with a machine in a hurry.
func TestAutoscalerHurry(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := open(t, dev.Config{DataDir: t.TempDir(), Command: []string{self, playServer}, Autoscaler: autoscalerProgram(t)})
	want(t, p.DataDir, 1)
	eventually(t, "a machine is ready", func() bool { return len(machinesOf(t, p.DataDir)) == 1 })
	p.Hurry()
	begin := time.Now()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("closed in %s", time.Since(begin))
	if left := processesOf(t, p.DataDir); len(left) > 0 {
		t.Errorf("processes are left: %q", left)
	}
}

// pidOf returns the process of a machine's client.
func pidOf(t *testing.T, m *engines.Machine) int {
	t.Helper()
	pid, err := m.Pid()
	if err != nil {
		t.Fatal(err)
	}
	return pid
}
