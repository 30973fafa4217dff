package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/dev"
)

// used is what "run stats -o json" tells of one statistic.
type used struct {
	Name, Unit string
	Max        float64
	Samples    []struct {
		At    time.Time
		Value float64
	}
}

// TestStats runs a command that keeps a core busy beside a half of a simulated GPU,
// and holds that what it, its node and its device use is told while it runs and
// afterwards.
func TestStats(t *testing.T) {
	p := open(t, dev.Config{Autoscaler: bin(t, "muster-autoscaler"), DevicePlugin: bin(t, "muster-device")}, "--stats-every", "1s")
	p.muster("cluster", "create", "--provider", "local", "--size", "local.half", "--max", "1", "halves")
	name := p.submit("command: while :; do :; done\ncompute: halves\nx-muster: {resources: {cpus: 0.3, memory: 100Mi, gpus: 0.5, gpu_model: V100}}\n", "--name", "busy")
	stats := func() map[string]used {
		var all []used
		p.decode(&all, "run", "stats", name, "-o", "json")
		byName := map[string]used{}
		for _, s := range all {
			byName[s.Name] = s
		}
		return byName
	}
	p.running(name)
	p.eventually("a busy core to be seen", func() bool { return stats()["cpu"].Max > 5 }, func() string { return p.muster("run", "stats", name) + p.muster("run", "events", name) })
	p.muster("run", "cancel", name)
	p.ends(name, muster.RunCancelled)
	all := stats()
	t.Logf("what is known of it\n%s", p.muster("run", "stats", name, "-o", "wide"))
	var gpu []string
	for n := range all {
		if kind, rest, _ := strings.Cut(n, "."); kind == "gpu" {
			id, reading, _ := strings.Cut(rest, ".")
			if !strings.HasPrefix(id, "sim-V100-0::") {
				t.Errorf("it has statistics of %s", id)
			}
			gpu = append(gpu, reading+" "+all[n].Unit)
		}
	}
	slices.Sort(gpu)
	if want := []string{"ecc_corrected ", "ecc_uncorrected ", "memory MiB", "power W", "temperature °C", "utilization %"}; !slices.Equal(gpu, want) {
		t.Errorf("of its GPU there is %q, want %q", gpu, want)
	}
	for _, s := range all {
		if s.Unit != "" && s.Max <= 0 || len(s.Samples) == 0 || s.Name == "cpu" && len(s.Samples) < 3 {
			t.Errorf("%s has %d samples, of at most %g %s", s.Name, len(s.Samples), s.Max, s.Unit)
		}
		if first := s.Samples[0].At; s.Name == "node_cpu" && first.Sub(p.show(name).Attempts[0].StartedAt) > 3*time.Second {
			t.Errorf("the first sample is of %s, the command began at %s", first, p.show(name).Attempts[0].StartedAt)
		}
	}
	for _, n := range []string{"cpu", "memory", "node_cpu", "node_memory", "node_disk"} {
		if len(all[n].Samples) == 0 {
			t.Errorf("there is no %s", n)
		}
	}
	if plot := p.muster("run", "stats", name, "--name", "cpu", "--plot"); !strings.Contains(plot, "cpu in % over seconds 0 to ") {
		t.Errorf("the plot is\n%s", plot)
	}
}
