package cli

import (
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// TestDoctorOfClusters warns of clusters that lack nodes, and not of those that
// need none now.
func TestDoctorOfClusters(t *testing.T) {
	wants := func(n int) *muster.Wanted { return &muster.Wanted{Nodes: n} }
	for name, want := range map[string]struct {
		k     muster.Cluster
		state string
	}{
		"empty":       {muster.Cluster{Provider: muster.ProviderNone}, checkWarn},
		"ready":       {muster.Cluster{Provider: muster.ProviderNone, Nodes: 1, Ready: 1}, checkOK},
		"rests":       {muster.Cluster{Provider: muster.ProviderLocal, Wanted: wants(0)}, checkOK},
		"not known":   {muster.Cluster{Provider: muster.ProviderLocal}, checkOK},
		"nodes come":  {muster.Cluster{Provider: muster.ProviderLocal, Wanted: wants(2), Nodes: 1}, checkWarn},
		"nobody buys": {muster.Cluster{Provider: muster.ProviderLocal, Wanted: wants(2), Nodes: 1, Ready: 1, SilentSince: time.Now()}, checkWarn},
	} {
		d := &diagnosis{}
		if d.cluster(&want.k); d.checks[0].State != want.state {
			t.Errorf("%s: %+v", name, d.checks)
		}
	}
}
