package plugin

import (
	"slices"
	"time"

	device "github.com/hashicorp/nomad/plugins/device/proto"
	attr "github.com/hashicorp/nomad/plugins/shared/structs/proto"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
)

// Fingerprint tells Nomad what is offered: at once, even if that is nothing, and
// again whenever it has changed.
func (s *server) Fingerprint(_ *device.FingerprintRequest, stream device.DevicePlugin_FingerprintServer) error {
	var told *device.FingerprintResponse
	for {
		now := &device.FingerprintResponse{DeviceGroup: groups(s.look())}
		if told == nil || !proto.Equal(protoadapt.MessageV2Of(told), protoadapt.MessageV2Of(now)) {
			if err := stream.Send(now); err != nil {
				return err
			}
			told = now
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-s.nudge:
		case <-time.After(s.settings().period):
		}
	}
}

// settings returns the configuration.
func (s *server) settings() config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config
}

// kindKey is what Nomad tells devices apart by: it must not come up twice.
type kindKey struct{ vendor, kind, name string }

// key returns the one of an offer.
func (o offer) key() kindKey { return kindKey{o.of.vendor, o.kind(), o.of.name} }

// groups puts what is offered together by what a job can ask for. A group tells
// as an attribute how many of it are well: Nomad takes nodes of the same
// attributes for alike, so that a device too few on one node would speak against
// all of them, and a job that waits would not be looked at when it is well again.
func groups(offers []offer) (all []*device.DeviceGroup) {
	byKey := map[kindKey]*device.DeviceGroup{}
	for _, o := range offers {
		k := o.key()
		g := byKey[k]
		if g == nil {
			g = &device.DeviceGroup{Vendor: k.vendor, DeviceType: k.kind, DeviceName: k.name, Attributes: attributes(o)}
			byKey[k] = g
			all = append(all, g)
		} else {
			g.Attributes = common(g.Attributes, attributes(o))
		}
		d := &device.DetectedDevice{ID: o.id, Healthy: o.of.trouble == "", HealthDescription: o.of.trouble}
		if o.of.bus != "" {
			d.HwLocality = &device.DeviceLocality{PciBusId: o.of.bus}
		}
		g.Devices = append(g.Devices, d)
	}
	for _, g := range all {
		sick := slices.DeleteFunc(slices.Clone(g.Devices), func(d *device.DetectedDevice) bool { return d.Healthy })
		g.Attributes["healthy"] = amount(int64(len(g.Devices)-len(sick)), "")
	}
	return all
}

// attributes returns what a job may ask about an offer besides its name.
func attributes(o offer) map[string]*attr.Attribute {
	all := map[string]*attr.Attribute{"model": text(o.of.name)}
	for name, a := range o.of.attributes {
		all[name] = a
	}
	if o.of.memoryMiB > 0 {
		all["memory"] = amount(o.memoryMiB(), "MiB")
	}
	if o.parts > 1 {
		all["share"] = text(o.share())
		if o.of.memoryMiB > 0 {
			all["device_memory"] = amount(o.of.memoryMiB, "MiB")
		}
	}
	return all
}

// common returns what holds for all of a group: of memory the least, of the rest
// what is the same.
func common(a, b map[string]*attr.Attribute) map[string]*attr.Attribute {
	both := map[string]*attr.Attribute{}
	for name, x := range a {
		y, ok := b[name]
		switch {
		case !ok:
		case name == "memory" || name == "device_memory":
			both[name] = amount(min(x.GetIntVal(), y.GetIntVal()), "MiB")
		case proto.Equal(protoadapt.MessageV2Of(x), protoadapt.MessageV2Of(y)):
			both[name] = x
		}
	}
	return both
}
