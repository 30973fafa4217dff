package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
	"github.com/muster-ml/muster/dev"
	"github.com/muster-ml/muster/oidc"
)

// source is one of the places that say which server is meant, and who calls.
type source struct {
	from      string // how a person calls the place
	addr      string
	token     string
	workspace string
	context   string   // the name, where it is one
	caCert    string   // file with the authority of the server's certificate
	login     *session // of the context
}

// target is the server that a command calls, and as whom; the sources in it say
// where each part is from.
type target struct {
	addr, workspace source
	secret          source
}

// sources lists the places in the order in which they count: flags, the
// environment, the context that is named there or current, and what muster dev
// wrote down; where a flag names the context, flags and that context.
func sources(c *cli.Context, s *profile) []source {
	flags, environment := source{from: "flag"}, source{from: "environment"}
	for name, to := range map[string][2]*string{"addr": {&flags.addr, &environment.addr}, "token": {&flags.token, &environment.token},
		"workspace": {&flags.workspace, &environment.workspace}} {
		if setting := settingOf(c, name); setting.Source == "flag" {
			*to[0] = setting.Value
		} else {
			*to[1] = setting.Value
		}
	}
	all := []source{flags, environment}
	name := cmp.Or(c.String("context"), s.Current)
	if a := s.Contexts[name]; a != nil {
		context := source{from: "context " + name, addr: a.Addr, token: a.Token, workspace: a.Workspace, context: name, caCert: a.CACert, login: a.OIDC}
		if settingOf(c, "context").Source == "flag" { // whoever names a login wants no other
			return []source{flags, context, {from: environment.from, workspace: environment.workspace}}
		}
		all = append(all, context)
	}
	return append(all, source{from: "muster dev", addr: readLine("addr"), token: readLine("token")})
}

// aim takes each part from the first source that has it. A secret is for its
// own server alone: another one must not see it. So is a context's workspace.
func aim(all []source) (t target) {
	for _, s := range all {
		if t.addr.addr == "" && s.addr != "" {
			t.addr = s
		}
	}
	for _, s := range all {
		own := s.addr == "" || strings.TrimSuffix(s.addr, "/") == strings.TrimSuffix(t.addr.addr, "/")
		if t.secret.token == "" && t.secret.login == nil && (s.token != "" || s.login != nil) && own {
			t.secret = s
		}
		if t.workspace.workspace == "" && s.workspace != "" && (own || s.context == "") {
			t.workspace = s
		}
	}
	return t
}

// targetOf finds out which server a command calls.
func targetOf(c *cli.Context) (target, error) {
	s, err := readSettings()
	if err != nil {
		return target{}, err
	}
	if named := c.String("context"); named != "" {
		if _, err := s.find(named); err != nil {
			return target{}, err
		}
	}
	return aim(sources(c, s)), nil
}

// connectAlone connects for a verb that takes no argument.
func connectAlone(c *cli.Context) (*client.Client, error) {
	if _, err := arguments(c); err != nil {
		return nil, err
	}
	return connect(c)
}

// connect makes a client of the server that flags, environment, a context or
// the files of muster dev name, in this order.
func connect(c *cli.Context) (*client.Client, error) {
	t, err := targetOf(c)
	if err != nil {
		return nil, err
	}
	if t.addr.addr == "" {
		return nil, muster.Errorf(muster.CodeUnreachable, "no server is known").
			WithCure("muster dev starts one here; muster login, --addr or MUSTER_ADDR names another")
	}
	api := client.New(t.addr.addr, t.secret.token)
	if err := believe(api, cmp.Or(c.String("ca-cert"), t.addr.caCert)); err != nil {
		return nil, err
	}
	if t.secret.login != nil {
		api.Secret = func(ctx context.Context) (string, error) { return freshToken(ctx, t.secret.context, t.secret.login) }
	}
	api.OnAway = func(err error) {
		fmt.Fprintf(c.App.ErrWriter, "muster: %v\n  it is tried again until it answers; Ctrl-C ends\n", err)
	}
	return api, nil
}

// believe makes a client believe the authority in a file, "" for none.
func believe(api *client.Client, file string) error {
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return muster.Errorf(muster.CodeInvalid, "the authority's certificate cannot be read: %v", err).At("ca-cert")
	}
	return api.Trust(text)
}

// early is how long before its end a token is renewed.
const early = time.Minute

// freshToken returns the token of a login. One that ends is renewed and kept:
// the issuer may want each refresh token but once, so whoever comes second takes
// what the first one got.
func freshToken(ctx context.Context, name string, login *session) (string, error) {
	if time.Until(login.Expires) > early {
		return login.Token, nil
	}
	err := changeSettings(func(s *profile) error {
		a, err := s.find(name)
		if err != nil {
			return err
		}
		if a.OIDC == nil {
			return muster.Errorf(muster.CodeUnauthenticated, "context %s is logged out", name).WithCure("muster login --context %s", name)
		}
		if time.Until(a.OIDC.Expires) <= early {
			next := a.OIDC.session()
			if err := next.Renew(ctx); err != nil {
				return err
			}
			a.OIDC = keepSession(next)
		}
		*login = *a.OIDC
		return nil
	})
	return login.Token, err
}

// session is what the issuer's room knows of a login.
func (s *session) session() *oidc.Session {
	return &oidc.Session{Login: muster.OIDCLogin{Issuer: s.Issuer, ClientID: s.ClientID, Scopes: s.Scopes}, Token: s.Token, Expires: s.Expires, Refresh: s.Refresh}
}

// keepSession is what the settings keep of a login.
func keepSession(s *oidc.Session) *session {
	return &session{Issuer: s.Login.Issuer, ClientID: s.Login.ClientID, Scopes: s.Login.Scopes, Refresh: s.Refresh, Token: s.Token, Expires: s.Expires}
}

// readLine reads a file of muster dev's data folder; "" where it has none.
func readLine(name string) string {
	dir, err := dev.DefaultFolder()
	if err != nil {
		return ""
	}
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// workspaceOf returns the chosen workspace; an empty name chooses none. What is
// wrong with the settings connect says.
func workspaceOf(c *cli.Context) string {
	t, err := targetOf(c)
	if err != nil {
		return cmp.Or(c.String("workspace"), "default")
	}
	return cmp.Or(t.workspace.workspace, "default")
}
