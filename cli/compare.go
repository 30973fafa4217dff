package cli

import (
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// compared is a run in a comparison.
type compared struct {
	Run        string             `json:"run"`
	State      muster.RunState    `json:"state"`
	Inputs     map[string]string  `json:"inputs"`
	Parameters map[string]string  `json:"parameters"`
	Metrics    map[string]float64 `json:"metrics"`
	Series     []muster.Metric    `json:"series,omitempty"` // of --metric, by step
}

func compareExperiment(c *cli.Context) error {
	args, err := arguments(c, "NAME")
	if err == nil {
		err = checkLimit(c)
	}
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
		rows = append(rows, compared{Run: r.Name, State: r.State, Inputs: r.Inputs, Parameters: r.Parameters, Metrics: r.Metrics})
	}
	l := comparison(rows)
	if rows, err = pick(c, rows, l); err != nil {
		return err
	}
	if metric := c.String("metric"); metric != "" {
		if err := readSeries(c, api, rows, metric); err != nil {
			return err
		}
	}
	if err := list(c, rows, l); err != nil {
		return err
	}
	return plotSeries(c, rows)
}

// comparison has one row a run and one column a name. Data that is the same in
// all runs has no column.
func comparison(rows []compared) listing[compared] {
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
	return listing[compared]{
		head:   slices.Concat([]string{"RUN", "STATE"}, in, par, met),
		row:    func(r compared) []string { return comparedCells(r, in, par, met) },
		empty:  "The experiment has no run that is not archived.",
		fields: comparedFields(in, par, met),
	}
}

// comparedFields says where the columns of a comparison come from; of equal
// names the metric's counts.
func comparedFields(in, par, met []string) map[string]string {
	fields := map[string]string{}
	for prefix, names := range map[string][]string{"inputs.": in, "parameters.": par} {
		for _, name := range names {
			fields[name] = prefix + name
		}
	}
	for _, name := range met {
		fields[name] = "metrics." + name
	}
	return fields
}

// comparedCells are the cells of a run.
func comparedCells(r compared, in, par, met []string) []string {
	cells := []string{r.Run, string(r.State)}
	for _, name := range in {
		cells = append(cells, orDash(r.Inputs[name]))
	}
	for _, name := range par {
		cells = append(cells, orDash(r.Parameters[name]))
	}
	for _, name := range met {
		cell := "-"
		if value, ok := r.Metrics[name]; ok {
			cell = number(value)
		}
		cells = append(cells, cell)
	}
	return cells
}
