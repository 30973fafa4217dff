package api

import (
	"slices"
	"testing"

	"github.com/muster-ml/muster"
)

// TestVeil hides the runs of other workspaces on nodes, and the run that goes
// before another's in the queue.
func TestVeil(t *testing.T) {
	reader := &muster.Principal{Grants: []muster.Grant{{Role: muster.RoleReader, Workspace: "w"}}}
	n := &muster.Node{Name: "n", State: muster.NodeRunning, Runs: []string{"w/a", "v/b", "ww/c"}}
	if got := veiled(reader, n); !slices.Equal(got.Runs, []string{"w/a"}) || got.State != muster.NodeRunning || len(n.Runs) != 3 {
		t.Errorf("a reader of w sees %v, of %v", got.Runs, n.Runs)
	}
	queue := []*muster.Run{{Workspace: "v", Name: "b", Position: 2, WaitReason: &muster.WaitReason{Code: muster.WaitAhead, Ahead: "v/secret"}},
		{Workspace: "w", Name: "own", WaitReason: &muster.WaitReason{Code: muster.WaitCapacity, Ahead: "v/secret"}},
		{Workspace: "w", Name: "next", WaitReason: &muster.WaitReason{Code: muster.WaitAhead, Ahead: "w/own"}}}
	veil(reader, queue)
	if r := queue[0]; r.Name != "" || r.WaitReason.Ahead != "" || r.Position != 2 {
		t.Errorf("a reader of w sees %+v %+v", r, r.WaitReason)
	}
	if own, next := queue[1], queue[2]; own.Name != "own" || own.WaitReason.Ahead != "" || next.WaitReason.Ahead != "w/own" {
		t.Errorf("a reader of w sees of its own %+v, %+v", own.WaitReason, next.WaitReason)
	}
}
