package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// clusterCommand is about clusters.
func clusterCommand() *cli.Command {
	return &cli.Command{Name: "cluster", Usage: "named compute, each a Nomad node pool", Subcommands: []*cli.Command{
		{Name: "create", Usage: "make a cluster of a node pool that exists", ArgsUsage: "--node-pool POOL NAME", Action: createCluster, Flags: []cli.Flag{
			&cli.StringFlag{Name: "node-pool", Usage: "the Nomad node `POOL` whose nodes it is"},
			&cli.StringFlag{Name: "tier", Usage: "`TIER`: dedicated or low_priority", Value: string(muster.TierDedicated)}}},
		{Name: "list", Usage: "list the clusters", Action: listClusters},
		{Name: "show", Usage: "show a cluster", ArgsUsage: "NAME", Action: showCluster},
	}}
}

func createCluster(c *cli.Context) error {
	args, err := arguments(c, "NAME")
	if err != nil {
		return err
	}
	if c.String("node-pool") == "" {
		return muster.Errorf(muster.CodeInvalid, "muster cluster create wants --node-pool").WithCure("nomad node pool list shows the pools; each Nomad has one called default")
	}
	api, err := connect(c)
	if err != nil {
		return err
	}
	defer api.Close()
	k, err := api.CreateCluster(c.Context, &muster.Cluster{Name: args[0], NodePool: c.String("node-pool"), Tier: muster.Tier(c.String("tier"))})
	if err != nil {
		return err
	}
	if k.Nodes == 0 {
		fmt.Fprintf(c.App.ErrWriter, "note: node pool %s has no node: runs of cluster %s wait until one joins; nomad node pool list shows the pools\n", k.NodePool, k.Name)
	}
	return show(c, k, func(t *table) {
		t.line("cluster %s is made; node pool %s has %s, %d ready", k.Name, k.NodePool, count(k.Nodes, "node"), k.Ready)
	})
}

// sizeOf shows a size in words.
func sizeOf(s *muster.NodeSize) string {
	if s == nil {
		return "unknown: no node is ready"
	}
	text := fmt.Sprintf("%s cores, %s MHz, %s MiB", s.Cores, s.MHz, s.MiB)
	for _, d := range s.Devices {
		text += fmt.Sprintf(", %s %s %s", d.Count, d.Type, d.Name)
	}
	return text
}

func listClusters(c *cli.Context) error {
	return listAll(c, func(api *client.Client) ([]*muster.Cluster, error) { return api.Clusters(c.Context) }, listing[*muster.Cluster]{
		head: []string{"NAME", "NODE POOL", "TIER", "NODES", "READY", "SIZE OF A NODE"},
		row: func(k *muster.Cluster) []string {
			return []string{k.Name, k.NodePool, string(k.Tier), fmt.Sprint(k.Nodes), fmt.Sprint(k.Ready), sizeOf(k.Size)}
		},
		wide: []string{"PROVIDER", "REGION", "CREATED"},
		more: func(k *muster.Cluster) []string {
			return []string{string(k.Provider), orDash(k.Region), ago(k.CreatedAt)}
		},
		fields: map[string]string{"SIZE OF A NODE": "size.mhz", "CREATED": "created_at"},
		empty:  "There is no cluster yet: muster cluster create --node-pool POOL NAME makes one of a Nomad node pool.",
	})
}

func showCluster(c *cli.Context) error {
	return showOne(c, func(api *client.Client, name string) (*muster.Cluster, error) { return api.Cluster(c.Context, name) }, func(t *table, k *muster.Cluster) {
		t.row("name", k.Name)
		t.row("node pool", k.NodePool)
		t.row("tier", string(k.Tier))
		t.row("nodes", fmt.Sprintf("%d, %d ready", k.Nodes, k.Ready))
		t.row("size", sizeOf(k.Size))
		t.row("created", ago(k.CreatedAt))
	})
}
