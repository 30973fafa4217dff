package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/muster-ml/muster"
)

// TestAlternatives holds that a run whose cluster's provider gives no nodes starts
// on the next cluster that it names, and is told why.
func TestAlternatives(t *testing.T) {
	p := elastic(t)
	folder := filepath.Join(p.DataDir, "autoscaler", "cheap")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "faults.json"), []byte(`{"fail":"capacity","message":"there are none left today"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	p.muster("cluster", "create", "--provider", "local", "--size", "local.small", "--tier", "low_priority", "--max", "2", "cheap")
	p.muster("cluster", "create", "--provider", "local", "--size", "local.small", "--max", "2", "--idle", "2s", "dear")
	name := p.submit("command: echo on $MUSTER_NODE_ID\ncompute: cheap\nx-muster: {alternatives: [dear], resources: {cpus: 0.3, memory: 100Mi}}\n", "--name", "either")
	v := p.ends(name, muster.RunSucceeded)
	if a := v.Attempts[len(v.Attempts)-1]; a.Cluster != "dear" || a.Tier != muster.TierDedicated {
		t.Errorf("it ran on cluster %s (%s)", a.Cluster, a.Tier)
	}
	if list := p.muster("run", "list"); !strings.Contains(list, " dear ") {
		t.Errorf("where it ran is not told:\n%s", list)
	}
	if show := p.muster("run", "show", name); !strings.Contains(show, "cheap, else dear; its last attempt is on dear") {
		t.Errorf("where it ran is not shown:\n%s", show)
	}
	if show := p.muster("cluster", "show", "cheap"); !strings.Contains(show, "there are none left today") {
		t.Errorf("the provider's words are not shown:\n%s", show)
	}
	alone := p.submit("command: 'true'\ncompute: cheap\n"+tiny, "--name", "alone")
	p.until(alone, "the provider as its reason to wait", func(v view) bool {
		return v.WaitReason != nil && v.WaitReason.Code == muster.WaitProvider && strings.Contains(v.WaitReason.Message, "there are none left today")
	})
	if err := os.Remove(filepath.Join(folder, "faults.json")); err != nil {
		t.Fatal(err)
	}
	p.ends(alone, muster.RunSucceeded)
}

// TestShrink makes a cluster smaller than what runs on it, and holds that each
// run does what its cluster says: it goes on, starts again, or is cancelled.
func TestShrink(t *testing.T) {
	p := elastic(t)
	for _, word := range []string{"wait", "requeue", "terminate"} {
		t.Run(word, func(t *testing.T) {
			p := p.in(t)
			p.muster("cluster", "create", "--provider", "local", "--size", "local.small", "--max", "2", "--idle", "2s", "--on-shrink", word, word)
			var runs []string
			for _, i := range []string{"1", "2"} {
				runs = append(runs, p.submit("command: trap 'echo told > outputs/told; exit 1' TERM; sleep 600 & wait\ncompute: "+word+"\n", "--name", word+"-"+i))
			}
			for _, name := range runs {
				p.running(name)
			}
			p.muster("cluster", "resize", word, "--max", "1")
			stays := func(v view) bool { return v.State == muster.RunRunning && len(v.Attempts) == 1 }
			if word != "wait" {
				p.eventually("one node to go", func() bool { return p.cluster(word).Nodes == 1 }, p.clusterStory(word))
			}
			a, b := p.show(runs[0]), p.show(runs[1])
			switch moved := b; word {
			case "wait":
				if !stays(a) || !stays(b) || p.cluster(word).Nodes != 2 {
					t.Errorf("it does not wait: %+v %+v", a, b)
				}
			default:
				if stays(b) {
					a, moved = b, a
				}
				want := map[string]muster.RunState{"requeue": muster.RunQueued, "terminate": muster.RunCancelled}[word]
				if !stays(a) || moved.State != want || moved.Attempts[0].Outcome == "" {
					t.Errorf("one stays %s, the other is %s (%s), want %s", a.State, moved.State, moved.Reason, want)
				}
				if told := p.content(moved.Name, "outputs/told"); told != "told\n" {
					t.Errorf("its command was not told: %q", told)
				}
			}
			p.try("run", "cancel", runs[0], runs[1])
			p.eventually("the cluster to go back to zero", func() bool { return p.cluster(word).Nodes == 0 }, p.clusterStory(word))
		})
	}
}

// TestOscillation submits run after run to a cluster that has room for one at a
// time, and holds that it neither grows nor shrinks meanwhile: each change of the
// number wanted is an event, and there are two, up and down.
func TestOscillation(t *testing.T) {
	p := elastic(t)
	p.muster("cluster", "create", "--provider", "local", "--size", "local.small", "--max", "4", "--idle", "3s", "steady")
	for i := range 12 {
		p.muster("run", "submit", p.file("command: sleep 0."+string(rune('1'+i%3))+"\ncompute: steady\n"), "--wait")
	}
	p.eventually("the cluster to go back to zero", func() bool { c := p.cluster("steady"); return c.Nodes == 0 && c.Wanted.Nodes == 0 }, p.clusterStory("steady"))
	changes, came := 0, 0
	for line := range strings.Lines(p.muster("cluster", "events", "steady")) {
		switch {
		case strings.Contains(line, "it shall have"):
			changes++
		case strings.Contains(line, "has come"):
			came++
		}
	}
	t.Logf("12 runs one after another: the number wanted changed %d times, %d nodes came", changes, came)
	if came != 1 || changes > 3 { // 0 where it was looked at before the first run came, 1, 0
		t.Errorf("the number wanted changed %d times and %d nodes came: 3 and 1 are enough\n%s", changes, came, p.muster("cluster", "events", "steady"))
	}
}
