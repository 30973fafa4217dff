package engines

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A log of more than maxLog bytes is put aside when its process starts, and of one
// that goes on and on every trimEvery.
const (
	maxLog    = 10 << 20
	trimEvery = time.Minute
)

// Command is a program to run.
type Command struct {
	Name string // what people call it, such as "nomad"
	Argv []string
	Log  string // file that takes its output
	Note string // file that remembers the process, for StopLeftover
}

// Process is a running program. The kernel kills it when we die; what it
// started itself, such as Nomad's tasks, lives on.
type Process struct {
	command Command
	cmd     *exec.Cmd
	exited  chan struct{}
	err     error // of Wait; set before exited is closed
}

// Start starts the program in a process group of its own, so that a terminal's
// Ctrl-C reaches only us.
func Start(c Command) (*Process, error) {
	log, err := openLog(c.Log)
	if err != nil {
		return nil, fmt.Errorf("open log of %s: %w", c.Name, err)
	}
	defer log.Close()
	p := &Process{command: c, cmd: exec.Command(c.Argv[0], c.Argv[1:]...), exited: make(chan struct{})}
	p.cmd.Env = environment()
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	if c.Note != "" {
		if err := writeNote(c.Note, p.Pid()); err != nil && !errors.Is(err, fs.ErrNotExist) { // one that has ended needs no note
			p.Kill()
			return nil, fmt.Errorf("note process of %s: %w", c.Name, err)
		}
	}
	return p, nil
}

// run starts the program and waits for it. It keeps its thread, as the kernel
// sends the death signal when the *thread* that forked is gone.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := p.cmd.Start(); err != nil {
		started <- err
		return
	}
	started <- nil
	p.err = p.cmd.Wait()
	if p.command.Note != "" {
		os.Remove(p.command.Note)
	}
	close(p.exited)
}

// Pid returns the process's number.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// alive reports whether the process has not ended.
func (p *Process) alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Stop asks the process to end and kills it when it has not after the grace, or
// when hurry is closed.
func (p *Process) Stop(grace time.Duration, hurry <-chan struct{}) {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.exited:
		return
	case <-time.After(grace):
	case <-hurry:
	}
	p.Kill()
}

// Kill kills the process and waits for its end.
func (p *Process) Kill() {
	p.signal(syscall.SIGKILL)
	<-p.exited
}

// signal sends a signal; a process that is gone needs none.
func (p *Process) signal(s os.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.cmd.Process.Kill()
	}
}

// environment is ours without what would lead an engine or the server to
// somebody else's.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return slices.ContainsFunc([]string{"NOMAD_", "CONSUL_", "VAULT_", "MUSTER_"}, func(prefix string) bool { return strings.HasPrefix(v, prefix) })
	})
}

// trimLog puts a long log aside while its process goes on to append to it. What
// is said while it is copied may be lost.
func trimLog(path string, longest int64) error {
	info, err := os.Stat(path)
	if err != nil || info.Size() <= longest {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".old", text, 0o600); err != nil {
		return err
	}
	return os.Truncate(path, 0)
}

// openLog opens a log to append to, and puts a long one aside.
func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}
