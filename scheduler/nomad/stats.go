package nomad

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/hashicorp/nomad/api"

	"github.com/muster-ml/muster"
)

// ReadNode reads what a node and its devices do. Nomad's server asks the node's
// client for it.
func (n *Nomad) ReadNode(ctx context.Context, nodeID string) (*muster.NodeReadings, error) {
	ctx, cancel := context.WithTimeout(ctx, n.limit)
	defer cancel()
	host, err := n.api.Nodes().Stats(nodeID, (&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("read what node %s uses: %w", nodeID, n.refused(err))
	}
	var node readings
	if len(host.CPU) > 0 {
		busy := 0.0
		for _, core := range host.CPU {
			busy += 100 - core.Idle
		}
		node.add("node_cpu", "%", busy/float64(len(host.CPU)))
	}
	if host.Memory != nil {
		node.add("node_memory", "MiB", mib(host.Memory.Used))
	}
	if host.AllocDirStats != nil {
		node.add("node_disk", "%", host.AllocDirStats.UsedPercent)
	}
	devices := map[string][]muster.Reading{}
	for _, group := range host.DeviceStats {
		kind, _, _ := strings.Cut(group.Type, "-1of") // a share's
		for id, device := range group.InstanceStats {
			if device != nil && device.Stats != nil {
				devices[id] = readDevice(kind+"."+id+".", device.Stats)
			}
		}
	}
	return &muster.NodeReadings{Node: node, Devices: devices}, nil
}

// ReadAlloc reads what an allocation uses. Nomad's server asks the node's client
// for it. Drivers that count no resident memory count all that is charged to the
// task.
func (n *Nomad) ReadAlloc(ctx context.Context, namespace, allocID string) ([]muster.Reading, error) {
	ctx, cancel := context.WithTimeout(ctx, n.limit)
	defer cancel()
	usage, err := n.api.Allocations().Stats(&api.Allocation{ID: allocID}, (&api.QueryOptions{Namespace: namespace}).WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("read what allocation %s uses: %w", allocID, n.refused(err))
	}
	var all readings
	for _, task := range usage.Tasks { // our shapes have one
		if task == nil || task.ResourceUsage == nil {
			continue
		}
		if c := task.ResourceUsage.CpuStats; c != nil {
			all.add("cpu", "%", c.Percent)
		}
		if m := task.ResourceUsage.MemoryStats; m != nil && m.RSS > 0 {
			all.add("memory", "MiB", mib(m.RSS))
		} else if m != nil {
			all.add("memory", "MiB", mib(m.Usage))
		}
	}
	return all, nil
}

// readings collects values.
type readings []muster.Reading

// add adds a value, to hundredths: more of it is noise.
func (all *readings) add(name, unit string, value float64) {
	if !math.IsNaN(value) && !math.IsInf(value, 0) {
		*all = append(*all, muster.Reading{Name: name, Unit: unit, Value: math.Round(100*value) / 100})
	}
}

// units are the units of device plugins that we call otherwise.
var units = map[string]string{"C": "°C", "#": ""}

// readDevice reads the numbers among what a device's plugin tells. What one is a
// part of, such as all of a GPU's memory, is left out: it does not change.
func readDevice(prefix string, s *api.StatObject) []muster.Reading {
	var all readings
	for name, v := range s.Attributes {
		if v == nil {
			continue
		}
		unit, renamed := units[v.Unit]
		if !renamed {
			unit = v.Unit
		}
		name = prefix + strings.ReplaceAll(strings.ToLower(name), " ", "_")
		switch {
		case v.FloatNumeratorVal != nil:
			all.add(name, unit, *v.FloatNumeratorVal)
		case v.IntNumeratorVal != nil:
			all.add(name, unit, float64(*v.IntNumeratorVal))
		}
	}
	return all
}

// mib is a number of bytes in MiB.
func mib(bytes uint64) float64 { return float64(bytes) / (1 << 20) }
