package engines

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// asParent, set in the environment, makes the test binary start a process, tell
// its number and wait to be killed.
const asParent = "TEST_ENGINES_PARENT"

func TestMain(m *testing.M) {
	if folder := os.Getenv(asParent); folder != "" {
		p, err := Start(sleeper(folder))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(p.Pid())
		io.Copy(io.Discard, os.Stdin)
		return
	}
	os.Exit(m.Run())
}

// sleeper is a program that does nothing for long.
func sleeper(folder string) Command {
	return Command{Name: "sleeper", Argv: []string{"sleep", "600"}, Log: filepath.Join(folder, "log"), Note: filepath.Join(folder, "process.json")}
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// runs reports whether a process runs.
func runs(pid int) bool {
	_, err := noteOf(pid)
	return err == nil
}

// TestDiesWithParent kills a parent: its child goes too.
func TestDiesWithParent(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asParent+"="+t.TempDir())
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if !runs(pid) {
		t.Fatalf("process %d does not run", pid)
	}
	cmd.Process.Kill()
	cmd.Wait()
	eventually(t, "the child dies with its parent", func() bool { return !runs(pid) })
}

// onDyingThread calls do on a thread that ends after it. The main thread never
// ends: who is on it keeps it, so that the next one is not.
func onDyingThread(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if syscall.Gettid() == os.Getpid() {
			onDyingThread(do)
			runtime.UnlockOSThread()
			return
		}
		do()
	}()
	<-done
}

// TestOutlivesThread starts a process from a thread that ends: it runs on, as
// its death signal is tied to another one.
func TestOutlivesThread(t *testing.T) {
	var p *Process
	var err error
	var thread int
	onDyingThread(func() {
		thread = syscall.Gettid()
		p, err = Start(sleeper(t.TempDir()))
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	eventually(t, "the thread ends", func() bool {
		_, err := os.Stat(filepath.Join("/proc/self/task", strconv.Itoa(thread)))
		return errors.Is(err, os.ErrNotExist)
	})
	select {
	case <-p.Exited():
		t.Error("the process died with the thread that asked for it")
	case <-time.After(100 * time.Millisecond):
	}
}

// TestStopLeftover stops the process of a note, and none that has its number.
func TestStopLeftover(t *testing.T) {
	folder := t.TempDir()
	c := sleeper(folder)
	p, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	b, err := os.ReadFile(c.Note)
	if err != nil {
		t.Fatal(err)
	}
	for _, stale := range []string{strings.Replace(string(b), `"started":"`, `"started":"1`, 1), strings.Replace(string(b), `"boot":"`, `"boot":"0`, 1), "{", `{"pid":0}`} {
		other := filepath.Join(folder, "other.json")
		write(t, other, stale, 0o600)
		if found, err := StopLeftover(other); found || err != nil {
			t.Errorf("%s stops a process: %v, %v", stale, found, err)
		}
	}
	if !runs(p.Pid()) {
		t.Fatal("a note of another process stopped it")
	}
	if found, err := StopLeftover(c.Note); !found || err != nil {
		t.Errorf("stop leftover: %v, %v", found, err)
	}
	<-p.Exited()
	if found, err := StopLeftover(c.Note); found || err != nil {
		t.Errorf("stop leftover again: %v, %v", found, err)
	}
}

// TestEnvironment starts a program among variables that would mislead it.
func TestEnvironment(t *testing.T) {
	for _, name := range []string{"NOMAD_ADDR", "NOMAD_TOKEN", "CONSUL_HTTP_TOKEN", "VAULT_TOKEN", "MUSTER_TOKEN"} {
		t.Setenv(name, "wrong")
	}
	t.Setenv("PLAIN", "right")
	log := filepath.Join(t.TempDir(), "logs", "log")
	p, err := Start(Command{Name: "env", Argv: []string{"env"}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Exited()
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "wrong") || !strings.Contains(string(b), "PLAIN=right") {
		t.Errorf("the environment is %s", b)
	}
}

// service runs a shell script that appends to the file "starts".
func service(t *testing.T, script string) (*Service, func() int) {
	t.Helper()
	folder := t.TempDir()
	starts := filepath.Join(folder, "starts")
	count := func() int {
		b, _ := os.ReadFile(starts)
		return strings.Count(string(b), "\n")
	}
	s := &Service{
		Command: Command{Name: "script", Argv: []string{"sh", "-c", `echo >> "$0"; ` + script, starts}, Log: filepath.Join(folder, "log"), Note: filepath.Join(folder, "note")},
		Ready: func(context.Context) error {
			if count() == 0 {
				return errors.New("nothing yet")
			}
			return nil
		},
		Grace: 10 * time.Second,
	}
	t.Cleanup(s.Kill)
	return s, count
}

// TestServiceRestarts kills a service's process behind its back, three times.
func TestServiceRestarts(t *testing.T) {
	s, starts := service(t, "exec sleep 600")
	died := make(chan error, 10)
	s.Died = func(err error) { died <- err }
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		pid := s.State().Pid
		syscall.Kill(pid, syscall.SIGKILL)
		if err := <-died; !strings.Contains(err.Error(), "script ended (signal: killed)") {
			t.Errorf("told %v", err)
		}
		eventually(t, "it runs again", func() bool {
			st := s.State()
			return starts() == i+2 && st.Pid != 0 && st.Pid != pid && st.Restarts == i+1
		})
	}
	pid := s.State().Pid
	s.Stop(nil)
	if st := s.State(); runs(pid) || st.Pid != 0 || st.Wanted {
		t.Errorf("after the stop: %+v", st)
	}
	if len(died) > 0 {
		t.Errorf("the stop was told as a death: %v", <-died)
	}
	if err := s.Start(t.Context()); err != nil || s.State().Pid == 0 {
		t.Errorf("start again: %v, %+v", err, s.State())
	}
}

// TestServiceEndsAtStart starts one that ends before it is ready.
func TestServiceEndsAtStart(t *testing.T) {
	s, _ := service(t, "echo first; echo no such flag >&2; exit 3")
	s.Ready = func(context.Context) error { return errors.New("never") }
	err := s.Start(t.Context())
	if muster.CodeOf(err) != muster.CodeUnreachable || !strings.HasPrefix(err.Error(), "script ended at its start (exit status 3): no such flag: see ") {
		t.Errorf("the error is %v", err)
	}
	if st := s.State(); st.Wanted || st.Pid != 0 {
		t.Errorf("after that: %+v", st)
	}
}

// TestServiceStubborn stops one that does not listen: its grace passes, or
// somebody is in a hurry.
func TestServiceStubborn(t *testing.T) {
	for _, c := range []struct {
		name  string
		grace time.Duration
		hurry chan struct{}
	}{{"grace", 50 * time.Millisecond, nil}, {"hurry", time.Hour, make(chan struct{})}} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := service(t, "trap '' TERM; while :; do sleep 0.1; done")
			s.Grace = c.grace
			if err := s.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			pid := s.State().Pid
			if c.hurry != nil {
				close(c.hurry)
			}
			s.Stop(c.hurry)
			if runs(pid) {
				t.Error("it runs on")
			}
		})
	}
}

// TestStartCancelled gives up waiting for one that never gets ready.
func TestStartCancelled(t *testing.T) {
	s, starts := service(t, "exec sleep 600")
	s.Ready = func(context.Context) error { return errors.New("never") }
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for starts() == 0 {
			runtime.Gosched()
		}
		cancel()
	}()
	if err := s.Start(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if st := s.State(); st.Wanted || st.Pid != 0 {
		t.Errorf("after that: %+v", st)
	}
}

// TestTrimLog puts a log aside while its process goes on to append to it.
func TestTrimLog(t *testing.T) {
	dir := t.TempDir()
	log, gate := filepath.Join(dir, "log"), filepath.Join(dir, "gate")
	p, err := Start(Command{Name: "talker", Log: log, Note: filepath.Join(dir, "note"),
		Argv: []string{"/bin/sh", "-c", `echo before; until [ -e "$1" ]; do sleep 0.05; done; echo after`, "sh", gate}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	text := func(path string) string {
		b, _ := os.ReadFile(path)
		return string(b)
	}
	eventually(t, "it has spoken", func() bool { return text(log) == "before\n" })
	if err := trimLog(log, 100); err != nil || text(log) != "before\n" {
		t.Errorf("a short log becomes %q, %v", text(log), err)
	}
	if err := trimLog(log, 3); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	<-p.Exited()
	if text(log) != "after\n" || text(log+".old") != "before\n" {
		t.Errorf("%q, and aside %q", text(log), text(log+".old"))
	}
}
