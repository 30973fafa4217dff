package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

func listRuns(c *cli.Context) error {
	api, err := connectAlone(c)
	if err != nil {
		return err
	}
	defer api.Close()
	q := client.RunQuery{Experiment: c.String("experiment"), Parent: c.String("parent"), Archived: muster.Archived(c.String("archived"))}
	for _, s := range c.StringSlice("state") {
		q.States = append(q.States, muster.RunState(s))
	}
	if err := checkLimit(c); err != nil {
		return err
	}
	runs, err := api.AllRuns(c.Context, workspaceOf(c), q, askedLimit(c))
	if err == nil && len(runs) == 0 && q.Experiment != "" {
		_, err = api.Experiment(c.Context, workspaceOf(c), q.Experiment) // it may be none
	}
	if err == nil && len(runs) == 0 && q.Parent != "" {
		_, err = api.Run(c.Context, workspaceOf(c), q.Parent)
	}
	if err != nil {
		return err
	}
	before := map[string]string{} // what is drawn before a name
	l := runListing(before)
	l.limit, l.empty = c.Int("limit"), noRun(c)
	if c.Bool("tree") {
		if c.String("sort-by") != "" {
			return muster.Errorf(muster.CodeInvalid, "--tree has an order of its own").WithCure("leave out --sort-by or --tree")
		}
		if runs, err = pick(c, runs, l); err != nil { // a tree is drawn of what is listed
			return err
		}
		for i, b := range treeOf(runs) {
			runs[i], before[b.run.Name] = b.run, b.before
		}
	}
	return list(c, runs, l)
}

// runListing is how runs are listed; before says what is drawn before a name.
func runListing(before map[string]string) listing[*muster.RunView] {
	return listing[*muster.RunView]{
		head: []string{"NAME", "STATE", "EXPERIMENT", "CLUSTER", "SUBMITTED", "RAN", "REASON"},
		row: func(r *muster.RunView) []string {
			return []string{before[r.Name] + r.Name, string(r.State), r.Experiment, whereIs(r), ago(r.CreatedAt), lastedRun(r), orDash(because(r))}
		},
		wide: []string{"PARENT", "PRIORITY", "STARTED", "ENDED", "EXIT CODE", "METRICS"},
		more: func(r *muster.RunView) []string {
			code := "-"
			if r.ExitCode != nil {
				code = fmt.Sprint(*r.ExitCode)
			}
			return []string{orDash(r.Parent), fmt.Sprint(r.Spec.Priority), clock(r.StartedAt), clock(r.EndedAt), code, orDash(metricWords(r.Metrics))}
		},
		values: map[string]func(*muster.RunView) any{"RAN": ranOf, "CLUSTER": func(r *muster.RunView) any { return whereIs(r) }},
		fields: map[string]string{"SUBMITTED": "created_at", "PRIORITY": "spec.priority", "STARTED": "started_at", "ENDED": "ended_at"},
	}
}

// noRun says that a list of runs is empty, and what to do.
func noRun(c *cli.Context) string {
	for _, flag := range []string{"experiment", "parent", "state", "archived"} {
		if c.IsSet(flag) {
			return "No run of workspace " + workspaceOf(c) + " matches: muster run list shows all."
		}
	}
	return "There is no run in workspace " + workspaceOf(c) + ": muster run submit FILE submits one."
}

// metricWords shows the last values of all metrics in a cell.
func metricWords(metrics map[string]float64) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		words = append(words, name+"="+number(metrics[name]))
	}
	return strings.Join(words, " ")
}

// whereIs is the cluster that a run is on, or waits for first.
func whereIs(r *muster.RunView) string {
	if r.State == muster.RunQueued {
		return r.Cluster // and not where its last attempt was
	}
	return cmp.Or(r.PlacedOn, r.Cluster)
}

// lastedRun says how long a run's command took, or has taken so far.
func lastedRun(r *muster.RunView) string {
	if r.State == muster.RunQueued {
		return "-"
	}
	return lasted(r.StartedAt, r.EndedAt)
}

// ranOf is what lastedRun says, to be compared.
func ranOf(r *muster.RunView) any {
	switch {
	case r.State == muster.RunQueued || r.StartedAt.IsZero():
		return nil
	case r.EndedAt.IsZero():
		return time.Since(r.StartedAt)
	}
	return r.EndedAt.Sub(r.StartedAt)
}

// because says why a run is in its state; "" where that needs no reason.
func because(r *muster.RunView) string {
	if r.State == muster.RunQueued && r.WaitReason != nil {
		return r.WaitReason.Message
	}
	if r.State == muster.RunSucceeded {
		return ""
	}
	return r.Reason
}
