package host

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a command, seen from the agent through its guard.
type Process struct {
	guard  *exec.Cmd
	orders *os.File
	pid    int
	ended  chan struct{} // closed when ending and err are set
	ending Ending
	err    error

	Peak atomic.Int64 // bytes, of all its processes together
}

// Start starts a command; its streams go to stdout and stderr, which stay open
// here.
func Start(o Order, stdout, stderr *os.File) (*Process, error) {
	ordersR, ordersW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ordersR.Close()
	eventsR, eventsW, err := os.Pipe()
	if err != nil {
		_ = ordersW.Close()
		return nil, err
	}
	defer eventsW.Close()
	p := &Process{orders: ordersW, ended: make(chan struct{})}
	p.guard = exec.Command("/proc/self/exe", GuardVerb)
	p.guard.Args[0] = "muster-agent"
	p.guard.Env = []string{"GOMAXPROCS=2"}
	p.guard.Stdout, p.guard.Stderr = stdout, stderr
	p.guard.ExtraFiles = []*os.File{ordersR, eventsW}
	p.guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.guard.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start guard: %w", err), ordersW.Close(), eventsR.Close())
	}
	_ = eventsW.Close() // so that the guard's end is the end of its events
	events := bufio.NewReader(eventsR)
	if err := p.begin(o, events); err != nil {
		_ = ordersW.Close()
		_ = p.guard.Wait()
		return nil, errors.Join(err, eventsR.Close())
	}
	go p.watch(events, eventsR)
	return p, nil
}

// PID returns the command's process id.
func (p *Process) PID() int { return p.pid }

// begin gives the order and hears that the command was started.
func (p *Process) begin(o Order, events *bufio.Reader) error {
	line, err := json.Marshal(o)
	if err != nil {
		return err
	}
	if _, err := p.orders.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("give order to guard: %w", err)
	}
	e, err := readEvent(events)
	if e.TooLong {
		return tooLong(o)
	}
	if err != nil {
		return fmt.Errorf("hear from guard: %w", err)
	}
	p.pid = e.PID
	return nil
}

// ErrTooLong is of a command that the kernel starts on no node.
var ErrTooLong = errors.New("the command cannot be started")

// tooLong says what of an order is longest, where the kernel starts nothing so
// long.
func tooLong(o Order) error {
	what, size := "the command", len(o.Args[len(o.Args)-1])
	for _, pair := range o.Env {
		if name, _, _ := strings.Cut(pair, "="); len(pair) > size {
			what, size = "the variable "+name, len(pair)
		}
	}
	return fmt.Errorf("%w: it and each variable may have 128 KiB, all together a few MiB, and %s has %d KiB: "+
		"hand long texts over in a file", ErrTooLong, what, size>>10)
}

// readEvent reads what the guard tells next.
func readEvent(events *bufio.Reader) (e event, err error) {
	line, err := events.ReadBytes('\n')
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return e, err
	}
	if e.Error != "" {
		return e, errors.New(e.Error)
	}
	return e, nil
}

// watch samples the command's memory until the guard tells the end. Where
// somebody killed the guard, the agent inherits what was below it and kills it.
func (p *Process) watch(events *bufio.Reader, file *os.File) {
	defer close(p.ended)
	defer file.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		e, err := readEvent(events)
		p.ending, p.err = e.Ending, err
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.Peak.Store(max(p.Peak.Load(), rss(p.guard.Process.Pid)))
			continue
		case <-done:
		}
		break
	}
	_ = p.guard.Wait()
	_ = p.orders.Close()
	if p.err != nil {
		killBelow(straysLimit)
		p.err = fmt.Errorf("the command's guard was killed: %w", p.err)
	}
}

// Ended is closed when the command has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Ending tells how the command ended, which it must have. The error is that
// somebody killed its guard.
func (p *Process) Ending() (Ending, error) { return p.ending, p.err }

// Signal signals the command's process group; SIGKILL reaches all it has
// started.
func (p *Process) Signal(sig syscall.Signal) {
	_, _ = p.orders.Write([]byte{byte(sig)}) // an error means that it has ended
}

// SignalName returns a signal's name, such as SIGKILL.
func SignalName(sig int) string {
	if name := unix.SignalName(syscall.Signal(sig)); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", sig)
}

// Shell returns what executes commands here, "" where there is none.
func Shell() string {
	for _, shell := range []string{"/bin/bash", "/bin/sh"} {
		if _, err := os.Stat(shell); err == nil {
			return shell
		}
	}
	return ""
}
