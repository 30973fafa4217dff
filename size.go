package muster

import (
	"cmp"
	"slices"
	"strings"
)

// NodeSize is an entry of the catalogue: what a node of that size has, and what
// it costs. Azure's sizes have Azure's names, so that files written for it
// translate; local.* are parts of one machine.
type NodeSize struct {
	Name    string           `json:"name" yaml:"name"`
	Family  string           `json:"family" yaml:"family"`
	Cores   int              `json:"cores" yaml:"cores"`
	MiB     int64            `json:"memory_mib" yaml:"memory_mib"`
	Reserve int64            `json:"reserved_mib" yaml:"reserved_mib"` // of MiB, for the system and the agents
	Devices []SizeDevices    `json:"devices,omitempty" yaml:"devices"`
	Prices  map[Tier]float64 `json:"price_per_hour,omitempty" yaml:"price_per_hour"` // in the site's currency; the built-in ones are US dollars
}

// SizeDevices are the like devices of a size.
type SizeDevices struct {
	Type   string `json:"type" yaml:"type"`   // gpu or fpga
	Model  string `json:"model" yaml:"model"` // such as V100
	Count  int    `json:"count" yaml:"count"`
	MiB    int64  `json:"memory_mib" yaml:"memory_mib"`             // of each
	Shares int    `json:"shares,omitempty" yaml:"shares,omitempty"` // each is offered in so many; 0 is whole
}

// NominalMHz is what a core counts for before a node of the size was seen, and on
// machines of provider local always.
const NominalMHz = 1000

// Allocatable is what a node of the size offers to runs.
func (s *NodeSize) Allocatable() Allocatable {
	a := Allocatable{Cores: Whole(int64(s.Cores)), Resources: Resources{MHz: Whole(int64(s.Cores) * NominalMHz), MiB: Whole(s.MiB - s.Reserve), DiskMiB: Whole(LaunchDiskMiB * 1000)}}
	for _, d := range s.Devices {
		kind, count := d.Type, d.Count
		if d.Shares > 1 {
			kind, count = ShareType(d.Type, d.Shares), d.Count*d.Shares
		}
		a.Devices = append(a.Devices, Devices{Type: kind, Name: d.Model, Count: Whole(int64(count))})
	}
	return a
}

// Validate refuses an entry that no node can have.
func (s *NodeSize) Validate() error {
	at := "sizes." + s.Name
	switch {
	case !sizeNameRE.MatchString(s.Name):
		return Errorf(CodeInvalid, "%q is not a name for a size", s.Name).At(at).WithCure("use letters, digits, '.', '_' and '-'")
	case s.Cores < 1 || s.MiB < 64 || s.Reserve < 0 || s.Reserve >= s.MiB:
		return Errorf(CodeInvalid, "size %s has %d cores, %d MiB and reserves %d MiB", s.Name, s.Cores, s.MiB, s.Reserve).At(at).
			WithCure("a node has a core, 64 MiB and more than its reserve")
	}
	for _, d := range s.Devices {
		if d.Type != "gpu" && d.Type != "fpga" || d.Count < 1 || d.MiB < 0 || d.Shares < 0 || d.Shares > MaxShares {
			return Errorf(CodeInvalid, "size %s has %d devices of type %q in %d shares", s.Name, d.Count, d.Type, d.Shares).At(at+".devices").
				WithCure("type is gpu or fpga, count at least 1, and shares at most %d", MaxShares)
		}
	}
	return nil
}

// MaxShares is in how many shares a device may be offered.
const MaxShares = 64

// Sizes is the catalogue, by name.
type Sizes []NodeSize

// Find returns the entry of a name. Case does not matter: Azure's files write
// STANDARD_NC6 and Standard_NC6.
func (all Sizes) Find(name string) (*NodeSize, error) {
	i := slices.IndexFunc(all, func(s NodeSize) bool { return strings.EqualFold(s.Name, name) })
	if i < 0 {
		return nil, Errorf(CodeNotFound, "there is no size %s", name).At("size").WithCure("muster size list shows what there is; muster server --sizes FILE adds to it")
	}
	return &all[i], nil
}

// With returns the catalogue with more entries; one of a name that is there takes
// its place.
func (all Sizes) With(more Sizes) (Sizes, error) {
	merged := slices.Clone(all)
	for _, s := range more {
		if err := s.Validate(); err != nil {
			return nil, err
		}
		merged = append(slices.DeleteFunc(merged, func(old NodeSize) bool { return strings.EqualFold(old.Name, s.Name) }), s)
	}
	slices.SortFunc(merged, func(a, b NodeSize) int { return cmp.Compare(a.Name, b.Name) })
	return merged, nil
}
