package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
	"github.com/muster-ml/muster/jobfile"
)

// clusterCommand is about clusters.
func clusterCommand() *cli.Command {
	return &cli.Command{Name: "cluster", Usage: "named compute: the nodes of a Nomad node pool, which just exist or come and go", Subcommands: []*cli.Command{
		{Name: "create", Usage: "make a cluster: of a node pool that exists, or of nodes that a provider gives", ArgsUsage: "NAME | --file FILE", Action: createCluster, Flags: append(settingsFlags(),
			&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "`FILE` with its settings, Azure ML's amlcompute YAML; flags go first"},
			&cli.StringFlag{Name: "node-pool", Usage: "the Nomad node `POOL` whose nodes it is (default for an elastic one: muster-NAME)"},
			&cli.StringFlag{Name: "provider", Usage: "where its nodes come from, a `PROVIDER`: none (they just exist), local, aws-asg, azure-vmss or gce-mig", Value: string(muster.ProviderNone)},
			&cli.StringSliceFlag{Name: "group", Usage: "what the provider calls its nodes, `KEY=VALUE` such as aws_asg_name=gpu; may be given again"},
			&cli.StringFlag{Name: "tier", Usage: "`TIER`: dedicated or low_priority", Value: string(muster.TierDedicated)})},
		{Name: "update", Usage: "change a cluster, which goes on meanwhile", ArgsUsage: "NAME", Action: updateCluster, Flags: append(changedFlags(),
			&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "`FILE` with its settings, as for create; flags go first"})},
		{Name: "resize", Usage: "set how many nodes a cluster has: the least and the most", ArgsUsage: "NAME --min 0 --max 8", Action: updateCluster, Flags: changedFlags()[1:3]},
		{Name: "pause", Usage: "start no more runs on a cluster, and leave its nodes as they are", ArgsUsage: "NAME", Action: pauseCluster(true)},
		{Name: "resume", Usage: "go on with a cluster that is paused", ArgsUsage: "NAME", Action: pauseCluster(false)},
		{Name: "delete", Usage: "delete clusters whose runs have all ended; the nodes of elastic ones leave first", ArgsUsage: "NAME [NAME…]", Action: deleteClusters(), Flags: []cli.Flag{yesFlag()}},
		{Name: "evict", Usage: "rehearse a loss: the provider takes nodes back, as it does with those of low priority", ArgsUsage: "NAME", Action: evictNodes, Flags: []cli.Flag{
			&cli.IntFlag{Name: "nodes", Usage: "how `MANY`; those with runs are taken first", Value: 1},
			&cli.StringFlag{Name: "rate", Usage: "take nodes by chance, again and again, a `RATE` such as 20%/h; 0 ends it"},
			&cli.DurationFlag{Name: "notice", Usage: "`TIME` between the announcement and the loss; 0 is without a word"}}},
		{Name: "list", Usage: "list the clusters", Action: listClusters},
		{Name: "show", Usage: "show a cluster: how many nodes it has, shall have, and why", ArgsUsage: "NAME", Action: showCluster},
		{Name: "events", Usage: "print what happened to a cluster and its nodes", ArgsUsage: "NAME", Action: eventsOfCluster},
		{Name: "nodes", Usage: "list the nodes of a cluster", ArgsUsage: "NAME", Action: nodesOfCluster},
		clusterSecretCommand(),
	}}
}

func createCluster(c *cli.Context) error {
	file, err := readCompute(c)
	if err != nil {
		return err
	}
	q, err := readCluster(c, file)
	if err != nil {
		return err
	}
	api, err := connect(c)
	if err != nil {
		return err
	}
	defer api.Close()
	k, err := api.CreateCluster(c.Context, q)
	if err != nil {
		return placedInFile(c, err, file)
	}
	if k.Nodes == 0 && !k.Provider.Elastic() {
		fmt.Fprintf(c.App.ErrWriter, "note: node pool %s has no node: runs of cluster %s wait until one joins; nomad node pool list shows the pools\n", k.NodePool, k.Name)
	}
	if err := noteSecrets(c, api, k); err != nil {
		return err
	}
	return show(c, k, func(t *table) {
		if k.Provider.Elastic() {
			t.line("cluster %s is made: %d to %s of size %s; a node that is idle for %s leaves", k.Name, k.Min, count(k.Max, "node"), k.Size, k.Idle)
			return
		}
		t.line("cluster %s is made; node pool %s has %s, %d ready", k.Name, k.NodePool, count(k.Nodes, "node"), k.Ready)
	})
}

func updateCluster(c *cli.Context) error {
	idle, err := readIdle(c)
	if err != nil {
		return err
	}
	change := muster.ClusterChange{Size: setText(c, "size"), Min: setOf(c, "min", c.Int("min")), Max: setOf(c, "max", c.Int("max")), Idle: idle,
		Workspaces: setOf(c, "allow", allowed(c)), RunAs: setText(c, "run-as"), OS: setText(c, "os"), OnShrink: (*muster.OnShrink)(setText(c, "on-shrink"))}
	file, err := readCompute(c)
	if err != nil {
		return err
	}
	if file != nil {
		if name := c.Args().First(); name != "" && file.Request.Name != name {
			return muster.Errorf(muster.CodeInvalid, "%s is of cluster %s, and %s is to be changed", c.String("file"), file.Request.Name, name).At("file")
		}
		change = file.Change().Over(change)
	}
	api, name, err := aboutNamed(c)
	if err != nil {
		return err
	}
	defer api.Close()
	if file != nil {
		if err := sameCluster(c, api, name, file); err != nil {
			return err
		}
	}
	if change.Empty() {
		return muster.Errorf(muster.CodeInvalid, "nothing is to be changed").WithCure("name what by a flag, such as --max 8; --help lists them")
	}
	return placedInFile(c, changeCluster(c, api, name, change), file)
}

// sameCluster refuses a file that says another thing of a cluster than it is, where
// that cannot be changed.
func sameCluster(c *cli.Context, api *client.Client, name string, file *jobfile.Compute) error {
	k, err := api.Cluster(c.Context, name)
	if err != nil {
		return err
	}
	for _, f := range []struct{ field, said, is string }{{"tier", string(file.Request.Tier), string(k.Tier)}, {"provider", string(file.Request.Provider), string(k.Provider)}, {"node_pool", file.Request.NodePool, k.NodePool}} {
		if f.said != "" && f.said != f.is {
			return placed(muster.Errorf(muster.CodeInvalid, "%s is %s, that of cluster %s is %s, and it cannot be changed", f.field, f.said, name, f.is).At(f.field).
				WithCure("leave it out, or make another cluster"), &file.Written)
		}
	}
	return nil
}

// pauseCluster stops a cluster, or lets it go on.
func pauseCluster(paused bool) cli.ActionFunc {
	return func(c *cli.Context) error {
		api, name, err := aboutNamed(c)
		if err != nil {
			return err
		}
		defer api.Close()
		return changeCluster(c, api, name, muster.ClusterChange{Paused: &paused})
	}
}

// aboutNamed reads the one argument of a verb about a cluster or node, its name,
// and connects.
func aboutNamed(c *cli.Context) (api *client.Client, name string, err error) {
	args, err := arguments(c, "NAME")
	if err != nil {
		return nil, "", err
	}
	api, err = connect(c)
	return api, args[0], err
}

// changeCluster changes a cluster, and shows it.
func changeCluster(c *cli.Context, api *client.Client, name string, change muster.ClusterChange) error {
	k, err := api.UpdateCluster(c.Context, name, change)
	if err != nil {
		return err
	}
	if err := noteSecrets(c, api, k); err != nil {
		return err
	}
	return show(c, k, func(t *table) {
		t.line("cluster %s: %s", k.Name, scaleOf(k))
	})
}

func deleteClusters() cli.ActionFunc {
	return removal("cluster", func(c *cli.Context, api *client.Client, name string) (string, error) {
		if err := api.DeleteCluster(c.Context, name); err != nil {
			return "", err
		}
		if k, err := api.Cluster(c.Context, name); err == nil && k.Deleting {
			return "is being deleted: its nodes leave", nil
		}
		return deleted, nil
	})
}

func nodesOfCluster(c *cli.Context) error {
	api, name, err := aboutNamed(c)
	if err != nil {
		return err
	}
	defer api.Close()
	return nodesOf(c, api, name)
}

func eventsOfCluster(c *cli.Context) error {
	api, name, err := aboutNamed(c)
	if err != nil {
		return err
	}
	defer api.Close()
	var all []*muster.Event
	for page := []*muster.Event{{}}; len(page) > 0; all = append(all, page...) {
		after := int64(0)
		if len(all) > 0 {
			after = all[len(all)-1].Seq
		}
		if page, err = api.ClusterEvents(c.Context, name, after); err != nil {
			return err
		}
	}
	return list(c, all, listing[*muster.Event]{
		head: []string{"NUMBER", "TIME", "KIND", "BY", "MESSAGE"},
		row: func(e *muster.Event) []string {
			return []string{fmt.Sprint(e.Seq), clock(e.At), string(e.Kind), e.Actor, e.Message}
		},
		empty: "Nothing has happened to the cluster yet.",
	})
}
