package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// experimentCommand is about experiments.
func experimentCommand() *cli.Command {
	return &cli.Command{Name: "experiment", Usage: "named groups of runs to compare", Subcommands: []*cli.Command{
		{Name: "list", Usage: "list the experiments", Action: listExperiments},
		{Name: "show", Usage: "show an experiment", ArgsUsage: "NAME", Action: showExperiment},
		{Name: "update", Usage: "say what an experiment is about", ArgsUsage: "NAME", Action: updateExperiment, Flags: []cli.Flag{
			&cli.StringFlag{Name: "description", Usage: "`TEXT` that says what it is about"}}},
		{Name: "delete", Usage: "forget experiments that have no runs", ArgsUsage: "NAME [NAME…]", Action: deleteExperiments(), Flags: []cli.Flag{yesFlag()}},
		{Name: "compare", Usage: "put an experiment's runs side by side: inputs, parameters and metrics", ArgsUsage: "NAME", Action: compareExperiment, Flags: []cli.Flag{
			&cli.IntFlag{Name: "limit", Usage: "at most this `MANY` runs, the newest; 0 is all", Value: 50},
			&cli.StringFlag{Name: "metric", Usage: "also plot this `METRIC` over the steps of the first runs of the table"}}},
	}}
}

func listExperiments(c *cli.Context) error {
	return listAll(c, func(api *client.Client) ([]*muster.Experiment, error) {
		return api.Experiments(c.Context, workspaceOf(c))
	}, listing[*muster.Experiment]{
		head:   []string{"NAME", "RUNS", "CREATED"},
		row:    func(e *muster.Experiment) []string { return []string{e.Name, fmt.Sprint(e.Runs), ago(e.CreatedAt)} },
		wide:   []string{"ID", "WORKSPACE"},
		more:   func(e *muster.Experiment) []string { return []string{fmt.Sprint(e.ID), e.Workspace} },
		fields: map[string]string{"CREATED": "created_at"},
		empty:  "There is no experiment yet: the first run of one makes it (muster run submit --experiment NAME FILE).",
	})
}

// experimentView is an experiment with how its runs stand.
type experimentView struct {
	*muster.Experiment
	States map[muster.RunState]int `json:"states,omitzero"` // how many of its runs are in each
	Newest string                  `json:"newest,omitzero"` // the run that was submitted last
}

func showExperiment(c *cli.Context) error {
	return showOne(c, func(api *client.Client, name string) (*experimentView, error) {
		e, err := api.Experiment(c.Context, workspaceOf(c), name)
		if err != nil {
			return nil, err
		}
		runs, err := api.AllRuns(c.Context, workspaceOf(c), client.RunQuery{Experiment: name}, 0)
		if err != nil {
			return nil, err
		}
		v := &experimentView{Experiment: e, States: map[muster.RunState]int{}}
		for i, r := range runs {
			v.States[r.State]++
			if i == 0 {
				v.Newest = r.Name
			}
		}
		return v, nil
	}, func(t *table, e *experimentView) {
		t.row("name", e.Name)
		t.row("id", fmt.Sprint(e.ID))
		t.row("workspace", e.Workspace)
		t.row("description", orDash(e.Description))
		t.row("runs", fmt.Sprint(e.Runs))
		for _, s := range muster.RunStates() {
			if n := e.States[s]; n > 0 {
				t.row(string(s), fmt.Sprint(n))
			}
		}
		t.row("newest run", orDash(e.Newest))
		t.row("created", ago(e.CreatedAt))
	})
}
