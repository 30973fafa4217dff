package plugin

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	device "github.com/hashicorp/nomad/plugins/device/proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// farm is a node with two simulated K80s, and a V100 that is shared by two.
func farm(dir string) block {
	return block{"simulated_dir": dir, "simulated": []block{{"model": "K80", "count": 2, "memory_mib": 12288}, {"model": "V100"}}, "share": []block{{"match": "V100", "parts": 2}}}
}

// put writes a file.
func (p *peer) put(path, text string) {
	p.Helper()
	p.must(os.MkdirAll(filepath.Dir(path), 0o755))
	p.must(os.WriteFile(path, []byte(text), 0o644))
}

// TestFingerprint follows devices that become unwell and well again.
func TestFingerprint(t *testing.T) {
	p, dir := serve(t), t.TempDir()
	p.must(p.configure(farm(dir)))
	next := p.watch()
	well := "muster/gpu/K80 sim-K80-0, sim-K80-1\nmuster/gpu-1of2/V100 sim-V100-0::1, sim-V100-0::2"
	groups := next()
	if got := describe(groups); got != well {
		t.Errorf("at first:\n%s\nwant\n%s", got, well)
	}
	for i, want := range []string{"healthy 2, memory 12288 MiB, model K80, simulated", "device_memory 16384 MiB, healthy 2, memory 8192 MiB, model V100, share 1/2, simulated"} {
		if got := attributeText(groups[i]); got != want {
			t.Errorf("the attributes are %q, want %q", got, want)
		}
	}
	p.put(filepath.Join(dir, "sim-K80-1.unhealthy"), "fan stands still\n")
	if got, want := describe(next()), "muster/gpu/K80 sim-K80-0, sim-K80-1 (fan stands still)\nmuster/gpu-1of2/V100 sim-V100-0::1, sim-V100-0::2"; got != want {
		t.Errorf("one unwell:\n%s\nwant\n%s", got, want)
	}
	p.must(os.Rename(filepath.Join(dir, "sim-K80-1.unhealthy"), filepath.Join(dir, "sim-V100-0.unhealthy")))
	got := describe(next())
	if got != well && !strings.Contains(got, "V100-0::1 (fan stands still), sim-V100-0::2 (fan stands still)") {
		got = describe(next())
	}
	if want := "muster/gpu/K80 sim-K80-0, sim-K80-1\nmuster/gpu-1of2/V100 sim-V100-0::1 (fan stands still), sim-V100-0::2 (fan stands still)"; got != want {
		t.Errorf("the shared one unwell:\n%s\nwant\n%s", got, want)
	}
	p.put(filepath.Join(dir, "sim-V100-0.unhealthy"), "")
	if got := describe(next()); !strings.Contains(got, "there is a file "+dir) {
		t.Errorf("unwell without a reason:\n%s", got)
	}
	p.must(os.Remove(filepath.Join(dir, "sim-V100-0.unhealthy")))
	if got := describe(next()); got != well {
		t.Errorf("well again:\n%s\nwant\n%s", got, well)
	}
}

// attributeText writes a group's attributes in the order of their names.
func attributeText(g *device.DeviceGroup) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(g.GetAttributes())) {
		a := g.GetAttributes()[name]
		switch {
		case a.GetBoolVal():
			all = append(all, name)
		case a.GetStringVal() != "":
			all = append(all, name+" "+a.GetStringVal())
		default:
			all = append(all, strings.TrimSpace(fmt.Sprint(name, " ", a.GetIntVal(), " ", a.GetUnit())))
		}
	}
	return strings.Join(all, ", ")
}

// TestNone finds that Nomad is told at once that there is nothing: it waits for
// a first word from every plugin.
func TestNone(t *testing.T) {
	p := serve(t)
	p.must(p.configure(block{}))
	next := p.watch()
	if got := next(); len(got) != 0 {
		t.Errorf("it offers\n%s", describe(got))
	}
	p.must(p.configure(block{"simulated": []block{{"model": "K80"}}}))
	if got := describe(next()); got != "muster/gpu/K80 sim-K80-0" {
		t.Errorf("configured anew it offers\n%s", got)
	}
}

// TestReserve reserves what can be, and what cannot.
func TestReserve(t *testing.T) {
	p, dir := serve(t), t.TempDir()
	p.must(p.configure(farm(dir)))
	p.put(filepath.Join(dir, "sim-K80-1.unhealthy"), "fan stands still")
	for _, c := range []struct {
		name string
		ids  []string
		code codes.Code
		want string // of the error, or of the environment
	}{
		{"whole", []string{"sim-K80-0"}, codes.OK, "MUSTER_DEVICES=sim-K80-0 MUSTER_VISIBLE_DEVICES=sim-K80-0 NVIDIA_VISIBLE_DEVICES=void"},
		{"share", []string{"sim-V100-0::2"}, codes.OK,
			"MUSTER_DEVICES=sim-V100-0::2 MUSTER_GPU_MEMORY_MIB=8192 MUSTER_GPU_SHARE=1/2 MUSTER_VISIBLE_DEVICES=sim-V100-0 NVIDIA_VISIBLE_DEVICES=void"},
		{"several shares", []string{"sim-V100-0::1", "sim-V100-0::2"}, codes.InvalidArgument, `reserve 2 devices of type "gpu-1of2": a task takes exactly one share`},
		{"unwell", []string{"sim-K80-1"}, codes.FailedPrecondition, `reserve device "sim-K80-1": it is not well: fan stands still`},
		{"unknown", []string{"sim-K80-7"}, codes.NotFound, `reserve device "sim-K80-7": there is none on this node now`},
		{"a shared one whole", []string{"sim-V100-0"}, codes.NotFound, "are its shares cut otherwise"},
		{"twice", []string{"sim-K80-0", "sim-K80-0"}, codes.InvalidArgument, "it is named twice"},
		{"nothing", nil, codes.InvalidArgument, "no device is named"},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, err := p.reserve(c.ids...)
			got := fmt.Sprint(err)
			if err == nil {
				got = environment(res)
			}
			if status.Code(err) != c.code || !strings.Contains(got, c.want) {
				t.Errorf("it says %s, want %s", got, c.want)
			}
		})
	}
	p.must(os.Remove(filepath.Join(dir, "sim-K80-1.unhealthy")))
	res, err := p.reserve("sim-K80-0", "sim-K80-1")
	p.must(err)
	if got := environment(res); !strings.HasPrefix(got, "MUSTER_DEVICES=sim-K80-0,sim-K80-1 MUSTER_VISIBLE_DEVICES=sim-K80-0,sim-K80-1 ") {
		t.Errorf("two devices give %s", got)
	}
}

// environment writes a reservation's variables in the order of their names.
func environment(res *device.ContainerReservation) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(res.GetEnvs())) {
		all = append(all, name+"="+res.GetEnvs()[name])
	}
	return strings.Join(all, " ")
}

// TestStats reads the statistics of whole, shared and unwell devices.
func TestStats(t *testing.T) {
	p, dir := serve(t), t.TempDir()
	p.must(p.configure(farm(dir)))
	p.put(filepath.Join(dir, "sim-K80-1.unhealthy"), "fan stands still")
	p.watch()()
	first, second := p.stats()
	for _, groups := range [][]*device.DeviceGroupStats{first, second} {
		if len(groups) != 2 || len(groups[0].GetInstanceStats()) != 1 || len(groups[1].GetInstanceStats()) != 2 {
			t.Fatalf("the statistics are %v", groups)
		}
		if g := groups[1]; g.GetVendor() != "muster" || g.GetType() != "gpu-1of2" || g.GetName() != "V100" {
			t.Errorf("the shares are called %s/%s/%s", g.GetVendor(), g.GetType(), g.GetName())
		}
		one := groups[0].GetInstanceStats()["sim-K80-0"]
		if use := one.GetSummary(); use.GetIntNumeratorVal().GetValue() < 20 || use.GetIntNumeratorVal().GetValue() > 95 || use.GetUnit() != "%" {
			t.Errorf("the utilization is %v", use)
		}
		memory := one.GetStats().GetAttributes()["memory"]
		if used := memory.GetIntNumeratorVal().GetValue(); used <= 0 || used >= 12288 || memory.GetIntDenominatorVal().GetValue() != 12288 || memory.GetUnit() != "MiB" {
			t.Errorf("the memory is %v", memory)
		}
		if time.Since(one.GetTimestamp().AsTime()) > time.Minute {
			t.Errorf("they are of %v", one.GetTimestamp())
		}
	}
}

// TestSimulatedNumbers proves that made up numbers move, and repeat.
func TestSimulatedNumbers(t *testing.T) {
	at := time.Unix(1000, 0)
	s := &simulated{now: func() time.Time { return at }}
	use := func(id string) int64 {
		all, err := s.sample(found{id: id, memoryMiB: 100})
		if err != nil {
			t.Fatal(err)
		}
		return all[0].value
	}
	before, other := use("a"), use("b")
	at = at.Add(simulatedCycle / 4)
	moved := use("a")
	at = at.Add(simulatedCycle * 3 / 4)
	if after := use("a"); after != before || moved == before || other == before {
		t.Errorf("the utilization is %d, then %d, a cycle later %d; the other device's is %d", before, moved, after, other)
	}
}
