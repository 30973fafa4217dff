package cli

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
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
	gone := 0
	for _, one := range r.Runs {
		gone += boolean(one.Deleted)
	}
	why := ""
	if gone > 0 {
		why = fmt.Sprintf("%s of these was deleted; of others ", count(gone, "run"))
		if gone > 1 {
			why = fmt.Sprintf("%s of these were deleted; of others ", count(gone, "run"))
		}
	}
	t.line("%s of %s and %s %s: %sfiles are kept %s, logs %s", bytesOf(r.Bytes), count(len(r.Runs), "run"), count(r.Uploads, "upload"), verb, why, keeps(r.Artifacts), keeps(r.Logs))
}

// keeps says how long something is kept.
func keeps(d muster.Duration) string {
	if d == 0 {
		return "for ever"
	}
	return span(time.Duration(d))
}

func updateWorkspace(c *cli.Context) error {
	args, err := arguments(c, "NAME")
	if err != nil {
		return err
	}
	change := muster.WorkspaceChange{DefaultCluster: setText(c, "default-cluster"), Description: setText(c, "description")}
	ages := map[string]muster.Duration{}
	for _, flag := range []string{"keep-artifacts", "keep-logs"} {
		if !c.IsSet(flag) {
			continue
		}
		age, err := ageOf(flag, c.String(flag), "use 30d, 12h, or 0 for ever")
		if err != nil {
			return err
		}
		ages[flag] = muster.Duration(age)
	}
	if change == (muster.WorkspaceChange{}) && len(ages) == 0 {
		return muster.Errorf(muster.CodeInvalid, "nothing is to be changed").WithCure("name what by a flag, such as --keep-logs 14d; --help lists them")
	}
	api, err := connect(c)
	if err != nil {
		return err
	}
	defer api.Close()
	w, err := api.UpdateWorkspace(c.Context, args[0], change)
	if err != nil {
		return err
	}
	keep := w.Keeping
	if age, is := ages["keep-artifacts"]; is {
		keep.Artifacts = age
	}
	if age, is := ages["keep-logs"]; is {
		keep.Logs = age
	}
	if keep != w.Keeping {
		if w, err = api.SetKeeping(c.Context, args[0], keep); err != nil {
			return err
		}
	}
	return show(c, w, func(t *table) { t.line("workspace %s: %s", w.Name, strings.Join(changedOf(c, w), ", ")) })
}

// changedOf says how what flags have changed of a workspace stands now.
func changedOf(c *cli.Context, w *muster.Workspace) (words []string) {
	for _, of := range []struct{ flag, words string }{
		{"description", "it is described as " + strconv.Quote(w.Description)},
		{"default-cluster", "runs that name no compute go to cluster " + cmp.Or(w.DefaultCluster, "none")},
		{"keep-artifacts", "files are kept " + keeps(w.Keeping.Artifacts)},
		{"keep-logs", "logs are kept " + keeps(w.Keeping.Logs)},
	} {
		if c.IsSet(of.flag) {
			words = append(words, of.words)
		}
	}
	return words
}

// archiveRuns archives runs, or takes them back.
func archiveRuns(archived bool) cli.ActionFunc {
	return func(c *cli.Context) error {
		o, err := aboutRun(c, "[NAME…]")
		if err != nil {
			return err
		}
		defer o.api.Close()
		return eachName(c, o.names(), func(name string) (string, error) {
			said, err := archiveRun(o, name, archived)
			return fmt.Sprintf("run %s %s", name, said), err
		})
	}
}

// archiveRun archives a run, or takes it back, and returns what to say of it.
func archiveRun(o *ofRun, name string, archived bool) (string, error) {
	v, err := o.api.Run(o.Context.Context, o.workspace, name)
	switch {
	case err != nil:
		return "", err
	case archived && !v.ArchivedAt.IsZero():
		return "was archived already, " + lately(v.ArchivedAt), nil
	case !archived && v.ArchivedAt.IsZero():
		return "is not archived: there is nothing to restore", nil
	}
	if _, err := o.api.ArchiveRun(o.Context.Context, o.workspace, name, archived); err != nil {
		return "", err
	}
	if archived {
		return "is archived", nil
	}
	return "is restored", nil
}
