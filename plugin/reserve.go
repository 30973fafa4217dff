package plugin

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	device "github.com/hashicorp/nomad/plugins/device/proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Reserve says how a task gets at the devices that Nomad gave it. Nomad keeps
// the account of who has what; here it is only looked whether it can be.
func (s *server) Reserve(_ context.Context, req *device.ReserveRequest) (*device.ReserveResponse, error) {
	given, err := pick(req.GetDeviceIds(), s.look())
	if err != nil {
		return nil, err
	}
	res := &device.ContainerReservation{Envs: map[string]string{"MUSTER_DEVICES": strings.Join(req.GetDeviceIds(), ",")}}
	for _, from := range sourcesOf(given) {
		var own []found
		for _, o := range given {
			if o.of.from == from {
				own = append(own, o.of)
			}
		}
		part := from.reserve(own)
		maps.Copy(res.Envs, part.Envs)
		res.Mounts = append(res.Mounts, part.Mounts...)
		res.Devices = append(res.Devices, part.Devices...)
	}
	if o := given[0]; o.parts > 1 {
		res.Envs["MUSTER_GPU_SHARE"] = o.share()
		res.Envs["MUSTER_GPU_MEMORY_MIB"] = strconv.FormatInt(o.memoryMiB(), 10)
	}
	return &device.ReserveResponse{ContainerRes: res}, nil
}

// sourcesOf returns where the devices come from, each source once.
func sourcesOf(given []offer) (all []source) {
	for _, o := range given {
		if !slices.Contains(all, o.of.from) {
			all = append(all, o.of.from)
		}
	}
	return all
}

// pick finds the ids among what is offered, and refuses what no task can have.
func pick(ids []string, offers []offer) (given []offer, err error) {
	if len(ids) == 0 {
		return nil, status.Error(codes.InvalidArgument, "reserve devices: no device is named")
	}
	for i, id := range ids {
		at := slices.IndexFunc(offers, func(o offer) bool { return o.id == id })
		if at < 0 {
			return nil, status.Errorf(codes.NotFound, "reserve device %q: there is none on this node now: was it taken out, or are its shares cut otherwise?", id)
		}
		if slices.Contains(ids[:i], id) {
			return nil, status.Errorf(codes.InvalidArgument, "reserve device %q: it is named twice", id)
		}
		if why := offers[at].of.trouble; why != "" {
			return nil, status.Errorf(codes.FailedPrecondition, "reserve device %q: it is not well: %s", id, why)
		}
		given = append(given, offers[at])
	}
	if i := slices.IndexFunc(given, func(o offer) bool { return o.parts > 1 }); i >= 0 && len(given) > 1 {
		return nil, status.Errorf(codes.InvalidArgument,
			"reserve %d devices of type %q: a task takes exactly one share: ask for count = 1, for a greater share, or for a whole device", len(given), given[i].kind())
	}
	return given, nil
}
