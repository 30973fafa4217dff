package policy

import (
	"time"

	"github.com/muster-ml/muster/engines"
)

// watch looks whether the plugins of the agent live, as it starts no dead one
// again, and ends those of agents that are gone.
func (a *agent) watch(plugins int) (well bool, err error) {
	pid := a.service.State().Pid
	if pid != a.pid {
		a.pid, a.since, a.complete = pid, time.Now(), false
	}
	if pid == 0 {
		return false, nil // it is being started again
	}
	if err := a.endOrphans(pid); err != nil {
		return false, err
	}
	copies, err := engines.CopiesOf(a.plugin())
	if err != nil {
		return false, err
	}
	alive := 0
	for _, c := range copies {
		if c.Parent == pid {
			alive++
		}
	}
	switch {
	case alive >= plugins:
		a.complete = true
	case a.complete || time.Since(a.since) > pluginsIn:
		a.config.say("autoscaler of provider %s: %d of its %d plugins live, starting it again", a.provider, alive, plugins)
		a.service.Stop(nil)
		a.service, a.complete = nil, false
	}
	return a.complete, nil
}

// endOrphans kills plugins whose agent is not of that number.
func (a *agent) endOrphans(pid int) error {
	copies, err := engines.CopiesOf(a.plugin())
	if err != nil {
		return err
	}
	for _, c := range copies {
		if c.Parent != pid {
			if err := c.Kill(); err != nil {
				return err
			}
		}
	}
	return nil
}
