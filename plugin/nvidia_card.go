package plugin

import (
	"cmp"
	"slices"

	attr "github.com/hashicorp/nomad/plugins/shared/structs/proto"
)

// nvidiaCard is a GPU; what the library does not tell is zero.
type nvidiaCard struct {
	UUID, Name, Bus       string
	MemoryMiB, BAR1MiB    int64
	PowerW                int64
	CoreMHz, MemoryMHz    int64 // the highest
	PCIMBs                int64 // bandwidth of its slot
	Driver, CUDA, Compute string
	MIG                   bool // it is offered in slices alone
	Slices                []nvidiaSlice
	Uncorrected           uint64 // memory errors since the driver was loaded
	RemapFailed           bool   // a bad row of its memory could not be replaced
	Trouble               error  // what it answered instead
}

// nvidiaSlice is a part of a GPU that the hardware keeps apart (MIG).
type nvidiaSlice struct {
	UUID, Name string
	MemoryMiB  int64
}

// recall returns the cards of now with those that are missing. One that answers
// with an error is remembered as it was before.
func recall(known, now []nvidiaCard) []nvidiaCard {
	all := slices.Clone(now)
	for _, old := range known {
		i := slices.IndexFunc(all, func(c nvidiaCard) bool { return c.UUID == old.UUID })
		switch {
		case i < 0:
			old.Trouble = errLost
			all = append(all, old)
		case all[i].Trouble != nil:
			old.Trouble = all[i].Trouble
			all[i] = old
		}
	}
	slices.SortStableFunc(all, func(a, b nvidiaCard) int { return cmp.Compare(a.Bus+a.UUID, b.Bus+b.UUID) })
	return all
}

// attributes are named as those of Nomad's own NVIDIA plugin, where it has them.
func (c nvidiaCard) attributes() map[string]*attr.Attribute {
	all := map[string]*attr.Attribute{}
	for name, value := range map[string]string{"driver_version": c.Driver, "cuda_version": c.CUDA, "compute_capability": c.Compute} {
		if value != "" {
			all[name] = text(value)
		}
	}
	for _, a := range []struct {
		name, unit string
		value      int64
	}{{"bar1", "MiB", c.BAR1MiB}, {"power", "W", c.PowerW}, {"cores_clock", "MHz", c.CoreMHz}, {"memory_clock", "MHz", c.MemoryMHz}, {"pci_bandwidth", "MB/s", c.PCIMBs}} {
		if a.value > 0 {
			all[a.name] = amount(a.value, a.unit)
		}
	}
	return all
}
