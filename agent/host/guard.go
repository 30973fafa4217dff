package host

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// GuardVerb is the word by which the agent starts itself as the guard: a process
// between the agent and the command, with the agent's rights. It outlives the
// command and, by a moment, the agent, and so can end whatever the command
// left, however it hid.
const GuardVerb = "guard"

// The guard's files: orders come in by one, what happened goes out by the other.
const (
	ordersFD = 3
	eventsFD = 4
)

// Order is the first thing that the guard reads: what to start.
type Order struct {
	Args    []string
	Dir     string
	Env     []string
	Account Account
	Trusted bool   // it may gain rights, and counts for as much as the agent where memory runs out
	Leave   string // the allocation whose cgroups it leaves: they bound its memory by what the agent needs
	Lasting bool   // what it leaves behind stays when it ends with 0
}

// event is what the guard tells, one JSON line each: first the process id
// or an error, at last how it ended.
type event struct {
	PID     int
	Error   string
	TooLong bool // the error is that the command or its variables are
	Ending
}

// Ending is how a command ended.
type Ending struct {
	ExitCode   int
	Signal     int
	CPUSeconds float64
	PeakBytes  int64 // of the largest process
	Strays     int   // processes that were left behind and killed
}

// straysLimit is how long the guard tries to kill what the command left.
const straysLimit = 10 * time.Second

// Guard is the guard's main. A signal that it reads is passed on to the
// command's process group, SIGKILL to all there is; the end of its orders means
// that the agent is dead, and ends everything.
func Guard() int {
	runtime.LockOSThread() // the command's parent-death signal is bound to this thread
	signal.Notify(make(chan os.Signal, 8), unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT)
	unix.CloseOnExec(ordersFD)
	unix.CloseOnExec(eventsFD)
	in, out := bufio.NewReader(os.NewFile(ordersFD, "orders")), json.NewEncoder(os.NewFile(eventsFD, "events"))
	o, pid, err := startGuarded(in)
	if err != nil {
		_ = out.Encode(event{Error: err.Error(), TooLong: errors.Is(err, unix.E2BIG)})
		return 1
	}
	_ = out.Encode(event{PID: pid}) // an agent that is gone is seen by its orders' end
	var stopping atomic.Bool
	go obey(in, pid, &stopping)
	status := awaitEnd(pid, &stopping)
	e := event{Ending: Ending{ExitCode: status.ExitStatus()}}
	if !o.Lasting || status.ExitStatus() != 0 {
		e.Strays = killBelow(straysLimit)
	}
	if status.Signaled() {
		e.Signal = int(status.Signal())
		e.ExitCode = 128 + e.Signal
	}
	var used unix.Rusage
	if unix.Getrusage(unix.RUSAGE_CHILDREN, &used) == nil {
		e.CPUSeconds = time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
		e.PeakBytes = used.Maxrss * 1024
	}
	_ = out.Encode(e)
	return 0
}

// awaitEnd waits for the end of the command. While it is told to stop, that is
// the end of all that it started: a shell often dies of the signal at once, while
// the program that it ran still writes its last checkpoint.
func awaitEnd(pid int, stopping *atomic.Bool) (status unix.WaitStatus) {
	for got, err := 0, error(nil); got != pid && (err == nil || errors.Is(err, unix.EINTR)); {
		got, err = unix.Wait4(-1, &status, 0, nil)
	}
	for stopping.Load() {
		switch got, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); {
		case errors.Is(err, unix.ECHILD): // nothing is left
			return status
		case got <= 0:
			time.Sleep(10 * time.Millisecond)
		}
	}
	return status
}

// startGuarded reads the order and starts the command.
func startGuarded(in *bufio.Reader) (o Order, pid int, err error) {
	line, err := in.ReadBytes('\n')
	if err != nil {
		return o, 0, fmt.Errorf("read order: %w", err)
	}
	if err := json.Unmarshal(line, &o); err != nil {
		return o, 0, fmt.Errorf("read order: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return o, 0, fmt.Errorf("become subreaper: %w", err)
	}
	if !o.Trusted {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return o, 0, fmt.Errorf("set no_new_privs: %w", err)
		}
	}
	if err := leaveCgroups(o.Leave); err != nil {
		fmt.Fprintln(os.Stderr, "muster-agent: this has no more memory than its agent:", err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return o, 0, err
	}
	sys := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if a := o.Account; a.Change {
		sys.Credential = &syscall.Credential{Uid: uint32(a.UID), Gid: uint32(a.GID), Groups: []uint32{}}
	}
	pid, err = syscall.ForkExec(o.Args[0], o.Args, &syscall.ProcAttr{Dir: o.Dir, Env: o.Env, Files: []uintptr{null.Fd(), 1, 2}, Sys: sys})
	if err != nil {
		return o, 0, fmt.Errorf("start %s in %s: %w", o.Args[0], o.Dir, err)
	}
	if !o.Trusted {
		// Memory that runs out is to cost the command before the agent. It may be
		// refused to an agent that is not root, and is a mere hint then.
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("500"), 0)
	}
	return o, pid, nil
}

// obey passes signals on until the agent is gone.
func obey(in io.ByteReader, pid int, stopping *atomic.Bool) {
	for {
		sig, err := in.ReadByte()
		if err != nil {
			killBelow(straysLimit)
			os.Exit(1)
		}
		stopping.Store(syscall.Signal(sig) != syscall.SIGKILL)
		if stopping.Load() {
			_ = unix.Kill(-pid, syscall.Signal(sig)) // it may have ended by itself
			continue
		}
		for _, p := range descendants(os.Getpid()) {
			_ = unix.Kill(p, unix.SIGKILL)
		}
	}
}
