package run

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

	"github.com/muster-ml/muster"
)

// process is the command, seen from the agent through its guard.
type process struct {
	guard  *exec.Cmd
	orders *os.File
	pid    int
	peak   atomic.Int64  // bytes, of all its processes together
	ended  chan struct{} // closed when ending is set
	ending guardEvent
	err    error // the guard itself ended badly
}

// startProcess starts the command; its streams go to stdout and stderr, which
// are closed here.
func startProcess(o order, stdout, stderr *os.File) (*process, error) {
	defer stdout.Close()
	defer stderr.Close()
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
	p := &process{orders: ordersW, ended: make(chan struct{})}
	p.guard = exec.Command("/proc/self/exe", guardVerb)
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

// begin gives the order and hears that the command was started.
func (p *process) begin(o order, events *bufio.Reader) error {
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

// tooLong says what of an order is longest, where the kernel starts nothing so
// long. It is the command's fault: it would be so on every node.
func tooLong(o order) *failure {
	what, size := "the command", len(o.Args[len(o.Args)-1])
	for _, pair := range o.Env {
		if name, _, _ := strings.Cut(pair, "="); len(pair) > size {
			what, size = "the variable "+name, len(pair)
		}
	}
	return failed(muster.FaultCommand, "the command cannot be started: it and each variable may have 128 KiB, all together a few MiB, and %s has %d KiB: "+
		"hand long texts over in a file", what, size>>10)
}

// readEvent reads what the guard tells next.
func readEvent(events *bufio.Reader) (e guardEvent, err error) {
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
func (p *process) watch(events *bufio.Reader, file *os.File) {
	defer close(p.ended)
	defer file.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.ending, p.err = readEvent(events)
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.peak.Store(max(p.peak.Load(), rss(p.guard.Process.Pid)))
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

// signal signals the command's process group; SIGKILL reaches all it has
// started.
func (p *process) signal(sig syscall.Signal) {
	_, _ = p.orders.Write([]byte{byte(sig)}) // an error means that it has ended
}

// signalName returns a signal's name, such as SIGKILL.
func signalName(sig int) string {
	if name := unix.SignalName(syscall.Signal(sig)); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", sig)
}
