package plugin

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	device "github.com/hashicorp/nomad/plugins/device/proto"
)

// count is a program that counts the GPUs it sees, by the driver's own library.
const count = `import ctypes
cuda, n = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
assert cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(n)) == 0
print(n.value)`

// TestGPU looks at the real GPUs of the machine. Only "make test-gpu" asks for
// it, and then a machine without one fails.
func TestGPU(t *testing.T) {
	if os.Getenv("MUSTER_TEST_GPU") == "" {
		t.Skip("needs an NVIDIA GPU: run make test-gpu on a machine with one")
	}
	p, _ := start(t, build(t))
	p.must(p.configure(block{"nvidia": block{"enabled": true}}))
	groups := p.watch()()
	if len(groups) == 0 {
		t.Fatal("this machine has no NVIDIA GPU, or its driver is not loaded: nvidia-smi must list one")
	}
	t.Logf("the plugin offers\n%s", describe(groups))
	for _, g := range groups {
		if g.GetVendor() != "nvidia" || g.GetDeviceType() != "gpu" || g.GetAttributes()["memory"].GetIntVal() < 1024 || g.GetAttributes()["driver_version"].GetStringVal() == "" {
			t.Errorf("a group is %s/%s/%s with %s", g.GetVendor(), g.GetDeviceType(), g.GetDeviceName(), attributeText(g))
		}
	}
	at := slices.IndexFunc(groups[0].GetDevices(), func(d *device.DetectedDevice) bool { return d.GetHealthy() })
	if at < 0 {
		t.Fatalf("none is well:\n%s", describe(groups))
	}
	id := groups[0].GetDevices()[at].GetID()
	p.sees(id, id)
	stats, _ := p.stats()
	sample := stats[0].GetInstanceStats()[id].GetStats().GetAttributes()
	if m := sample["memory"]; m.GetIntDenominatorVal().GetValue() < 1024 {
		t.Errorf("its statistics are %v", sample)
	}
	if !strings.HasPrefix(id, "MIG") && (sample["utilization"] == nil || sample["temperature"].GetIntNumeratorVal().GetValue() <= 0 || sample["power"].GetIntNumeratorVal().GetValue() <= 0) {
		t.Errorf("its statistics are %v", sample)
	}
	p.must(p.configure(block{"nvidia": block{"enabled": true}, "share": []block{{"match": id, "parts": 2}}}))
	groups = p.watch()()
	share := slices.IndexFunc(groups, func(g *device.DeviceGroup) bool { return g.GetDeviceType() == "gpu-1of2" })
	if share < 0 || len(groups[share].GetDevices()) != 2 {
		t.Fatalf("shared by two it is\n%s", describe(groups))
	}
	p.sees(id+shareMark+"2", id)
}

// sees runs a program with what was reserved, and finds that it sees that GPU and
// no other.
func (p *peer) sees(reserved, uuid string) {
	p.Helper()
	res, err := p.reserve(reserved)
	p.must(err)
	program := exec.CommandContext(p.Context(), "python3", "-c", count)
	program.Env = os.Environ()
	for name, value := range res.GetEnvs() {
		program.Env = append(program.Env, name+"="+value)
	}
	out, err := program.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "1" {
		p.Errorf("a program with %s sees %q GPUs, %v", environment(res), out, err)
	}
	if got := res.GetEnvs()["CUDA_VISIBLE_DEVICES"]; got != uuid {
		p.Errorf("reserved %s, it may see %s", reserved, got)
	}
	listed, err := exec.CommandContext(p.Context(), "nvidia-smi", "-L").CombinedOutput()
	if err != nil || !strings.Contains(string(listed), fmt.Sprintf("UUID: %s)", uuid)) {
		p.Errorf("nvidia-smi does not list %s: %v\n%s", uuid, err, listed)
	}
}
