package cli_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/muster-ml/muster/cli"
)

// programs builds both programs once for all tests, beside each other.
var programs = sync.OnceValues(func() (string, error) {
	built.Store(true)
	dir, err := os.MkdirTemp("", "muster-cli-test-")
	if err != nil {
		return "", err
	}
	for name, env := range map[string]string{"muster": "CGO_ENABLED=1", "muster-agent": "CGO_ENABLED=0"} {
		cmd := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(dir, name), "../cmd/"+name)
		cmd.Env = append(os.Environ(), env)
		if out, err := cmd.CombinedOutput(); err != nil {
			return dir, errors.New(string(out))
		}
	}
	return dir, nil
})

// built is whether programs were built.
var built atomic.Bool

// tidied removes the programs after the tests.
type tidied struct{ *testing.M }

func (m tidied) Run() int {
	code := m.M.Run()
	if built.Load() {
		if dir, _ := programs(); dir != "" {
			os.RemoveAll(dir)
		}
	}
	return code
}

// TestMain lets scripts run this binary as muster.
func TestMain(m *testing.M) {
	testscript.Main(tidied{m}, map[string]func(){"muster": func() { os.Exit(cli.Main(context.Background(), os.Args)) }})
}

// platform is a "muster dev" with folders of its own.
type platform struct {
	*exec.Cmd
	out, err *log
	temp     string // its temporary folder
	ended    chan error
}

// log takes output while a test reads it.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// publicFolder makes a folder that runs, which are not root, may reach.
func publicFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o711), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// muster prepares a command of the CLI that finds what lies in the data home.
func muster(t *testing.T, home string, args ...string) *exec.Cmd {
	t.Helper()
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "muster"), args...)
	cmd.Env = slices.DeleteFunc(append(os.Environ(), "XDG_DATA_HOME="+home), func(v string) bool { return strings.HasPrefix(v, "MUSTER_") })
	return cmd
}

// dev starts "muster dev" with more arguments.
func dev(t *testing.T, home string, args ...string) *platform {
	t.Helper()
	p := &platform{Cmd: muster(t, home, append([]string{"dev"}, args...)...), out: &log{}, err: &log{}, temp: publicFolder(t), ended: make(chan error, 1)}
	p.Stdout, p.Stderr = p.out, p.err
	p.Env = append(p.Env, "TMPDIR="+p.temp)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.Wait() }()
	t.Cleanup(func() { p.Process.Kill() })
	return p
}

// says waits for words in the output.
func (p *platform) says(t *testing.T, words string) {
	t.Helper()
	eventually(t, "muster dev says "+words, func() bool {
		select {
		case err := <-p.ended:
			t.Fatalf("muster dev ended (%v) before it said %q: %s%s", err, words, p.out, p.err)
		default:
		}
		return strings.Contains(p.out.String(), words)
	})
}

// ends waits for the end, looks at the exit code and for what is left.
func (p *platform) ends(t *testing.T, code int) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		t.Fatalf("muster dev does not end: %s%s", p.out, p.err)
	}
	if got := p.ProcessState.ExitCode(); got != code {
		t.Errorf("muster dev exits with %d, want %d: %s%s", got, code, p.out, p.err)
	}
	if left, _ := filepath.Glob(filepath.Join(p.temp, "*")); len(left) > 0 {
		t.Errorf("files are left: %q", left)
	}
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// submit submits a job file with that command, as run "work".
func submit(t *testing.T, home, command string) {
	t.Helper()
	cmd := muster(t, home, "run", "submit", "-", "--name", "work")
	cmd.Stdin = strings.NewReader("command: |\n  " + command + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("submit: %v: %s", err, out)
	}
}

// TestDevCommand runs a command against a throw-away platform.
func TestDevCommand(t *testing.T) {
	p := dev(t, publicFolder(t), "--ephemeral", "--", "sh", "-c", `muster workspace list -o json && curl=$MUSTER_ADDR; test -n "$curl" && test -n "$MUSTER_TOKEN" && exit 7`)
	p.ends(t, 7)
	if out := strings.TrimSpace(p.out.String()); !strings.HasPrefix(out, "[") && !strings.HasPrefix(out, "{") || !strings.Contains(out, `"default"`) {
		t.Errorf("stdout holds more or less than what the command says: %q", out)
	}
}

// TestDevCommandSignalled ends a command by a signal to muster dev, which
// reaches all that the command started.
func TestDevCommandSignalled(t *testing.T) {
	note := filepath.Join(publicFolder(t), "note")
	p := dev(t, publicFolder(t), "--ephemeral", "--", "sh", "-c", `sh -c 'trap "echo heard > \"$0\"; exit 0" TERM; echo started; while :; do sleep 0.1; done' "$0"; true`, note)
	p.says(t, "started")
	p.Process.Signal(syscall.SIGTERM)
	p.ends(t, 128+int(syscall.SIGTERM))
	eventually(t, "what the command started hears the signal", func() bool { b, _ := os.ReadFile(note); return string(b) == "heard\n" })
}

// TestDevUsage refuses what makes no sense before anything starts.
func TestDevUsage(t *testing.T) {
	for want, args := range map[string][]string{
		"exclude each other": {"--ephemeral", "--data-dir", "somewhere"},
		"nosuchcommand":      {"--ephemeral", "--", "nosuchcommand"},
	} {
		p := dev(t, publicFolder(t), args...)
		p.ends(t, 2)
		if !strings.Contains(p.err.String(), want) {
			t.Errorf("%q: stderr is %q, want it to say %q", args, p.err, want)
		}
	}
}

// TestDevStartInterrupted interrupts a start, early and late.
func TestDevStartInterrupted(t *testing.T) {
	for _, part := range []string{"lock", "nodes"} {
		home := publicFolder(t)
		p := dev(t, home)
		eventually(t, part+" is there", func() bool { _, err := os.Stat(filepath.Join(home, "muster", "dev", part)); return err == nil })
		p.Process.Signal(os.Interrupt)
		p.ends(t, 128+int(syscall.SIGINT))
	}
}

// TestDevKilled kills muster dev while a run runs: the next start takes the run
// over, and the CLI finds it as before.
func TestDevKilled(t *testing.T) {
	home, work := publicFolder(t), publicFolder(t)
	first := dev(t, home)
	first.says(t, "Ctrl-C stops")
	submit(t, home, `echo $$ >> "`+work+`/starts"; while ! test -e "`+work+`/go"; do sleep 0.1; done; echo done`)
	starts := func() int {
		b, _ := os.ReadFile(filepath.Join(work, "starts"))
		return strings.Count(string(b), "\n")
	}
	eventually(t, "the run starts", func() bool { return starts() == 1 })
	first.Process.Kill()
	<-first.ended

	second := dev(t, home)
	second.says(t, "Ctrl-C stops")
	if err := os.WriteFile(filepath.Join(work, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := muster(t, home, "run", "wait", "work").CombinedOutput(); err != nil {
		t.Errorf("the run ends with %v: %s", err, out)
	}
	if out, err := muster(t, home, "run", "logs", "work").Output(); err != nil || string(out) != "done\n" {
		t.Errorf("its log is %q, %v", out, err)
	}
	if n := starts(); n != 1 {
		t.Errorf("the command was started %d times", n)
	}
	second.Process.Signal(os.Interrupt)
	second.ends(t, 0)
}

// TestDevElsewhere finds a platform that lies where the CLI does not look by the
// line that it prints.
func TestDevElsewhere(t *testing.T) {
	folder := filepath.Join(publicFolder(t), "a folder")
	p := dev(t, publicFolder(t), "--data-dir", folder)
	p.says(t, "there say first: ")
	_, line, _ := strings.Cut(p.out.String(), "there say first: ")
	shell := exec.Command("bash", "-c", strings.TrimSpace(line)+"\nexec \"$0\" workspace list", muster(t, folder).Path)
	if out, err := shell.CombinedOutput(); err != nil || !strings.Contains(string(out), "default") {
		t.Errorf("%q: %v: %s", line, err, out)
	}
	p.Process.Signal(os.Interrupt)
	p.ends(t, 0)
}

// TestDevInterruptedTwice stops with a run that does not listen: the second
// Ctrl-C does not wait for it.
func TestDevInterruptedTwice(t *testing.T) {
	home, work := publicFolder(t), publicFolder(t)
	p := dev(t, home)
	p.says(t, "Ctrl-C stops")
	submit(t, home, `trap '' TERM INT; touch "`+work+`/started"; while :; do sleep 0.1; done`)
	eventually(t, "the run starts", func() bool { _, err := os.Stat(filepath.Join(work, "started")); return err == nil })
	p.Process.Signal(os.Interrupt)
	p.says(t, "stopping the runs on node local")
	begin := time.Now()
	p.Process.Signal(os.Interrupt)
	p.ends(t, 0)
	if took := time.Since(begin); took > 8*time.Second {
		t.Errorf("the second Ctrl-C took %s", took)
	}
}
