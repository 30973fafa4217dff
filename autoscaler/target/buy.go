package target

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/autoscaler"
	"github.com/muster-ml/muster/engines"
)

// faultsFile, in a cluster's folder, makes the provider fail.
const faultsFile = "faults.json"

// Faults is what the file holds.
type Faults struct {
	Fail    muster.FailureKind `json:"fail,omitempty"` // each order fails so
	Message string             `json:"message,omitempty"`
	Slow    float64            `json:"slow_seconds,omitempty"` // so long after the order the machine starts
}

// faults reads the file; without one nothing fails.
func (w *worker) faults() (Faults, error) {
	var f Faults
	b, err := os.ReadFile(filepath.Join(w.all.Dir, w.cluster, faultsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return f, fmt.Errorf("read faults: %w", err)
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("read faults: %w", err)
	}
	return f, nil
}

// buy orders one machine, or notes why it did not get one.
func (w *worker) buy(v view) bool {
	if w.failure != nil && v.now.Before(w.failure.Until) {
		return false // it failed in this very look
	}
	f, err := w.faults()
	if err == nil && f.Fail != "" {
		message := f.Message
		if message == "" {
			message = "no more machines, says " + faultsFile
		}
		w.failure = fail(w.failure, v.now, f.Fail, message)
		w.log.Warn("no machine", "failure", f.Fail, "tries", w.failure.Tries, "until", w.failure.Until)
		return false
	}
	if err == nil {
		err = w.order(v, time.Duration(f.Slow*float64(time.Second)))
	}
	if err != nil {
		w.failure = fail(w.failure, v.now, muster.FailOther, err.Error())
		w.log.Error("no machine", "error", err)
	}
	return err == nil
}

// order makes a machine, which starts with the next look after its delay.
func (w *worker) order(v view, delay time.Duration) error {
	settings, _ := w.plugin.present()
	spec, err := specOf(v.scaling, settings)
	if err != nil {
		return err
	}
	m, err := w.all.Order(spec)
	if err != nil {
		return err
	}
	k := &machine{Machine: m, state: muster.MachineStarting, since: v.now, due: v.now.Add(delay)}
	w.mu.Lock()
	w.machines[m.Name] = k
	w.mu.Unlock()
	w.log.Info("machine", "name", m.Name, "act", "order", "size", v.scaling.Size.Name, "delay", delay)
	w.again()
	return nil
}

// specOf is a machine of a cluster.
func specOf(s *muster.Scaling, settings autoscaler.Settings) (engines.MachineSpec, error) {
	name := s.Cluster + "-" + muster.RandomID(3)
	spec := engines.MachineSpec{Group: s.Cluster, Name: name, Program: settings.Program, Servers: strings.Split(settings.Servers, ","), Consul: settings.Consul,
		// The node's agent has room of its own: a size promises what runs get.
		Pool: s.NodePool, MHz: s.Size.Cores*muster.NominalMHz + int(muster.NodeAgentNeed.MHz.Units()), MiB: int(s.Size.MiB + muster.NodeAgentNeed.MiB.Units()), Reserved: int(s.Size.Reserve),
		Meta: map[string]string{"muster_cluster": s.Cluster, "muster_machine": name}}
	if len(s.Size.Devices) == 0 {
		return spec, nil
	}
	if settings.DevicePlugin == "" {
		return spec, muster.Errorf(muster.CodeRefused, "size %s has devices, and no program is known that makes them", s.Size.Name).
			WithCure("muster-autoscaler run --device-plugin names muster-device")
	}
	spec.Plugin = settings.DevicePlugin
	spec.Plugins = devices(filepath.Base(spec.Plugin), filepath.Join(settings.Dir, s.Cluster, name, "devices"), s.Size.Devices)
	return spec, nil
}

// devices is the block of the device plugin that simulates a size's devices. The
// real ones of this computer belong to no machine. A file ID.unhealthy in the
// folder makes one ill.
func devices(plugin, folder string, all []muster.SizeDevices) string {
	var b strings.Builder
	fmt.Fprintf(&b, "plugin %s {\n  config {\n    nvidia {\n      enabled = false\n    }\n    fpga {\n      enabled = false\n    }\n    simulated_dir = %s\n",
		strconv.Quote(plugin), strconv.Quote(folder))
	for _, d := range all {
		fmt.Fprintf(&b, "    simulated {\n      model      = %s\n      type       = %s\n      count      = %d\n", strconv.Quote(d.Model), strconv.Quote(d.Type), d.Count)
		if d.MiB > 0 {
			fmt.Fprintf(&b, "      memory_mib = %d\n", d.MiB)
		}
		b.WriteString("    }\n")
	}
	for _, d := range all {
		if d.Shares > 1 {
			fmt.Fprintf(&b, "    share {\n      match = %s\n      parts = %d\n    }\n", strconv.Quote(d.Model), d.Shares)
		}
	}
	b.WriteString("  }\n}")
	return b.String()
}
