package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/jobfile"
)

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

// readIdle reads how long a node is idle before it leaves, nil where it is not said.
func readIdle(c *cli.Context) (*muster.Duration, error) {
	idle := setOf(c, "idle", muster.Duration(c.Duration("idle")))
	if idle != nil && (*idle < muster.MinIdle || *idle > muster.MaxIdle) {
		return nil, muster.Errorf(muster.CodeInvalid, "--idle is %s", *idle).WithCure("use %s to %s, such as 10m", muster.MinIdle, muster.MaxIdle)
	}
	return idle, nil
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
	idle, err := readIdle(c)
	if err != nil {
		return nil, err
	}
	if idle != nil {
		q.Idle = *idle
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
