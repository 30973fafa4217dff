package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/muster-ml/muster"
)

// TestAWSLetsGo has the stock agent with its own target let empty machines of a
// group of Amazon's go, and no other. Its rights in Nomad are what the manual says.
func TestAWSLetsGo(t *testing.T) {
	f := newFleet(t, 3, `namespace "*" { capabilities = ["list-jobs", "read-job"] }`+"\n"+`node { policy = "write" }`)
	nodes, err := f.list()
	f.must(err)
	busy, idle := nodes[0], nodes[1:] // who does not look takes the first one
	done := filepath.Join(t.TempDir(), "done")
	f.place("system", "/nowhere", nodes...) // as Muster's own agent: it keeps no node
	f.place("batch", done, busy)
	f.run(t)
	f.looks(t, 3)
	f.reaches("the-group", 3)

	// As the server does it: empty nodes are closed, then the number falls.
	var names, want []string
	for _, n := range idle {
		f.must(f.ask("POST", "/v1/node/"+n.ID+"/eligibility", "", map[string]string{"Eligibility": "ineligible"}, nil))
		names, want = append(names, n.Name), append(want, n.instance())
	}
	f.want("gpu", 1, names...)
	f.reaches("the-group", 1)
	f.forgets(idle)
	slices.Sort(want)
	if got := f.gone(); !slices.Equal(got, want) {
		t.Errorf("instances %v are gone, want %v", got, want)
	}
	f.untouched(busy)

	// A lower number than the server would say takes no node in use either.
	f.want("gpu", 0)
	eventually(t, "the target finds no empty node", func() bool {
		return strings.Contains(agentLog(t, f.site, muster.ProviderAWS), "no nodes selected using strategy empty_ignore_system")
	})
	f.untouched(busy)
	f.must(os.WriteFile(done, nil, 0o600))
	f.reaches("the-group", 0)
	f.forgets(nodes)
	if got := f.gone(); len(got) != 3 {
		t.Errorf("instances %v are gone, want all", got)
	}
}

// TestAWSBlind has an agent whose token cannot read jobs: Nomad shows it no
// allocation, and it drains a node in use.
func TestAWSBlind(t *testing.T) {
	f := newFleet(t, 1, `node { policy = "write" }`)
	nodes, err := f.list()
	f.must(err)
	f.place("batch", "/nowhere", nodes...)
	f.want("gpu", 0)
	f.run(t)
	eventually(t, "the node in use is drained", func() bool {
		n, err := f.node(nodes[0].instance())
		return err == nil && n.Drain
	})
}

// forgets waits until Nomad knows none of the nodes any more.
func (f *fleet) forgets(nodes []awsNode) {
	f.t.Helper()
	eventually(f.t, "the nodes that went are forgotten", func() bool {
		now, err := f.site.nodes(f.t.Context())
		f.must(err)
		return !slices.ContainsFunc(now, func(n muster.Node) bool {
			return slices.ContainsFunc(nodes, func(gone awsNode) bool { return n.ID == gone.ID })
		})
	})
}

// gone lists the instances that were let go. Each was drained before, and the
// number fell by nothing else.
func (f *fleet) gone() []string {
	f.t.Helper()
	f.cloud.mu.Lock()
	defer f.cloud.mu.Unlock()
	for _, id := range f.ended {
		if stood := f.stood[id]; stood != "ineligible, drain complete" {
			f.t.Errorf("when instance %s was let go its node was %s", id, stood)
		}
	}
	if len(f.updates) > 0 {
		f.t.Errorf("updates %v, want none", f.updates)
	}
	return slices.Sorted(slices.Values(f.ended))
}

// untouched requires that a node works as if nothing had been.
func (f *fleet) untouched(n awsNode) {
	f.t.Helper()
	now, err := f.node(n.instance())
	f.must(err)
	state := fmt.Sprintf("%s %s drain=%t%s", now.Status, now.SchedulingEligibility, now.Drain, now.LastDrain.Status)
	if service := f.clients[n.instance()].State(); state != "ready eligible drain=false" || service.Pid == 0 || service.Restarts > 0 || f.running("batch") != 1 {
		f.t.Errorf("the node in use is %s, its machine %+v, and %d allocations run", state, service, f.running("batch"))
	}
}
