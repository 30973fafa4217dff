// Package run is the agent in a launch: it claims an attempt's instance, brings
// code and inputs, runs the command as another user, ships what the command
// writes while it runs and what it leaves when it ends, and tells the server.
package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/host"
	"github.com/muster-ml/muster/agent/ship"
	"github.com/muster-ml/muster/client"
)

// agent executes one instance of an attempt.
type agent struct {
	config *config
	user   host.Account
	notes  []string // what this node lacks
	log    *slog.Logger
	client *client.Agent

	stop func(error) // ends the work: code, inputs, command; what there is is still uploaded
	end  func(error) // ends everything at once

	assignment *muster.Assignment
	reporter   *reporter
	peers      chan struct{} // closed when every instance has claimed
	folder     *folder
	inputs     map[string]string // what the command reads for them
	outputs    map[string]string
	saved      *checkpoint
	shipping   sync.WaitGroup // logs and metrics
	unshipped  atomic.Pointer[failure]
	stopping   atomic.Pointer[muster.StopReason] // why the server wants it to end
	hurried    atomic.Bool                       // Nomad has signalled, and kills soon
	unfit      *failure                          // why nothing can be done on this node
}

// Execute is the command "run".
func Execute() int {
	unix.Umask(0o022)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		log.Warn("become subreaper", "error", err)
	}
	c, err := readConfig()
	if err != nil {
		return host.Told(err)
	}
	var notes []string
	if c.image == "" {
		notes = inspect(makePrivate())
	}
	user, err := c.account()
	if err != nil {
		return host.Told(err)
	}
	a := &agent{config: c, user: user, notes: notes, log: log, peers: make(chan struct{}),
		inputs: map[string]string{}, outputs: map[string]string{}}
	a.client = client.NewAgent(client.AgentConfig{Launch: c.launch, Servers: c.Servers, Token: c.Token, Discover: ship.FromConsul(c.Consul)})
	if c.CA != "" {
		if err := a.client.Trust([]byte(c.CA)); err != nil {
			return host.Told(err)
		}
	}
	return a.run()
}

// spec returns what the run is to do.
func (a *agent) spec() *muster.Spec { return &a.assignment.Spec }

// run claims and, when the claim is won, executes the instance. Two contexts
// bound it: work ends by an order to stop, life when nothing may be done any
// more.
func (a *agent) run() int {
	life, end := context.WithCancelCause(context.Background())
	defer end(nil)
	work, stop := context.WithCancelCause(life)
	a.stop, a.end = stop, end
	a.obeySignals()
	fence := newFence(a.config, a.client.Reached)
	a.notes = append(a.notes, fence.lacks(a.config)...)
	go func() {
		if err := fence.watch(life); err != nil {
			end(err)
		}
	}()
	if a.config.restarted() {
		a.log.Error("an agent of this allocation was here before: its node was restarted")
		return muster.ExitRefused
	}
	if err := a.claim(work); err != nil {
		a.log.Error("claim", "launch", a.config.launch, "error", err)
		if client.Temporary(err) || work.Err() != nil {
			return 1
		}
		return muster.ExitRefused
	}
	reported := make(chan error, 1)
	go func() { reported <- a.reporter.run(life) }()
	res := a.instance(life, work)
	a.reporter.end(res)
	return a.leave(res, <-reported)
}

// obeySignals takes Nomad's signal, the backstop, for an order to stop.
func (a *agent) obeySignals() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	go func() {
		for s := range signals {
			a.hurried.Store(true)
			a.stop(failed(muster.FaultStopped, "stopped by Nomad (%s)", s))
		}
	}()
}

// claimLimit is how long one claim may take before it is made again.
const claimLimit = 15 * time.Second

// claim claims the instance until a server answers.
func (a *agent) claim(ctx context.Context) error {
	boot, err := host.Boot()
	if err != nil {
		return err
	}
	q := &muster.ClaimRequest{BootID: boot, Version: muster.Version, Notes: a.notes}
	// The answer is held back while the node is made ready, and asked for again.
	for a.assignment == nil || a.assignment.Waits != "" {
		if err := ship.Retry(ctx, func(ctx context.Context) (err error) {
			once, stop := context.WithTimeout(ctx, claimLimit)
			defer stop()
			a.assignment, err = a.client.Claim(once, q)
			return err
		}); err != nil {
			return err
		}
	}
	if runAs := a.assignment.RunAs; runAs != "" && a.config.image == "" {
		if a.user, err = host.FindAccount(runAs); err != nil {
			a.unfit = failed(muster.FaultPlatform, "%v", err)
		}
	}
	a.reporter = newReporter(a.client, a.assignment, a.config.fence)
	a.reporter.onStop = func(why muster.StopReason) {
		a.stopping.Store(&why)
		a.stop(failed(muster.FaultStopped, "stopped: %s", why))
	}
	a.reporter.onGo = sync.OnceFunc(func() { close(a.peers) })
	a.reporter.onOver = func(err error) { a.end(fmt.Errorf("%w: %w", errOver, err)) }
	return nil
}

// instance does all that is to be done between claim and last report.
func (a *agent) instance(life, work context.Context) *muster.Result {
	if a.unfit != nil {
		return resultOf(a.unfit)
	}
	if err := a.settle(); err != nil {
		return resultOf(err)
	}
	res := a.prepareAndRun(life, work)
	a.reporter.enter(muster.PhaseUploading)
	a.upload(life, res)
	return res
}

// settle clears what dead agents left and makes the run's own folder.
func (a *agent) settle() error {
	if a.config.image == "" {
		host.Sweep(a.config.Runs(), a.config.alloc, a.log)
	}
	var err error
	if a.folder, err = makeFolder(a.config, a.user); err != nil {
		return err
	}
	return a.folder.reach()
}

// resultOf returns the result of an instance whose command was never begun.
func resultOf(err error) *muster.Result {
	f := asFailure(err)
	return &muster.Result{Failure: f.text, Fault: f.fault}
}

// prepareAndRun brings what the command needs, and runs it.
func (a *agent) prepareAndRun(life, work context.Context) *muster.Result {
	if err := a.prepare(work); err != nil {
		if work.Err() != nil {
			err = context.Cause(work)
		}
		return resultOf(err)
	}
	return a.command(life, work)
}

// prepare goes through the phases before the command, those that have work.
func (a *agent) prepare(ctx context.Context) error {
	if a.spec().Code != "" {
		a.reporter.enter(muster.PhaseCode)
		if err := a.bringCode(ctx); err != nil {
			return err
		}
	}
	if len(a.spec().Inputs) > 0 {
		a.reporter.enter(muster.PhaseInputs)
		if err := a.bringInputs(ctx); err != nil {
			return err
		}
	}
	if err := a.makeOutputs(); err != nil {
		return err
	}
	a.saved = &checkpoint{agent: a, known: map[string]stamp{}}
	if a.assignment.Attempt > 1 {
		if err := a.saved.restore(ctx); err != nil {
			return err
		}
	}
	if a.assignment.InstanceCount < 2 {
		return context.Cause(ctx)
	}
	a.reporter.enter(muster.PhasePeers)
	select {
	case <-a.peers:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// upload waits until logs and metrics are kept, and sends the outputs. What
// cannot be kept makes a success a failure.
func (a *agent) upload(life context.Context, res *muster.Result) {
	a.shipping.Wait()
	if life.Err() != nil {
		return
	}
	if a.saved != nil {
		if err := a.saved.save(life, true); err != nil {
			a.notUploaded(err, res)
		}
	}
	if err := a.uploadOutputs(life); err != nil {
		a.notUploaded(err, res)
	}
	if f := a.unshipped.Load(); f != nil {
		a.notUploaded(f, res)
	}
}

// notUploaded tells of what could not be kept.
func (a *agent) notUploaded(err error, res *muster.Result) {
	switch muster.CodeOf(err) {
	case muster.CodeForbidden, muster.CodeConflict:
		a.end(fmt.Errorf("%w: %w", errOver, err))
		return
	}
	if res.Started && res.ExitCode == 0 && res.Fault == muster.FaultNone {
		res.Fault, res.Failure = muster.FaultUpload, err.Error()
		return
	}
	a.reporter.note(err.Error())
}

// leave ends the agent: it removes the folder unless something in it was never
// acknowledged, and returns the exit code.
func (a *agent) leave(res *muster.Result, reported error) int {
	switch {
	case errors.Is(reported, errFenced):
		a.log.Error("the command was killed, what it left is kept for a day", "error", reported)
		if a.folder != nil {
			if err := host.Keep(a.folder.host); err != nil {
				a.log.Warn("keep folder", "error", err)
			}
		}
		return 1
	case reported != nil:
		a.log.Error("end", "error", reported)
	}
	if a.folder != nil {
		if err := a.folder.remove(); err != nil {
			a.log.Warn("leave", "error", err)
		}
	}
	switch {
	case reported != nil:
		return muster.ExitRefused
	case res.Fault == muster.FaultNone || res.Started && res.ExitCode != 0:
		return res.ExitCode
	}
	return 1
}
