package cli

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// clusterSecretCommand is about what the set-up of a cluster's nodes must know and
// nobody else.
func clusterSecretCommand() *cli.Command {
	return &cli.Command{Name: "secret", Usage: "what the set-up of a cluster's nodes gets as variables, and nobody is shown", Subcommands: []*cli.Command{
		{Name: "set", Usage: "set a secret; its value is asked for, or read from stdin. Nodes are set up anew", ArgsUsage: "CLUSTER NAME", Action: setClusterSecret},
		{Name: "list", Usage: "list the names of a cluster's secrets", ArgsUsage: "CLUSTER", Action: listClusterSecrets},
		{Name: "delete", Usage: "remove a secret", ArgsUsage: "CLUSTER NAME", Action: deleteClusterSecret},
	}}
}

func setClusterSecret(c *cli.Context) error {
	return changeClusterSecret(c, "set", func(api *client.Client, cluster, name string) error {
		value, err := readPassword(c, "value")
		if err != nil {
			return err
		}
		return api.PutClusterSecret(c.Context, cluster, name, value)
	})
}

func deleteClusterSecret(c *cli.Context) error {
	return changeClusterSecret(c, "removed", func(api *client.Client, cluster, name string) error {
		return api.DeleteClusterSecret(c.Context, cluster, name)
	})
}

// changeClusterSecret changes the secret that the arguments name.
func changeClusterSecret(c *cli.Context, done string, change func(api *client.Client, cluster, name string) error) error {
	args, err := arguments(c, "CLUSTER", "NAME")
	if err != nil {
		return err
	}
	api, err := connect(c)
	if err != nil {
		return err
	}
	defer api.Close()
	if err := change(api, args[0], args[1]); err != nil {
		return err
	}
	fmt.Fprintf(c.App.ErrWriter, "secret %s of cluster %s is %s\n", args[1], args[0], done)
	return nil
}

func listClusterSecrets(c *cli.Context) error {
	api, name, err := aboutNamed(c)
	if err != nil {
		return err
	}
	defer api.Close()
	all, err := api.ClusterSecrets(c.Context, name)
	if err != nil {
		return err
	}
	return list(c, all, listing[muster.ClusterSecret]{
		head:   []string{"NAME", "SET"},
		row:    func(s muster.ClusterSecret) []string { return []string{s.Name, ago(s.UpdatedAt)} },
		fields: map[string]string{"SET": "updated_at"},
		empty:  fmt.Sprintf("Cluster %s has no secret: muster cluster secret set %s NAME sets one.", name, name),
	})
}

// noteSecrets tells of the secrets that a cluster's set-up needs and that nobody
// has set yet: without them no node is made ready.
func noteSecrets(c *cli.Context, api *client.Client, k *muster.Cluster) error {
	if k.Setup == nil || len(k.Setup.Secrets) == 0 {
		return nil
	}
	kept, err := api.ClusterSecrets(c.Context, k.Name)
	if err != nil {
		return err
	}
	for _, name := range k.Setup.Secrets {
		if !slices.ContainsFunc(kept, func(s muster.ClusterSecret) bool { return s.Name == name }) {
			fmt.Fprintf(c.App.ErrWriter, "note: its set-up needs secret %s, which is not set: muster cluster secret set %s %s\n", name, k.Name, name)
		}
	}
	return nil
}
