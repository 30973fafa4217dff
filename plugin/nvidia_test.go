package plugin

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

// fakeLibrary is a driver whose answers a test sets.
type fakeLibrary struct {
	mu     sync.Mutex
	cards  []nvidiaCard
	closed error         // what Open says
	failed error         // what Cards says
	hang   chan struct{} // Cards waits for it, where there is one
	xids   chan uint64   // reported for the first card
	opens  int
}

func (f *fakeLibrary) Open() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opens++
	return f.closed
}

func (f *fakeLibrary) Close() {}

func (f *fakeLibrary) Cards() ([]nvidiaCard, error) {
	f.mu.Lock()
	hang := f.hang
	f.mu.Unlock()
	if hang != nil {
		<-hang
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.cards), f.failed
}

func (f *fakeLibrary) Sample(uuid string) ([]reading, error) {
	if strings.HasPrefix(uuid, "MIG") {
		return []reading{{name: "memory", value: 1, of: 2, unit: "MiB"}}, nil
	}
	return []reading{{name: "utilization", value: 42, unit: "%"}, {name: "memory", value: 1, of: 2, unit: "MiB"}}, nil
}

func (f *fakeLibrary) Faults(stop <-chan struct{}, tell func(string, uint64)) error {
	for {
		select {
		case <-stop:
			return nil
		case xid := <-f.xids:
			tell(f.cards[0].UUID, xid)
		}
	}
}

// set changes the answers.
func (f *fakeLibrary) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// tesla is a card that is well.
func tesla(n int) nvidiaCard {
	return nvidiaCard{UUID: fmt.Sprintf("GPU-%d", n), Name: "Tesla V100-SXM2-16GB", Bus: fmt.Sprintf("00000000:0%d:00.0", n), MemoryMiB: 16384, BAR1MiB: 16384,
		PowerW: 300, CoreMHz: 1530, MemoryMHz: 877, PCIMBs: 15760, Driver: "580.1", CUDA: "13.0", Compute: "7.0"}
}

// look is what a driver offers, as one line.
func look(n *nvidia) string {
	return strings.ReplaceAll(describe(groups(cut(n.devices(), nil))), "\n", "; ")
}

// TestNVIDIAHealth follows two GPUs through all that can befall them.
func TestNVIDIAHealth(t *testing.T) {
	lib := &fakeLibrary{cards: []nvidiaCard{tesla(1), tesla(2)}, xids: make(chan uint64)}
	nudged := make(chan struct{}, 10)
	n := &nvidia{log: hclog.NewNullLogger(), library: lib, changed: func() { nudged <- struct{}{} }}
	defer n.close()
	const well = "nvidia/gpu/Tesla V100-SXM2-16GB GPU-1, GPU-2"
	second := func(why string) string { return well + " (" + why + ")" }
	for _, c := range []struct {
		name   string
		change func()
		want   string
	}{
		{"well", func() {}, well},
		{"memory errors", func() { lib.cards[1].Uncorrected = 3 }, second("3 uncorrectable memory errors since the driver was loaded")},
		{"reset", func() { lib.cards[1].Uncorrected = 0 }, well},
		{"row", func() { lib.cards[1].RemapFailed = true }, second("a bad row of its memory could not be replaced")},
		{"answers with an error alone", func() { lib.cards[1] = nvidiaCard{UUID: "GPU-2", Trouble: errors.New("GPU is lost")} }, second("GPU is lost")},
		{"not listed", func() { lib.cards = lib.cards[:1] }, second("it is lost from the bus: the driver does not list it any more")},
		{"back", func() { lib.cards = append(lib.cards, tesla(2)) }, well},
		{"driver unloaded", func() { lib.failed = errors.New("driver not loaded") }, "nvidia/gpu/Tesla V100-SXM2-16GB GPU-1 (driver not loaded), GPU-2 (driver not loaded)"},
		{"not there again yet", func() { lib.failed, lib.closed = nil, errors.New("no driver") }, "nvidia/gpu/Tesla V100-SXM2-16GB GPU-1 (no driver), GPU-2 (no driver)"},
		{"loaded again", func() { lib.closed = nil }, well},
	} {
		lib.set(c.change)
		if got := look(n); got != c.want {
			t.Errorf("%s: it offers %q, want %q", c.name, got, c.want)
		}
	}
	for _, xid := range []uint64{31, 79} {
		select {
		case lib.xids <- xid:
		case <-time.After(10 * time.Second):
			t.Fatal("nobody listens for XIDs")
		}
	}
	<-nudged
	if got, want := look(n), "nvidia/gpu/Tesla V100-SXM2-16GB GPU-1 (the driver reported XID 79: reset the GPU, then start the Nomad client again), GPU-2"; got != want {
		t.Errorf("after an XID it offers %q, want %q", got, want)
	}
	if len(nudged) != 0 {
		t.Error("the fault of a program made it look again")
	}
}

// TestNVIDIASilent has a driver that does not answer, and then does.
func TestNVIDIASilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lib := &fakeLibrary{cards: []nvidiaCard{tesla(1)}, xids: make(chan uint64)}
		n := &nvidia{log: hclog.NewNullLogger(), library: lib}
		look(n)
		hang := make(chan struct{})
		lib.set(func() { lib.hang = hang })
		for range 2 {
			if got, want := look(n), "nvidia/gpu/Tesla V100-SXM2-16GB GPU-1 (the driver has not answered for 5s)"; got != want {
				t.Errorf("it offers %q, want %q", got, want)
			}
		}
		lib.set(func() { lib.hang = nil })
		close(hang)
		if got := look(n); strings.Contains(got, "(") || lib.opens != 1 {
			t.Errorf("it offers %q after %d openings", got, lib.opens)
		}
		n.close()
		synctest.Wait()
	})
}

// TestNVIDIAMissing says once that there is no driver, and finds one that comes.
func TestNVIDIAMissing(t *testing.T) {
	var said strings.Builder
	lib := &fakeLibrary{cards: []nvidiaCard{tesla(1)}, closed: errors.New("no library")}
	n := &nvidia{log: hclog.New(&hclog.LoggerOptions{Output: &said}), library: lib}
	defer n.close()
	for range 3 {
		if got := look(n); got != "" {
			t.Errorf("it offers %q", got)
		}
	}
	if strings.Count(said.String(), "no NVIDIA GPUs can be offered") != 1 || !strings.Contains(said.String(), "no library") {
		t.Errorf("it says:\n%s", said.String())
	}
	lib.set(func() { lib.closed = nil })
	if got := look(n); got != "nvidia/gpu/Tesla V100-SXM2-16GB GPU-1" {
		t.Errorf("it offers %q", got)
	}
}

// TestNVIDIAServed asks for GPUs, slices and shares over the protocol.
func TestNVIDIAServed(t *testing.T) {
	cut := tesla(3)
	cut.Name, cut.MIG = "NVIDIA A100-SXM4-40GB", true
	cut.Slices = []nvidiaSlice{{"MIG-1", "NVIDIA A100-SXM4-40GB MIG 3g.20gb", 19968}, {"MIG-2", "NVIDIA A100-SXM4-40GB MIG 3g.20gb", 19968}}
	lib := &fakeLibrary{cards: []nvidiaCard{tesla(1), tesla(2), cut, tesla(4), tesla(5)}, xids: make(chan uint64)}
	lib.cards[1].CoreMHz = 1380
	p := serve(t, &nvidia{log: hclog.NewNullLogger(), library: lib, ignore: []string{"GPU-4"}})
	p.must(p.configure(block{"share": []block{{"match": "GPU-5", "parts": 2}}}))
	next := p.watch()
	groups := next()
	want := "nvidia/gpu/Tesla V100-SXM2-16GB GPU-1, GPU-2\nnvidia/gpu/NVIDIA A100-SXM4-40GB MIG 3g.20gb MIG-1, MIG-2\nnvidia/gpu-1of2/Tesla V100-SXM2-16GB GPU-5::1, GPU-5::2"
	if got := describe(groups); got != want {
		t.Errorf("it offers\n%s\nwant\n%s", got, want)
	}
	attributes := "bar1 16384 MiB, compute_capability 7.0, cuda_version 13.0, driver_version 580.1, healthy 2, memory 16384 MiB, memory_clock 877 MHz, model Tesla V100-SXM2-16GB, pci_bandwidth 15760 MB/s, power 300 W"
	if got := attributeText(groups[0]); got != attributes {
		t.Errorf("what the two have in common is %q, want %q", got, attributes)
	}
	for ids, want := range map[string]string{
		"GPU-1,GPU-2": "CUDA_VISIBLE_DEVICES=GPU-1,GPU-2 MUSTER_DEVICES=GPU-1,GPU-2 NVIDIA_VISIBLE_DEVICES=GPU-1,GPU-2",
		"MIG-2":       "CUDA_VISIBLE_DEVICES=MIG-2 MUSTER_DEVICES=MIG-2 NVIDIA_VISIBLE_DEVICES=MIG-2",
		"GPU-5::2":    "CUDA_VISIBLE_DEVICES=GPU-5 MUSTER_DEVICES=GPU-5::2 MUSTER_GPU_MEMORY_MIB=8192 MUSTER_GPU_SHARE=1/2 NVIDIA_VISIBLE_DEVICES=GPU-5",
	} {
		res, err := p.reserve(strings.Split(ids, ",")...)
		p.must(err)
		if got := environment(res); got != want {
			t.Errorf("%s: the environment is %q, want %q", ids, got, want)
		}
	}
	stats, _ := p.stats()
	if len(stats) != 3 || stats[1].GetInstanceStats()["MIG-2"].GetSummary().GetUnit() != "MiB" || stats[2].GetInstanceStats()["GPU-5::2"].GetSummary().GetIntNumeratorVal().GetValue() != 42 {
		t.Errorf("the statistics are %v", stats)
	}
	lib.set(func() { lib.cards = []nvidiaCard{tesla(1), {UUID: "GPU-3", Trouble: errors.New("GPU is lost")}} })
	if got := describe(next()); !strings.Contains(got, "MIG-1 (GPU is lost), MIG-2 (GPU is lost)") || !strings.Contains(got, "GPU-5::1 (it is lost from the bus") {
		t.Errorf("with lost GPUs it offers\n%s", got)
	}
}
