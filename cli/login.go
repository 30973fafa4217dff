package cli

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
	"github.com/muster-ml/muster/oidc"
)

// maxSecret is the longest token that is read from stdin, in bytes.
const maxSecret = 64 << 10

// loginCommand makes a context.
func loginCommand() *cli.Command {
	return &cli.Command{Name: "login", Usage: "log in at a server and keep it as the current context", Action: logIn,
		Description: "With --token the secret is checked and kept; --token - reads it from stdin. Otherwise, and with --oidc, you log in with a browser\n" +
			"where the server's OpenID issuer wants it. --context names the context; else it is called after the server.",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "oidc", Usage: "log in with a browser, whatever token is there"}}}
}

// logoutCommand forgets the secrets of a context.
func logoutCommand() *cli.Command {
	return &cli.Command{Name: "logout", Usage: "forget the secrets of the current context, or of --context; the token itself stays valid", Action: logOut}
}

// whoamiCommand says who calls.
func whoamiCommand() *cli.Command {
	return &cli.Command{Name: "whoami", Usage: "show who you are for the server, and what you may do", Action: whoami}
}

func logIn(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	s, err := readSettings()
	if err != nil {
		return err
	}
	t := aim(sources(c, s))
	if t.addr.addr == "" {
		return muster.Errorf(muster.CodeInvalid, "muster login wants --addr").WithCure("name the server: muster login --addr https://muster.example.com")
	}
	a := &account{Addr: strings.TrimSuffix(t.addr.addr, "/"), Workspace: t.workspace.workspace, Token: t.secret.token}
	if a.CACert, err = caCertOf(c, t); err != nil {
		return err
	}
	if a.Token == "-" {
		if a.Token, err = readSecret(c.App.Reader); err != nil {
			return err
		}
	}
	if c.Bool("oidc") || a.Token == "" {
		a.Token = ""
		if a.OIDC, err = logInByBrowser(c, a); err != nil {
			return err
		}
	}
	p, err := a.whoami(c.Context)
	if err != nil {
		return err
	}
	name, err := keepAccount(c, a)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.App.ErrWriter, "you are %s at %s; context %s is current\n", p.Name, a.Addr, name)
	noteEnvironment(c)
	return nil
}

// noteEnvironment tells who has just chosen a context what goes before it.
func noteEnvironment(c *cli.Context) {
	var set []string
	for _, name := range []string{"MUSTER_CONTEXT", "MUSTER_ADDR", "MUSTER_TOKEN", "MUSTER_WORKSPACE"} {
		if os.Getenv(name) != "" {
			set = append(set, name)
		}
	}
	if len(set) > 0 {
		fmt.Fprintf(c.App.ErrWriter, "note: %s of the environment goes before the current context; to use that: unset %s\n", strings.Join(set, ", "), strings.Join(set, " "))
	}
}

// readSecret reads a token from stdin.
func readSecret(from io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(from, maxSecret))
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" {
		return "", muster.Errorf(muster.CodeInvalid, "--token - reads the token from stdin, and stdin was empty").WithCure("write it like muster login --token - < FILE")
	}
	return secret, nil
}

// caCertOf returns where the authority's certificate is, whatever folder the
// context is used in.
func caCertOf(c *cli.Context, t target) (string, error) {
	if file := c.String("ca-cert"); file != "" {
		return filepath.Abs(file)
	}
	return t.addr.caCert, nil
}

// logInByBrowser logs in at the issuer that the server believes.
func logInByBrowser(c *cli.Context, a *account) (*session, error) {
	api := client.New(a.Addr, "")
	defer api.Close()
	if err := believe(api, a.CACert); err != nil {
		return nil, err
	}
	how, err := api.Login(c.Context)
	if err != nil {
		return nil, err
	}
	if how.OIDC == nil {
		return nil, muster.Errorf(muster.CodeUnauthenticated, "the server at %s takes tokens alone", a.Addr).
			WithCure("give one with --token, or --token - to read it from stdin; its administrator makes them by muster token create")
	}
	s, err := oidc.LogIn(c.Context, *how.OIDC, func(url string) {
		fmt.Fprintf(c.App.ErrWriter, "open this address in a browser on this machine:\n\n  %s\n\nwaiting; Ctrl-C ends\n", url)
	})
	if err != nil {
		return nil, err
	}
	return keepSession(s), nil
}

// whoami asks the server whether it believes the secret.
func (a *account) whoami(ctx context.Context) (*muster.Principal, error) {
	secret := a.Token
	if a.OIDC != nil {
		secret = a.OIDC.Token
	}
	api := client.New(a.Addr, secret)
	defer api.Close()
	if err := believe(api, a.CACert); err != nil {
		return nil, err
	}
	return api.Whoami(ctx)
}

// keepAccount keeps a server as the current context, under the name that was
// asked for, that it has already, or that of its host.
func keepAccount(c *cli.Context, a *account) (name string, err error) {
	err = changeSettings(func(s *profile) error {
		name = c.String("context")
		for known, other := range s.Contexts {
			if name == "" && strings.TrimSuffix(other.Addr, "/") == a.Addr {
				name = known
			}
		}
		if u, err := url.Parse(a.Addr); name == "" && err == nil {
			name = u.Host
		}
		if old := s.Contexts[name]; old != nil {
			a.Other = old.Other
			if a.Workspace == "" && old.Addr == a.Addr {
				a.Workspace = old.Workspace
			}
		}
		if s.Contexts == nil {
			s.Contexts = map[string]*account{}
		}
		s.Contexts[name], s.Current = a, name
		return nil
	})
	return name, err
}

func logOut(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	var name string
	err := changeSettings(func(s *profile) (err error) {
		if name, err = s.named(c, nil); err == nil {
			s.Contexts[name].Token, s.Contexts[name].OIDC = "", nil
		}
		return err
	})
	if err == nil {
		fmt.Fprintf(c.App.ErrWriter, "context %s is logged out\n", name)
		noteSecret(c)
	}
	return err
}

// noteSecret tells who has just logged out as whom commands go on.
func noteSecret(c *cli.Context) {
	if t, err := targetOf(c); err == nil && (t.secret.token != "" || t.secret.login != nil) {
		fmt.Fprintf(c.App.ErrWriter, "note: from now on commands call %s with the token of %s; muster whoami shows who that is\n", t.addr.addr, t.secret.from)
	}
}

func whoami(c *cli.Context) error {
	api, err := connectAlone(c)
	if err != nil {
		return err
	}
	defer api.Close()
	p, err := api.Whoami(c.Context)
	if err != nil {
		return err
	}
	return show(c, p, func(t *table) {
		t.row("name", p.Name)
		for _, g := range p.Grants {
			where := "everywhere"
			if g.Workspace != "" {
				where = "workspace " + g.Workspace
			}
			t.row("role", string(g.Role)+", "+where)
		}
		t.row("expires", expiry(p.ExpiresAt))
		t.row("server", api.Addr())
	})
}

// expiry shows when something ends.
func expiry(at time.Time) string {
	switch {
	case at.IsZero():
		return "never"
	case time.Now().After(at):
		return "expired " + ago(at)
	}
	left := time.Until(at)
	if days := left.Round(time.Minute); days%day == 0 && days > 0 { // what was asked for a moment ago
		return "in " + span(days)
	}
	return "in " + length(left)
}
