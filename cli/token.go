package cli

import (
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// tokenCommand is about tokens.
func tokenCommand() *cli.Command {
	return &cli.Command{Name: "token", Usage: "what people and programs prove themselves with", Subcommands: []*cli.Command{
		{Name: "create", Usage: "make a token; prints its secret, and nothing else, on stdout, this once", ArgsUsage: "--role ROLE [--expires 90d] NAME", Action: createToken, Flags: []cli.Flag{
			&cli.StringFlag{Name: "role", Usage: "`ROLE`: reader, contributor or owner of the workspace, or administrator of the platform"},
			&cli.StringFlag{Name: "expires", Usage: "`TIME` after which it stops working, such as 12h or 90d (default: never)"}}},
		{Name: "list", Usage: "list the tokens of the workspaces that you own", Action: listTokens},
		{Name: "revoke", Usage: "revoke tokens: they open nothing from now on", ArgsUsage: "NAME [NAME…]", Action: revokeTokens, Flags: []cli.Flag{yesFlag()}},
	}}
}

func createToken(c *cli.Context) error {
	args, err := arguments(c, "NAME")
	if err != nil {
		return err
	}
	q := &muster.TokenRequest{Name: args[0], Role: muster.Role(c.String("role"))}
	if q.Role == "" {
		return muster.Errorf(muster.CodeInvalid, "muster token create wants --role").WithCure("use reader, contributor, owner or administrator")
	}
	if q.Role != muster.RoleAdministrator {
		q.Workspace = workspaceOf(c)
	}
	if text := c.String("expires"); text != "" {
		const cure = "write it like 12h or 90d"
		age, err := ageOf("expires", text, cure)
		if err != nil {
			return err
		}
		if age == 0 {
			return muster.Errorf(muster.CodeInvalid, "--expires is %q", text).WithCure(cure)
		}
		q.ExpiresIn = muster.Duration(age)
	}
	api, err := connect(c)
	if err != nil {
		return err
	}
	defer api.Close()
	k, err := api.CreateToken(c.Context, q)
	if err != nil {
		return err
	}
	grant := muster.Grant{Role: k.Role, Workspace: k.Workspace}
	fmt.Fprintf(c.App.ErrWriter, "token %s is made: %s, expires %s; it is shown this once\n", k.Name, grant, expiry(k.ExpiresAt))
	return show(c, k, func(t *table) { t.line("%s", k.Secret) })
}

// day is what the d of a time stands for.
const day = 24 * time.Hour

func listTokens(c *cli.Context) error {
	return listAll(c, func(api *client.Client) ([]*muster.Token, error) { return api.Tokens(c.Context) }, listing[*muster.Token]{
		head: []string{"NAME", "ROLE", "WORKSPACE", "EXPIRES", "LAST USED"},
		row: func(k *muster.Token) []string {
			return []string{k.Name, string(k.Role), orDash(k.Workspace), expiry(k.ExpiresAt), lately(k.LastUsedAt)}
		},
		empty:  "There is no token that you may revoke: muster token create --role ROLE NAME makes one.",
		wide:   []string{"CREATED", "BY"},
		more:   func(k *muster.Token) []string { return []string{ago(k.CreatedAt), orDash(k.CreatedBy)} },
		fields: map[string]string{"EXPIRES": "expires_at", "LAST USED": "last_used_at", "CREATED": "created_at", "BY": "created_by"},
	})
}

func revokeTokens(c *cli.Context) error {
	args, err := arguments(c, "NAME", "[NAME…]")
	if err != nil {
		return err
	}
	api, err := connect(c)
	if err != nil {
		return err
	}
	defer api.Close()
	if err := spareOwn(c, api, args); err != nil {
		return err
	}
	return eachName(c, args, func(name string) (string, error) {
		return fmt.Sprintf("token %s is revoked", name), api.RevokeToken(c.Context, name)
	})
}

// spareOwn refuses to revoke the token with which the caller proves himself,
// unless he says that he means it: nothing else may open what it opens.
func spareOwn(c *cli.Context, api *client.Client, names []string) error {
	me, err := api.Whoami(c.Context)
	if err != nil || c.Bool("yes") || !slices.Contains(names, me.Name) {
		return err
	}
	return muster.Errorf(muster.CodeInvalid, "token %s is the one in use: this command and whatever else has it are shut out", me.Name).
		WithCure("give them another first (muster token create), then add --yes to revoke it")
}

// auditCommand shows who did what.
func auditCommand() *cli.Command {
	return &cli.Command{Name: "audit", Usage: "show who asked for what, newest first, in the workspaces that you own, or in the one that -w names", Action: showAudit,
		Flags: []cli.Flag{&cli.IntFlag{Name: "limit", Usage: "`NUMBER` of entries; 0 is all", Value: 100}}}
}

func showAudit(c *cli.Context) error {
	if err := checkLimit(c); err != nil {
		return err
	}
	return listAll(c, func(api *client.Client) ([]*muster.AuditEntry, error) {
		return api.Audit(c.Context, c.String("workspace"), askedLimit(c))
	}, listing[*muster.AuditEntry]{
		head: []string{"TIME", "ACTOR", "ACTION", "TARGET", "OUTCOME"},
		row: func(e *muster.AuditEntry) []string {
			return []string{clock(e.At), e.Actor, e.Action, e.Target, e.Outcome}
		},
		limit:  c.Int("limit"),
		empty:  "Nobody has asked for any change.",
		wide:   []string{"WORKSPACE", "REQUEST"},
		more:   func(e *muster.AuditEntry) []string { return []string{orDash(e.Workspace), orDash(e.RequestID)} },
		fields: map[string]string{"TIME": "at", "REQUEST": "request_id"},
	})
}
