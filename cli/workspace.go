package cli

import (
	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// workspaceCommand is about workspaces.
func workspaceCommand() *cli.Command {
	return &cli.Command{Name: "workspace", Usage: "the tenants: each owns its experiments and runs", Subcommands: []*cli.Command{
		{Name: "create", Usage: "make a workspace", ArgsUsage: "[--default-cluster CLUSTER] NAME", Action: createWorkspace, Flags: []cli.Flag{
			&cli.StringFlag{Name: "default-cluster", Usage: "`CLUSTER` where runs go that name no compute"}}},
		{Name: "update", Usage: "change a workspace: what it is called for, where its runs go, how long it keeps what they left", ArgsUsage: "NAME", Action: updateWorkspace, Flags: []cli.Flag{
			&cli.StringFlag{Name: "description", Usage: "`TEXT` that says what it is for"},
			&cli.StringFlag{Name: "default-cluster", Usage: "`CLUSTER` where runs go that name no compute"},
			&cli.StringFlag{Name: "keep-artifacts", Usage: "`AGE` after a run's end at which its files go, such as 30d; 0 is never"},
			&cli.StringFlag{Name: "keep-logs", Usage: "`AGE` after a run's end at which its logs go; 0 is never"}}},
		{Name: "delete", Usage: "delete workspaces whose runs have all ended, with what these left; their names stay taken", ArgsUsage: "NAME [NAME…]", Action: deleteWorkspaces(), Flags: []cli.Flag{yesFlag()}},
		{Name: "list", Usage: "list the workspaces", Action: listWorkspaces},
		{Name: "show", Usage: "show a workspace", ArgsUsage: "NAME", Action: showWorkspace},
	}}
}

func createWorkspace(c *cli.Context) error {
	args, err := arguments(c, "NAME")
	if err != nil {
		return err
	}
	api, err := connect(c)
	if err != nil {
		return err
	}
	defer api.Close()
	w, err := api.CreateWorkspace(c.Context, &muster.Workspace{Name: args[0], DefaultCluster: c.String("default-cluster")})
	if err != nil {
		return err
	}
	return show(c, w, func(t *table) { t.line("workspace %s is made", w.Name) })
}

func listWorkspaces(c *cli.Context) error {
	return listAll(c, func(api *client.Client) ([]*muster.Workspace, error) { return api.Workspaces(c.Context) }, listing[*muster.Workspace]{
		head: []string{"NAME", "DEFAULT CLUSTER", "CREATED"},
		row: func(w *muster.Workspace) []string {
			return []string{w.Name, orDash(w.DefaultCluster), ago(w.CreatedAt)}
		},
		wide:   []string{"NOMAD NAMESPACE", "DESCRIPTION"},
		more:   func(w *muster.Workspace) []string { return []string{w.Namespace, orDash(w.Description)} },
		fields: map[string]string{"CREATED": "created_at", "NOMAD NAMESPACE": "namespace"},
		empty:  "There is no workspace yet: muster workspace create --default-cluster CLUSTER NAME makes one.",
	})
}

func showWorkspace(c *cli.Context) error {
	return showOne(c, func(api *client.Client, name string) (*muster.Workspace, error) {
		return api.Workspace(c.Context, name)
	}, func(t *table, w *muster.Workspace) {
		t.row("name", w.Name)
		t.row("description", orDash(w.Description))
		t.row("default cluster", orDash(w.DefaultCluster))
		t.row("Nomad namespace", w.Namespace)
		t.row("keeps", "files "+keeps(w.Keeping.Artifacts)+", logs "+keeps(w.Keeping.Logs))
		t.row("created", ago(w.CreatedAt))
	})
}
