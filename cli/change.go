package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// yesFlag says that something may be taken away for good.
func yesFlag() *cli.BoolFlag {
	return &cli.BoolFlag{Name: "yes", Usage: "really do it: there is no way back"}
}

// confirmed refuses to take something away that nobody has confirmed.
func confirmed(c *cli.Context, what string) error {
	if c.Bool("yes") {
		return nil
	}
	return muster.Errorf(muster.CodeInvalid, "this takes %s away for good", what).WithCure("add --yes to do it")
}

// checkLimit refuses a --limit that is no number of things.
func checkLimit(c *cli.Context) error {
	if n := c.Int("limit"); n < 0 {
		return muster.Errorf(muster.CodeInvalid, "--limit is %d", n).WithCure("use 0 for all")
	}
	return nil
}

// askedLimit returns how many things the server is asked for: with --filter or
// --sort-by all of them, as what these choose may be anywhere.
func askedLimit(c *cli.Context) int {
	if len(c.StringSlice("filter")) > 0 || c.String("sort-by") != "" {
		return 0
	}
	return c.Int("limit")
}

// setText returns the value of a flag, nil where it was not given.
func setText(c *cli.Context, flag string) *string {
	if !c.IsSet(flag) {
		return nil
	}
	v := c.String(flag)
	return &v
}

// deleted is what became of what is gone at once.
const deleted = "is deleted"

// removal is a command that takes things of one kind away by name.
func removal(kind string, remove func(c *cli.Context, api *client.Client, name string) (became string, err error)) cli.ActionFunc {
	return func(c *cli.Context) error {
		o, err := aboutRun(c, "[NAME…]")
		if err != nil {
			return err
		}
		defer o.api.Close()
		return eachName(c, o.names(), func(name string) (string, error) {
			if err := confirmed(c, kind+" "+name); err != nil {
				return "", err
			}
			became, err := remove(c, o.api, name)
			return fmt.Sprintf("%s %s %s", kind, name, became), err
		})
	}
}

// eachName does something to each of some things and says what was done. One
// that cannot be done does not hold back the others: each is told of, and the
// last one's exit code is the command's.
func eachName(c *cli.Context, names []string, do func(name string) (said string, err error)) error {
	var last error
	for _, name := range names {
		said, err := do(name)
		if err == nil {
			fmt.Fprintln(c.App.ErrWriter, said)
			continue
		}
		if last != nil {
			report(last, c.App.ErrWriter)
		}
		last = err
	}
	return last
}

func deleteRuns() cli.ActionFunc {
	return removal("run", func(c *cli.Context, api *client.Client, name string) (string, error) {
		return deleted, api.DeleteRun(c.Context, workspaceOf(c), name)
	})
}

func deleteExperiments() cli.ActionFunc {
	return removal("experiment", func(c *cli.Context, api *client.Client, name string) (string, error) {
		return deleted, api.DeleteExperiment(c.Context, workspaceOf(c), name)
	})
}

func deleteWorkspaces() cli.ActionFunc {
	return removal("workspace", func(c *cli.Context, api *client.Client, name string) (string, error) {
		return deleted, api.DeleteWorkspace(c.Context, name)
	})
}

func updateExperiment(c *cli.Context) error {
	args, err := arguments(c, "NAME")
	if err != nil {
		return err
	}
	api, err := connect(c)
	if err != nil {
		return err
	}
	defer api.Close()
	e, err := api.UpdateExperiment(c.Context, workspaceOf(c), args[0], muster.ExperimentChange{Description: setText(c, "description")})
	if err != nil {
		return err
	}
	return show(c, e, func(t *table) { t.line("experiment %s is changed", e.Name) })
}
