package dev

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/muster-ml/muster/engines"
)

// Times of machines.
const (
	machineGrace = 10 * time.Second // in which a machine's client ends politely
	handOver     = 10 * time.Second // in which the plugin of a dead autoscaler lets the machines go
)

// autoscalerFolder is where the autoscaler and its machines lie.
func (p *Platform) autoscalerFolder() string { return filepath.Join(p.DataDir, "autoscaler") }

// startAutoscaler starts what makes clusters grow and shrink. Machines that an
// earlier one left go on.
func (p *Platform) startAutoscaler(ctx context.Context) error {
	folder := p.autoscalerFolder()
	argv := []string{p.config.Autoscaler, "run", "--dir", folder, "--addr", p.Addr, "--token-file", p.TokenFile(), "--interval", "1s", "--nomad-addr", p.NomadAddr,
		"--nomad-rpc", fmt.Sprintf("127.0.0.1:%d", p.nomad.RPCPort), "--nomad-program", p.client, "--consul-addr", p.ConsulAddr}
	if p.config.DevicePlugin != "" {
		argv = append(argv, "--device-plugin", p.config.DevicePlugin)
	}
	ready := filepath.Join(folder, ".ready") // it makes that itself
	if err := os.Remove(ready); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("start autoscaler: %w", err)
	}
	return p.start(ctx, &engines.Service{
		Command: engines.Command{Name: Autoscaler, Argv: argv, Log: p.log(Autoscaler), Note: filepath.Join(folder, "process.json")},
		Ready:   func(context.Context) error { _, err := os.Stat(ready); return err },
		Grace:   15 * time.Second,
	})
}

// machines lists those that are there; the autoscaler may start more.
func (p *Platform) machines() ([]*engines.Machine, error) {
	all := engines.Machines{Dir: p.autoscalerFolder()}
	return all.List("")
}

// stopMachines stops all machines, and takes away what is left of them and of
// their clusters. The autoscaler must be down.
func (p *Platform) stopMachines() error {
	all := &engines.Machines{Dir: p.autoscalerFolder()}
	if _, err := os.Stat(all.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := endPlugins(all.Dir); err != nil {
		return err
	}
	lock, err := all.WaitLock(handOver)
	if err != nil {
		return err
	}
	defer lock.Release() //nolint:errcheck // the kernel gives it back
	found, err := all.List("")
	if err != nil {
		return err
	}
	torn, err := all.Torn("")
	if err != nil {
		return err
	}
	found = append(found, torn...)
	errs := []error{engines.StopMachines(found, machineGrace, p.hurry)}
	for _, m := range found {
		errs = append(errs, all.Forget(m.Group, "faults.json"))
	}
	if os.Getuid() == 0 {
		errs = append(errs, engines.SystemCgroups().Leave(all.Dir))
	}
	return errors.Join(errs...)
}

// endPlugins kills the plugins of an autoscaler that was killed: they would end
// soon by themselves.
func endPlugins(dir string) error {
	programs, err := filepath.Glob(filepath.Join(escapeGlob(dir), ".agents", "*", "plugins", "*"))
	if err != nil {
		return fmt.Errorf("look for plugins of an autoscaler: %w", err)
	}
	for _, program := range programs {
		copies, err := engines.CopiesOf(program)
		if err != nil {
			return err
		}
		for _, c := range copies {
			if err := c.Kill(); err != nil {
				return err
			}
		}
	}
	return nil
}
