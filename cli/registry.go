package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// registryCommand is about registries of images.
func registryCommand() *cli.Command {
	return &cli.Command{Name: "registry", Usage: "where the workspace logs in to fetch images", Subcommands: []*cli.Command{
		{Name: "login", Usage: "log in at a registry; the password is asked for, or read from stdin", ArgsUsage: "--username NAME HOST", Action: loginAtRegistry, Flags: []cli.Flag{
			&cli.StringFlag{Name: "username", Aliases: []string{"u"}, Usage: "`NAME` to log in by"}}},
		{Name: "list", Usage: "list the registries at which the workspace logs in", Action: listRegistries},
		{Name: "logout", Usage: "log out at a registry", ArgsUsage: "HOST", Action: logoutAtRegistry},
	}}
}

func loginAtRegistry(c *cli.Context) error {
	args, err := arguments(c, "HOST")
	if err != nil {
		return err
	}
	if c.String("username") == "" {
		return muster.Errorf(muster.CodeInvalid, "muster registry login wants --username")
	}
	password, err := readPassword(c, "password")
	if err != nil {
		return err
	}
	api, err := connect(c)
	if err != nil {
		return err
	}
	defer api.Close()
	r, err := api.PutRegistry(c.Context, workspaceOf(c), args[0], c.String("username"), password)
	if err != nil {
		return err
	}
	return show(c, r, func(t *table) { t.line("workspace %s logs in at %s as %s", workspaceOf(c), r.Host, r.Username) })
}

// readPassword asks for a secret on a terminal, and reads it from stdin
// otherwise.
func readPassword(c *cli.Context, what string) (string, error) {
	if in, ok := c.App.Reader.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		fmt.Fprintf(c.App.ErrWriter, "%s: ", what)
		text, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(c.App.ErrWriter)
		if err != nil {
			return "", fmt.Errorf("read the %s: %w", what, err)
		}
		return string(text), nil
	}
	text, err := io.ReadAll(io.LimitReader(c.App.Reader, maxSecret))
	if err != nil {
		return "", fmt.Errorf("read the %s: %w", what, err)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

func listRegistries(c *cli.Context) error {
	return listAll(c, func(api *client.Client) ([]*muster.Registry, error) { return api.Registries(c.Context, workspaceOf(c)) }, listing[*muster.Registry]{
		head: []string{"HOST", "USERNAME", "SINCE"},
		row: func(r *muster.Registry) []string {
			return []string{r.Host, r.Username, ago(r.UpdatedAt)}
		},
		fields: map[string]string{"SINCE": "updated_at"},
		empty:  "The workspace logs in at no registry: muster registry login --username NAME HOST makes it.",
	})
}

func logoutAtRegistry(c *cli.Context) error {
	args, err := arguments(c, "HOST")
	if err != nil {
		return err
	}
	api, err := connect(c)
	if err != nil {
		return err
	}
	defer api.Close()
	if err := api.DeleteRegistry(c.Context, workspaceOf(c), args[0]); err != nil {
		return err
	}
	fmt.Fprintf(c.App.ErrWriter, "workspace %s does not log in at %s any more\n", workspaceOf(c), args[0])
	return nil
}
