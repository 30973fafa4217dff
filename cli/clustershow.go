package cli

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// scaleOf says in words how a cluster scales.
func scaleOf(k *muster.Cluster) string {
	switch {
	case k.Deleting:
		return "it is being deleted: its nodes leave"
	case k.Paused:
		return "paused: no run starts, and its nodes stay as they are"
	case !k.Provider.Elastic():
		return "its nodes just exist"
	}
	return fmt.Sprintf("%d to %s; one that is idle for %s leaves", k.Min, count(k.Max, "node"), k.Idle)
}

// silenceOf says that a cluster's autoscaler is not heard of.
func silenceOf(k *muster.Cluster) string { return "not heard of since " + clock(k.SilentSince) }

// sizeOf shows a size in words.
func sizeOf(s *muster.Allocatable) string {
	if s == nil {
		return "unknown: no node is ready"
	}
	text := fmt.Sprintf("%s, %s MHz, %s MiB", countAmount(s.Cores, "core"), s.MHz, s.MiB)
	for _, d := range s.Devices {
		text += fmt.Sprintf(", %s %s %s", d.Count, d.Type, d.Name)
	}
	return text
}

// stateOf says in a word whether runs start on a cluster.
func stateOf(k *muster.Cluster) string {
	switch {
	case k.Deleting:
		return "being deleted"
	case k.Paused:
		return "paused"
	}
	return "active"
}

func listClusters(c *cli.Context) error {
	return listAll(c, func(api *client.Client) ([]*muster.Cluster, error) { return api.Clusters(c.Context) }, listing[*muster.Cluster]{
		head: []string{"NAME", "STATE", "PROVIDER", "TIER", "NODES", "READY", "WANTED", "MIN-MAX", "SIZE OF A NODE"},
		row: func(k *muster.Cluster) []string {
			wanted, limits := "-", "-"
			if k.Wanted != nil {
				wanted = fmt.Sprint(k.Wanted.Nodes)
			}
			if k.Provider.Elastic() {
				limits = fmt.Sprintf("%d-%d", k.Min, k.Max)
			}
			return []string{k.Name, stateOf(k), string(k.Provider), string(k.Tier), fmt.Sprint(k.Nodes), fmt.Sprint(k.Ready), wanted, limits, sizeOf(k.Offers)}
		},
		wide: []string{"SIZE", "NODE POOL", "REGION", "CREATED"},
		more: func(k *muster.Cluster) []string {
			return []string{orDash(k.Size), k.NodePool, orDash(k.Region), ago(k.CreatedAt)}
		},
		fields: map[string]string{"SIZE OF A NODE": "allocatable.mhz", "WANTED": "wanted.nodes", "CREATED": "created_at"},
		empty:  "There is no cluster yet: muster cluster create makes one, of a Nomad node pool or of nodes that come and go.",
	})
}

func showCluster(c *cli.Context) error {
	return showOne(c, func(api *client.Client, name string) (*muster.Cluster, error) { return api.Cluster(c.Context, name) }, func(t *table, k *muster.Cluster) {
		t.row("name", k.Name)
		t.row("provider", string(k.Provider))
		t.row("node pool", k.NodePool)
		t.row("tier", string(k.Tier))
		t.row("nodes", fmt.Sprintf("%d, %d ready%s", k.Nodes, k.Ready, countsOf(k)))
		if k.Wanted != nil {
			t.row("wanted", fmt.Sprintf("%d since %s: %s", k.Wanted.Nodes, clock(k.Wanted.At), k.Wanted.Reason))
		}
		if !k.SilentSince.IsZero() {
			t.row("autoscaler", silenceOf(k)+": see that muster-autoscaler runs")
		}
		if f := k.Failure; f != nil {
			what := "provider fails"
			if f.OfNodes() {
				what = "its nodes fail"
			}
			t.row(what, fmt.Sprintf("%s (%s, %s), tried again at %s", f.Message, f.Kind, count(f.Tries, "time"), clock(f.Until)))
		}
		t.row("scaling", scaleOf(k))
		if k.Drill != nil {
			t.row("drill", drillOf(k.Drill))
		}
		if k.Size != "" {
			t.row("size", k.Size)
		}
		t.row("a node offers", sizeOf(k.Offers))
		if k.OS != "" {
			t.row("operating system", k.OS)
		}
		if k.OnShrink != "" {
			t.row("on shrink", string(k.OnShrink))
		}
		if k.RunAs != "" {
			t.row("runs as", k.RunAs)
		}
		if k.Setup != nil {
			t.row("set-up", setupOf(k.Setup))
		}
		if k.Health != nil {
			t.row("checks", checksOf(k))
		}
		if len(k.Workspaces) > 0 {
			t.row("for workspaces", strings.Join(k.Workspaces, ", "))
		}
		t.row("created", ago(k.CreatedAt))
	})
}

// setupOf says in words how nodes are set up.
func setupOf(s *muster.Setup) string {
	who := "as the user of runs"
	if s.AsRoot {
		who = "as root"
	}
	first, _, more := strings.Cut(strings.TrimSpace(s.Command), "\n")
	if more {
		first += " …"
	}
	return fmt.Sprintf("%s: %s", who, first)
}

// checksOf lists what nodes must be.
func checksOf(k *muster.Cluster) string {
	h := k.Readying().Health
	words := []string{fmt.Sprintf("%d MiB of disk free", h.DiskMiB), fmt.Sprintf("clock within %s", h.Clock)}
	if h.Engine {
		words = append(words, "a container engine")
	}
	for _, check := range h.Checks {
		words = append(words, check.Name)
	}
	return strings.Join(words, ", ")
}

// countsOf counts the nodes of a cluster by state.
func countsOf(k *muster.Cluster) string {
	text := ""
	for _, state := range muster.NodeStates() {
		if n := k.Counts[state]; n > 0 {
			text += fmt.Sprintf(", %d %s", n, state)
		}
	}
	return text
}
