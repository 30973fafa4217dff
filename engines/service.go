package engines

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/muster-ml/muster"
)

// Times of a service. A process that ran for steadyAfter has earned a quick
// restart again.
const (
	firstBackOff = 200 * time.Millisecond
	maxBackOff   = 10 * time.Second
	steadyAfter  = 30 * time.Second
	readyWithin  = 90 * time.Second
)

// Service keeps a program running: it starts it again when it ends unasked.
type Service struct {
	Command Command
	Ready   func(context.Context) error // asks once; nil means ready
	Grace   time.Duration               // between the polite stop and the kill
	Died    func(err error)             // told when it ended unasked, and what else is wrong with it; may be nil

	acts     sync.Mutex // held by Start, Stop and Kill: one at a time
	mu       sync.Mutex // guards what follows, for a moment
	process  *Process
	restarts int
	stop     chan struct{} // closed to end the supervision; nil while there is none
	done     chan struct{} // closed when it has ended
}

// State is what a service is doing.
type State struct {
	Name     string
	Pid      int // 0 while it does not run
	Wanted   bool
	Restarts int // after it ended unasked
}

// State returns what the service is doing.
func (s *Service) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := State{Name: s.Command.Name, Wanted: s.stop != nil, Restarts: s.restarts}
	if s.process != nil && s.process.alive() {
		st.Pid = s.process.Pid()
	}
	return st
}

// Start starts the program and waits until it is ready. One that ends before
// that is not tried again: its first words say why.
func (s *Service) Start(ctx context.Context) error {
	s.acts.Lock()
	defer s.acts.Unlock()
	s.mu.Lock()
	if s.stop != nil {
		s.mu.Unlock()
		return s.awaitReady(ctx, nil)
	}
	p, err := Start(s.Command)
	if err != nil {
		s.mu.Unlock()
		return err
	}
	stop, done := make(chan struct{}), make(chan struct{})
	s.process, s.stop, s.done = p, stop, done
	s.mu.Unlock()
	if err := s.awaitReady(ctx, p); err != nil {
		p.Kill()
		s.mu.Lock()
		s.process, s.stop, s.done = nil, nil, nil
		s.mu.Unlock()
		return err
	}
	go s.supervise(p, stop, done)
	return nil
}

// awaitReady asks until the program is ready. With a process, its end ends the
// wait.
func (s *Service) awaitReady(ctx context.Context, p *Process) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	var exited <-chan struct{}
	if p != nil {
		exited = p.Exited()
	}
	for {
		err := s.Ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-exited:
			return muster.Errorf(muster.CodeUnreachable, "%s ended at its start (%v): %s", s.Command.Name, p.err, lastWords(s.Command.Log)).
				WithCure("see %s", s.Command.Log)
		case <-ctx.Done():
			if context.Cause(ctx) == context.Canceled {
				return ctx.Err()
			}
			return muster.Errorf(muster.CodeUnreachable, "%s is not ready after %s: %v", s.Command.Name, readyWithin, err).WithCure("see %s", s.Command.Log)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// supervise starts the program anew, later each time, until it is told to stop.
func (s *Service) supervise(p *Process, stop, done chan struct{}) {
	defer close(done)
	backOff := firstBackOff
	for begin := time.Now(); ; begin = time.Now() {
		if !s.await(p, stop) {
			return
		}
		s.tell(fmt.Errorf("%s ended (%v), starting it again", s.Command.Name, p.err))
		if time.Since(begin) > steadyAfter {
			backOff = firstBackOff
		}
		for p = nil; p == nil; backOff = min(2*backOff, maxBackOff) {
			select {
			case <-stop:
				return
			case <-time.After(backOff):
			}
			p = s.again(stop)
		}
	}
}

// await returns when the program has ended, false when it is told to stop.
// Meanwhile it keeps the log short.
func (s *Service) await(p *Process, stop chan struct{}) bool {
	for {
		select {
		case <-stop:
			return false
		case <-p.Exited():
			return true
		case <-time.After(trimEvery):
			if err := trimLog(s.Command.Log, maxLog); err != nil {
				s.tell(err)
			}
		}
	}
}

// tell says what went wrong to who wants to know.
func (s *Service) tell(err error) {
	if s.Died != nil {
		s.Died(err)
	}
}

// again starts the program once more; nil if that did not work, or if it is not
// wanted any more.
func (s *Service) again(stop chan struct{}) *Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != stop {
		return nil
	}
	p, err := Start(s.Command)
	if err != nil {
		s.tell(err)
		return nil
	}
	s.process = p
	s.restarts++
	return p
}

// Stop ends the program, politely until its grace has passed or hurry, which
// may be nil, is closed.
func (s *Service) Stop(hurry <-chan struct{}) { s.end(func(p *Process) { p.Stop(s.Grace, hurry) }) }

// Kill kills the program. It stays down until Start.
func (s *Service) Kill() { s.end(func(p *Process) { p.Kill() }) }

// end ends the supervision, then the process.
func (s *Service) end(finish func(*Process)) {
	s.acts.Lock()
	defer s.acts.Unlock()
	s.mu.Lock()
	p, stop, done := s.process, s.stop, s.done
	if stop == nil {
		s.mu.Unlock()
		return
	}
	s.process, s.stop, s.done = nil, nil, nil
	s.mu.Unlock()
	close(stop)
	<-done
	finish(p)
}

// lastWords returns the last line of a log.
func lastWords(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
