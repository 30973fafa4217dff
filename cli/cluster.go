package cli

import (
	"fmt"
	"strings"
	"time"

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

// settingsFlags are the settings that may be changed later.
func settingsFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "size", Usage: "`SIZE` of its nodes; muster size list shows what there is"},
		&cli.IntFlag{Name: "min", Usage: "`NODES` that stay, whatever happens"},
		&cli.IntFlag{Name: "max", Usage: "`NODES` that there are at the most", DefaultText: "1, or min"},
		&cli.DurationFlag{Name: "idle", Usage: "`TIME` that a node is idle before it leaves", Value: time.Duration(muster.DefaultIdle)},
		&cli.StringFlag{Name: "on-shrink", Usage: "what happens to runs when its max becomes less than its nodes, a `WORD`: wait (they go on), requeue or terminate", Value: string(muster.ShrinkWait)},
		&cli.StringFlag{Name: "os", Usage: "operating `SYSTEM` that its nodes must have, such as ubuntu (default: any)"},
		&cli.StringFlag{Name: "run-as", Usage: "`USER` of its nodes whose rights runs have (default: the server's --run-as)"},
		&cli.StringSliceFlag{Name: "allow", Usage: "`WORKSPACE` that may use it; may be given again, and '' is all (default: all)"},
	}
}

// changedFlags are the same where what is not set stays as it is.
func changedFlags() []cli.Flag {
	flags := settingsFlags()
	for _, f := range flags {
		switch f := f.(type) {
		case *cli.IntFlag:
			f.DefaultText = "as it is"
		case *cli.StringFlag:
			f.DefaultText = "as it is"
			f.Usage, _, _ = strings.Cut(f.Usage, " (default:")
		case *cli.StringSliceFlag:
			f.Usage, _, _ = strings.Cut(f.Usage, " (default:")
		case *cli.DurationFlag:
			f.DefaultText = "as it is"
		}
	}
	return flags
}

// allowed reads which workspaces may use a cluster; one empty name is all of them.
func allowed(c *cli.Context) []string {
	names := c.StringSlice("allow")
	if len(names) == 1 && names[0] == "" {
		return []string{}
	}
	return names
}

// setOf returns the value of a flag, nil where it was not given.
func setOf[T any](c *cli.Context, flag string, value T) *T {
	if !c.IsSet(flag) {
		return nil
	}
	return &value
}

// readCompute reads the cluster's file that was named, nil where none was.
func readCompute(c *cli.Context) (*jobfile.Compute, error) {
	file := c.String("file")
	if file == "" {
		return nil, nil
	}
	f, err := openFile("cluster", file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	read, err := jobfile.ReadCompute(f, file)
	if err != nil {
		return nil, err
	}
	for _, w := range read.Warnings {
		fmt.Fprintln(c.App.ErrWriter, "warning:", w)
	}
	return read, nil
}

// placedInFile lets a refusal of the server say which line of a cluster's file it
// is about. What a flag says stands in none, and the file's name was looked at as it
// was read.
func placedInFile(c *cli.Context, err error, file *jobfile.Compute) error {
	e, ok := err.(*muster.Error)
	if !ok || file == nil || e.Field == "name" || c.IsSet(flagOf(e.Field)) {
		return err
	}
	return placed(err, &file.Written)
}

// readCluster puts flags over what a file says of a cluster, nil for none.
func readCluster(c *cli.Context, file *jobfile.Compute) (*muster.ClusterRequest, error) {
	q := &muster.ClusterRequest{Provider: muster.ProviderNone, Tier: muster.TierDedicated}
	names := []string{"NAME"}
	if file != nil {
		q, names = &file.Request, []string{"[NAME]"}
	}
	args, err := arguments(c, names...)
	if err != nil {
		return nil, err
	}
	if len(args) > 0 {
		q.Name = args[0]
	}
	for flag, to := range map[string]*string{"node-pool": &q.NodePool, "size": &q.Size, "provider": (*string)(&q.Provider), "tier": (*string)(&q.Tier), "run-as": &q.RunAs, "os": &q.OS, "on-shrink": (*string)(&q.OnShrink)} {
		if c.IsSet(flag) {
			*to = c.String(flag)
		}
	}
	for flag, to := range map[string]*int{"min": &q.Min, "max": &q.Max} {
		if c.IsSet(flag) {
			*to = c.Int(flag)
		}
	}
	if c.IsSet("idle") {
		if c.Duration("idle") == 0 {
			return nil, muster.Errorf(muster.CodeInvalid, "--idle is 0").WithCure("use 1s or more; left out it is %s", muster.DefaultIdle)
		}
		q.Idle = muster.Duration(c.Duration("idle"))
	}
	if c.IsSet("allow") {
		q.Workspaces = allowed(c)
	}
	for _, pair := range c.StringSlice("group") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, muster.Errorf(muster.CodeInvalid, "--group is %q", pair).WithCure("write KEY=VALUE, such as aws_asg_name=gpu")
		}
		if q.Group == nil {
			q.Group = map[string]string{}
		}
		q.Group[key] = value
	}
	if !q.Provider.Elastic() && q.NodePool == "" {
		return nil, muster.Errorf(muster.CodeInvalid, "muster cluster create wants --node-pool, or --provider").
			WithCure("nomad node pool list shows the pools, each Nomad has one called default; with --provider local nodes come and go on the autoscaler's machine")
	}
	if q.Provider.Elastic() && q.Max == 0 && !c.IsSet("max") {
		q.Max = max(1, q.Min)
	}
	return q, nil
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
	return show(c, k, func(t *table) {
		if k.Provider.Elastic() {
			t.line("cluster %s is made: %d to %s of size %s; a node that is idle for %s leaves", k.Name, k.Min, count(k.Max, "node"), k.Size, k.Idle)
			return
		}
		t.line("cluster %s is made; node pool %s has %s, %d ready", k.Name, k.NodePool, count(k.Nodes, "node"), k.Ready)
	})
}

func updateCluster(c *cli.Context) error {
	change := muster.ClusterChange{Size: setText(c, "size"), Min: setOf(c, "min", c.Int("min")), Max: setOf(c, "max", c.Int("max")), Idle: setOf(c, "idle", muster.Duration(c.Duration("idle"))),
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
	if change.Empty() {
		return muster.Errorf(muster.CodeInvalid, "nothing is to be changed").WithCure("name what by a flag, such as --max 8; --help lists them")
	}
	return placedInFile(c, changeCluster(c, change), file)
}

// pauseCluster stops a cluster, or lets it go on.
func pauseCluster(paused bool) cli.ActionFunc {
	return func(c *cli.Context) error { return changeCluster(c, muster.ClusterChange{Paused: &paused}) }
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

// changeCluster changes the cluster that the argument names.
func changeCluster(c *cli.Context, change muster.ClusterChange) error {
	api, name, err := aboutNamed(c)
	if err != nil {
		return err
	}
	defer api.Close()
	k, err := api.UpdateCluster(c.Context, name, change)
	if err != nil {
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
	all, err := api.Nodes(c.Context, name)
	if err != nil {
		return err
	}
	return list(c, all, nodeListing())
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
