package muster

import "slices"

// Group is Count like instances of a run. Azure ML's files fill one.
type Group struct {
	Name    string `json:"name,omitempty"`
	Count   int    `json:"count,omitempty"`
	Ask     *Ask   `json:"resources,omitempty"` // nil is a whole node each
	Command string `json:"command,omitempty"`   // "" is the spec's
}

// Ask is the part of a node that one instance wants.
type Ask struct {
	Cores    Amount `json:"cpus" doc:"Cores; parts of one to the thousandth." example:"2"`
	MiB      Amount `json:"memory_mib" doc:"Memory in MiB." example:"4096"`
	GPUs     Amount `json:"gpus,omitempty" doc:"Whole ones, or a share of one: 0.5, 0.25 or another 1/N that nodes offer." example:"1"`
	GPUModel string `json:"gpu_model,omitempty"`
}

// Share returns in how many shares the GPU is cut of which one is asked for; 0
// where whole ones are, or none.
func (a *Ask) Share() int {
	if a.GPUs <= 0 || a.GPUs >= Whole(1) {
		return 0
	}
	return int((Whole(1) + a.GPUs/2) / a.GPUs)
}

// LaunchDiskMiB is the allocation disk of an instance: Nomad's least. Working
// folders do not lie there.
const LaunchDiskMiB = 10

// Need returns what one instance of the group takes of a node, for a cluster
// whose nodes are of the size given.
func (g Group) Need(size Allocatable) Resources {
	if g.Ask == nil {
		need := size.Resources
		need.DiskMiB = Whole(LaunchDiskMiB)
		need.Devices = slices.Clone(need.Devices)
		return need
	}
	need := Resources{MHz: size.MHz.Times(g.Ask.Cores, max(size.Cores, 1)), MiB: g.Ask.MiB, DiskMiB: Whole(LaunchDiskMiB)}
	need.MHz, need.MiB = Whole(need.MHz.Units()), Whole(need.MiB.Units())
	if g.Ask.GPUs > 0 {
		need.Devices = []Devices{{Type: "gpu", Name: g.Ask.GPUModel, Count: g.Ask.GPUs}}
		if parts := g.Ask.Share(); parts > 0 {
			need.Devices[0].Type, need.Devices[0].Count = ShareType("gpu", parts), Whole(1)
		}
	}
	return need
}
