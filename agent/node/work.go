package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"golang.org/x/sys/unix"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/host"
	"github.com/muster-ml/muster/agent/ship"
)

// work makes the node what the orders want, whenever they change, and looks at
// it again and again. The first row that matches tells what it does and says:
//
//	orders and node                            state      reason
//	no orders yet                              preparing  its agent has just started
//	another agent of this node still lives     preparing  waits for the end of the agent before it
//	there is a set-up, and
//	  it has failed in this boot               unusable   its set-up failed: exit code 3, at last: …
//	  it is not done, nor told to begin        preparing  waits until no run is on it
//	  its secrets are on the way               preparing  waits for its secrets; after a minute unusable
//	  it is not done                           preparing  its set-up runs, try 1 of 3
//	the node was not looked at yet             preparing  its checks are made
//	a check is not well                        unusable   check scratch: exit code 1: …
//	                                           ready
//
// Orders of another generation end what is done for the old one, and begin with
// the first row. A set-up is done when it has ended well in this boot: a file
// remembers that for the agents to come.
func (a *agent) work(ctx context.Context) {
	lock := a.settle(ctx)
	if lock == nil {
		return
	}
	defer lock.Close()
	for {
		o, changed := a.newest()
		if o != nil {
			a.follow(ctx, o)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-time.After(a.config.check):
		}
	}
}

// follow does what the orders want, as far as they let it now.
func (a *agent) follow(ctx context.Context, o *muster.NodeOrders) {
	known := a.done.Boot == a.config.boot && a.done.Generation == o.Generation
	if known {
		a.begun = o.Generation
	}
	switch {
	case o.Readying.Setup == nil:
	case known && a.done.Failure != "":
		a.tell(o, muster.HealthUnusable, a.done.Failure)
		return
	case known:
	case !o.Begin && a.begun != o.Generation:
		a.tell(o, muster.HealthPreparing, "waits until no run is on it")
		return
	case !a.setUp(ctx, o):
		return
	}
	a.look(ctx, o)
}

// tell reports, if that is news.
func (a *agent) tell(o *muster.NodeOrders, state muster.HealthState, reason string) {
	a.tellAll(func(r *muster.NodeReport) {
		r.Generation, r.Began, r.State, r.Reason = o.Generation, a.begun == o.Generation, state, reason
	})
}

// tellAll changes the report, if that is news.
func (a *agent) tellAll(f func(*muster.NodeReport)) {
	before := a.line.Report()
	r := before
	f(&r)
	if r == before {
		return
	}
	if r.State != before.State || r.Reason != before.Reason {
		a.log.Info("node", "state", r.State, "reason", r.Reason, "generation", r.Generation)
	}
	a.line.Change(f)
}

// settle makes the agent's folder, waits until it has it for itself, and reads
// what the agent before it has left. It returns nil when ctx ends.
func (a *agent) settle(ctx context.Context) *os.File {
	for ; ctx.Err() == nil; ship.Pause(ctx, 100*time.Millisecond) {
		lock, err := a.takeFolder()
		if err == nil {
			return lock
		}
		a.tellAll(func(r *muster.NodeReport) {
			r.State, r.Reason = muster.HealthUnusable, "its Muster folder cannot be used: "+err.Error()
			if errors.Is(err, unix.EWOULDBLOCK) {
				r.State, r.Reason = muster.HealthPreparing, "waits for the end of the agent before it"
			}
		})
	}
	return nil
}

// takeFolder takes the agent's folder over.
func (a *agent) takeFolder() (*os.File, error) {
	if err := os.MkdirAll(a.dir, 0o711); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	lock, err := host.TakeLock(a.dir, os.O_CREATE)
	if err != nil {
		return nil, err
	}
	logs, _ := filepath.Glob(filepath.Join(a.dir, "log-*")) // an error is of the pattern
	for _, dir := range logs {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err == nil {
		a.done, err = readDone(a.dir)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// look makes the checks and tells how the node is.
func (a *agent) look(ctx context.Context, o *muster.NodeOrders) {
	ctx, stop := a.while(ctx, func(n *muster.NodeOrders) bool {
		return n.Generation == o.Generation && reflect.DeepEqual(n.Readying, o.Readying)
	})
	defer stop()
	if r := a.line.Report(); r.Generation != o.Generation || r.State == muster.HealthPreparing || r.Began != (a.begun == o.Generation) {
		a.tell(o, muster.HealthPreparing, "its checks are made")
	}
	failure := a.check(ctx, o)
	switch {
	case ctx.Err() != nil:
	case failure != "":
		a.tell(o, muster.HealthUnusable, failure)
	default:
		a.tell(o, muster.HealthReady, "")
	}
}
