package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// nodeCommand is about nodes.
func nodeCommand() *cli.Command {
	return &cli.Command{Name: "node", Usage: "the machines of the clusters", Subcommands: []*cli.Command{
		{Name: "list", Usage: "list the nodes", Action: listNodes, Flags: []cli.Flag{clusterFlag()}},
		{Name: "show", Usage: "show a node by name, id, or the beginning of an id", ArgsUsage: "NAME", Action: showNode},
		{Name: "logs", Usage: "print what the last set-up of a node wrote", ArgsUsage: "NAME", Action: logsOfNode},
		{Name: "exclude", Usage: "take a node out of service: no more runs start on it, those that are there go on", ArgsUsage: "NAME", Action: excludeNode, Flags: []cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "`TEXT` that everybody sees who asks", Value: "by an operator"}}},
		{Name: "include", Usage: "take a node into service again, also out of quarantine; one whose set-up failed is set up once more", ArgsUsage: "NAME", Action: includeNode},
		{Name: "drain", Usage: "empty a node: no more runs start on it, and those that are there start again elsewhere", ArgsUsage: "NAME", Action: drainNode, Flags: []cli.Flag{
			&cli.DurationFlag{Name: "wait", Usage: "`TIME` that the runs on it may still take to end"},
			&cli.StringFlag{Name: "reason", Usage: "`TEXT` that everybody sees who asks"}}},
	}}
}

// notesOf lists what is worth knowing of a node.
func notesOf(n *muster.Node) []string {
	if n.Reason == "" {
		return n.Notes
	}
	return append([]string{n.Reason}, n.Notes...)
}

func logsOfNode(c *cli.Context) error {
	api, name, err := aboutNamed(c)
	if err != nil {
		return err
	}
	defer api.Close()
	log, err := api.NodeLog(c.Context, name)
	if err != nil {
		return err
	}
	return show(c, log, func(t *table) { t.line("%s", strings.TrimRight(log.Text, "\n")) })
}

// changeNode changes the node that the argument names.
func changeNode(c *cli.Context, change muster.NodeChange) error {
	api, name, err := aboutNamed(c)
	if err != nil {
		return err
	}
	defer api.Close()
	n, err := api.ChangeNode(c.Context, name, change)
	if err != nil {
		return err
	}
	return show(c, n, func(t *table) { t.line("node %s: %s", n.Name, serviceOf(n)) })
}

// serviceOf says in words whether a node is in service.
func serviceOf(n *muster.Node) string {
	switch {
	case !n.DrainAt.IsZero() && n.DrainAt.After(time.Now()):
		return fmt.Sprintf("it takes no more runs, and what runs on it is told to stop at %s", clock(n.DrainAt))
	case !n.DrainAt.IsZero():
		return "it takes no more runs, and what runs on it is told to stop"
	case n.Excluded != "":
		return "it takes no more runs: " + n.Excluded
	case n.State == muster.NodePreempted:
		return "its provider has taken it: no run comes to it any more"
	case n.State == muster.NodeUnusable && n.Status == "ready":
		return "it takes runs again when it is well; now: " + n.Reason
	case n.Status != "ready":
		return fmt.Sprintf("it takes runs again when its Nomad client runs: Nomad says %s", n.Status)
	}
	return "it is in service"
}

func excludeNode(c *cli.Context) error {
	reason := c.String("reason")
	return changeNode(c, muster.NodeChange{Excluded: &reason})
}

func includeNode(c *cli.Context) error { return changeNode(c, muster.NodeChange{Excluded: new("")}) }

func drainNode(c *cli.Context) error {
	wait := muster.Duration(c.Duration("wait"))
	change := muster.NodeChange{Drain: &wait}
	if c.IsSet("reason") {
		change.Excluded = new(c.String("reason"))
	}
	return changeNode(c, change)
}

// clusterFlag chooses a cluster.
func clusterFlag() cli.Flag {
	return &cli.StringFlag{Name: "cluster", Usage: "only this `CLUSTER`'s"}
}

func listNodes(c *cli.Context) error {
	api, err := connectAlone(c)
	if err != nil {
		return err
	}
	defer api.Close()
	return nodesOf(c, api, c.String("cluster"))
}

// nodesOf lists the nodes of a cluster, or of all.
func nodesOf(c *cli.Context, api *client.Client, cluster string) error {
	all, err := api.Nodes(c.Context, cluster)
	if err != nil {
		return err
	}
	l := nodeListing()
	if len(all) == 0 && cluster != "" {
		k, err := api.Cluster(c.Context, cluster)
		if err != nil {
			return err
		}
		l.empty = noNodes(k)
	}
	return list(c, all, l)
}

// noNodes says of a cluster without a node whether that is as it shall be.
func noNodes(k *muster.Cluster) string {
	shall := k.Min
	if k.Wanted != nil {
		shall = k.Wanted.Nodes
	}
	switch {
	case !k.Provider.Elastic():
		return fmt.Sprintf("Cluster %s has no node: no Nomad client is in node pool %s.", k.Name, k.NodePool)
	case k.Deleting, k.Paused:
		return fmt.Sprintf("Cluster %s has no node, and gets none: it is %s.", k.Name, stateOf(k))
	case shall > 0:
		return fmt.Sprintf("Cluster %s has no node yet, and shall have %d: muster cluster show %s says more.", k.Name, shall, k.Name)
	}
	return fmt.Sprintf("Cluster %s has no node now, as no run needs one: it gets up to %d while runs wait.", k.Name, k.Max)
}

// nodeListing is how nodes are listed.
func nodeListing() listing[*muster.Node] {
	return listing[*muster.Node]{
		head: []string{"NAME", "ID", "CLUSTER", "STATE", "MHZ USED", "MIB USED", "GPUS USED", "RUNS"},
		row: func(n *muster.Node) []string {
			used := n.Used.Add(n.Foreign)
			return []string{n.Name, n.ID[:min(8, len(n.ID))], n.Cluster, string(n.State), fmt.Sprintf("%s of %s", used.MHz, n.Allocatable.MHz),
				fmt.Sprintf("%s of %s", used.MiB, n.Allocatable.MiB), fmt.Sprintf("%s of %s", gpus(used), gpus(n.Allocatable.Resources)), orDash(strings.Join(n.Runs, ", "))}
		},
		wide: []string{"ENGINE", "NODE POOL", "NOMAD STATUS", "DISK MIB", "NOTES"},
		more: func(n *muster.Node) []string {
			engine := "-"
			if n.Engine {
				engine = "yes"
			}
			return []string{engine, n.NodePool, n.Status, n.Allocatable.DiskMiB.String(), orDash(strings.Join(notesOf(n), "; "))}
		},
		values: map[string]func(*muster.Node) any{
			"MHZ USED":  func(n *muster.Node) any { return n.Used.Add(n.Foreign).MHz },
			"MIB USED":  func(n *muster.Node) any { return n.Used.Add(n.Foreign).MiB },
			"GPUS USED": func(n *muster.Node) any { return gpus(n.Used.Add(n.Foreign)) }},
		fields: map[string]string{"DISK MIB": "allocatable.disk_mib", "ENGINE": "container_engine"},
		empty:  "There is no node in any cluster: muster cluster list shows which node pools they are made of.",
	}
}

// nodeWords is a node's state, with what Nomad says where it does not reach the node.
func nodeWords(n *muster.Node) string {
	if n.Status == "ready" {
		return string(n.State)
	}
	return fmt.Sprintf("%s (Nomad says %s)", n.State, n.Status)
}

func showNode(c *cli.Context) error {
	return showOne(c, func(api *client.Client, name string) (*muster.Node, error) { return api.Node(c.Context, name) }, func(t *table, n *muster.Node) {
		t.row("name", n.Name)
		t.row("id", n.ID)
		t.row("cluster", n.Cluster)
		t.row("node pool", n.NodePool)
		t.row("state", nodeWords(n))
		if n.Reason != "" {
			t.row("reason", n.Reason)
		}
		if n.Excluded != "" {
			t.row("service", serviceOf(n))
		}
		t.row("offers", sizeOf(&n.Allocatable))
		t.row("used by runs", fmt.Sprintf("%s MHz, %s MiB, %s", n.Used.MHz, n.Used.MiB, countAmount(gpus(n.Used), "gpu")))
		t.row("used by other Nomad jobs", fmt.Sprintf("%s MHz, %s MiB, %s", n.Foreign.MHz, n.Foreign.MiB, countAmount(gpus(n.Foreign), "gpu")))
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
