//go:build linux && cgo

package plugin

import (
	"errors"
	"fmt"
	"strings"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// management is NVIDIA's management library (NVML). It is loaded when it is
// opened, so that the program starts where there is none.
type management struct{ nvml.Interface }

func newNVML() nvidiaLibrary { return management{nvml.New()} }

// Open loads the library and connects to the driver.
func (m management) Open() error {
	switch ret := m.Init(); ret {
	case nvml.SUCCESS:
		return nil
	case nvml.ERROR_LIBRARY_NOT_FOUND:
		return errors.New("NVIDIA's library libnvidia-ml.so.1 is not on this machine")
	case nvml.ERROR_DRIVER_NOT_LOADED:
		return errors.New("NVIDIA's driver is not loaded")
	default:
		return fmt.Errorf("connect to NVIDIA's driver: %w", ret)
	}
}

// Close lets go of the driver.
func (m management) Close() { m.Shutdown() }

// Cards asks for every GPU. One that does not even say its UUID is left out.
func (m management) Cards() (all []nvidiaCard, err error) {
	driver, ret := m.SystemGetDriverVersion()
	if ret != nvml.SUCCESS {
		return nil, fmt.Errorf("ask for the driver's version: %w", ret)
	}
	cuda, ret := m.SystemGetCudaDriverVersion()
	if ret != nvml.SUCCESS {
		cuda = 0
	}
	count, ret := m.DeviceGetCount()
	if ret != nvml.SUCCESS {
		return nil, fmt.Errorf("count the GPUs: %w", ret)
	}
	for i := range count {
		d, ret := m.DeviceGetHandleByIndex(i)
		if ret != nvml.SUCCESS {
			continue
		}
		c := card(d)
		if c.Driver = driver; cuda > 0 {
			c.CUDA = fmt.Sprintf("%d.%d", cuda/1000, cuda%1000/10)
		}
		if c.UUID != "" {
			all = append(all, c)
		}
	}
	return all, nil
}

// asked keeps the first answer that says that a GPU is not well. Many things are
// not known of many GPUs, and that is none.
type asked struct{ trouble error }

// fits reports whether there is an answer to the question.
func (a *asked) fits(question string, ret nvml.Return) bool {
	switch ret {
	case nvml.ERROR_GPU_IS_LOST, nvml.ERROR_RESET_REQUIRED, nvml.ERROR_IRQ_ISSUE, nvml.ERROR_CORRUPTED_INFOROM:
		if a.trouble == nil {
			a.trouble = fmt.Errorf("asked for its %s, the driver says: %w", question, ret)
		}
	}
	return ret == nvml.SUCCESS
}

// card asks for all that is told of a GPU.
func card(d nvml.Device) (c nvidiaCard) {
	var a asked
	uuid, ret := d.GetUUID()
	if a.fits("UUID", ret) {
		c.UUID = uuid
	}
	name, ret := d.GetName()
	if a.fits("name", ret) {
		c.Name = name
	} else if a.trouble == nil {
		a.trouble = fmt.Errorf("asked for its name, the driver says: %w", ret)
	}
	if memory, ret := d.GetMemoryInfo(); a.fits("memory", ret) {
		c.MemoryMiB = int64(memory.Total >> 20)
	}
	if bar1, ret := d.GetBAR1MemoryInfo(); a.fits("BAR1", ret) {
		c.BAR1MiB = int64(bar1.Bar1Total >> 20)
	}
	if milliwatts, ret := d.GetPowerManagementLimit(); a.fits("power", ret) {
		c.PowerW = int64(milliwatts / 1000)
	}
	if mhz, ret := d.GetMaxClockInfo(nvml.CLOCK_GRAPHICS); a.fits("clocks", ret) {
		c.CoreMHz = int64(mhz)
	}
	if mhz, ret := d.GetMaxClockInfo(nvml.CLOCK_MEM); a.fits("clocks", ret) {
		c.MemoryMHz = int64(mhz)
	}
	if major, minor, ret := d.GetCudaComputeCapability(); a.fits("compute capability", ret) {
		c.Compute = fmt.Sprintf("%d.%d", major, minor)
	}
	c.place(d, &a)
	c.memoryErrors(d, &a)
	c.slices(d, &a)
	c.Trouble = a.trouble
	return c
}

// laneMBs is what one PCI lane carries, by generation from the first.
var laneMBs = []int64{250, 500, 985, 1969, 3938, 7563}

// place asks where a GPU sits.
func (c *nvidiaCard) place(d nvml.Device, a *asked) {
	if pci, ret := d.GetPciInfo(); a.fits("PCI address", ret) {
		var bus strings.Builder
		for _, b := range pci.BusId {
			if b == 0 {
				break
			}
			bus.WriteByte(byte(b))
		}
		c.Bus = bus.String()
	}
	generation, ret := d.GetMaxPcieLinkGeneration()
	known := a.fits("PCI generation", ret) && generation >= 1 && generation <= len(laneMBs)
	if lanes, ret := d.GetMaxPcieLinkWidth(); a.fits("PCI width", ret) && known {
		c.PCIMBs = laneMBs[generation-1] * int64(lanes)
	}
}

// memoryErrors asks for errors that no correction helped.
func (c *nvidiaCard) memoryErrors(d nvml.Device, a *asked) {
	if n, ret := d.GetTotalEccErrors(nvml.MEMORY_ERROR_TYPE_UNCORRECTED, nvml.VOLATILE_ECC); a.fits("memory errors", ret) {
		c.Uncorrected = n
	}
	if _, _, _, failed, ret := d.GetRemappedRows(); a.fits("remapped rows", ret) {
		c.RemapFailed = failed
	}
}

// slices asks for the slices of a GPU that is cut by its hardware.
func (c *nvidiaCard) slices(d nvml.Device, a *asked) {
	mode, _, ret := d.GetMigMode()
	if !a.fits("MIG mode", ret) || mode != nvml.DEVICE_MIG_ENABLE {
		return
	}
	c.MIG = true
	most, ret := d.GetMaxMigDeviceCount()
	if !a.fits("MIG slices", ret) {
		return
	}
	for i := range most {
		s, ret := d.GetMigDeviceHandleByIndex(i)
		if ret == nvml.ERROR_NOT_FOUND || !a.fits("MIG slice", ret) {
			continue
		}
		c.Slices = append(c.Slices, slice(s, c.Name, a))
	}
}

// slice asks for all that is told of a slice. Older drivers call it as they call
// its GPU.
func slice(d nvml.Device, whole string, a *asked) (s nvidiaSlice) {
	uuid, ret := d.GetUUID()
	if a.fits("MIG slice's UUID", ret) {
		s.UUID = uuid
	}
	s.Name = whole
	name, ret := d.GetName()
	if a.fits("MIG slice's name", ret) && name != "" {
		s.Name = name
	}
	if memory, ret := d.GetMemoryInfo(); a.fits("MIG slice's memory", ret) {
		s.MemoryMiB = int64(memory.Total >> 20)
	}
	if size, ret := d.GetAttributes(); a.fits("MIG slice's size", ret) && !strings.Contains(s.Name, "MIG") {
		s.Name = fmt.Sprintf("%s MIG %dg.%dgb", s.Name, size.GpuInstanceSliceCount, (size.MemorySizeMB+1023)/1024)
	}
	return s
}
