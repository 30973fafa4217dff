//go:build linux && cgo

package plugin

import (
	"strings"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"
	machines "github.com/NVIDIA/go-nvml/pkg/nvml/mock/server"
)

// a100s is NVIDIA's own stand-in for a machine with eight A100, with answers to
// what it leaves out.
func a100s() (management, *machines.Server) {
	machine := dgxa100.New()
	for i := range machine.Devices {
		d := &machine.Devices[i].(*machines.Device).Device
		d.GetBAR1MemoryInfoFunc = func() (nvml.BAR1Memory, nvml.Return) { return nvml.BAR1Memory{Bar1Total: 64 << 30}, nvml.SUCCESS }
		d.GetPowerManagementLimitFunc = func() (uint32, nvml.Return) { return 400_000, nvml.SUCCESS }
		d.GetMaxClockInfoFunc = func(nvml.ClockType) (uint32, nvml.Return) { return 1410, nvml.SUCCESS }
		d.GetMaxPcieLinkGenerationFunc = func() (int, nvml.Return) { return 4, nvml.SUCCESS }
		d.GetMaxPcieLinkWidthFunc = func() (int, nvml.Return) { return 16, nvml.SUCCESS }
		d.GetTotalEccErrorsFunc = func(nvml.MemoryErrorType, nvml.EccCounterType) (uint64, nvml.Return) {
			return 0, nvml.ERROR_NOT_SUPPORTED
		}
		d.GetRemappedRowsFunc = func() (int, int, bool, bool, nvml.Return) { return 0, 0, false, false, nvml.SUCCESS }
		d.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{Gpu: 70, Memory: 30}, nvml.SUCCESS }
		d.GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) { return 55, nvml.SUCCESS }
		d.GetPowerUsageFunc = func() (uint32, nvml.Return) { return 250_000, nvml.SUCCESS }
	}
	return management{machine}, machine
}

// TestCards asks a machine of eight GPUs, of which three are not as they should be.
func TestCards(t *testing.T) {
	m, machine := a100s()
	device := func(i int) *mock.Device { return &machine.Devices[i].(*machines.Device).Device }
	device(1).GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) { return nvml.Memory{}, nvml.ERROR_GPU_IS_LOST }
	device(2).GetTotalEccErrorsFunc = func(nvml.MemoryErrorType, nvml.EccCounterType) (uint64, nvml.Return) { return 2, nvml.SUCCESS }
	device(2).GetRemappedRowsFunc = func() (int, int, bool, bool, nvml.Return) { return 0, 1, false, true, nvml.SUCCESS }
	device(3).GetUUIDFunc = func() (string, nvml.Return) { return "", nvml.ERROR_GPU_IS_LOST }
	slice := &mock.Device{
		GetUUIDFunc:       func() (string, nvml.Return) { return "MIG-1", nvml.SUCCESS },
		GetNameFunc:       func() (string, nvml.Return) { return "", nvml.ERROR_NOT_SUPPORTED },
		GetMemoryInfoFunc: func() (nvml.Memory, nvml.Return) { return nvml.Memory{Total: 19968 << 20}, nvml.SUCCESS },
		GetAttributesFunc: func() (nvml.DeviceAttributes, nvml.Return) {
			return nvml.DeviceAttributes{GpuInstanceSliceCount: 3, MemorySizeMB: 19968}, nvml.SUCCESS
		},
	}
	device(4).GetMigModeFunc = func() (int, int, nvml.Return) { return nvml.DEVICE_MIG_ENABLE, nvml.DEVICE_MIG_ENABLE, nvml.SUCCESS }
	device(4).GetMaxMigDeviceCountFunc = func() (int, nvml.Return) { return 7, nvml.SUCCESS }
	device(4).GetMigDeviceHandleByIndexFunc = func(i int) (nvml.Device, nvml.Return) {
		if i == 2 {
			return slice, nvml.SUCCESS
		}
		return nil, nvml.ERROR_NOT_FOUND
	}
	if err := m.Open(); err != nil {
		t.Fatal(err)
	}
	cards, err := m.Cards()
	if err != nil || len(cards) != 7 {
		t.Fatalf("the cards are %v, %v", cards, err)
	}
	c := cards[0]
	if c.Trouble != nil || !strings.HasPrefix(c.UUID, "GPU-") || !strings.Contains(c.Name, "A100") || c.MemoryMiB != 40960 || c.BAR1MiB != 65536 || c.PowerW != 400 ||
		c.CoreMHz != 1410 || c.PCIMBs != 31504 || c.Driver != "550.54.15" || c.CUDA != "12.4" || c.Compute != "8.0" || c.MIG {
		t.Errorf("the first is %+v", c)
	}
	if c := cards[1]; c.Trouble == nil || !strings.Contains(c.Trouble.Error(), "asked for its memory, the driver says: ERROR_GPU_IS_LOST") {
		t.Errorf("the lost one is %+v", c)
	}
	if c := cards[2]; c.Uncorrected != 2 || !c.RemapFailed {
		t.Errorf("the one with memory errors is %+v", c)
	}
	if c := cards[3]; !c.MIG || len(c.Slices) != 1 || c.Slices[0] != (nvidiaSlice{"MIG-1", c.Name + " MIG 3g.20gb", 19968}) {
		t.Errorf("the one with a slice is %+v", c)
	}
	sample, err := m.Sample(cards[0].UUID)
	if err != nil || len(sample) != 5 || sample[0].value != 70 || sample[4].value != 250 || sample[4].of != 400 {
		t.Errorf("the first one's sample is %v, %v", sample, err)
	}
	if _, err := m.Sample("GPU-none"); err == nil {
		t.Error("a GPU that is not there has a sample")
	}
}

// TestFaults hears of an XID, and of a GPU that was lost without its name.
func TestFaults(t *testing.T) {
	m, machine := a100s()
	events := make(chan nvml.EventData, 3)
	set := &mock.EventSet{FreeFunc: func() nvml.Return { return nvml.SUCCESS }, WaitFunc: func(uint32) (nvml.EventData, nvml.Return) {
		select {
		case e := <-events:
			return e, nvml.SUCCESS
		default:
			return nvml.EventData{}, nvml.ERROR_TIMEOUT
		}
	}}
	machine.EventSetCreateFunc = func() (nvml.EventSet, nvml.Return) { return set, nvml.SUCCESS }
	for i := range machine.Devices {
		d := &machine.Devices[i].(*machines.Device).Device
		d.RegisterEventsFunc = func(uint64, nvml.EventSet) nvml.Return { return nvml.SUCCESS }
	}
	uuid, _ := machine.Devices[5].GetUUID()
	events <- nvml.EventData{Device: machine.Devices[5], EventType: nvml.EventTypeDoubleBitEccError, EventData: 1}
	events <- nvml.EventData{Device: machine.Devices[5], EventType: nvml.EventTypeXidCriticalError, EventData: 79}
	stop := make(chan struct{})
	err := m.Faults(stop, func(of string, xid uint64) {
		if of != uuid || xid != 79 {
			t.Errorf("it tells of XID %d of %q", xid, of)
		}
		close(stop)
	})
	if err != nil {
		t.Error(err)
	}
}

// TestNoLibrary opens NVIDIA's library where there is none.
func TestNoLibrary(t *testing.T) {
	err := management{nvml.New(nvml.WithLibraryPath("libnvidia-ml-none.so"))}.Open()
	if err == nil || !strings.Contains(err.Error(), "is not on this machine") {
		t.Errorf("it says %v", err)
	}
}
