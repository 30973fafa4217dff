package cli

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// runCommands are about runs.
func runCommands() *cli.Command {
	return &cli.Command{Name: "run", Usage: "what was asked to be executed", Subcommands: []*cli.Command{
		{Name: "submit", Usage: "submit job files; prints the runs' names", ArgsUsage: "FILE|- [FILE…] [--set inputs.x=1] [--wait|--follow]", Action: submitRun, Flags: submitFlags()},
		{Name: "list", Usage: "list runs, newest first", Action: listRuns, Flags: []cli.Flag{
			&cli.StringFlag{Name: "experiment", Aliases: []string{"e"}, Usage: "only this `EXPERIMENT`'s"},
			&cli.StringFlag{Name: "parent", Usage: "only the children of this `RUN`"},
			&cli.StringSliceFlag{Name: "state", Usage: "only those in this `STATE`; may be given again"},
			&cli.StringFlag{Name: "archived", Usage: "`WHICH`: false, true (only archived ones) or all", Value: string(muster.ArchivedFalse)},
			&cli.BoolFlag{Name: "tree", Usage: "put children below their parents, the oldest first"},
			&cli.IntFlag{Name: "limit", Usage: "at most this `MANY`; 0 is all", Value: 20}}},
		{Name: "show", Usage: "show a run: timeline, inputs, metrics and files", ArgsUsage: "NAME", Action: showRun},
		{Name: "why", Usage: "say why a run waits, or is in its state", ArgsUsage: "NAME", Action: whyRun},
		{Name: "logs", Usage: "print what a run's command wrote, all instances together by time", ArgsUsage: "NAME", Action: logsOfRun, Flags: logFlags()},
		{Name: "events", Usage: "print what happened to a run", ArgsUsage: "NAME", Action: eventsOfRun, Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "kind", Usage: "only events of this `KIND`: state, wait, stop, attempt, instance, refused or note; may be given again"},
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on until the run ends"}}},
		{Name: "metrics", Usage: "print what a run logged", ArgsUsage: "NAME", Action: metricsOfRun, Flags: []cli.Flag{
			&cli.IntFlag{Name: "attempt", Usage: "only what this attempt logged, by `NUMBER` (default: of each step what the last attempt did that has it)"},
			&cli.StringFlag{Name: "metric", Usage: "only this `METRIC`"}}},
		{Name: "stats", Usage: "show what a run, its nodes and its devices used over the time", ArgsUsage: "NAME", Action: statsOfRun, Flags: statFlags()},
		{Name: "files", Usage: "list the files that a run left, one level with folders summed up", ArgsUsage: "NAME [PATH]", Action: filesOfRun, Flags: []cli.Flag{
			&cli.BoolFlag{Name: "recursive", Aliases: []string{"r"}, Usage: "list every file below"}}},
		{Name: "download", Usage: "fetch the files that a run left: all, or files, folders and patterns such as 'outputs/**/*.pt'", ArgsUsage: "NAME [PATH…]", Action: downloadRun, Flags: []cli.Flag{
			&cli.IntFlag{Name: "parallel", Usage: "`MANY` requests at a time", Value: client.DefaultParallel},
			&cli.StringFlag{Name: "dir", Aliases: []string{"d"}, Usage: "`FOLDER` to put them in (default: one of the run's name)"}}},
		{Name: "diff", Usage: "show in what two runs differ: what was asked for, what they logged and how they went", ArgsUsage: "A B", Action: diffRuns},
		{Name: "clone", Usage: "submit what a run was submitted as once more; prints the new run's name", ArgsUsage: "NAME [--set inputs.x=1] [--wait|--follow]", Action: cloneRun, Flags: cloneFlags()},
		{Name: "archive", Usage: "keep final runs out of lists, and what they left for ever", ArgsUsage: "NAME [NAME…]", Action: archiveRuns(true)},
		{Name: "restore", Usage: "take runs back from the archive", ArgsUsage: "NAME [NAME…]", Action: archiveRuns(false)},
		{Name: "delete", Usage: "delete final runs with what they left; their names stay taken", ArgsUsage: "NAME [NAME…]", Action: deleteRuns(), Flags: []cli.Flag{yesFlag()}},
		{Name: "cancel", Usage: "end runs, and all below them", ArgsUsage: "NAME [NAME…]", Action: cancelRuns},
		{Name: "wait", Usage: "wait until runs end; exit code 1 unless they succeeded", ArgsUsage: "NAME [NAME…]", Action: waitRuns},
	}}
}

// ofRun is a command about one run.
type ofRun struct {
	*cli.Context
	api       *client.Client
	workspace string
	name      string
	more      []string
}

// aboutRun reads the arguments of a command about one run and connects.
func aboutRun(c *cli.Context, names ...string) (*ofRun, error) {
	args, err := arguments(c, append([]string{"NAME"}, names...)...)
	if err != nil {
		return nil, err
	}
	api, err := connect(c)
	if err != nil {
		return nil, err
	}
	return &ofRun{Context: c, api: api, workspace: workspaceOf(c), name: args[0], more: args[1:]}, nil
}

// names are all arguments, where each is a name.
func (o *ofRun) names() []string { return append([]string{o.name}, o.more...) }

func cancelRuns(c *cli.Context) error {
	o, err := aboutRun(c, "[NAME…]")
	if err != nil {
		return err
	}
	defer o.api.Close()
	return eachName(c, o.names(), func(name string) (string, error) {
		r, err := o.api.CancelRun(c.Context, o.workspace, name)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("run %s, which is %s, is told to end", r.Name, r.State), nil
	})
}

// ended is the error with which a command ends that waited for a run. It may
// hint at what the run said, where that was not shown.
func ended(v *muster.RunView, hint bool) error {
	if v.State == muster.RunSucceeded {
		return nil
	}
	text := "run " + v.Name + " " + stateWords(string(v.State), v.Reason)
	if v.State == muster.RunCancelled {
		text = "run " + v.Name + " was " + stateWords(string(v.State), v.Reason)
	}
	if words := lastWords(v); hint && words != "" {
		text += "\n  " + words + " shows what it said"
	}
	return cli.Exit(text, 1)
}

// lastWords is the command that shows what the program of a failed run said
// last; "" where it did not fail, or never began.
func lastWords(v *muster.RunView) string {
	if v.State != muster.RunFailed || v.StartedAt.IsZero() {
		return ""
	}
	return fmt.Sprintf("muster run logs %s --stream stderr --tail 20", v.Name)
}

// fullView is a run as -o json shows it: what programs look for is there even
// while it has no value.
type fullView struct {
	*muster.RunView
	Reason     string             `json:"reason"`
	WaitReason *muster.WaitReason `json:"wait_reason"`
	ExitCode   *int               `json:"exit_code"`
	Below      []*muster.RunView  `json:"below,omitempty"` // the runs below it, newest first
}

// full shows all of a run.
func full(v *muster.RunView) fullView {
	return fullView{RunView: v, Reason: v.Reason, WaitReason: v.WaitReason, ExitCode: v.ExitCode}
}

func metricsOfRun(c *cli.Context) error {
	o, err := aboutRun(c)
	if err != nil {
		return err
	}
	defer o.api.Close()
	if n := c.Int("attempt"); n < 0 {
		return muster.Errorf(muster.CodeInvalid, "--attempt is %d", n).WithCure("use a number from 1 on, or leave it out")
	}
	all, err := o.api.Metrics(c.Context, o.workspace, o.name, muster.MetricQuery{Name: c.String("metric"), Attempt: c.Int("attempt")})
	if err != nil {
		return err
	}
	if name := c.String("metric"); name != "" && len(all) == 0 {
		return muster.Errorf(muster.CodeNotFound, "run %s has logged no metric %s", o.name, name).WithCure("muster run metrics %s shows all", o.name)
	}
	return list(c, all, listing[muster.Metric]{
		head: []string{"METRIC", "STEP", "VALUE", "ATTEMPT", "TIME"},
		row: func(m muster.Metric) []string {
			return []string{m.Name, fmt.Sprint(m.Step), number(m.Value), fmt.Sprint(m.Attempt), clock(m.Time)}
		},
		fields: map[string]string{"METRIC": "name"},
		empty:  "The run has logged no metric. In its command: muster-agent metric NAME VALUE [--step N]",
	})
}

// since shows a time as what has passed from another.
func since(from, t time.Time) string { return "+" + length(t.Sub(from)) }
