package plugin

import (
	device "github.com/hashicorp/nomad/plugins/device/proto"
	attr "github.com/hashicorp/nomad/plugins/shared/structs/proto"
)

// The types of devices that can be found.
const (
	kindGPU  = "gpu"
	kindFPGA = "fpga"
)

// source finds the devices of one sort.
type source interface {
	// devices returns what there is now, and what there was and should be.
	devices() []found
	// sample returns what a device is doing, the telling value first.
	sample(found) ([]reading, error)
	// reserve says how a task gets at devices of this source.
	reserve([]found) *device.ContainerReservation
	// close lets go of the devices.
	close()
}

// found is a device as its source found it, before shares are cut.
type found struct {
	id         string // stable over restarts
	vendor     string
	kind       string // its type
	name       string // its model
	bus        string // PCI address; "" where there is none
	memoryMiB  int64  // 0 where it is not known
	attributes map[string]*attr.Attribute
	files      []string // device files that a task needs
	trouble    string   // why it is not well; "" if it is
	from       source
}

// reading is one value of a device's statistics.
type reading struct {
	name  string
	value int64
	of    int64 // what the value is a part of; 0 for none
	unit  string
	about string
}

// text is an attribute that is a word.
func text(s string) *attr.Attribute {
	return &attr.Attribute{Value: &attr.Attribute_StringVal{StringVal: s}}
}

// amount is an attribute that is a number of units, of Nomad's names for them.
func amount(n int64, unit string) *attr.Attribute {
	return &attr.Attribute{Value: &attr.Attribute_IntVal{IntVal: n}, Unit: unit}
}
