package run

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/host"
)

// commandPIDVar tells a checkpoint command which process the run's command is.
const commandPIDVar = "MUSTER_COMMAND_PID"

// saveTime is the part of the grace time that a checkpoint command may take: the
// rest is the command's own.
const saveTime = 0.75

// taken reports whether the node is taken from the run, which then starts again
// elsewhere: it is to save what it has.
func (a *agent) taken() bool {
	why := a.stopping.Load()
	return a.hurried.Load() || why != nil && (*why == muster.StopEvicted || *why == muster.StopDrain)
}

// saveNow executes the run's checkpoint command beside its command, which goes
// on meanwhile. That it fails is told, and changes nothing.
func (a *agent) saveNow(life context.Context, p *host.Process, o host.Order, out *os.File, allowed time.Duration) {
	o.Args = []string{o.Args[0], "-c", a.spec().Checkpoint}
	o.Env = append(o.Env[:len(o.Env):len(o.Env)], fmt.Sprintf("%s=%d", commandPIDVar, p.PID()))
	save, err := host.Start(o, out, out)
	if err != nil {
		a.reporter.note("the checkpoint command could not be started: " + err.Error())
		return
	}
	limit := time.NewTimer(time.Duration(saveTime * float64(allowed)))
	defer limit.Stop()
	select {
	case <-save.Ended():
	case <-p.Ended():
	case <-life.Done():
	case <-limit.C:
		a.reporter.note(fmt.Sprintf("the checkpoint command was ended after %s: it may take three quarters of the grace time", time.Duration(saveTime*float64(allowed)).Round(time.Second)))
	}
	save.Signal(syscall.SIGKILL) // of no effect where it has ended
	<-save.Ended()
	if e, err := save.Ending(); err != nil || e.Signal == 0 && e.ExitCode != 0 {
		a.reporter.note(fmt.Sprintf("the checkpoint command ended with exit code %d", e.ExitCode))
	}
}
