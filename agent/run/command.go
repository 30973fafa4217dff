package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/host"
	"github.com/muster-ml/muster/agent/ship"
)

// spoolLimit is how much of one log waits on the disk before its writer does.
const spoolLimit = 512 << 20

// nomadGrace is the longest grace time when Nomad itself stops the agent: it
// kills after 30 seconds, and the outputs are to be uploaded before.
const nomadGrace = 20 * time.Second

// command runs the command to its end, or to that of the time limit or of work.
func (a *agent) command(life, work context.Context) *muster.Result {
	o, err := a.order()
	if err != nil {
		return resultOf(err)
	}
	token, err := a.config.Token()
	if err != nil {
		return resultOf(fmt.Errorf("read workload identity: %w", err))
	}
	if err := a.folder.writeToken(token); err != nil {
		return resultOf(err)
	}
	if err := a.writeCA(); err != nil {
		return resultOf(err)
	}
	stdout, err := a.openLog(life, muster.Stdout)
	if err != nil {
		return resultOf(err)
	}
	stderr, err := a.openLog(life, muster.Stderr)
	if err != nil {
		_ = stdout.Close()
		return resultOf(err)
	}
	file, err := openMetrics(a.folder)
	if err != nil {
		_, _ = stdout.Close(), stderr.Close()
		return resultOf(err)
	}
	memory := findMemoryLimit(a.config.image != "")
	a.reporter.enter(muster.PhaseCommand)
	p, err := host.Start(o, stdout, stderr)
	_ = stdout.Close()
	defer stderr.Close() // for what a checkpoint command writes
	if err != nil {
		_ = file.Close()
		if errors.Is(err, host.ErrTooLong) {
			err = failed(muster.FaultCommand, "%v", err)
		}
		return resultOf(err)
	}
	metrics := &ship.Metrics{Agent: a.client, Attempt: a.assignment.Attempt, Instance: a.assignment.Instance}
	a.keepShipping("metrics", func() error {
		return (&metricFile{file: file, send: metrics.Send, note: a.reporter.note}).tail(life, p.Ended())
	})
	a.shipping.Go(func() { a.saved.keep(life, p.Ended()) })
	a.shipping.Go(func() { a.renewToken(token, p.Ended()) })
	early := a.await(life, work, p, func(allowed time.Duration) { a.saveNow(life, p, o, stderr, allowed) })
	return a.result(p, early, memory)
}

// writeCA puts the servers' authority where the command finds it.
func (a *agent) writeCA() error {
	if a.config.CA == "" {
		return nil
	}
	file := a.folder.path(partCA)
	if err := os.WriteFile(file, []byte(a.config.CA), 0o444); err != nil {
		return fmt.Errorf("keep the servers' authority: %w", err)
	}
	return a.folder.own(file, false, 0o444)
}

// order says what is to be started, as whom and where.
func (a *agent) order() (o host.Order, err error) {
	command := a.spec().Command
	for _, g := range a.spec().Groups {
		if g.Name == a.assignment.Group && g.Command != "" {
			command = g.Command
		}
	}
	if command, err = a.expand(command); err != nil {
		return o, err
	}
	shell, err := a.shell()
	if err != nil {
		return o, err
	}
	return host.Order{Args: []string{shell, "-c", command}, Dir: a.folder.path(partWork), Env: a.environment(), Account: a.user}, nil
}

// shell returns what executes the command.
func (a *agent) shell() (string, error) {
	if shell := host.Shell(); shell != "" {
		return shell, nil
	}
	where := "this node"
	if a.config.image != "" {
		where = "the image " + a.config.image
	}
	return "", failed(muster.FaultCommand, "%s has no shell (/bin/bash or /bin/sh), and a command is executed by one: use an image that has, such as a -debug or -slim variant", where)
}

// openLog starts to ship a stream, and returns the end that the command writes
// to.
func (a *agent) openLog(life context.Context, stream muster.Stream) (*os.File, error) {
	dir := filepath.Join(a.folder.path(partSpool), string(stream))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make spool: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", stream, err)
	}
	if a.user.Change {
		// so that the command may open /dev/stdout, which leads here
		if err := w.Chown(a.user.UID, a.user.GID); err != nil {
			return nil, errors.Join(fmt.Errorf("open %s: %w", stream, err), r.Close(), w.Close())
		}
	}
	spool := ship.NewSpool(dir, spoolLimit, func() {
		a.reporter.note(fmt.Sprintf("the command waited: %d MiB of its %s could not be sent yet", spoolLimit>>20, stream))
	})
	a.shipping.Go(func() {
		defer r.Close()
		defer spool.Close()
		if _, err := io.Copy(spool, r); err != nil {
			a.stop(failed(muster.FaultPlatform, "the log cannot be kept: %v", err))
		}
	})
	log := &ship.Log{Name: string(stream), Spool: spool, Put: func(ctx context.Context, offset int64, chunk []byte, times []muster.Mark) (int64, error) {
		return a.client.PutChunk(ctx, stream, offset, chunk, times)
	}}
	a.keepShipping(string(stream), func() error { return log.Ship(life) })
	return w, nil
}

// keepShipping ships something beside the command. An error that the end of
// life does not explain is the platform's, or says that the server wants no
// more.
func (a *agent) keepShipping(what string, f func() error) {
	a.shipping.Go(func() {
		err := f()
		switch muster.CodeOf(err) {
		case "":
		case muster.CodeForbidden, muster.CodeConflict:
			a.end(fmt.Errorf("%w: %w", errOver, err))
		default:
			f := failed(muster.FaultPlatform, "the %s cannot be kept: %v", what, err)
			a.unshipped.CompareAndSwap(nil, f)
			a.stop(f)
		}
	})
}

// await waits for the command's end. It returns why the command had to be ended
// before, if it had. Where the node is taken from the run, save comes first.
func (a *agent) await(life, work context.Context, p *host.Process, save func(allowed time.Duration)) *failure {
	limit := time.NewTimer(time.Duration(a.spec().Timeout))
	defer limit.Stop()
	var why error
	select {
	case <-p.Ended():
		return nil
	case <-work.Done():
		why = context.Cause(work)
	case <-limit.C:
		why = failed(muster.FaultTimeout, "the time limit of %s was reached", a.spec().Timeout)
	}
	if life.Err() == nil {
		allowed := time.Duration(a.spec().Grace)
		if a.hurried.Load() {
			allowed = min(allowed, nomadGrace)
		}
		grace := time.NewTimer(allowed)
		defer grace.Stop()
		if a.spec().Checkpoint != "" && a.taken() {
			save(allowed)
		}
		p.Signal(syscall.SIGTERM)
		select {
		case <-p.Ended():
		case <-life.Done():
		case <-grace.C:
		}
	}
	p.Signal(syscall.SIGKILL)
	<-p.Ended()
	return asFailure(why)
}

// result says how the command ended.
func (a *agent) result(p *host.Process, early *failure, memory memoryLimit) *muster.Result {
	e, killed := p.Ending()
	res := &muster.Result{Started: true, ExitCode: e.ExitCode, CPUSeconds: e.CPUSeconds,
		PeakMiB: float64(max(p.Peak.Load(), e.PeakBytes)) / (1 << 20)}
	if e.Signal != 0 {
		res.Signal = host.SignalName(e.Signal)
	}
	if e.Strays > 0 {
		a.reporter.note(fmt.Sprintf("%d processes that the command left behind were killed", e.Strays))
	}
	if killed != nil {
		res.ExitCode, res.Signal = 128+int(unix.SIGKILL), host.SignalName(int(unix.SIGKILL))
	}
	oom := memory.outOfMemory()
	switch {
	case early != nil:
		res.Fault, res.Failure = early.fault, early.text
	case res.ExitCode != 0 && oom != "":
		res.Fault, res.Failure = muster.FaultCommand, oom
	case killed != nil:
		res.Fault, res.Failure = muster.FaultPlatform, killed.Error()
	}
	return res
}
