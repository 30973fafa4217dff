package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/dev"
)

// TestMainJob is the main job: from a file to its results.
func TestMainJob(t *testing.T) {
	p := open(t, dev.Config{})
	job := filepath.Join("..", "examples", "iris", "job.yml")

	t.Run("follow", func(t *testing.T) {
		r := p.try("run", "submit", job, "--follow", "--name", "iris-1")
		if r.code != 0 || !strings.Contains(r.out, "accuracy") {
			t.Fatalf("exit code %d\n%s\n%s", r.code, r.out, r.err)
		}
		v := p.show("iris-1")
		if v.State != muster.RunSucceeded || v.Metrics["accuracy"] < 0.9 || v.ExitCode == nil || *v.ExitCode != 0 || len(v.Attempts) != 1 || len(v.Inputs) == 0 {
			t.Errorf("run = %+v", v)
		}
	})
	t.Run("files and the model", func(t *testing.T) {
		if files := p.muster("run", "files", "-r", "iris-1"); !strings.Contains(files, "outputs/model.json") {
			t.Fatalf("files:\n%s", files)
		}
		dir := t.TempDir()
		p.muster("run", "download", "iris-1", "--dir", dir)
		if model, err := os.ReadFile(filepath.Join(dir, "outputs", "model.json")); err != nil || len(model) == 0 {
			t.Errorf("model: %d bytes, %v", len(model), err)
		}
	})
	t.Run("again with another parameter", func(t *testing.T) {
		name := strings.TrimSpace(p.muster("run", "submit", job, "--set", "inputs.learning_rate=0.5", "--wait"))
		table := p.muster("experiment", "compare", p.show(name).Experiment)
		for _, want := range []string{"iris-1", name, "accuracy", "learning_rate", "0.5"} {
			if !strings.Contains(table, want) {
				t.Errorf("the comparison lacks %q:\n%s", want, table)
			}
		}
	})
	t.Run("the same name twice", func(t *testing.T) {
		if r := p.try("run", "submit", job, "--name", "iris-1"); r.code != 4 || !strings.Contains(r.err, "exists already") {
			t.Errorf("exit code %d: %s", r.code, r.err)
		}
	})
	t.Run("logs of both streams", func(t *testing.T) {
		name := p.submit(small("echo to-out; echo to-err >&2", ""))
		p.ends(name, muster.RunSucceeded)
		if out, errs := p.muster("run", "logs", name, "--stream", "stdout"), p.muster("run", "logs", name, "--stream", "stderr"); out != "to-out\n" || errs != "to-err\n" {
			t.Errorf("stdout %q, stderr %q", out, errs)
		}
	})
	t.Run("nothing is left on the node", func(t *testing.T) {
		found, err := filepath.Glob(filepath.Join(p.DataDir, "nodes", "*", "muster", "*", "runs", "*"))
		if err != nil || len(found) > 0 {
			t.Errorf("left behind: %v, %v", found, err)
		}
	})
}

// TestFailures walks the ends that a user's command can have.
func TestFailures(t *testing.T) {
	p := open(t, dev.Config{})
	t.Run("exit code, with outputs kept", func(t *testing.T) {
		name := p.submit(small("echo half > outputs/half.txt; exit 3", ""))
		v := p.ends(name, muster.RunFailed)
		if v.ExitCode == nil || *v.ExitCode != 3 || len(v.Attempts) != 1 {
			t.Errorf("exit code %v, %d attempts", v.ExitCode, len(v.Attempts))
		}
		if files := p.muster("run", "files", "-r", name); !strings.Contains(files, "outputs/half.txt") {
			t.Errorf("files: %s", files)
		}
		if r := p.try("run", "wait", name); r.code != 1 {
			t.Errorf("run wait: exit code %d", r.code)
		}
	})
	t.Run("retries", func(t *testing.T) {
		counter := filepath.Join(t.TempDir(), "counter")
		if err := os.WriteFile(counter, nil, 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(counter, 0o666); err != nil {
			t.Fatal(err)
		}
		open0711(t, filepath.Dir(counter))
		name := p.submit("command: \"echo x >> '" + counter + "'; test $(wc -l < '" + counter + "') -ge 3\"\nx-muster: {retries: 2, resources: {cpus: 0.1, memory: 128Mi}}\n")
		v := p.ends(name, muster.RunSucceeded)
		if len(v.Attempts) != 3 {
			t.Errorf("%d attempts, want 3", len(v.Attempts))
		}
	})
	t.Run("killed", func(t *testing.T) {
		name := p.submit(small("kill -9 $$", ""))
		if v := p.ends(name, muster.RunFailed); !strings.Contains(v.Reason, "SIGKILL") {
			t.Errorf("reason: %s", v.Reason)
		}
	})
	t.Run("time limit", func(t *testing.T) {
		name := p.submit(small("trap 'echo bye > outputs/bye; exit 0' TERM; sleep 600 & wait", "limits: {timeout: 1}\n"))
		if v := p.ends(name, muster.RunFailed); !strings.Contains(v.Reason, "time limit") {
			t.Errorf("reason: %s", v.Reason)
		}
		if files := p.muster("run", "files", "-r", name); !strings.Contains(files, "outputs/bye") {
			t.Errorf("what was written in the grace time is lost: %s", files)
		}
	})
	t.Run("can never fit", func(t *testing.T) {
		name := p.submit("command: 'true'\nx-muster: {resources: {cpus: 1, memory: 100000Gi}}\n")
		if v := p.ends(name, muster.RunFailed); !strings.Contains(v.Reason, "can never start") || !strings.Contains(v.Reason, "102400000000 MiB") && !strings.Contains(v.Reason, "102400000 MiB") {
			t.Errorf("reason: %s", v.Reason)
		}
	})
}

// open0711 makes the folders above a test's file passable for the run-as user.
func open0711(t testing.TB, dir string) {
	t.Helper()
	for ; dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCancel cancels a run in each state that is not final.
func TestCancel(t *testing.T) {
	p := open(t, dev.Config{})
	long := p.submit("command: trap 'echo stopped > outputs/stopped; exit 0' TERM; echo begun; sleep 600 & wait\n")
	p.running(long)
	queued := p.submit("command: echo never\n")
	p.until(queued, "a reason to wait", func(v view) bool { return v.WaitReason != nil && v.WaitReason.Code == muster.WaitCapacity })
	if why := p.muster("run", "why", queued); !strings.Contains(why, "MHz") || !strings.Contains(why, "MiB") {
		t.Errorf("run why has no numbers:\n%s", why)
	}
	if queue := p.muster("queue"); !strings.Contains(queue, queued) {
		t.Errorf("queue:\n%s", queue)
	}
	p.muster("run", "cancel", queued)
	if v := p.ends(queued, muster.RunCancelled); len(v.Attempts) != 0 {
		t.Errorf("a cancelled run that waited has %d attempts", len(v.Attempts))
	}
	p.muster("run", "cancel", long)
	p.ends(long, muster.RunCancelled)
	if files := p.muster("run", "files", "-r", long); !strings.Contains(files, "outputs/stopped") {
		t.Errorf("what was written after the stop is lost: %s", files)
	}
	starting := p.submit(small("sleep 600", ""))
	p.muster("run", "cancel", starting)
	p.ends(starting, muster.RunCancelled)
	if r := p.try("run", "cancel", starting); r.code != 4 {
		t.Errorf("cancel of a cancelled run: exit code %d", r.code)
	}
}

// TestChildren proves that cancel cascades and that the end of a parent leaves
// its children alone.
func TestChildren(t *testing.T) {
	p := open(t, dev.Config{})
	parent := p.submit(small("sleep 600", ""), "--name", "parent")
	child := p.submit(small("sleep 600", ""), "--name", "child", "--parent", parent)
	grandchild := p.submit(small("sleep 600", ""), "--name", "grandchild", "--parent", child)
	p.running(grandchild)
	p.muster("run", "cancel", parent)
	for _, name := range []string{parent, child, grandchild} {
		p.ends(name, muster.RunCancelled)
	}
	short := p.submit(small("sleep 1", ""), "--name", "short")
	stays := p.submit(small("sleep 3", ""), "--name", "stays", "--parent", short)
	p.ends(short, muster.RunSucceeded)
	p.ends(stays, muster.RunSucceeded)
}

// TestChildrenOfCode lets a run's own code make runs below it, and wait for them.
func TestChildrenOfCode(t *testing.T) {
	p := open(t, dev.Config{})
	parent := p.submit(small(`muster-agent child --name fold-1 --env FOLD=1 --set rate=0.5 --wait -- 'echo "fold $FOLD"; muster-agent metric score 0.5'
muster-agent child --name fold-2 --wait -- sh -c 'exit 3' || echo "told: $?"
curl -s -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $MUSTER_TOKEN" $MUSTER_ADDR/api/v1/clusters`, "inputs: {rate: 0.1}\n"), "--name", "folds")
	p.ends(parent, muster.RunSucceeded)
	if out := p.muster("run", "logs", parent, "--stream", "stdout"); out != "fold-1\nfold-2\ntold: 4\n403" {
		t.Errorf("the parent wrote %q", out)
	}
	if out := p.muster("run", "logs", "fold-1", "--stream", "stdout"); out != "fold 1\n" {
		t.Errorf("the child wrote %q", out)
	}
	v := p.ends("fold-1", muster.RunSucceeded)
	if v.Parent != parent || v.Metrics["score"] != 0.5 || v.Inputs["rate"] != "0.5" {
		t.Errorf("the child is %+v", v)
	}
	p.ends("fold-2", muster.RunFailed)
	if tree := p.muster("run", "list", "--tree"); !strings.Contains(tree, "folds") || !strings.Contains(tree, "├─ fold-1") || !strings.Contains(tree, "└─ fold-2") {
		t.Errorf("the tree is\n%s", tree)
	}
	if show := p.muster("run", "show", parent); !strings.Contains(show, "fold-1") || !strings.Contains(show, "Below it") {
		t.Errorf("the parent shows\n%s", show)
	}
}

// TestGang runs on two nodes at once, or not at all.
func TestGang(t *testing.T) {
	p := open(t, dev.Config{Nodes: []dev.Node{{Name: "n1", Pool: "local", MHz: 4000, MiB: 1024}, {Name: "n2", Pool: "local", MHz: 4000, MiB: 1024}}})
	holder := p.submit(small("sleep 600", ""))
	p.running(holder)
	gang := p.submit("command: echo rank $AZUREML_CR_NODE_RANK of $AZUREML_NODE_COUNT\nresources: {instance_count: 2}\n")
	v := p.until(gang, "a reason to wait", func(v view) bool { return v.WaitReason != nil && v.WaitReason.Code == muster.WaitCapacity })
	if !strings.Contains(v.WaitReason.Message, "1 of its 2 instances") {
		t.Errorf("reason: %s", v.WaitReason.Message)
	}
	begin := time.Now()
	p.muster("run", "cancel", holder)
	p.ends(holder, muster.RunCancelled)
	v = p.ends(gang, muster.RunSucceeded)
	t.Logf("gang started and ended %s after its nodes were freed", time.Since(begin).Round(time.Millisecond))
	nodes := map[string]bool{}
	for _, in := range v.Attempts[0].Instances {
		nodes[in.NodeName] = true
	}
	if len(nodes) != 2 {
		t.Errorf("the gang ran on %v", nodes)
	}
	never := p.submit("command: 'true'\nresources: {instance_count: 3}\n")
	if v := p.ends(never, muster.RunFailed); !strings.Contains(v.Reason, "asks for 3 instances") {
		t.Errorf("reason: %s", v.Reason)
	}
}
