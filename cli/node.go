package cli

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// nodeCommand is about nodes.
func nodeCommand() *cli.Command {
	return &cli.Command{Name: "node", Usage: "the machines of the clusters", Subcommands: []*cli.Command{
		{Name: "list", Usage: "list the nodes", Action: listNodes, Flags: []cli.Flag{clusterFlag()}},
		{Name: "show", Usage: "show a node by name, id, or the beginning of an id", ArgsUsage: "NAME", Action: showNode},
	}}
}

// clusterFlag chooses a cluster.
func clusterFlag() cli.Flag {
	return &cli.StringFlag{Name: "cluster", Usage: "only this `CLUSTER`'s"}
}

func listNodes(c *cli.Context) error {
	return listAll(c, func(api *client.Client) ([]*muster.Node, error) { return api.Nodes(c.Context, c.String("cluster")) }, nodeListing())
}

// nodeListing is how nodes are listed.
func nodeListing() listing[*muster.Node] {
	return listing[*muster.Node]{
		head: []string{"NAME", "ID", "CLUSTER", "STATE", "MHZ USED", "MIB USED", "GPUS USED", "RUNS"},
		row: func(n *muster.Node) []string {
			used := n.Used.Add(n.Foreign)
			return []string{n.Name, n.ID[:min(8, len(n.ID))], n.Cluster, string(n.State), fmt.Sprintf("%s of %s", used.MHz, n.Allocatable.MHz),
				fmt.Sprintf("%s of %s", used.MiB, n.Allocatable.MiB), fmt.Sprintf("%s of %s", gpus(used), gpus(n.Allocatable.Resources)), strings.Join(n.Runs, ", ")}
		},
		wide: []string{"ENGINE", "NODE POOL", "NOMAD STATUS", "DISK MIB", "NOTES"},
		more: func(n *muster.Node) []string {
			engine := "-"
			if n.Engine {
				engine = "yes"
			}
			return []string{engine, n.NodePool, n.Status, n.Allocatable.DiskMiB.String(), orDash(strings.Join(n.Notes, "; "))}
		},
		fields: map[string]string{"MHZ USED": "used.mhz", "MIB USED": "used.mib", "DISK MIB": "allocatable.disk_mib", "ENGINE": "container_engine"},
		empty:  "There is no such node: muster cluster list shows which node pools the clusters are made of.",
	}
}

func showNode(c *cli.Context) error {
	return showOne(c, func(api *client.Client, name string) (*muster.Node, error) { return api.Node(c.Context, name) }, func(t *table, n *muster.Node) {
		t.row("name", n.Name)
		t.row("id", n.ID)
		t.row("cluster", n.Cluster)
		t.row("node pool", n.NodePool)
		t.row("state", fmt.Sprintf("%s (Nomad says %s)", n.State, n.Status))
		t.row("offers", sizeOf(&n.Allocatable))
		t.row("used by runs", fmt.Sprintf("%s MHz, %s MiB, %s gpus", n.Used.MHz, n.Used.MiB, gpus(n.Used)))
		t.row("used by other Nomad jobs", fmt.Sprintf("%s MHz, %s MiB, %s gpus", n.Foreign.MHz, n.Foreign.MiB, gpus(n.Foreign)))
		if n.Engine {
			t.row("container engine", "yes")
		} else {
			t.row("container engine", "none: images cannot be run here")
		}
		t.row("runs", orDash(strings.Join(n.Runs, ", ")))
		for _, note := range n.Notes {
			t.row("note", note)
		}
	})
}
