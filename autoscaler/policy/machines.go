package policy

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/engines"
)

// Times of what is done with machines by hand.
const (
	stopGrace    = 10 * time.Second // in which a machine's client ends politely
	rebootWithin = 30 * time.Second // in which a target reboots a machine
	handOver     = 10 * time.Second // in which a plugin that was killed lets the machines go
)

// clearMachines stops all machines below a folder that no target works on; their
// tasks are killed.
func clearMachines(dir string) error {
	all := &engines.Machines{Dir: dir}
	lock, err := all.WaitLock(handOver)
	if err != nil {
		return err
	}
	defer lock.Release() //nolint:errcheck // the kernel gives it back
	machines, err := all.List("")
	if err != nil {
		return err
	}
	torn, err := all.Torn("")
	if err != nil {
		return err
	}
	machines = append(machines, torn...)
	errs := []error{engines.StopMachines(machines, stopGrace, nil)}
	groups := map[string]bool{}
	for _, m := range machines {
		groups[m.Group] = true
	}
	for group := range groups {
		errs = append(errs, all.Forget(group))
	}
	if os.Getuid() == 0 {
		errs = append(errs, engines.SystemCgroups().Leave(dir))
	}
	return errors.Join(errs...)
}

// reboot reboots a machine, or asks the target that works on it to do so.
func reboot(ctx context.Context, dir, name string) error {
	all := &engines.Machines{Dir: dir}
	m, err := all.Find(name)
	if err != nil {
		return err
	}
	lock, err := all.Lock()
	if err == nil {
		defer lock.Release() //nolint:errcheck // the kernel gives it back
		return m.Reboot()
	}
	if muster.CodeOf(err) != muster.CodeConflict {
		return err
	}
	if err := m.AskReboot(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, rebootWithin)
	defer cancel()
	for m.RebootAsked() {
		select {
		case <-ctx.Done():
			return muster.Errorf(muster.CodeUnreachable, "machine %s was not rebooted within %s", name, rebootWithin)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}
