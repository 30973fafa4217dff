package target

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/engines"
)

// TestGrowAndShrink takes a cluster from 0 to 2 machines, then to 1: the one that
// may leave goes, and no other. A server that does not know the cluster lets none
// go; when the last one has left, nothing of the cluster stays.
func TestGrowAndShrink(t *testing.T) {
	l := open(t)
	l.want(2)
	names := l.reach(t, 2)
	for _, name := range names {
		n := l.node(t, name)
		if !strings.HasPrefix(name, "c-") || n.Status != "ready" || n.NodePool != "pool-c" || n.NodeResources.Cpu.CpuShares != 2050 ||
			n.NodeResources.Memory.MemoryMB != 576 || n.ReservedResources.Memory.MemoryMB != 128 {
			t.Errorf("node %+v", n)
		}
		if n.Meta["muster_cluster"] != "c" || n.Meta["muster_machine"] != name || n.Meta["muster_boot"] == "" || n.Meta["muster_dir"] == "" {
			t.Errorf("the metadata is %v", n.Meta)
		}
	}

	// With none that may leave, nothing happens.
	l.want(1)
	l.agent(t)
	looked := l.looks.Load()
	eventually(t, "the worker has looked", func() bool { l.agent(t); return l.looks.Load() > looked+3 })
	if r := l.last(); len(r.Machines) != 2 {
		t.Errorf("a machine was taken that may not leave: %+v", r)
	}
	l.want(1, names[1])
	if left := l.reach(t, 1); left[0] != names[0] {
		t.Errorf("%s is left, want %s", left[0], names[0])
	}

	// One that is wanted and leaves is replaced.
	l.want(1, names[0])
	eventually(t, "it has left", func() bool {
		l.agent(t)
		return !slices.ContainsFunc(l.last().Machines, func(m muster.Machine) bool { return m.Name == names[0] })
	})
	names = l.reach(t, 1)

	l.know(nil)
	looked = l.looks.Load()
	eventually(t, "the server has denied the cluster a few times", func() bool { return l.looks.Load() > looked+3 })
	if left := l.list(t); len(left) != 1 || left[0].Name != names[0] || pidOf(t, left[0]) == 0 {
		t.Errorf("a server that knows no cluster has ended machines: %v are left", left)
	}
	if n := l.log.times("knows no such cluster"); n != 1 {
		t.Errorf("that was said %d times", n)
	}
	l.know(wants(0, names[0]))
	l.reach(t, 0)
	l.know(nil)
	eventually(t, "the folder of the cluster is gone", func() bool {
		_, err := os.Stat(filepath.Join(l.settings.Dir, "c"))
		return os.IsNotExist(err)
	})
	if left := processesOf(t, l.settings.Dir); len(left) > 0 {
		t.Errorf("processes are left: %q", left)
	}
}

// know makes the server know this of cluster c; nothing for nil.
func (l *lab) know(s *muster.Scaling) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s == nil {
		delete(l.scaling, "c")
		return
	}
	l.scaling["c"] = s
}

// TestRefused has a server that hears another autoscaler: nothing is bought, and
// that is said once. Before that something stands in the way of the folder.
func TestRefused(t *testing.T) {
	l := open(t)
	l.Close()
	l.mu.Lock()
	l.owner, l.reports = "another", map[string][]muster.MachineReport{}
	l.mu.Unlock()
	lock := filepath.Join(l.settings.Dir, ".lock")
	if err := os.Remove(lock); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := os.MkdirAll(lock, 0o700); err != nil {
		t.Fatal(err)
	}
	l.restart(t)
	l.want(1)
	eventually(t, "the target has told that it cannot take over", func() bool { return l.log.times("cannot take over the machines, trying again") > 0 })
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	looked := l.looks.Load()
	eventually(t, "the worker has looked", func() bool { l.agent(t); return l.looks.Load() > looked+5 })
	if left := l.list(t); len(left) > 0 {
		t.Errorf("machines are bought in another's cluster: %v", left)
	}
	if n := l.log.times("another autoscaler has machines in this cluster"); n != 1 {
		t.Errorf("that was said %d times", n)
	}
	l.mu.Lock()
	l.owner = ""
	l.mu.Unlock()
	l.reach(t, 1)
	id, err := (&engines.Machines{Dir: l.settings.Dir}).ID()
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	number := int64(0)
	for _, r := range l.reports["c"] {
		if r.Source != id || len(id) != 32 || r.Number <= number {
			t.Errorf("report %d of source %q after %d, want source %q", r.Number, r.Source, number, id)
		}
		number = r.Number
	}
}

// TestMoveAgain moves a machine whose client cannot start for a while: it stays,
// with its work, and is tried again.
func TestMoveAgain(t *testing.T) {
	l := open(t)
	l.want(1)
	name := l.reach(t, 1)[0]
	task := l.job(t, "work", name)
	m := l.list(t)[0]
	l.Close()
	config := filepath.Join(m.Folder(), "config.hcl")
	if err := os.Remove(config); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(config, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	l.settings.Servers += ",127.0.0.1:1"
	l.restart(t)
	eventually(t, "the move has failed twice", func() bool { l.agent(t); return l.log.times("it stays, and is tried again") > 1 })
	if pid := pidOf(t, m); pid != 0 || !m.Moving() {
		t.Errorf("its client is process %d, and it is moving: %v", pid, m.Moving())
	}
	if err := os.RemoveAll(config); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the machine has moved", func() bool { return !m.Moving() })
	again := l.list(t)
	if len(again) != 1 || again[0].Name != name || again[0].Boot != m.Boot || pidOf(t, again[0]) == 0 || !alive(task) {
		t.Errorf("there are %+v, want %s of boot %s; its task lives: %v", again, name, m.Boot, alive(task))
	}
	if l.told(func(r muster.MachineReport) bool { return r.Failure != nil }) {
		t.Error("that is told as a failure to buy")
	}
}

// TestVanish kills a machine's client behind the target's back: its tasks go
// with it, the server hears of it, and another machine takes its place.
func TestVanish(t *testing.T) {
	l := open(t)
	l.want(1)
	name := l.reach(t, 1)[0]
	task := l.job(t, "victim", name)
	if err := syscall.Kill(pidOf(t, l.list(t)[0]), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the machine is gone, and reported so", func() bool {
		return !slices.ContainsFunc(l.last().Machines, func(m muster.Machine) bool { return m.Name == name })
	})
	if alive(task) {
		t.Errorf("the task lives on as process %d", task)
	}
	if other := l.reach(t, 1)[0]; other == name {
		t.Errorf("machine %s is back", name)
	}
}

// TestTargetAgain starts the target anew: it goes on with the machines that are
// there, also with one whose client was started and not noted.
func TestTargetAgain(t *testing.T) {
	l := open(t)
	l.want(2)
	names := l.reach(t, 2)
	pids := map[string]int{}
	for _, m := range l.list(t) {
		pids[m.Name] = pidOf(t, m)
	}
	l.Close()
	if err := os.Remove(filepath.Join(l.list(t)[0].Folder(), "process.json")); err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	l.reports = map[string][]muster.MachineReport{}
	l.mu.Unlock()
	l.restart(t)
	if now := l.reach(t, 2); !slices.Equal(now, names) {
		t.Errorf("machines %q were %q", now, names)
	}
	for _, m := range l.list(t) {
		if pidOf(t, m) != pids[m.Name] {
			t.Errorf("machine %s is process %d, and was %d", m.Name, pidOf(t, m), pids[m.Name])
		}
	}
	// While one target works on the folder, a second one only waits.
	second := New(l.logger())
	defer second.Close()
	if err := second.SetConfig(l.settings.Map()); err != nil {
		t.Fatal(err)
	}
	if s, err := second.Status(map[string]string{ClusterKey: "c"}); err != nil || s.Ready {
		t.Errorf("a second target says %+v, %v", s, err)
	}
}

// TestFaults makes the provider fail, be slow, and start what never gets ready.
func TestFaults(t *testing.T) {
	l := open(t)
	fault := func(f Faults) {
		t.Helper()
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(l.settings.Dir, "c", faultsFile)
		if err := os.MkdirAll(filepath.Dir(file), 0o711); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fault(Faults{Fail: muster.FailQuota, Message: "no more than 0 of local.tiny"})
	l.want(1)
	eventually(t, "two tries have failed", func() bool { l.agent(t); f := l.last().Failure; return f != nil && f.Tries >= 2 })
	if f := l.last().Failure; f.Kind != muster.FailQuota || f.Message != "no more than 0 of local.tiny" || f.Until.Sub(f.Since) < 2*time.Second {
		t.Errorf("the failure is %+v", f)
	}
	fault(Faults{Slow: 1})
	eventually(t, "a machine is ordered, and its client not started", func() bool {
		l.agent(t)
		return l.told(func(r muster.MachineReport) bool { return len(r.Machines) == 1 && r.Machines[0].State == starting }) && len(l.list(t)) == 1 && !l.list(t)[0].Started
	})
	l.reach(t, 1)
	eventually(t, "the failure is over", func() bool { return l.last().Failure == nil })

	// One that was ordered and not started counts when the target is back.
	fault(Faults{Slow: 600})
	l.want(2)
	eventually(t, "a second machine is ordered", func() bool { l.agent(t); return len(l.list(t)) == 2 })
	l.Close()
	fault(Faults{})
	before := l.list(t)
	l.restart(t)
	for i, name := range l.reach(t, 2) {
		if name != before[i].Name {
			t.Errorf("machine %s was %s", name, before[i].Name)
		}
	}

	// One that does not find Nomad's servers is no node in time.
	l.Close()
	l.settings.Servers = "127.0.0.1:1"
	l.restart(t)
	l.startLimit = 3 * time.Second
	l.want(3)
	eventually(t, "a machine that does not get ready is given up", func() bool {
		l.agent(t)
		return l.told(func(r muster.MachineReport) bool {
			return r.Failure != nil && r.Failure.Kind == muster.FailStart && strings.Contains(r.Failure.Message, "no ready node within 3s")
		})
	})
}

// TestEvict rehearses a loss: the machine vanishes when its time has come, with
// its tasks, and is reported until the server has heard it.
func TestEvict(t *testing.T) {
	l := open(t)
	l.want(1)
	name := l.reach(t, 1)[0]
	task := l.job(t, "victim", name)
	l.mu.Lock()
	l.scaling["c"].Evict = []muster.Eviction{{Machine: name, At: time.Now().Add(time.Second)}}
	at := l.scaling["c"].Evict[0].At
	l.mu.Unlock()
	eventually(t, "the machine is evicted", func() bool {
		return l.told(func(r muster.MachineReport) bool { return slices.Contains(r.Evicted, name) })
	})
	if time.Now().Before(at) || alive(task) {
		t.Errorf("it was evicted too early, or its task lives: %v", alive(task))
	}
	l.mu.Lock()
	l.scaling["c"].Evict = nil
	l.mu.Unlock()
	if other := l.reach(t, 1)[0]; other == name {
		t.Errorf("machine %s is back", name)
	}
	eventually(t, "the eviction is not told for ever", func() bool { return len(l.last().Evicted) == 0 })
}

// TestServerAway takes the server away: nothing is scaled, and a machine that
// dies meanwhile is buried all the same.
func TestServerAway(t *testing.T) {
	l := open(t)
	l.want(1)
	l.reach(t, 1)
	l.mu.Lock()
	l.away = true
	l.mu.Unlock()
	policy := map[string]string{ClusterKey: "c"}
	eventually(t, "the target is not ready", func() bool {
		s, err := l.Status(policy)
		if err != nil || s.Count != 1 {
			t.Fatalf("status %+v, %v", s, err)
		}
		return !s.Ready
	})
	l.want(5)
	m := l.list(t)[0]
	if err := syscall.Kill(pidOf(t, m), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the dead machine is buried", func() bool { return len(l.list(t)) == 0 })
	l.mu.Lock()
	l.away = false
	l.mu.Unlock()
	l.want(1)
	l.reach(t, 1)
}

// TestReboot asks for a reboot, as the command does while a target works.
func TestReboot(t *testing.T) {
	l := open(t)
	l.want(1)
	name := l.reach(t, 1)[0]
	task := l.job(t, "victim", name)
	m := l.list(t)[0]
	if err := m.AskReboot(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the machine has booted again", func() bool { return !m.RebootAsked() })
	again := l.list(t)[0]
	if again.Name != name || again.Boot == m.Boot || pidOf(t, again) == 0 || alive(task) {
		t.Errorf("after the reboot: %+v, process %d, its task lives: %v", again, pidOf(t, again), alive(task))
	}
	eventually(t, "Nomad sees another boot", func() bool { return l.node(t, name).Meta["muster_boot"] == again.Boot })
}

// TestDevices gives machines simulated devices, in shares.
func TestDevices(t *testing.T) {
	plugin, err := filepath.Abs("../../bin/muster-device")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(plugin); err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	l := open(t)
	l.mu.Lock()
	l.scaling["c"].Size.Devices = []muster.SizeDevices{{Type: "gpu", Model: "K80", Count: 2, MiB: 12288}, {Type: "gpu", Model: "V100", Count: 1, Shares: 2}}
	l.mu.Unlock()
	l.want(1)
	eventually(t, "there is no program for devices", func() bool {
		l.agent(t)
		f := l.last().Failure
		return f != nil && strings.Contains(f.Message, "--device-plugin")
	})
	l.settings.DevicePlugin = plugin
	if err := l.SetConfig(l.settings.Map()); err != nil { // a reload
		t.Fatal(err)
	}
	name := l.reach(t, 1)[0]
	eventually(t, "the node has its devices", func() bool {
		var have []string
		for _, d := range l.node(t, name).NodeResources.Devices {
			have = append(have, d.Vendor+"/"+d.Type+"/"+d.Name)
			for range d.Instances[1:] {
				have = append(have, "again")
			}
		}
		slices.Sort(have)
		return slices.Equal(have, []string{"again", "again", "muster/gpu-1of2/V100", "muster/gpu/K80"})
	})
	if err := syscall.Kill(pidOf(t, l.list(t)[0]), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	l.want(0)
	l.reach(t, 0)
	if left := processesOf(t, l.settings.Dir); len(left) > 0 {
		t.Errorf("processes are left: %q", left)
	}
}
