package run_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// TestStop looks at an order to stop, heard while the command runs: signal,
// grace time, outputs.
func TestStop(t *testing.T) {
	eachUser(t, func(t *testing.T, as who) {
		p := newPlatform(t, muster.Spec{Command: `trap 'echo bye; echo saved > outputs/checkpoint; exit 3' TERM; echo ready; while true; do sleep 0.05; done`})
		a := p.start(as)
		p.begun()
		p.do(func() { p.launch.Stop = muster.StopCancel })
		if code := a.exit(); code != 3 {
			t.Errorf("exit code %d, want 3", code)
		}
		res := p.last().Result
		if res == nil || res.Fault != muster.FaultStopped || res.ExitCode != 3 || res.Failure != "stopped: cancel" || !p.last().Stopping {
			t.Errorf("result %+v", res)
		}
		if p.log(muster.Stdout) != "ready\nbye\n" || p.file("outputs/checkpoint") != "saved\n" {
			t.Errorf("stdout %q, checkpoint %q", p.log(muster.Stdout), p.file("outputs/checkpoint"))
		}
		p.gone(as)
	})
}

// TestStopBelowShell looks at a program below a shell that dies of the signal at
// once: the program has the whole grace time, whoever ends it.
func TestStopBelowShell(t *testing.T) {
	const program = `
import os, signal, sys, time
def save(*_):
    while os.getppid() == shell: time.sleep(0.01)
    time.sleep(0.5)
    open("outputs/checkpoint", "w").write("saved")
    sys.exit(0)
shell = os.getppid()
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
while True: time.sleep(0.05)
`
	spec := muster.Spec{Grace: muster.Seconds(50), Command: "python3 -c '" + program + "' && echo done"}
	eachUser(t, func(t *testing.T, as who) { stopBelowShell(t, as, spec, muster.FaultStopped) })
	spec.Timeout = muster.Seconds(5)
	t.Run("time limit", func(t *testing.T) { stopBelowShell(t, users(t)[0], spec, muster.FaultTimeout) })
}

// stopBelowShell ends the program by its time limit or, without one, by an
// order.
func stopBelowShell(t *testing.T, as who, spec muster.Spec, fault muster.Fault) {
	p := newPlatform(t, spec)
	a := p.start(as)
	p.begun()
	if spec.Timeout == 0 {
		p.do(func() { p.launch.Stop = muster.StopCancel })
	}
	if code := a.exit(); code != 143 {
		t.Errorf("exit code %d, want 143, the shell's", code)
	}
	if res := p.last().Result; res == nil || res.Fault != fault || res.Signal != "SIGTERM" {
		t.Errorf("result %+v", res)
	}
	if got := p.file("outputs/checkpoint"); got != "saved" {
		t.Errorf("the checkpoint is %q", got)
	}
	p.gone(as)
}

// TestStopStubborn looks at a command that ignores the signal.
func TestStopStubborn(t *testing.T) {
	eachUser(t, func(t *testing.T, as who) {
		p := newPlatform(t, muster.Spec{Grace: muster.Seconds(0.3), Command: `trap '' TERM; echo ready; (while true; do sleep 0.05; done) & wait; while true; do sleep 0.05; done`})
		a := p.start(as)
		p.begun()
		p.do(func() { p.launch.Stop = muster.StopSibling })
		if code := a.exit(); code != 137 {
			t.Errorf("exit code %d, want 137", code)
		}
		if res := p.last().Result; res == nil || res.Signal != "SIGKILL" || res.Failure != "stopped: sibling" {
			t.Errorf("result %+v", res)
		}
		p.gone(as)
	})
}

// TestStopBeforeCommand looks at an order to stop while inputs are brought.
func TestStopBeforeCommand(t *testing.T) {
	asked := make(chan struct{}, 1)
	hold := make(chan struct{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	})}
	go func() { _ = web.Serve(l) }()
	defer web.Close()
	defer close(hold)
	p := newPlatform(t, muster.Spec{Command: "echo never", Inputs: map[string]muster.Input{"x": {Ref: muster.Ref("http://" + l.Addr().String() + "/big")}}})
	as := users(t)[0]
	a := p.start(as)
	<-asked
	p.do(func() { p.launch.Stop = muster.StopCancel })
	if code := a.exit(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if res := p.last().Result; res == nil || res.Started || res.Fault != muster.FaultStopped || res.Failure != "stopped: cancel" {
		t.Errorf("result %+v", res)
	}
	p.gone(as)
}

// TestNomadSignal looks at Nomad's own signal.
func TestNomadSignal(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			p := newPlatform(t, muster.Spec{Command: `trap 'exit 0' TERM; echo ready; while true; do sleep 0.05; done`})
			as := users(t)[0]
			a := p.start(as)
			p.begun()
			must(t, a.Process.Signal(sig))
			if code := a.exit(); code != 1 {
				t.Errorf("exit code %d, want 1: it was stopped, and did not succeed", code)
			}
			if res := p.last().Result; res == nil || res.Fault != muster.FaultStopped || res.ExitCode != 0 {
				t.Errorf("result %+v", res)
			}
			p.gone(as)
		})
	}
}

// TestTimeout looks at the time limit.
func TestTimeout(t *testing.T) {
	p := newPlatform(t, muster.Spec{Timeout: muster.Seconds(1), Grace: muster.Seconds(0.2), Command: `trap '' TERM; echo kept > outputs/kept; while true; do sleep 0.05; done`})
	as := users(t)[0]
	if code := p.start(as).exit(); code != 137 {
		t.Errorf("exit code %d, want 137", code)
	}
	if res := p.last().Result; res == nil || res.Fault != muster.FaultTimeout || res.Failure != "the time limit of 1s was reached" {
		t.Errorf("result %+v", res)
	}
	if got := p.file("outputs/kept"); got != "kept\n" {
		t.Errorf("the output is %q", got)
	}
	p.gone(as)
}

// TestStrays looks at processes that the command leaves behind, in sessions of
// their own, with its streams held open and without the variables that would
// tell whose they are. Each writes down its own id first.
func TestStrays(t *testing.T) {
	eachUser(t, func(t *testing.T, as who) {
		p := newPlatform(t, muster.Spec{Command: `
			setsid sh -c 'trap "" TERM HUP; (sh -c "echo \$\$ > outputs/one; exec sleep 1000" &); echo $$ > outputs/two; sleep 1000' &
			(env -i setsid sh -c 'echo $$ > outputs/three; exec sleep 1000' > /dev/null 2>&1 &)
			until [ -s outputs/one ] && [ -s outputs/two ] && [ -s outputs/three ]; do sleep 0.02; done
			echo left`})
		if code := p.start(as).exit(); code != 0 {
			t.Errorf("exit code %d; %q", code, p.log(muster.Stderr))
		}
		for _, name := range []string{"outputs/one", "outputs/two", "outputs/three"} {
			cmd, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(p.file(name)), "cmdline"))
			if err == nil && strings.Contains(string(cmd), "sleep") {
				t.Errorf("%s is left: %q", name, cmd)
			}
		}
		if !p.noted("processes that the command left behind were killed") {
			t.Errorf("notes %q", p.last().Notes)
		}
		p.gone(as)
	})
}

// TestAgentKilled kills the agent and looks that nothing of the command goes
// on; then that the next agent on the node removes what is left.
func TestAgentKilled(t *testing.T) {
	eachUser(t, func(t *testing.T, as who) {
		p := newPlatform(t, muster.Spec{Command: `(setsid sh -c 'while true; do sleep 0.05; done' &) ; echo ready; while true; do sleep 0.05; done; echo`})
		a := p.start(as)
		p.begun()
		must(t, a.Process.Kill())
		eventually(t, "nothing goes on", func() bool { return p.living() == nil })
		dead := p.runFolder(as)
		if _, err := os.Stat(dead); err != nil {
			t.Fatal(err)
		}
		left := exec.Command("sleep", "1000")
		left.Env = []string{"NOMAD_ALLOC_ID=" + p.alloc}
		if as.uid != uint32(os.Geteuid()) {
			left.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: as.uid, Gid: as.uid}}
		}
		must(t, left.Start())
		ended := make(chan error, 1)
		go func() { ended <- left.Wait() }()
		next := p.next("sleep 0.5; ls " + filepath.Dir(dead) + " 2>&1; true")
		live := next.start(as)
		third := next.next("true")
		third.dir = next.dir
		eventually(t, "the second command runs", func() bool { return len(next.phases()) > 0 })
		if code := third.start(as).exit(); code != 0 {
			t.Errorf("the third agent: exit code %d", code)
		}
		if code := live.exit(); code != 0 {
			t.Errorf("an agent that lived beside it: exit code %d", code)
		}
		if err := <-ended; err == nil || err.Error() != "signal: killed" {
			t.Errorf("the left-over process: %v", err)
		}
		p.gone(as)
	})
}

// next makes another platform on the same node.
func (p *platform) next(command string) *platform {
	n := newPlatform(p.t, muster.Spec{Command: command})
	n.dir = p.dir
	return n
}

// TestGuardKilled kills the process between agent and command.
func TestGuardKilled(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can kill another user's process from here")
	}
	p := newPlatform(t, muster.Spec{Command: `(setsid sleep 1000 &) ; echo $PPID; while true; do sleep 0.05; done`})
	as := users(t)[0]
	a := p.start(as)
	p.begun()
	var guard int
	if _, err := fmt.Sscan(p.log(muster.Stdout), &guard); err != nil || guard == a.Process.Pid {
		t.Fatalf("guard %d, %v", guard, err)
	}
	must(t, syscall.Kill(guard, syscall.SIGKILL))
	if code := a.exit(); code != 137 {
		t.Errorf("exit code %d, want 137", code)
	}
	if res := p.last().Result; res == nil || res.Fault != muster.FaultPlatform {
		t.Errorf("result %+v", res)
	}
	p.gone(as)
}

// TestFence closes the server, with no Nomad there: the command goes on until
// the fence time is nearly over, and what it wrote is kept.
func TestFence(t *testing.T) {
	p := newPlatform(t, muster.Spec{Command: `echo ready; while true; do echo x > beat; cat beat; sleep 0.05; done`})
	as := users(t)[0]
	a := p.start(as, muster.AgentFenceVar+"=2")
	p.begun()
	must(t, p.server.Close())
	closed := time.Now()
	if code := a.exit(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	beat, err := os.Stat(filepath.Join(p.runFolder(as), "work", "beat"))
	must(t, err)
	if !beat.ModTime().After(closed) {
		t.Error("the command ended with the server, and not with the fence time")
	}
	if left := p.living(); left != nil {
		t.Errorf("processes are left: %q", left)
	}
	spool := filepath.Join(p.runFolder(as), "spool", "stdout")
	if list, err := os.ReadDir(spool); err != nil || len(list) == 0 {
		t.Errorf("the spool is gone: %v", err)
	}
	if !strings.Contains(a.said.String(), "fence time") {
		t.Errorf("it said %q", a.said.String())
	}
}

// nomad is a Task API; it answers who leads as long as lead is true.
func nomad(t *testing.T, secrets string, lead *atomic.Bool) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(secrets, "api.sock"))
	must(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer token of "):
			w.WriteHeader(http.StatusUnauthorized)
		case !lead.Load():
			_, _ = w.Write([]byte(`""`))
		default:
			_, _ = w.Write([]byte(`"127.0.0.1:4647"`))
		}
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
}

// TestServerAway closes the server for longer than the fence time while Nomad
// answers: nothing is killed, nothing lost. Then Nomad loses its leader, too.
func TestServerAway(t *testing.T) {
	p := newPlatform(t, muster.Spec{Command: `for i in $(seq 1 100); do echo $i; echo $i >&2; sleep 0.04; done; echo out > outputs/o; muster-agent metric m 1`})
	as := users(t)[0]
	var lead atomic.Bool
	lead.Store(true)
	a := p.startBesideNomad(as, &lead)
	p.begun()
	if slices.ContainsFunc(p.notes, func(n string) bool { return strings.Contains(n, "Task API") }) {
		t.Errorf("beside a Task API it told %q", p.notes)
	}
	must(t, p.server.Close())
	eventually(t, "the command ends while the server is away", func() bool {
		_, err := os.Stat(filepath.Join(p.runFolder(as), "work", "outputs", "o"))
		return err == nil
	})
	p.listen()
	if code := a.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	var want strings.Builder
	for i := range 100 {
		fmt.Fprintln(&want, i+1)
	}
	if p.log(muster.Stdout) != want.String() || p.log(muster.Stderr) != want.String() || p.file("outputs/o") != "out\n" || len(p.metrics) != 1 {
		t.Errorf("stdout %q, stderr %q, %d metrics", p.log(muster.Stdout), p.log(muster.Stderr), len(p.metrics))
	}
	p.gone(as)
}

// startBesideNomad starts an agent with a short fence time beside a Task API.
func (p *platform) startBesideNomad(as who, lead *atomic.Bool) *started {
	secrets, err := os.MkdirTemp("", "s") // the path of a socket must be short
	must(p.t, err)
	p.t.Cleanup(func() { _ = os.RemoveAll(secrets) })
	must(p.t, os.WriteFile(filepath.Join(secrets, "nomad_muster.jwt"), []byte("token of "+p.alloc), 0o644))
	nomad(p.t, secrets, lead)
	return p.start(as, muster.AgentFenceVar+"=1", "NOMAD_SECRETS_DIR="+secrets)
}

// TestFenceWithoutLeader looks that a Nomad client that has lost its servers
// does not count.
func TestFenceWithoutLeader(t *testing.T) {
	p := newPlatform(t, muster.Spec{Command: `echo ready; while true; do sleep 0.05; done`})
	var lead atomic.Bool
	lead.Store(true)
	a := p.startBesideNomad(users(t)[0], &lead)
	p.begun()
	must(t, p.server.Close())
	lead.Store(false)
	if code := a.exit(); code != 1 || p.living() != nil {
		t.Errorf("exit code %d, processes %q", code, p.living())
	}
}

// TestClaimRefused looks that an agent whose claim is refused does nothing.
func TestClaimRefused(t *testing.T) {
	p := newPlatform(t, muster.Spec{Command: "echo never"})
	p.refuse = muster.Errorf(muster.CodeConflict, "instance 0 belongs to allocation deadbeef")
	as := users(t)[0]
	a := p.start(as)
	if code := a.exit(); code != muster.ExitRefused {
		t.Errorf("exit code %d, want %d", code, muster.ExitRefused)
	}
	if !strings.Contains(a.said.String(), "belongs to allocation deadbeef") {
		t.Errorf("it said %q", a.said.String())
	}
	p.gone(as)
}

// TestOver looks at a launch that the server calls over while it runs.
func TestOver(t *testing.T) {
	p := newPlatform(t, muster.Spec{Command: `trap '' TERM; echo ready; while true; do sleep 0.05; done`})
	as := users(t)[0]
	a := p.start(as)
	p.begun()
	p.do(func() { p.launch.State = muster.LaunchOver })
	if code := a.exit(); code != muster.ExitRefused {
		t.Errorf("exit code %d, want %d", code, muster.ExitRefused)
	}
	p.gone(as)
}

// TestBadMetrics looks at lines that are none.
func TestBadMetrics(t *testing.T) {
	p := newPlatform(t, muster.Spec{Command: `
		printf '%s\n' '{"name":"a","value":1}' 'nonsense' '{"name":"b","value":NaN}' '' '{"name":"c","value":"1"}' '{"value":1}' '{"name":"d","value":2,"step":1.5}' \
			'{"param":"p","value":0.1}' '{"name":"e","value":3,"time":1700000000.5}' '{"name":"f","value":1e999}' >> $MUSTER_METRICS_FILE
		head -c 200000 /dev/zero | tr '\0' 'x' >> $MUSTER_METRICS_FILE; echo >> $MUSTER_METRICS_FILE
		rm -f $MUSTER_METRICS_FILE || true
		printf '{"name":"last","value":4}' >> /proc/$PPID/nonsense 2>/dev/null || true`})
	if code := p.start(users(t)[0]).exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if len(p.metrics) != 2 || p.metrics[1].Time.UnixMilli() != 1700000000500 || p.params["p"] != "0.1" {
		t.Errorf("metrics %v, parameters %v", p.metrics, p.params)
	}
	for _, note := range []string{"line 2 of the metrics file is not kept: it is not JSON", "line 3 of the metrics file is not kept: NaN and Infinity", `line 5 of the metrics file is not kept: the value of "c" is not a number`,
		"line 6", "line 7", "line 10", "line 11 of the metrics file is not kept: it is longer"} {
		if !p.noted(note) {
			t.Errorf("it did not say %q, but %q", note, p.last().Notes)
		}
	}
}

// TestMetricUsage looks at the two commands that log.
func TestMetricUsage(t *testing.T) {
	exe, err := os.Executable()
	must(t, err)
	file := filepath.Join(t.TempDir(), "metrics")
	for args, want := range map[string]int{"metric a 1": 0, "metric a -1 --step -2": 0, "metric --step 2 a 1": 0, "metric a": 2, "metric a x": 2, "metric a nan": 2, "metric a 1 --stp 2": 2,
		"param a b": 0, "param a -- -b": 0, "param a": 2, "param a b c": 2} {
		cmd := exec.Command(exe, strings.Fields(args)...)
		cmd.Env = []string{"MUSTER_METRICS_FILE=" + file}
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != want {
			t.Errorf("%s: exit code %d, want %d: %s", args, code, want, out)
		}
	}
	cmd := exec.Command(exe, "metric", "a", "1")
	cmd.Env = []string{}
	if out, _ := cmd.CombinedOutput(); !strings.Contains(string(out), "from within a run's command") {
		t.Errorf("outside of a run it says %q", out)
	}
}

// TestOutOfMemory runs the agent in a memory cgroup that its command bursts.
func TestOutOfMemory(t *testing.T) {
	const root = "/sys/fs/cgroup/memory"
	group := filepath.Join(root, "muster-test-"+muster.RandomID(4))
	if err := os.Mkdir(group, 0o755); os.Geteuid() != 0 || err != nil {
		t.Skip("a writable cgroup v1 memory controller is missing")
	}
	t.Cleanup(func() { _ = os.Remove(group) })
	must(t, os.WriteFile(filepath.Join(group, "memory.limit_in_bytes"), []byte("100M"), 0o644))
	p := newPlatform(t, muster.Spec{Command: `head -c 300000000 /dev/zero | tail -c 300000000 | wc -c; exit ${PIPESTATUS[1]}`})
	script := filepath.Join(p.dir, "in-group")
	must(t, os.WriteFile(script, []byte("#!/bin/sh\necho $$ > "+group+"/tasks\nexec "+p.exe+" \"$@\"\n"), 0o755))
	p.exe = script
	as := users(t)[0]
	if code := p.start(as).exit(); code != 137 {
		t.Errorf("exit code %d, want 137", code)
	}
	if res := p.last().Result; res == nil || res.Fault != muster.FaultCommand || res.Failure != "out of memory: the limit is 100 MiB" {
		t.Errorf("result %+v", res)
	}
	p.gone(as)
}

// TestStartedAgain holds that an agent which Nomad starts a second time in one
// allocation, as after a loss of all of a machine's processes, does not begin the
// run anew and makes no failure of it.
func TestStartedAgain(t *testing.T) {
	p := newPlatform(t, muster.Spec{Command: "echo begun; sleep 600"})
	as := users(t)[0]
	a := p.start(as)
	p.begun()
	must(t, a.Process.Kill())
	a.exit()
	if code := p.start(as).exit(); code != muster.ExitRefused || p.last().Result != nil {
		t.Errorf("exit code %d, result %+v", code, p.last().Result)
	}
}
