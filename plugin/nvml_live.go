//go:build linux && cgo

package plugin

import (
	"fmt"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// Sample asks what a GPU or a slice of one is doing. What it does not tell, as a
// slice its utilization, is left out.
func (m management) Sample(uuid string) (all []reading, err error) {
	d, ret := m.DeviceGetHandleByUUID(uuid)
	if ret != nvml.SUCCESS {
		return nil, fmt.Errorf("find GPU %s: %w", uuid, ret)
	}
	if use, ret := d.GetUtilizationRates(); ret == nvml.SUCCESS {
		all = append(all, reading{name: "utilization", value: int64(use.Gpu), unit: "%", about: "share of the last moments in which a kernel ran"},
			reading{name: "memory_utilization", value: int64(use.Memory), unit: "%", about: "share of the last moments in which memory was read or written"})
	}
	if memory, ret := d.GetMemoryInfo(); ret == nvml.SUCCESS {
		all = append(all, reading{name: "memory", value: int64(memory.Used >> 20), of: int64(memory.Total >> 20), unit: "MiB", about: "memory in use"})
	}
	if celsius, ret := d.GetTemperature(nvml.TEMPERATURE_GPU); ret == nvml.SUCCESS {
		all = append(all, reading{name: "temperature", value: int64(celsius), unit: "C", about: "temperature of the GPU"})
	}
	if milliwatts, ret := d.GetPowerUsage(); ret == nvml.SUCCESS {
		power := reading{name: "power", value: int64(milliwatts / 1000), unit: "W", about: "power drawn"}
		if limit, ret := d.GetPowerManagementLimit(); ret == nvml.SUCCESS {
			power.of = int64(limit / 1000)
		}
		all = append(all, power)
	}
	for name, sort := range map[string]nvml.MemoryErrorType{"ecc_corrected": nvml.MEMORY_ERROR_TYPE_CORRECTED, "ecc_uncorrected": nvml.MEMORY_ERROR_TYPE_UNCORRECTED} {
		if n, ret := d.GetTotalEccErrors(sort, nvml.VOLATILE_ECC); ret == nvml.SUCCESS {
			all = append(all, reading{name: name, value: int64(n), unit: "#", about: "memory errors since the driver was loaded"})
		}
	}
	return all, nil
}

// faultWait is how long the driver is waited for before stop is looked at, in
// milliseconds.
const faultWait = 500

// Faults waits for the driver's reports of XIDs.
func (m management) Faults(stop <-chan struct{}, tell func(uuid string, xid uint64)) error {
	set, ret := m.EventSetCreate()
	if ret != nvml.SUCCESS {
		return fmt.Errorf("make a set of events: %w", ret)
	}
	defer set.Free()
	names, err := m.register(set)
	if err != nil {
		return err
	}
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		event, ret := set.Wait(faultWait)
		switch ret {
		case nvml.SUCCESS:
			if uuid := names[event.Device]; uuid != "" && event.EventType == nvml.EventTypeXidCriticalError {
				tell(uuid, event.EventData)
			}
		case nvml.ERROR_TIMEOUT:
		case nvml.ERROR_GPU_IS_LOST: // the next look finds which one
			time.Sleep(faultWait * time.Millisecond)
		default:
			return fmt.Errorf("wait for events: %w", ret)
		}
	}
}

// register asks for the XIDs of every GPU that reports them. A GPU that is lost
// does not say its UUID any more, so that is kept.
func (m management) register(set nvml.EventSet) (map[nvml.Device]string, error) {
	count, ret := m.DeviceGetCount()
	if ret != nvml.SUCCESS {
		return nil, fmt.Errorf("count the GPUs: %w", ret)
	}
	names := map[nvml.Device]string{}
	for i := range count {
		d, ret := m.DeviceGetHandleByIndex(i)
		if ret != nvml.SUCCESS {
			continue
		}
		uuid, ret := d.GetUUID()
		if ret == nvml.SUCCESS && d.RegisterEvents(nvml.EventTypeXidCriticalError, set) == nvml.SUCCESS {
			names[d] = uuid
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("none of %d GPUs reports them", count)
	}
	return names, nil
}
