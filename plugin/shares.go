package plugin

import (
	"fmt"
	"slices"
	"strings"
)

// rule says into how many shares devices are cut.
type rule struct {
	Match string  `codec:"match"` // a device's id, its model, or "*"
	Parts float64 `codec:"parts"`
}

// offer is what Nomad gives away as one: a device, or a share of one.
type offer struct {
	id    string
	of    found
	parts int // 1 is the whole device
}

// shareMark stands in a share's id between the device's id and its number.
const shareMark = "::"

// kind is the device type that a job asks for.
func (o offer) kind() string {
	if o.parts == 1 {
		return o.of.kind
	}
	return fmt.Sprintf("%s-1of%d", o.of.kind, o.parts)
}

// share names the part of the device that it is.
func (o offer) share() string { return fmt.Sprintf("1/%d", o.parts) }

// memoryMiB is the memory that belongs to it.
func (o offer) memoryMiB() int64 { return o.of.memoryMiB / int64(o.parts) }

// cut returns what is offered of the devices: each whole, or, where a rule says
// so, its shares instead.
func cut(all []found, rules []rule) (offers []offer) {
	for _, f := range all {
		parts := partsOf(f, rules)
		if parts == 1 {
			offers = append(offers, offer{id: f.id, of: f, parts: 1})
			continue
		}
		for i := range parts {
			offers = append(offers, offer{id: fmt.Sprintf("%s%s%d", f.id, shareMark, i+1), of: f, parts: parts})
		}
	}
	return offers
}

// partsOf returns into how many shares a device is cut: a rule for its id goes
// before one for its model, and that before one for all. Only GPUs are cut: two
// programs on one FPGA would load their circuits over each other.
func partsOf(f found, rules []rule) int {
	if f.kind != kindGPU {
		return 1
	}
	for _, match := range []string{f.id, f.name, everything} {
		i := slices.IndexFunc(rules, func(r rule) bool { return strings.EqualFold(r.Match, match) })
		if i >= 0 {
			return int(rules[i].Parts)
		}
	}
	return 1
}

// everything matches every device.
const everything = "*"
