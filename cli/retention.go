package cli

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
)

// retentionCommand removes what is older than a workspace keeps.
func retentionCommand() *cli.Command {
	return &cli.Command{Name: "retention", Usage: "what is removed of what runs left, and when", Subcommands: []*cli.Command{
		{Name: "run", Usage: "remove now what is older than the workspace keeps; the server does so daily", Action: runRetention, Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "only say what would go"},
			&cli.BoolFlag{Name: "yes", Usage: "remove it"}}},
	}}
}

func runRetention(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	if c.Bool("dry-run") == c.Bool("yes") {
		return muster.Errorf(muster.CodeInvalid, "muster retention run wants either --dry-run or --yes")
	}
	api, err := connect(c)
	if err != nil {
		return err
	}
	defer api.Close()
	report, err := api.Retain(c.Context, workspaceOf(c), c.Bool("dry-run"))
	if err != nil {
		return err
	}
	return show(c, report, func(t *table) { drawRetention(t, report) })
}

// drawRetention writes what goes.
func drawRetention(t *table, r *muster.RetentionReport) {
	if len(r.Runs) > 0 {
		t.row("RUN", "ENDED", "ARTIFACTS", "LOGS", "SIZE")
		for _, one := range r.Runs {
			t.row(one.Run, ago(one.EndedAt), fmt.Sprint(one.Artifacts), fmt.Sprint(one.Logs), bytesOf(one.Bytes))
		}
	}
	verb := "removed"
	if r.DryRun {
		verb = "would go"
	}
	t.line("%s of %s and %s %s: files are kept %s, logs %s", bytesOf(r.Bytes), count(len(r.Runs), "run"), count(r.Uploads, "upload"), verb, keeps(r.Artifacts), keeps(r.Logs))
}

// keeps says how long something is kept.
func keeps(d muster.Duration) string {
	if d == 0 {
		return "for ever"
	}
	return length(time.Duration(d))
}

func updateWorkspace(c *cli.Context) error {
	args, err := arguments(c, "NAME")
	if err != nil {
		return err
	}
	api, err := connect(c)
	if err != nil {
		return err
	}
	defer api.Close()
	w, err := api.UpdateWorkspace(c.Context, args[0], muster.WorkspaceChange{DefaultCluster: setText(c, "default-cluster"), Description: setText(c, "description")})
	if err != nil {
		return err
	}
	keep := w.Keeping
	for flag, to := range map[string]*muster.Duration{"keep-artifacts": &keep.Artifacts, "keep-logs": &keep.Logs} {
		if !c.IsSet(flag) {
			continue
		}
		age, err := readAge(c.String(flag))
		if c.String(flag) == "0" {
			age, err = 0, nil
		}
		if err != nil {
			return muster.Errorf(muster.CodeInvalid, "--%s is %q", flag, c.String(flag)).WithCure("use 30d, 12h, or 0 for ever")
		}
		*to = muster.Duration(age)
	}
	if keep != w.Keeping {
		if w, err = api.SetKeeping(c.Context, args[0], keep); err != nil {
			return err
		}
	}
	return show(c, w, func(t *table) {
		t.line("workspace %s keeps files %s and logs %s", w.Name, keeps(w.Keeping.Artifacts), keeps(w.Keeping.Logs))
	})
}

// archiveRuns archives runs, or takes them back.
func archiveRuns(archived bool) cli.ActionFunc {
	return func(c *cli.Context) error {
		o, err := aboutRun(c, "[NAME…]")
		if err != nil {
			return err
		}
		defer o.api.Close()
		for _, name := range append([]string{o.name}, o.more...) {
			r, err := o.api.ArchiveRun(c.Context, o.workspace, name, archived)
			if err != nil {
				return err
			}
			what := "restored"
			if archived {
				what = "archived"
			}
			fmt.Fprintf(c.App.ErrWriter, "run %s is %s\n", r.Name, what)
		}
		return nil
	}
}
