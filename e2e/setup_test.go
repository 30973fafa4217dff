package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// marks is a folder into which set-ups and commands write when they begin and end.
type marks struct {
	t   *testing.T
	dir string
}

func newMarks(t *testing.T) *marks {
	t.Helper()
	m := &marks{t, t.TempDir()}
	open0711(t, filepath.Dir(m.dir))
	if err := os.Chmod(m.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return m
}

// file is the path of one.
func (m *marks) file(name string) string { return filepath.Join(m.dir, name) }

// set writes a file that set-ups and checks read.
func (m *marks) set(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(m.file(name), []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// times returns when something was marked.
func (m *marks) times(name string) (all []time.Time) {
	m.t.Helper()
	text, err := os.ReadFile(m.file(name))
	if err != nil && !os.IsNotExist(err) {
		m.t.Fatal(err)
	}
	for _, word := range strings.Fields(string(text)) {
		seconds, err := strconv.ParseFloat(word, 64)
		if err != nil {
			m.t.Fatal(err)
		}
		all = append(all, time.UnixMicro(int64(seconds*1e6)))
	}
	return all
}

// mark is a command that marks now.
func (m *marks) mark(name string) string { return "date +%s.%N >> " + m.file(name) }

// node returns the one node of a cluster, the zero value while there is none or
// several.
func (p *platform) node(cluster string) muster.Node {
	p.t.Helper()
	var all []muster.Node
	p.decode(&all, "cluster", "nodes", cluster, "-o", "json")
	if len(all) != 1 {
		return muster.Node{}
	}
	return all[0]
}

// preparing is the file of a cluster whose nodes are set up and looked at.
func (m *marks) preparing(freeDisk string) string {
	return fmt.Sprintf(`
name: ready
size: local.small
min_instances: 0
max_instances: 2
idle_time_before_scale_down: 600
x-muster:
  provider: local
  setup:
    as_root: %v
    command: |
      %s
      test ${#TOKEN} = 9 && echo the secret is here, $WORD
      sleep $(cat %s)
      %s
    environment_variables: {WORD: welcome}
    secrets: [TOKEN]
  health:
    free_disk: %s
    checks: [{name: well, command: test ! -e %s}]
`, os.Geteuid() == 0, m.mark("begins"), m.file("takes"), m.mark("ends"), freeDisk, m.file("sick"))
}

// TestSetup holds what becomes of a run whose node is not ready: it waits for the
// node's set-up, also after a reboot whose set-up takes long; it does not start
// where set-up or a check fails, and says why; the node is looked at again.
func TestSetup(t *testing.T) {
	p, m := elastic(t), newMarks(t)
	m.set("takes", "1")
	m.set("sick", "")
	p.muster("cluster", "create", "--file", p.file(m.preparing("256Mi")))
	name := p.submit("command: "+m.mark("commands")+"; if [ $(wc -l < "+m.file("commands")+") -lt 3 ]; then sleep 600; fi\ncompute: ready\n"+tiny, "--name", "patient")
	story := func() string { return p.events(name) + p.clusterStory("ready")() }

	p.eventually("the node to lack its secret", func() bool { return strings.Contains(p.node("ready").Reason, "secret TOKEN is not set") }, story)
	p.secret("ready", "TOKEN", "hush-hush")
	p.eventually("the node to be found sick", func() bool { return strings.Contains(p.node("ready").Reason, "check well: exit code 1") }, story)
	if n := len(m.times("commands")); n != 0 {
		t.Fatalf("%d commands have begun on a node that is unusable", n)
	}
	if err := os.Remove(m.file("sick")); err != nil {
		t.Fatal(err)
	}
	p.muster("cluster", "update", "--file", p.file(m.preparing("128Mi")), "ready") // another rule makes it look again
	p.running(name)
	if log := p.muster("node", "logs", p.node("ready").Name); !strings.Contains(log, "the secret is here, welcome") || strings.Contains(log, "hush") {
		t.Errorf("the log of the set-up:\n%s", log)
	}
	if left := p.muster("cluster", "show", "ready", "-o", "json") + p.muster("cluster", "events", "ready"); strings.Contains(left, "hush") {
		t.Error("the secret is told")
	}

	// A reboot whose set-up takes 20 s.
	before := len(m.times("ends"))
	m.set("takes", "20")
	machine := p.node("ready").Name
	p.reboot(machine)
	other := p.submit("command: "+m.mark("others")+"\ncompute: ready\n"+tiny, "--name", "other")
	p.ends(other, muster.RunSucceeded)
	p.until(name, "the command to begin again", func(v view) bool { return len(m.times("commands")) > 1 })
	if ends := m.times("ends"); len(ends) <= before {
		t.Fatalf("no set-up has ended since the reboot: %v", ends)
	}
	ready := m.times("ends")[before]
	for what, at := range map[string]time.Time{"the run that was there": m.times("commands")[1], "another": m.times("others")[0]} {
		if at.Before(ready) {
			t.Errorf("%s began %s before the set-up had ended", what, ready.Sub(at))
		}
	}
	if took := ready.Sub(m.times("begins")[before]); took < 20*time.Second {
		t.Fatalf("the set-up took %s", took)
	}

	// The node's agent is killed: what runs goes on, and nothing is done twice.
	done := len(m.times("begins"))
	agents := processes(t, "NOMAD_META_muster_cluster=ready", "muster-agent")
	if len(agents) == 0 {
		t.Fatal("no agent of a node is found")
	}
	for _, pid := range agents {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	p.eventually("the node's agent to be back", func() bool {
		return len(processes(t, "NOMAD_META_muster_cluster=ready", "muster-agent")) > 0
	}, story)
	m.set("takes", "0")

	// The node is drained: the run starts again elsewhere, and the node goes.
	p.muster("node", "drain", machine, "--reason", "it smells")
	p.ends(name, muster.RunSucceeded)
	if n := len(m.times("begins")) - done; n != 1 {
		t.Errorf("%d set-ups have begun since the agent was killed: only the new node's was due", n)
	}
	p.wantEvent(name, fmt.Sprintf("node %s is drained: it smells", machine))
	p.eventually("the drained node to go", func() bool { n := p.node("ready"); return n.Name != "" && n.Name != machine }, story)
}

// TestSetupFails holds that no more nodes are bought where two in a row cannot be
// made ready, that the run is told why, and that a node is set up once more when a
// person takes it into service.
func TestSetupFails(t *testing.T) {
	p, m := elastic(t), newMarks(t)
	p.muster("cluster", "create", "--file", p.file(fmt.Sprintf(`
name: broken
size: local.small
min_instances: 0
max_instances: 5
idle_time_before_scale_down: 600
x-muster: {provider: local, setup: {command: "test -e %s || { echo it is not there; exit 3; }"}}
`, m.file("wheel"))))
	name := p.submit("command: 'true'\ncompute: broken\n"+tiny, "--name", "waits")
	const why = "2 nodes in a row could not be made ready"
	p.until(name, "the reason that set-ups fail", func(v view) bool {
		return v.WaitReason != nil && v.WaitReason.Code == muster.WaitProvider && strings.Contains(v.WaitReason.Message, why)
	})
	if w := p.cluster("broken").Wanted; w.Nodes != 2 || !strings.Contains(w.Reason, why) {
		t.Errorf("wanted %+v", w)
	}
	if show := p.muster("cluster", "show", "broken"); !strings.Contains(show, why) || !strings.Contains(show, "it is not there") {
		t.Errorf("the cluster says\n%s", show)
	}
	var nodes []muster.Node
	p.decode(&nodes, "cluster", "nodes", "broken", "-o", "json")
	if len(nodes) != 2 {
		t.Fatalf("%d nodes have come", len(nodes))
	}
	m.set("wheel", "")
	p.muster("node", "include", nodes[0].Name)
	p.ends(name, muster.RunSucceeded)
}

// TestSetupChanges gives the one node of a cluster another set-up, and holds that
// no command begins on it before that has ended: also while its agent has not heard
// of it, and while a run is there for whose end it waits.
func TestSetupChanges(t *testing.T) {
	p, m := elastic(t), newMarks(t)
	file := func(word string) string {
		return p.file(fmt.Sprintf(`
name: changes
size: local.small
min_instances: 1
max_instances: 1
idle_time_before_scale_down: 600
x-muster: {provider: local, setup: {as_root: %v, command: "sleep 2; echo done > %s"}}
`, os.Geteuid() == 0, m.file(word)))
	}
	after := func(word string) string { return "command: cat " + m.file(word) + "\ncompute: changes\n" + tiny } // it fails where that set-up has not ended
	p.muster("cluster", "create", "--file", file("first"))
	p.eventually("the node to be ready", func() bool { return p.node("changes").State == muster.NodeIdle }, p.clusterStory("changes"))

	// Its agent is held up: what it has told is of the set-up before.
	agents := processes(t, "MUSTER_NODE_NAME="+p.node("changes").Name, "muster-agent\x00node")
	if len(agents) == 0 {
		t.Fatal("the agent of the node is not found")
	}
	signal := func(s syscall.Signal) {
		for _, pid := range agents {
			if err := syscall.Kill(pid, s); err != nil {
				t.Error(err)
			}
		}
	}
	signal(syscall.SIGSTOP)
	defer signal(syscall.SIGCONT)
	p.muster("cluster", "update", "--file", file("second"), "changes")
	early := p.submit(after("second"), "--name", "early")
	p.until(early, "the run to wait on the node, or to begin", func(v view) bool {
		return v.Phase == muster.PhaseSetup || v.State == muster.RunRunning || v.State.Final()
	})
	signal(syscall.SIGCONT)
	p.ends(early, muster.RunSucceeded)

	// A run is there: it goes on, and the next is not even placed beside it.
	stays := p.submit("command: until test -e "+m.file("enough")+"; do sleep 0.2; done\ncompute: changes\n"+tiny, "--name", "stays")
	p.running(stays)
	p.muster("cluster", "update", "--file", file("third"), "changes")
	p.eventually("the node to wait for its run", func() bool { return p.node("changes").Reason == "waits until no run is on it" }, p.clusterStory("changes"))
	behind := p.submit(after("third"), "--name", "behind")
	p.until(behind, "a reason to wait", func(v view) bool { return v.WaitReason != nil && v.WaitReason.Code != muster.WaitNew })
	m.set("enough", "")
	p.ends(behind, muster.RunSucceeded)
	if v := p.ends(stays, muster.RunSucceeded); len(v.Attempts) != 1 {
		t.Errorf("the run that was there was disturbed: %+v", v.Attempts)
	}
}

// TestExclude takes a node out of service and into it again.
func TestExclude(t *testing.T) {
	p := elastic(t)
	p.muster("cluster", "create", "--provider", "local", "--size", "local.small", "--min", "1", "--max", "1", "--idle", "600s", "out")
	p.eventually("the node to come", func() bool { return p.node("out").State == muster.NodeIdle }, p.clusterStory("out"))
	name := p.node("out").Name
	p.muster("node", "exclude", name, "--reason", "it is loud")
	run := p.submit("command: 'true'\ncompute: out\n"+tiny, "--name", "waits")
	p.until(run, "a reason to wait", func(v view) bool { return v.WaitReason != nil && v.WaitReason.Code != muster.WaitNew })
	p.eventually("Nomad to place nothing on it", func() bool {
		var node struct{ SchedulingEligibility string }
		p.nomad("GET", "/v1/node/"+p.node("out").ID, nil, &node)
		return node.SchedulingEligibility == "ineligible"
	}, p.clusterStory("out"))
	if n := p.node("out"); n.State != muster.NodeUnusable || n.Excluded != "it is loud" {
		t.Errorf("the node is %+v", n)
	}
	p.muster("node", "include", name)
	p.ends(run, muster.RunSucceeded)
	if n := p.node("out"); n.Name != name {
		t.Errorf("the node that was out of service was replaced: %+v", n)
	}
}

// secret sets a secret of a cluster.
func (p *platform) secret(cluster, name, value string) {
	p.t.Helper()
	cmd := p.command("cluster", "secret", "set", cluster, name)
	cmd.Stdin = strings.NewReader(value + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("set secret: %v\n%s", err, out)
	}
}

// reboot reboots a machine that the autoscaler has started.
func (p *platform) reboot(machine string) {
	p.t.Helper()
	if out, err := exec.Command(bin(p.t, "muster-autoscaler"), "local", "reboot", "--dir", filepath.Join(p.DataDir, "autoscaler"), machine).CombinedOutput(); err != nil {
		p.t.Fatalf("reboot %s: %v\n%s", machine, err, out)
	}
}
