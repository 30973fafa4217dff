package ship

import (
	"context"
	"sync"
	"time"
)

// Line is an agent's line to the server: it tells what the agent does, a report
// of type R, at once when it changes, and otherwise keeps a report waiting there
// to hear what is wanted, orders of type O.
type Line[R, O any] struct {
	hold time.Duration
	post func(ctx context.Context, report R, hold time.Duration) (*O, error)

	mu      sync.Mutex
	report  R
	version int           // of report
	changed chan struct{} // closed and made anew at every change
}

// NewLine makes a line, with what is to be told first and how long a report may
// wait at the server. post sends a report, once; its answer may be held back for
// the time that it is given.
func NewLine[R, O any](first R, hold time.Duration, post func(ctx context.Context, report R, hold time.Duration) (*O, error)) *Line[R, O] {
	return &Line[R, O]{hold: hold, post: post, report: first, version: 1, changed: make(chan struct{})}
}

// Change changes the report and wakes the sender.
func (l *Line[R, O]) Change(f func(*R)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.report)
	l.version++
	close(l.changed)
	l.changed = make(chan struct{})
}

// Report returns the report as it is now.
func (l *Line[R, O]) Report() R {
	report, _, _ := l.snapshot()
	return report
}

// snapshot returns the report as it is now, its version, and what is closed when
// it changes.
func (l *Line[R, O]) snapshot() (R, int, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.report, l.version, l.changed
}

// firstAnswer is the least time between a report that may wait and the next.
const firstAnswer = 100 * time.Millisecond

// Run reports until hear says that a report was the last, the server wants no
// more, or ctx ends. It calls hear with every answer and the report that it is
// to.
func (l *Line[R, O]) Run(ctx context.Context, hear func(R, *O) (last bool)) error {
	acked := 0
	for {
		report, version, changed := l.snapshot()
		hold := l.hold
		if version != acked {
			hold, changed = 0, nil // this report is the change: it is not to be broken off
		}
		began := time.Now()
		orders, err := l.send(ctx, report, hold, changed)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		case orders == nil:
			continue
		}
		acked = version
		if hear(report, orders) {
			return nil
		}
		if hold > 0 && time.Since(began) < firstAnswer {
			Pause(ctx, firstAnswer)
		}
	}
}

// send sends a report until it is answered. One that waits at the server is
// broken off, without orders and error, when there is something new to tell.
func (l *Line[R, O]) send(ctx context.Context, report R, hold time.Duration, changed <-chan struct{}) (orders *O, err error) {
	try, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-changed:
			cancel()
		case <-try.Done():
		}
	}()
	err = Retry(try, func(ctx context.Context) error {
		once, stop := context.WithTimeout(ctx, hold+15*time.Second)
		defer stop()
		orders, err = l.post(once, report, hold)
		return err
	})
	if try.Err() != nil {
		return nil, nil
	}
	return orders, err
}
