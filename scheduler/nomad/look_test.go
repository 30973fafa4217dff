package nomad_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/scheduler/nomad"
)

// TestUnhealthyDevices holds that a device which does not work now is still one
// of its node's: what a node has must not change with its health.
func TestUnhealthyDevices(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/nodes") {
			fmt.Fprint(w, `[]`)
			return
		}
		fmt.Fprint(w, `[{"ID":"n","Name":"n","Status":"ready","SchedulingEligibility":"eligible","Drivers":{"raw_exec":{"Healthy":true}},
			"NodeResources":{"Cpu":{"CpuShares":4000},"Memory":{"MemoryMB":4096},"Disk":{"DiskMB":100},
			"Devices":[{"Vendor":"nvidia","Type":"gpu","Name":"H200","Instances":[{"ID":"a","Healthy":true},{"ID":"b"},{"ID":"c","Healthy":true}]},
			{"Vendor":"muster","Type":"fpga","Name":"F1","Instances":[{"ID":"d","Healthy":true}]}]}}]`)
	}))
	defer server.Close()
	n, err := nomad.New(nomad.Config{Address: server.URL, Installation: installation})
	if err != nil {
		t.Fatal(err)
	}
	s, err := n.Look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := s.Nodes[0]
	if d := got.Total.Devices; len(d) != 2 || d[1].ID() != "nvidia/gpu/H200" || d[1].Count != muster.Whole(3) {
		t.Errorf("it has %+v", d)
	}
	if d := got.Unhealthy; len(d) != 1 || d[0].ID() != "nvidia/gpu/H200" || d[0].Count != muster.Whole(1) {
		t.Errorf("unhealthy: %+v", d)
	}
	if len(got.Notes) != 1 || got.Notes[0] != "devices nvidia/gpu/H200: 1 of 3 unhealthy" || !got.Ready() {
		t.Errorf("notes: %q, ready: %v", got.Notes, got.Ready())
	}
}

// drained holds that a node whose drain is complete is still told from one that
// was closed: Nomad calls both ready, ineligible, and not draining.
func drained(l *lab) {
	seen := func() muster.SeenNode {
		s, err := l.Look(l.Context())
		l.must(err)
		return s.Nodes[0]
	}
	n := seen()
	l.must(l.SetEligible(l.Context(), n.ID, false))
	if n := seen(); n.Eligible || !n.DrainedAt.IsZero() {
		l.Errorf("closed: %+v", n)
	}
	_, err := l.api.Nodes().UpdateDrain(n.ID, &api.DrainSpec{Deadline: time.Minute}, false, nil)
	l.must(err)
	l.eventually("the drain is complete", func() bool { n := seen(); return !n.Draining && !n.DrainedAt.IsZero() })
	if n := seen(); n.Eligible || n.Status != "ready" {
		l.Errorf("drained: %+v", n)
	}
	l.must(l.SetEligible(l.Context(), n.ID, true))
	l.eventually("it is open again", func() bool { n := seen(); return n.Ready() })
}
