package plugin

import (
	"time"

	device "github.com/hashicorp/nomad/plugins/device/proto"
	attr "github.com/hashicorp/nomad/plugins/shared/structs/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Stats tells Nomad at its interval what the devices are doing.
func (s *server) Stats(req *device.StatsRequest, stream device.DevicePlugin_StatsServer) error {
	interval := max(req.GetCollectionInterval().AsDuration(), leastPeriod)
	if req.GetCollectionInterval().AsDuration() == 0 {
		interval = time.Second
	}
	for {
		if err := stream.Send(&device.StatsResponse{Groups: s.measure(s.seen())}); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-time.After(interval):
		}
	}
}

// measure takes a sample of each device that is well. A share's is that of its
// whole device: the hardware keeps no account for less.
func (s *server) measure(offers []offer) (all []*device.DeviceGroupStats) {
	byKey := map[kindKey]*device.DeviceGroupStats{}
	taken := map[string]*device.DeviceStats{}
	for _, o := range offers {
		if o.of.trouble != "" {
			continue
		}
		if _, done := taken[o.of.id]; !done {
			taken[o.of.id] = s.sample(o.of)
		}
		sample := taken[o.of.id]
		if sample == nil {
			continue
		}
		k := o.key()
		if byKey[k] == nil {
			byKey[k] = &device.DeviceGroupStats{Vendor: k.vendor, Type: k.kind, Name: k.name, InstanceStats: map[string]*device.DeviceStats{}}
			all = append(all, byKey[k])
		}
		byKey[k].InstanceStats[o.id] = sample
	}
	return all
}

// sample asks a device's source; nil if it has nothing to tell.
func (s *server) sample(f found) *device.DeviceStats {
	readings, err := f.from.sample(f)
	if err != nil {
		s.log.Debug("no statistics", "device", f.id, "error", err)
		return nil
	}
	if len(readings) == 0 {
		return nil
	}
	values := map[string]*attr.StatValue{}
	for _, r := range readings {
		values[r.name] = r.packed()
	}
	return &device.DeviceStats{Summary: readings[0].packed(), Stats: &attr.StatObject{Attributes: values}, Timestamp: timestamppb.Now()}
}

// packed is a reading as Nomad takes it.
func (r reading) packed() *attr.StatValue {
	v := &attr.StatValue{IntNumeratorVal: wrapperspb.Int64(r.value), Unit: r.unit, Desc: r.about}
	if r.of > 0 {
		v.IntDenominatorVal = wrapperspb.Int64(r.of)
	}
	return v
}
