package run_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/muster-ml/muster"
)

// TestCheckpoints kills an agent and its command, as a node does that vanishes,
// and holds that the next attempt begins with what the checkpoint folder held:
// files that were saved meanwhile, and not those that were removed.
func TestCheckpoints(t *testing.T) {
	eachUser(t, func(t *testing.T, as who) {
		p := newPlatform(t, muster.Spec{Command: `echo ready; work=$PWD; cd "$MUSTER_CHECKPOINT_DIR"; mkdir deep; echo 1 > step-1; echo one > deep/file
while [ ! -e $work/go ]; do sleep 0.05; done; while true; do echo 2 > new; mv new step-2; rm -f step-1; sleep 0.2; done`})
		a := p.start(as)
		p.begun()
		eventually(t, "the first files to be saved", func() bool { return p.saved("checkpoint/step-1") && p.saved("checkpoint/deep/file") })
		must(t, os.WriteFile(filepath.Join(p.runFolder(as), "work", "go"), nil, 0o644))
		eventually(t, "the second file to be saved, and the first to be forgotten", func() bool { return p.saved("checkpoint/step-2") && !p.saved("checkpoint/step-1") })
		must(t, a.Process.Kill())
		a.exit()
		next := p.next(`cd "$MUSTER_CHECKPOINT_DIR"; ls; cat deep/file step-2; echo 3 > step-3; rm deep/file; echo changed > step-2`)
		next.launch.Attempt = 2
		next.files, next.blobs = p.files, p.blobs
		if code := next.start(as).exit(); code != 0 {
			t.Fatalf("exit code %d: %s", code, next.log(muster.Stderr))
		}
		if got := next.log(muster.Stdout); got != "deep\nstep-2\none\n2\n" {
			t.Errorf("the second attempt finds %q", got)
		}
		names := slices.DeleteFunc(next.fileNames(), func(n string) bool { return !strings.HasPrefix(n, "checkpoint/") })
		if !slices.Equal(names, []string{"checkpoint/step-2", "checkpoint/step-3"}) || next.file("checkpoint/step-2") != "changed\n" {
			t.Errorf("it leaves %v", names)
		}
	})
}

// TestDamagedCheckpoint looks at a file that is not what its digest says.
func TestDamagedCheckpoint(t *testing.T) {
	p := newPlatform(t, muster.Spec{Command: "echo 1 > $MUSTER_CHECKPOINT_DIR/step"})
	if code := p.start(users(t)[0]).exit(); code != 0 || !p.saved("checkpoint/step") {
		t.Fatalf("exit code %d, saved %v", code, p.fileNames())
	}
	next := p.next("true")
	next.launch.Attempt, next.files, next.blobs = 2, p.files, p.blobs
	for key := range next.blobs {
		if strings.HasSuffix(key, "checkpoint/step") {
			next.blobs[key] = []byte("2\n")
		}
	}
	next.start(users(t)[0]).exit()
	if res := next.last().Result; res == nil || res.Started || res.Fault != muster.FaultPlatform || !strings.Contains(res.Failure, "checkpoint/step arrived damaged 4 times") {
		t.Errorf("result %+v", res)
	}
}

// saved reports whether a file is kept.
func (p *platform) saved(path string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.files[path] != nil
}
