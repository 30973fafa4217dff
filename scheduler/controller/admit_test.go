package controller_test

import (
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/scheduler/admission"
	"github.com/muster-ml/muster/scheduler/controller"
)

// TestUnwellNodes holds that a run whose devices are unhealthy, or whose node is
// away, for a moment waits for them, and starts once they are back.
func TestUnwellNodes(t *testing.T) {
	gpu := []muster.Devices{{Vendor: "nvidia", Type: "gpu", Name: "H200", Count: muster.Whole(1)}}
	well := muster.SeenNode{ID: "n", Name: "n", Pool: "pool", Status: "ready", Eligible: true, Cores: muster.Whole(2),
		Total: muster.Resources{MHz: muster.Whole(2000), MiB: muster.Whole(2000), DiskMiB: muster.Whole(100), Devices: gpu}}
	unhealthy, down, driverless := well, well, well
	unhealthy.Unhealthy, down.Status, driverless.Unusable = gpu, "down", true
	for _, c := range []struct {
		node muster.SeenNode
		want muster.WaitCode // "" starts
	}{{well, ""}, {unhealthy, muster.WaitCapacity}, {down, muster.WaitNodes}, {driverless, muster.WaitNodes}} {
		for what, group := range map[string]muster.Group{"a whole node": {Name: "main", Count: 1},
			"a device": {Name: "main", Count: 1, Ask: &muster.Ask{Cores: muster.Whole(1), MiB: muster.Whole(100), GPUs: muster.Whole(1)}}} {
			b := &muster.Backlog{Clusters: []*muster.Cluster{{Name: "c", NodePool: "pool"}},
				Waiting: map[string][]muster.Waiting{"c": {{RunID: 1, Run: "w/r", Groups: []muster.Group{group}}}}}
			d := admission.Decide(controller.Snapshot(&muster.Sight{Nodes: []muster.SeenNode{c.node}}, b, nil, time.Now()))
			if c.want == "" && len(d.Starts) != 1 || c.want != "" && (len(d.Waits) != 1 || d.Waits[0].Reason.Code != c.want) {
				t.Errorf("%s on %+v: %+v", what, c.node, d)
			}
		}
	}
}
