package plugin

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/muster-ml/muster/engines"
)

// lab is a real Nomad whose one node has the plugin, as docs/devices.md shows it.
type lab struct {
	*testing.T
	api *api.Client
	dir string // of the files that make simulated devices unwell
	env string // of what tasks found in their environment, by allocation
	log string

	agent *engines.Process
}

// labConfig is the rest of the agent's configuration.
const labConfig = `
data_dir             = %q
bind_addr            = "127.0.0.1"
disable_update_check = true
ports {
  http = %d
  rpc  = %d
  serf = %d
}
advertise {
  http = "127.0.0.1"
  rpc  = "127.0.0.1"
  serf = "127.0.0.1"
}
server {
  enabled          = true
  bootstrap_expect = 1
}
client {
  enabled           = true
  servers           = ["127.0.0.1:%[3]d"]
  network_interface = "lo" # a machine may be on no network
  cpu_total_compute = 4000
  memory_total_mb   = 2048
  options = {
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean"
  }
}
plugin "raw_exec" {
  config {
    enabled = true
  }
}
consul {
  auto_advertise   = false
  server_auto_join = false
  client_auto_join = false
}
`

// manualBlock is the block of the manual that configures the plugin.
var manualBlock = regexp.MustCompile("(?s)```hcl\n(plugin_dir.*?)```")

// openLab starts Nomad with the plugin's block of the manual, changed by the
// pairs of old and new.
func openLab(t *testing.T, program string, changes ...string) *lab {
	t.Helper()
	nomad, err := engines.Find(t.Context(), "nomad")
	if err != nil {
		t.Skip(err)
	}
	folder := t.TempDir()
	l := &lab{T: t, dir: filepath.Join(folder, "simulated"), env: filepath.Join(folder, "env"), log: filepath.Join(folder, "nomad.log")}
	for _, dir := range []string{l.dir, l.env} {
		l.must(os.Mkdir(dir, 0o777))
	}
	page, err := os.ReadFile("../docs/devices.md")
	l.must(err)
	found := manualBlock.FindStringSubmatch(string(page))
	if found == nil {
		t.Fatal("docs/devices.md has no block that begins with plugin_dir")
	}
	changes = append(changes, "/opt/muster/plugins", filepath.Dir(program), "/run/muster-simulated", l.dir, `"5s"`, `"200ms"`)
	ports := engines.Ports{}
	_, err = ports.Choose("http", "rpc", "serf")
	l.must(err)
	data, config := filepath.Join(folder, "data"), filepath.Join(folder, "nomad.hcl")
	l.must(os.WriteFile(config, []byte(strings.NewReplacer(changes...).Replace(found[1])+fmt.Sprintf(labConfig, data, ports["http"], ports["rpc"], ports["serf"])), 0o644))
	groups := engines.SystemCgroups()
	l.must(groups.Enter(data))
	t.Cleanup(func() { _ = groups.Leave(data) })
	t.Cleanup(func() { _ = engines.Unmount(data) })
	l.agent, err = engines.Start(engines.Command{Name: "nomad", Argv: []string{nomad, "agent", "-config", config}, Log: l.log})
	l.must(err)
	t.Cleanup(func() {
		l.agent.Stop(10*time.Second, nil)
		l.must(engines.KillTasks(filepath.Join(data, "alloc")))
		await(t, "no plugin is left", func() bool { return running(program) == 0 })
		if said, err := os.ReadFile(l.log); err == nil && t.Failed() {
			t.Logf("Nomad says:\n%s", said)
		}
	})
	l.api, err = api.NewClient(&api.Config{Address: fmt.Sprintf("http://127.0.0.1:%d", ports["http"])})
	l.must(err)
	return l
}

func (l *lab) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// node returns the node when it is ready.
func (l *lab) node() (node *api.Node) {
	l.Helper()
	await(l.T, "the node is ready", func() bool {
		all, _, err := l.api.Nodes().List(nil)
		if err != nil || len(all) != 1 || all[0].Status != "ready" {
			return false
		}
		node, _, err = l.api.Nodes().Info(all[0].ID, nil)
		return err == nil
	})
	return node
}

// offered is what the node offers, as lines "vendor/type/name id, id (reason)".
func (l *lab) offered() string {
	l.Helper()
	var lines []string
	for _, d := range l.node().NodeResources.Devices {
		if d.Vendor != "muster" { // the machine may have some of its own
			continue
		}
		var ids []string
		for _, i := range d.Instances {
			id := i.ID
			if !i.Healthy {
				id += " (" + i.HealthDescription + ")"
			}
			ids = append(ids, id)
		}
		slices.Sort(ids)
		lines = append(lines, d.Vendor+"/"+d.Type+"/"+d.Name+" "+strings.Join(ids, ", "))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// ask registers a job of so many tasks, each with so many devices of a type.
func (l *lab) ask(id string, tasks int, kind string, count uint64) {
	l.Helper()
	script := fmt.Sprintf("env > '%s/'$NOMAD_ALLOC_ID.new && mv '%[1]s/'$NOMAD_ALLOC_ID.new '%[1]s/'$NOMAD_ALLOC_ID && exec sleep 1000", l.env)
	job := &api.Job{ID: &id, Type: new("batch"), Datacenters: []string{"*"}, TaskGroups: []*api.TaskGroup{{Name: new("g"), Count: &tasks,
		RestartPolicy: &api.RestartPolicy{Attempts: new(0), Mode: new("fail")}, ReschedulePolicy: &api.ReschedulePolicy{Attempts: new(0), Unlimited: new(false)},
		Tasks: []*api.Task{{Name: "t", Driver: "raw_exec", Config: map[string]any{"command": "/bin/sh", "args": []string{"-c", script}},
			Resources: &api.Resources{CPU: new(100), MemoryMB: new(64), Devices: []*api.RequestedDevice{{Name: kind, Count: &count}}}}}}}}
	_, _, err := l.api.Jobs().Register(job, nil)
	l.must(err)
}

// purge ends a job and waits for its tasks.
func (l *lab) purge(id string) {
	l.Helper()
	_, _, err := l.api.Jobs().Deregister(id, false, nil)
	l.must(err)
	await(l.T, id+" has ended", func() bool {
		return !slices.ContainsFunc(l.allocs(id), func(a *api.AllocationListStub) bool {
			return a.ClientStatus == "running" || a.ClientStatus == "pending"
		})
	})
}

// allocs returns a job's allocations.
func (l *lab) allocs(id string) []*api.AllocationListStub {
	l.Helper()
	all, _, err := l.api.Jobs().Allocations(id, true, nil)
	l.must(err)
	return all
}

// found returns what the tasks of a job found in a variable, in order.
func (l *lab) found(id string, tasks int, variable string) (all []string) {
	l.Helper()
	await(l.T, fmt.Sprintf("%d tasks of %s run", tasks, id), func() bool {
		all = nil
		for _, a := range l.allocs(id) {
			text, err := os.ReadFile(filepath.Join(l.env, a.ID))
			if err != nil {
				return false
			}
			for line := range strings.Lines(string(text)) {
				if value, is := strings.CutPrefix(strings.TrimSpace(line), variable+"="); is {
					all = append(all, value)
				}
			}
		}
		return len(all) == tasks
	})
	slices.Sort(all)
	return all
}

// TestNomad gives the plugin to a real Nomad.
func TestNomad(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Nomad")
	}
	l := openLab(t, build(t))
	const well = "muster/gpu-1of2/V100 sim-V100-0::1, sim-V100-0::2\nmuster/gpu/K80 sim-K80-0, sim-K80-1"
	await(t, "the node has its devices", func() bool { return l.offered() == well })
	l.given()
	l.withdrawn()
	node := l.node()
	await(t, "statistics of all devices", func() bool {
		stats, err := l.api.Nodes().Stats(node.ID, nil)
		if err != nil {
			return false
		}
		var ids []string
		for _, g := range stats.DeviceStats {
			if g.Vendor == "muster" {
				ids = slices.AppendSeq(ids, maps.Keys(g.InstanceStats))
			}
		}
		slices.Sort(ids)
		return slices.Equal(ids, []string{"sim-K80-0", "sim-K80-1", "sim-V100-0::1", "sim-V100-0::2"})
	})
}

// given asks for whole devices and for shares.
func (l *lab) given() {
	l.Helper()
	l.ask("whole", 2, "gpu", 1)
	l.ask("share", 1, "gpu-1of2", 1)
	if got := l.found("whole", 2, "MUSTER_DEVICES"); !slices.Equal(got, []string{"sim-K80-0", "sim-K80-1"}) {
		l.Errorf("the tasks with a whole device have %q", got)
	}
	for variable, want := range map[string]string{"MUSTER_VISIBLE_DEVICES": "sim-V100-0", "MUSTER_GPU_SHARE": "1/2", "MUSTER_GPU_MEMORY_MIB": "8192", "NVIDIA_VISIBLE_DEVICES": "void"} {
		if got := l.found("share", 1, variable); !slices.Equal(got, []string{want}) {
			l.Errorf("the task with a share has %s=%q, want %s", variable, got, want)
		}
	}
	l.purge("share")
	l.ask("shares", 2, "gpu-1of2", 1)
	if got := l.found("shares", 2, "MUSTER_DEVICES"); !slices.Equal(got, []string{"sim-V100-0::1", "sim-V100-0::2"}) {
		l.Errorf("the tasks with a share each have %q", got)
	}
	l.purge("shares")
	l.ask("greedy", 1, "gpu-1of2", 2)
	await(l.T, "a task with two shares fails, and says why", func() bool {
		for _, a := range l.allocs("greedy") {
			events, err := json.Marshal(a.TaskStates)
			if err == nil && a.ClientStatus == "failed" && strings.Contains(string(events), "a task takes exactly one share") {
				return true
			}
		}
		return false
	})
}

// withdrawn makes a device unwell while tasks have it, and well again.
func (l *lab) withdrawn() {
	l.Helper()
	file := filepath.Join(l.dir, "sim-K80-1.unhealthy")
	l.must(os.WriteFile(file, []byte("fan stands still"), 0o644))
	await(l.T, "the device is withdrawn", func() bool { return strings.Contains(l.offered(), "sim-K80-0, sim-K80-1 (fan stands still)") })
	for _, a := range l.allocs("whole") {
		if a.ClientStatus != "running" {
			l.Errorf("a task that has a device is %s when one is withdrawn", a.ClientStatus)
		}
	}
	l.purge("whole")
	l.ask("both", 1, "gpu", 2)
	await(l.T, "nothing is placed on the device", func() bool {
		all, _, err := l.api.Jobs().Evaluations("both", nil)
		l.must(err)
		return slices.ContainsFunc(all, func(e *api.Evaluation) bool { return e.Status == "blocked" })
	})
	l.must(os.Remove(file))
	if got := l.found("both", 1, "MUSTER_DEVICES"); len(got) != 1 || len(strings.Split(got[0], ",")) != 2 {
		l.Errorf("the task with two devices has %q", got)
	}
	l.purge("both")
}

// running counts the processes of a program.
func running(program string) (n int) {
	all, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, exe := range all {
		if path, err := os.Readlink(exe); err == nil && path == program {
			n++
		}
	}
	return n
}

// TestNomadRefused gives Nomad a configuration that cannot be: it does not start,
// and says where the fault is.
func TestNomadRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Nomad")
	}
	l := openLab(t, build(t), "parts = 2", "parts = 1")
	select {
	case <-l.agent.Exited():
	case <-time.After(time.Minute):
		t.Fatal("Nomad starts")
	}
	said, err := os.ReadFile(l.log)
	l.must(err)
	if !strings.Contains(string(said), `share block 1 (match "V100"): parts is 1: give 2 to 64`) {
		t.Error("Nomad does not say what is wrong")
	}
}
