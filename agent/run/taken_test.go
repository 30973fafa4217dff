package run_test

import (
	"strings"
	"testing"

	"github.com/muster-ml/muster"
)

// TestCheckpointCommand looks at what is executed when a node is taken from a run,
// before its signal, and holds that nothing is when somebody cancels it.
func TestCheckpointCommand(t *testing.T) {
	for why, saves := range map[muster.StopReason]bool{muster.StopEvicted: true, muster.StopDrain: true, muster.StopCancel: false} {
		t.Run(string(why), func(t *testing.T) {
			as := users(t)[0]
			p := newPlatform(t, muster.Spec{
				Command:    `trap 'echo told to save' USR1; trap 'echo bye; exit 0' TERM; echo ready; while true; do sleep 0.05; done`,
				Checkpoint: `echo saving >&2; echo state > "$MUSTER_CHECKPOINT_DIR/state"; kill -USR1 $MUSTER_COMMAND_PID; sleep 0.3; exit 4`})
			a := p.start(as)
			p.begun()
			p.do(func() { p.launch.Stop = why })
			a.exit()
			want := map[bool]string{true: "ready\ntold to save\nbye\n", false: "ready\nbye\n"}[saves]
			if got := p.log(muster.Stdout); got != want {
				t.Errorf("stdout %q, want %q", got, want)
			}
			if strings.Contains(p.log(muster.Stderr), "saving\n") != saves || (p.file("checkpoint/state") == "state\n") != saves {
				t.Errorf("stderr %q, checkpoint %q", p.log(muster.Stderr), p.file("checkpoint/state"))
			}
			if noted := p.noted("the checkpoint command ended with exit code 4"); noted != saves {
				t.Errorf("its exit code is told: %v; notes %q", noted, p.last().Notes)
			}
			p.gone(as)
		})
	}
}

// TestCheckpointCommandThatHangs looks at one that takes too long: the command
// gets its signal before the grace time is over.
func TestCheckpointCommandThatHangs(t *testing.T) {
	as := users(t)[0]
	p := newPlatform(t, muster.Spec{Grace: muster.Seconds(2), Command: `trap 'echo bye; exit 0' TERM; echo ready; while true; do sleep 0.05; done`, Checkpoint: `sleep 600 & wait`})
	a := p.start(as)
	p.begun()
	p.do(func() { p.launch.Stop = muster.StopEvicted })
	a.exit()
	if got := p.log(muster.Stdout); got != "ready\nbye\n" {
		t.Errorf("stdout %q", got)
	}
	if notes := strings.Join(p.last().Notes, "\n"); !strings.Contains(notes, "the checkpoint command was ended after 2s") && !strings.Contains(notes, "the checkpoint command was ended after 1s") {
		t.Errorf("notes %q", notes)
	}
	p.gone(as)
}
