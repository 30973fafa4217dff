package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// experimentCommand is about experiments.
func experimentCommand() *cli.Command {
	return &cli.Command{Name: "experiment", Usage: "named groups of runs to compare", Subcommands: []*cli.Command{
		{Name: "list", Usage: "list the experiments", Action: listExperiments},
		{Name: "show", Usage: "show an experiment", ArgsUsage: "NAME", Action: showExperiment},
		{Name: "compare", Usage: "put an experiment's runs side by side: inputs, parameters and metrics", ArgsUsage: "NAME", Action: compareExperiment, Flags: []cli.Flag{
			&cli.IntFlag{Name: "limit", Usage: "at most this `MANY` runs, the newest; 0 is all", Value: 50}}},
	}}
}

func listExperiments(c *cli.Context) error {
	return listAll(c, func(api *client.Client) ([]*muster.Experiment, error) {
		return api.Experiments(c.Context, workspaceOf(c))
	}, listing[*muster.Experiment]{
		head:  []string{"NAME", "RUNS", "CREATED"},
		row:   func(e *muster.Experiment) []string { return []string{e.Name, fmt.Sprint(e.Runs), ago(e.CreatedAt)} },
		empty: "There is no experiment yet: the first run of one makes it (muster run submit --experiment NAME FILE).",
	})
}

func showExperiment(c *cli.Context) error {
	return showOne(c, func(api *client.Client, name string) (*muster.Experiment, error) {
		return api.Experiment(c.Context, workspaceOf(c), name)
	}, func(t *table, e *muster.Experiment) {
		t.row("name", e.Name)
		t.row("id", fmt.Sprint(e.ID))
		t.row("workspace", e.Workspace)
		t.row("runs", fmt.Sprint(e.Runs))
		t.row("created", ago(e.CreatedAt))
	})
}

// compared is a run in a comparison.
type compared struct {
	Run        string             `json:"run"`
	State      muster.RunState    `json:"state"`
	Inputs     map[string]string  `json:"inputs"`
	Parameters map[string]string  `json:"parameters"`
	Metrics    map[string]float64 `json:"metrics"`
}

func compareExperiment(c *cli.Context) error {
	args, err := arguments(c, "NAME")
	if err != nil {
		return err
	}
	api, err := connect(c)
	if err != nil {
		return err
	}
	defer api.Close()
	if _, err := api.Experiment(c.Context, workspaceOf(c), args[0]); err != nil {
		return err
	}
	runs, err := api.AllRuns(c.Context, workspaceOf(c), client.RunQuery{Experiment: args[0]}, c.Int("limit"))
	if err != nil {
		return err
	}
	slices.Reverse(runs)
	rows := []compared{}
	for _, r := range runs {
		rows = append(rows, compared{r.Name, r.State, r.Inputs, r.Parameters, r.Metrics})
	}
	return show(c, rows, func(t *table) { drawComparison(t, rows) })
}

// drawComparison writes one row a run and one column a name. Data that is the
// same in all runs has no column.
func drawComparison(t *table, rows []compared) {
	inputs, parameters, metrics := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, r := range rows {
		for name, value := range r.Inputs {
			inputs[name] = inputs[name] || !strings.Contains(value, ":") || value != rows[0].Inputs[name]
		}
		for name := range r.Parameters {
			parameters[name] = true
		}
		for name := range r.Metrics {
			metrics[name] = true
		}
	}
	maps.DeleteFunc(inputs, func(_ string, differs bool) bool { return !differs })
	in, par, met := slices.Sorted(maps.Keys(inputs)), slices.Sorted(maps.Keys(parameters)), slices.Sorted(maps.Keys(metrics))
	t.row(slices.Concat([]string{"RUN", "STATE"}, in, par, met)...)
	for _, r := range rows {
		cells := []string{r.Run, string(r.State)}
		for _, name := range in {
			cells = append(cells, orDash(shorten(r.Inputs[name], 30)))
		}
		for _, name := range par {
			cells = append(cells, orDash(shorten(r.Parameters[name], 30)))
		}
		for _, name := range met {
			value, ok := r.Metrics[name]
			if !ok {
				cells = append(cells, "-")
				continue
			}
			cells = append(cells, number(value))
		}
		t.row(cells...)
	}
}
