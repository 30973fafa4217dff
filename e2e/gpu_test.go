package e2e

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/dev"
	"github.com/muster-ml/muster/engines"
)

// gpuProgram counts on the GPU it sees until a file exists.
//
//go:embed testdata/gpu.py
var gpuProgram string

// TestGPU runs commands on a real GPU of this machine: one on the whole of it, and
// two at once on a half each. Only "make test-gpu" asks for it, and then a
// machine without one fails.
func TestGPU(t *testing.T) {
	if os.Getenv("MUSTER_TEST_GPU") == "" {
		t.Skip("needs an NVIDIA GPU: run make test-gpu on a machine with one")
	}
	t.Run("Whole", func(t *testing.T) {
		p := openGPU(t, 0)
		name, stop := p.count("1")
		p.running(name)
		p.eventually("its GPU to be busy", func() bool {
			gpu := p.gpuStats(name)
			return gpu["utilization"].Max > 0 && gpu["memory"].Max >= 1024 && gpu["power"].Max > 0
		}, func() string { return p.muster("run", "stats", name, "-o", "wide") + p.events(name) })
		p.counted(name, stop, "share of none, all MiB\n")
		t.Logf("what is known of it\n%s", p.muster("run", "stats", name, "-o", "wide"))
		half := p.ends(p.submit("command: sleep 1\nx-muster: {resources: {gpus: 0.5}}\n"), muster.RunFailed)
		if !strings.Contains(half.Reason, "1 gpu-1of2, and the largest node") {
			t.Errorf("half a GPU is asked for where there are none, and it says %s", half.Reason)
		}
	})
	t.Run("Halves", func(t *testing.T) {
		p := openGPU(t, 2)
		one, stopOne := p.count("0.5")
		other, stopOther := p.count("0.5")
		for _, name := range []string{one, other} { // each counts until it is stopped, so both do at once
			p.eventually("run "+name+" to count", func() bool { return strings.Contains(p.muster("run", "logs", name), "counts on ") }, func() string { return p.events(name) })
		}
		p.counted(one, stopOne, "share 1/2, ")
		p.counted(other, stopOther, "share 1/2, ")
	})
}

// TestOwnDevices holds that the node of "muster dev" asks this machine for its GPUs,
// whether it has some or not, and leaves nothing that does.
func TestOwnDevices(t *testing.T) {
	p := open(t, dev.Config{DevicePlugin: bin(t, "muster-device"), Nodes: []dev.Node{{Name: "first", Pool: "local"}, {Name: "second", Pool: "local"}}})
	asking := func(node string) int {
		copies, err := engines.CopiesOf(filepath.Join(p.DataDir, "nodes", node, "plugins", "muster-device"))
		if err != nil {
			t.Fatal(err)
		}
		return len(copies)
	}
	if first, second := asking("first"), asking("second"); first != 1 || second != 0 {
		t.Errorf("%d and %d processes ask for this machine's devices: the first node has them", first, second)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if left := asking("first"); left != 0 {
		t.Errorf("%d processes that ask for devices are left", left)
	}
}

// openGPU starts a platform whose node has the GPUs of this machine.
func openGPU(t *testing.T, shares int) *platform {
	t.Helper()
	p := open(t, dev.Config{DevicePlugin: bin(t, "muster-device"), GPUShares: shares}, "--stats-every", "1s")
	node := p.node("local")
	if len(node.Allocatable.Devices) == 0 {
		t.Fatal("the node has no GPU: nvidia-smi must list one")
	}
	t.Logf("the node is\n%s", p.muster("node", "show", node.Name))
	return p
}

// count submits a run that counts on so many GPUs until the file is made.
func (p *platform) count(gpus string) (name, stop string) {
	p.t.Helper()
	folder := p.t.TempDir()
	open0711(p.t, folder)
	code := filepath.Join(folder, "gpu.py")
	if err := os.WriteFile(code, []byte(gpuProgram), 0o644); err != nil {
		p.t.Fatal(err)
	}
	stop = filepath.Join(folder, "stop")
	return p.submit(fmt.Sprintf("command: python3 %s %s\nx-muster: {resources: {cpus: 1, memory: 2Gi, gpus: %s}}\n", code, stop, gpus)), stop
}

// counted stops such a run, and wants that it has counted right, on that share.
func (p *platform) counted(name, stop, share string) {
	p.t.Helper()
	if err := os.WriteFile(stop, nil, 0o644); err != nil {
		p.t.Fatal(err)
	}
	p.ends(name, muster.RunSucceeded)
	said := p.muster("run", "logs", name)
	p.t.Logf("run %s says\n%s", name, said)
	if !strings.Contains(said, "counted right\n") || !strings.Contains(said, share) {
		p.t.Errorf("run %s does not say that it has counted on %q", name, share)
	}
}

// gpuStats returns the statistics of a run's GPU, by their names.
func (p *platform) gpuStats(name string) map[string]used {
	p.t.Helper()
	var all []used
	p.decode(&all, "run", "stats", name, "-o", "json")
	gpu := map[string]used{}
	for _, s := range all {
		if parts := strings.Split(s.Name, "."); parts[0] == "gpu" {
			gpu[parts[len(parts)-1]] = s
		}
	}
	return gpu
}
