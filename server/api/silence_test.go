package api

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// oneCluster is a cluster that wants a node and has none.
type oneCluster struct {
	muster.Clusters
	muster.Nodes
	c muster.Cluster
}

func (o oneCluster) FindCluster(context.Context, string) (*muster.Cluster, error) { return &o.c, nil }

func (o oneCluster) ListNodes(context.Context) ([]*muster.Node, error) { return nil, nil }

// TestSilence tells of an autoscaler that is not heard of, where somebody waits
// for it.
func TestSilence(t *testing.T) {
	long := time.Now().Add(-time.Hour)
	for name, c := range map[string]struct {
		change func(*muster.Cluster)
		silent bool
	}{
		"silent":                       {func(*muster.Cluster) {}, true},
		"heard of":                     {func(c *muster.Cluster) { c.ReportedAt = time.Now() }, false},
		"wanted a while ago":           {func(c *muster.Cluster) { c.Wanted.At = time.Now() }, false},
		"none is wanted":               {func(c *muster.Cluster) { c.Wanted.Nodes = 0 }, false},
		"one that is silent by nature": {func(c *muster.Cluster) { c.Provider = muster.ProviderAWS }, false},
	} {
		o := oneCluster{c: muster.Cluster{Name: "e", Provider: muster.ProviderLocal, CreatedAt: long, ReportedAt: long, Wanted: &muster.Wanted{Nodes: 1, At: long}}}
		c.change(&o.c)
		a := &API{Services: Services{Clusters: o, Nodes: o, Sizes: muster.BuiltinSizes()}}
		r := &muster.Run{State: muster.RunQueued, Cluster: "e", WaitReason: &muster.WaitReason{Code: muster.WaitScaling, Message: "1 node comes"}}
		if err := a.tellSilence(t.Context(), r); err != nil || strings.HasPrefix(r.WaitReason.Message, "1 node comes; the autoscaler of cluster e has not been heard of since ") != c.silent {
			t.Errorf("%s: %q, %v", name, r.WaitReason.Message, err)
		}
	}
}
