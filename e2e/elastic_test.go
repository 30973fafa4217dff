package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/dev"
)

// elastic starts a platform whose clusters grow on this machine.
func elastic(t *testing.T) *platform {
	t.Helper()
	return open(t, dev.Config{Autoscaler: bin(t, "muster-autoscaler"), DevicePlugin: bin(t, "muster-device")})
}

// cluster returns what is told of a cluster.
func (p *platform) cluster(name string) (c muster.Cluster) {
	p.t.Helper()
	if err := json.Unmarshal([]byte(p.muster("cluster", "show", name, "-o", "json")), &c); err != nil {
		p.t.Fatal(err)
	}
	return c
}

// clusterStory is what to tell when a cluster does not do what it should.
func (p *platform) clusterStory(name string) func() string {
	return func() string {
		log, _ := os.ReadFile(filepath.Join(p.DataDir, "log", "autoscaler.log"))
		return p.muster("cluster", "show", name) + p.muster("cluster", "events", name) + p.muster("queue") + string(log[max(0, len(log)-20000):])
	}
}

// tiny is what the runs here ask for: several fit on a node.
const tiny = "x-muster: {resources: {cpus: 0.3, memory: 100Mi}}\n"

// TestElastic takes a cluster from zero nodes to a gang's two and back to zero,
// and holds that a run on a node keeps that node.
func TestElastic(t *testing.T) {
	p := elastic(t)
	p.muster("cluster", "create", "--provider", "local", "--size", "local.small", "--max", "3", "--idle", "4s", "grows")
	if c := p.cluster("grows"); c.Nodes != 0 || c.Offers == nil || c.Offers.MiB != muster.Whole(512) {
		t.Fatalf("at first %+v", c)
	}
	gang := p.submit("command: sleep 1; echo from $MUSTER_INSTANCE\ncompute: grows\nresources: {instance_count: 2}\n"+tiny, "--name", "gang")
	p.eventually("nodes to come for the gang", func() bool { return p.cluster("grows").Ready == 2 }, p.clusterStory("grows"))
	p.ends(gang, muster.RunSucceeded)
	if events := p.muster("run", "events", gang); !strings.Contains(events, "cluster grows grows from 0 nodes to 2") {
		t.Errorf("the gang was not told why it waits:\n%s", events)
	}
	if r := p.try("run", "submit", p.file("command: a\ncompute: grows\nresources: {instance_count: 4}\n"+tiny), "--wait"); r.code == 0 || !strings.Contains(r.err, "can never start") {
		t.Errorf("four of at most three: %d %s", r.code, r.err)
	}
	long := p.submit("command: sleep 20\ncompute: grows\n"+tiny, "--name", "long")
	p.running(long)
	p.eventually("the other node to leave", func() bool { return p.cluster("grows").Nodes == 1 }, p.clusterStory("grows"))
	p.ends(long, muster.RunSucceeded)
	p.eventually("the cluster to go back to zero", func() bool { c := p.cluster("grows"); return c.Nodes == 0 && c.Wanted.Nodes == 0 }, p.clusterStory("grows"))
	if machines, _ := filepath.Glob(filepath.Join(p.DataDir, "autoscaler", "*", "grows", "*", "config.hcl")); len(machines) > 0 {
		t.Errorf("machines are left: %v", machines)
	}
	events := p.muster("cluster", "events", "grows")
	left := regexp.MustCompile(`leaves: idle for (\S+)`).FindAllStringSubmatch(events, -1)
	for _, one := range left {
		if idle, err := time.ParseDuration(one[1]); err != nil || idle < 4*time.Second {
			t.Errorf("a node left when it was idle for %s", one[1])
		}
	}
	if len(left) < 2 {
		t.Errorf("%d nodes left for being idle", len(left))
	}
	t.Logf("what happened\n%s", events)
	p.deletes("grows")
}

// inPool lists what Nomad has of a node pool: itself, its nodes, and jobs in it.
func (p *platform) inPool(pool string) (all []string) {
	p.t.Helper()
	filter := "filter=" + url.QueryEscape(fmt.Sprintf("NodePool == %q", pool))
	for _, path := range []string{"/v1/node/pools?prefix=" + pool, "/v1/nodes?" + filter, "/v1/jobs?namespace=*&" + filter} {
		answer, err := http.Get(p.NomadAddr + path)
		if err != nil {
			p.t.Fatal(err)
		}
		defer answer.Body.Close()
		var some []struct{ Name, Type, Status string }
		if err := json.NewDecoder(answer.Body).Decode(&some); err != nil {
			p.t.Fatalf("%s is %s: %v", path, answer.Status, err)
		}
		for _, one := range some {
			all = append(all, strings.TrimSpace(fmt.Sprint(one.Name, " ", one.Type, " ", one.Status)))
		}
	}
	return all
}

// deletes deletes an elastic cluster on which a run was, and holds that Nomad has
// nothing more of it.
func (p *platform) deletes(name string) {
	p.t.Helper()
	if before := p.inPool("muster-" + name); len(before) < 3 || before[0] != "muster-"+name {
		p.t.Errorf("of cluster %s Nomad has only %q", name, before) // its pool, the job of its agents, a shape
	}
	p.muster("cluster", "delete", name, "--yes")
	p.eventually("the cluster to be gone", func() bool { return p.try("cluster", "show", name).code == 3 }, func() string { return "" })
	if left := p.inPool("muster-" + name); len(left) > 0 {
		p.t.Errorf("of cluster %s Nomad has still %q", name, left)
	}
}

// training adds up numbers, an epoch each, from its checkpoint. Its result is the
// same whatever happens to its nodes.
const training = `
import json, os, time
file = os.path.join(os.environ["MUSTER_CHECKPOINT_DIR"], "state.json")
state = json.load(open(file)) if os.path.exists(file) else {"epoch": 0, "sum": 0}
print("begins at epoch", state["epoch"], flush=True)
for epoch in range(state["epoch"], 60):
    time.sleep(0.5)
    state = {"epoch": epoch + 1, "sum": state["sum"] + epoch * epoch}
    json.dump(state, open(file + ".new", "w"))
    os.rename(file + ".new", file)
os.makedirs("outputs", exist_ok=True)
print(state["sum"], file=open("outputs/sum", "w"))
`

// TestEviction takes the node of a training twice, once announced and once not,
// and holds that it goes on from its checkpoints and ends with the result of one
// that nobody disturbs.
func TestEviction(t *testing.T) {
	p := elastic(t)
	p.muster("cluster", "create", "--provider", "local", "--size", "local.small", "--tier", "low_priority", "--max", "2", "--idle", "10s", "cheap")
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "train.py"), []byte(training), 0o644); err != nil {
		t.Fatal(err)
	}
	job := "command: python3 train.py\ncode: " + folder + "\ncompute: cheap\n" + tiny
	disturbed := p.submit(job, "--name", "disturbed")
	for i, notice := range []string{"2s", "0s"} {
		p.eventually("a checkpoint of the attempt", func() bool {
			var r muster.RunView
			p.decode(&r, "run", "show", disturbed, "-o", "json")
			return len(r.Attempts) == i+1 && !r.Attempts[i].CheckpointAt.IsZero()
		}, p.clusterStory("cheap"))
		p.muster("cluster", "evict", "cheap", "--notice", notice)
		p.eventually("the run to start again", func() bool {
			var r muster.RunView
			p.decode(&r, "run", "show", disturbed, "-o", "json")
			return len(r.Attempts) == i+2 && r.State == muster.RunRunning
		}, func() string { return p.muster("run", "events", disturbed) + p.clusterStory("cheap")() })
	}
	p.ends(disturbed, muster.RunSucceeded)
	var r muster.RunView
	p.decode(&r, "run", "show", disturbed, "-o", "json")
	if r.Evictions != 2 || r.Failures != 0 || r.Losses != 0 || len(r.Attempts) != 3 || r.Attempts[0].Outcome != muster.OutcomeEvicted || r.Attempts[1].Outcome != muster.OutcomeEvicted {
		t.Errorf("it was evicted %d times, lost %d nodes, failed %d times: %+v", r.Evictions, r.Losses, r.Failures, r.Attempts)
	}
	begins := p.muster("run", "logs", disturbed, "--attempt", "3")
	if strings.Contains(begins, "begins at epoch 0\n") {
		t.Errorf("its last attempt begins anew: %s", begins)
	}
	undisturbed := p.submit("command: for i in $(seq 0 59); do s=$((s + i * i)); done; mkdir -p outputs; echo $s > outputs/sum\ncompute: cheap\n"+tiny, "--name", "undisturbed")
	p.ends(undisturbed, muster.RunSucceeded)
	if got, want := p.content(disturbed, "outputs/sum"), p.content(undisturbed, "outputs/sum"); got != want {
		t.Errorf("the disturbed training's result is %q, the undisturbed one's %q", got, want)
	}
}

// TestDrill rehearses losses by chance, and holds that a run whose node is taken
// is told to save, and goes on from what it has saved then.
func TestDrill(t *testing.T) {
	p := elastic(t)
	p.muster("cluster", "create", "--provider", "local", "--size", "local.small", "--tier", "low_priority", "--max", "3", "drilled")
	var names []string
	for i := range 3 { // each takes a node of its own
		names = append(names, p.submit(`command: test -e $MUSTER_CHECKPOINT_DIR/mark || sleep 600; cat $MUSTER_CHECKPOINT_DIR/mark
compute: drilled
x-muster: {grace: 10, checkpoint_command: "echo saved for $MUSTER_RUN_NAME > $MUSTER_CHECKPOINT_DIR/mark"}
`, "--name", fmt.Sprint("drilled-", i)))
	}
	for _, name := range names {
		p.running(name)
	}
	if told := p.muster("cluster", "evict", "drilled", "--rate", "10000%/h", "--notice", "5s"); !strings.Contains(told, "a drill takes 10000 % of its nodes an hour") {
		t.Errorf("it says %s", told)
	}
	var back view
	p.eventually("a run to be evicted, and to end well", func() bool {
		for _, name := range names {
			if back = p.show(name); back.State.Final() {
				return true
			}
		}
		return false
	}, p.clusterStory("drilled"))
	p.muster("cluster", "evict", "drilled", "--rate", "0")
	if back.State != muster.RunSucceeded || back.Attempts[0].Outcome != muster.OutcomeEvicted {
		t.Errorf("run %s is %s (%s): %+v", back.Name, back.State, back.Reason, back.Attempts)
	}
	if said := p.muster("run", "logs", back.Name); !strings.Contains(said, "saved for "+back.Name+"\n") {
		t.Errorf("what it has saved is %q", said)
	}
	if c := p.cluster("drilled"); c.Drill != nil {
		t.Errorf("the drill goes on: %+v", c.Drill)
	}
}

// TestReplacement announces the loss of a run's node long before it comes, and
// holds that the number wanted counts that node until then: another comes beside
// it, and the run goes on there from what it has saved.
func TestReplacement(t *testing.T) {
	p := elastic(t)
	p.muster("cluster", "create", "--provider", "local", "--size", "local.small", "--tier", "low_priority", "--max", "2", "--idle", "600s", "announced")
	name := p.submit(`command: test $MUSTER_ATTEMPT -gt 1 || sleep 600; cat $MUSTER_CHECKPOINT_DIR/mark
compute: announced
x-muster: {grace: 10, checkpoint_command: "echo saved > $MUSTER_CHECKPOINT_DIR/mark", resources: {cpus: 0.3, memory: 100Mi}}
`, "--name", "moved")
	p.running(name)
	taken := p.node("announced").Name
	p.muster("cluster", "evict", "announced", "--nodes", "1", "--notice", "30m") // it is there until the end of the test
	v := p.ends(name, muster.RunSucceeded)
	if len(v.Attempts) != 2 || v.Attempts[0].Outcome != muster.OutcomeEvicted || v.Attempts[0].Instances[0].NodeName != taken || v.Attempts[1].Instances[0].NodeName == taken {
		t.Fatalf("the node that will be taken is %s, and the attempts are %+v", taken, v.Attempts)
	}
	if said := p.muster("run", "logs", name, "--attempt", "2", "--stream", "stdout"); said != "saved\n" {
		t.Errorf("its second attempt finds %q", said)
	}
	events := p.muster("cluster", "events", "announced")
	rest := events
	for _, text := range []string{"node " + taken + " will be taken", "it shall have 2 nodes: 1 more for 1 waiting run", "node " + v.Attempts[1].Instances[0].NodeName + " has come"} {
		found := false
		if _, rest, found = strings.Cut(rest, text); !found {
			t.Fatalf("%q is not among the events, or not in its place:\n%s", text, events)
		}
	}
	if strings.Contains(events, "is gone") || strings.Contains(events, "it shall have 3 nodes") {
		t.Errorf("one node was to come, and none to go yet:\n%s", events)
	}
	if c := p.cluster("announced"); c.Nodes != 2 || c.Counts[muster.NodeLeaving] != 1 || c.Wanted.Nodes != 2 {
		t.Errorf("it has %d nodes, %v, and wants %+v", c.Nodes, c.Counts, c.Wanted)
	}
}

// TestIdleLoss takes idle nodes after a notice, and holds that no others are bought
// for them: nobody needs one.
func TestIdleLoss(t *testing.T) {
	p := elastic(t)
	p.muster("cluster", "create", "--provider", "local", "--size", "local.small", "--tier", "low_priority", "--max", "2", "--idle", "600s", "lost")
	p.ends(p.submit("command: 'true'\ncompute: lost\nresources: {instance_count: 2}\n"), muster.RunSucceeded)
	p.muster("cluster", "evict", "lost", "--nodes", "2", "--notice", "4s")
	p.eventually("both to be gone", func() bool { c := p.cluster("lost"); return c.Nodes == 0 && c.Wanted.Nodes == 0 }, p.clusterStory("lost"))
	// One that was bought by mistake comes before another that is ordered now.
	p.muster("cluster", "create", "--provider", "local", "--size", "local.small", "--min", "1", "--max", "1", "later")
	p.eventually("a node that is ordered now to come", func() bool { return p.cluster("later").Ready == 1 }, p.clusterStory("later"))
	if events := p.muster("cluster", "events", "lost"); strings.Count(events, "has come") != 2 || p.cluster("lost").Nodes != 0 {
		t.Errorf("another node came:\n%s", events)
	}
}

// TestVanish kills the Nomad client of a run's node, and holds that this is one
// eviction: nothing is placed any more on a machine that does not exist, though
// Nomad still calls its node ready.
func TestVanish(t *testing.T) {
	p := elastic(t)
	p.muster("cluster", "create", "--provider", "local", "--size", "local.small", "--tier", "low_priority", "--max", "2", "gone")
	name := p.submit("command: sleep 600\ncompute: gone\n"+tiny, "--name", "survivor")
	p.running(name)
	p.killMachine("gone")
	p.until(name, "the run to begin again", func(v view) bool { return len(v.Attempts) > 1 && v.State == muster.RunRunning })
	if v := p.show(name); len(v.Attempts) != 2 || v.Attempts[0].Outcome != muster.OutcomeEvicted {
		t.Errorf("one machine is gone, and there are %d attempts:\n%s", len(v.Attempts), p.events(name))
	}
}

// killMachine kills a Nomad client that the autoscaler has started for a cluster,
// where there is one: it vanishes without a word.
func (p *platform) killMachine(cluster string) {
	p.t.Helper()
	notes, _ := filepath.Glob(filepath.Join(p.DataDir, "autoscaler", cluster, "*", "process.json"))
	for _, note := range notes {
		var process struct{ Pid int }
		text, err := os.ReadFile(note)
		if err == nil && json.Unmarshal(text, &process) == nil && process.Pid > 0 && syscall.Kill(process.Pid, syscall.SIGKILL) == nil {
			return
		}
	}
}

// killOne kills one of the processes whose command line and environment hold
// these words.
func (p *platform) killOne(line, environment string) {
	p.t.Helper()
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline")) // what has ended has none
		vars, _ := os.ReadFile(filepath.Join(dir, "environ"))
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil && strings.Contains(string(args), line) && strings.Contains(string(vars), environment) {
			p.t.Logf("kill %s", strings.ReplaceAll(string(args), "\x00", " "))
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
			return
		}
	}
}

// decode runs a command of the CLI and reads its JSON.
func (p *platform) decode(to any, args ...string) {
	p.t.Helper()
	if err := json.Unmarshal([]byte(p.muster(args...)), to); err != nil {
		p.t.Fatal(err)
	}
}

// content returns a file that a run has left.
func (p *platform) content(run, file string) string {
	p.t.Helper()
	dir := p.t.TempDir()
	p.muster("run", "download", run, file, "--dir", dir)
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

// TestShares runs two halves of one simulated GPU on a node that grows for them.
func TestShares(t *testing.T) {
	p := elastic(t)
	p.muster("cluster", "create", "--provider", "local", "--size", "local.half", "--max", "1", "halves")
	for i := range 2 {
		p.submit("command: sleep 3; echo $MUSTER_DEVICES $MUSTER_VISIBLE_DEVICES $MUSTER_GPU_MEMORY_MIB\ncompute: halves\nx-muster: {resources: {cpus: 0.3, memory: 100Mi, gpus: 0.5, gpu_model: V100}}\n", "--name", fmt.Sprint("half-", i))
	}
	seen := map[string]bool{}
	for i := range 2 {
		name := fmt.Sprint("half-", i)
		p.ends(name, muster.RunSucceeded)
		words := strings.Fields(p.muster("run", "logs", name, "--stream", "stdout"))
		if len(words) != 3 || words[1] != "sim-V100-0" || words[2] != "8192" || seen[words[0]] {
			t.Fatalf("%s sees %v, the other has %v", name, words, seen)
		}
		seen[words[0]] = true
	}
	if r := p.try("run", "submit", p.file("command: a\ncompute: halves\nx-muster: {resources: {cpus: 0.3, memory: 100Mi, gpus: 1}}\n"), "--wait"); r.code == 0 || !strings.Contains(r.err, "can never start") {
		t.Errorf("a whole GPU where there are halves: %d %s", r.code, r.err)
	}
	p.deletes("halves") // with a node
}

// stormSize is how many submits, cancels and evictions a storm has.
const stormSize = 200

// TestStorm submits, cancels and evicts by chance while parts of the platform are
// killed, and holds that in the end nothing is stuck and nothing is left: no run
// has lost a node to the autoscaler, and the cluster goes back to zero.
func TestStorm(t *testing.T) {
	p := elastic(t)
	p.muster("cluster", "create", "--provider", "local", "--size", "local.medium", "--tier", "low_priority", "--max", "3", "--idle", "2s", "storm")
	random := rand.New(rand.NewPCG(7, 7))
	var names []string
	kill := func(part string) func() { return func() { _ = syscall.Kill(p.Pid(part), syscall.SIGKILL) } } // it is started again
	agent := func() { p.killOne("muster-agent\x00node", "NOMAD_META_muster_cluster=storm") }
	plugin := func() { p.killOne("autoscaler/", "PLUGIN_MIN_PORT") }
	machine := func() { p.killMachine("storm") }
	kills := []func(){kill(dev.Server), kill(dev.Autoscaler), machine, agent, plugin, kill(dev.Server), machine, kill(dev.Autoscaler), agent, kill(dev.Server)}
	for i := range stormSize {
		switch n := random.IntN(10); {
		case n < 6 || len(names) == 0:
			count := 1 + random.IntN(2)
			job := fmt.Sprintf("command: sleep %.1f\ncompute: storm\nresources: {instance_count: %d}\n", 0.1+random.Float64(), count) + tiny
			names = append(names, p.submit(job, "--name", fmt.Sprint("storm-", i)))
		case n < 9:
			p.try("run", "cancel", names[random.IntN(len(names))]) // it may have ended
		default:
			p.try("cluster", "evict", "storm") // there may be no node
		}
		if every := stormSize / len(kills); i%every == every/2 {
			kills[i/every]()
			p.eventually("the server to be back", func() bool { return p.try("cluster", "show", "storm").code == 0 }, func() string { return "" })
		}
	}
	for _, name := range names {
		var r muster.RunView
		p.eventually("the end of "+name, func() bool {
			r = muster.RunView{}
			p.decode(&r, "run", "show", name, "-o", "json")
			return r.State.Final()
		}, func() string { return p.muster("run", "events", name) + p.clusterStory("storm")() })
		for _, a := range r.Attempts {
			if a.Outcome == muster.OutcomeLost || r.State == muster.RunFailed {
				t.Errorf("run %s is %s, attempt %d %s (%s), after %d evictions:\n%s%s", name, r.State, a.Number, a.Outcome, a.Reason, r.Evictions, p.muster("run", "events", name), p.clusterStory("storm")())
			}
		}
	}
	p.eventually("the cluster to go back to zero", func() bool { return p.cluster("storm").Nodes == 0 }, p.clusterStory("storm"))
	t.Logf("%d runs", len(names))
}
