package cli

import (
	"fmt"
	"maps"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
)

// contextCommand is about the servers that a person works with.
func contextCommand() *cli.Command {
	return &cli.Command{Name: "context", Usage: "the servers that you work with; muster login adds one", Subcommands: []*cli.Command{
		{Name: "list", Usage: "list the contexts", Action: listContexts},
		{Name: "show", Usage: "show a context, without its secrets; without a name the current one", ArgsUsage: "[NAME]", Action: showContext},
		{Name: "use", Usage: "make a context the current one", ArgsUsage: "NAME", Action: useContext},
		{Name: "delete", Usage: "forget a context and its secrets", ArgsUsage: "NAME", Action: deleteContext},
	}}
}

// contextView is what is shown of a context: no secret.
type contextView struct {
	Name      string `json:"name"`
	Current   bool   `json:"current"`
	Addr      string `json:"addr"`
	Workspace string `json:"workspace,omitempty"`
	Login     string `json:"login"` // token, oidc or none
}

// find returns a context.
func (s *profile) find(name string) (*account, error) {
	if a := s.Contexts[name]; a != nil {
		return a, nil
	}
	cure := "muster login makes one"
	if names := slices.Sorted(maps.Keys(s.Contexts)); len(names) > 0 {
		cure = didYouMean(name, names)
	}
	return nil, muster.Errorf(muster.CodeNotFound, "there is no context %s", name).WithCure("%s", cure)
}

// views lists the contexts by name.
func (s *profile) views() []contextView {
	var all []contextView
	for _, name := range slices.Sorted(maps.Keys(s.Contexts)) {
		a := s.Contexts[name]
		v := contextView{Name: name, Current: name == s.Current, Addr: a.Addr, Workspace: a.Workspace, Login: "none"}
		switch {
		case a.OIDC != nil:
			v.Login = "oidc"
		case a.Token != "":
			v.Login = "token"
		}
		all = append(all, v)
	}
	return all
}

func listContexts(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	s, err := readSettings()
	if err != nil {
		return err
	}
	return list(c, s.views(), listing[contextView]{
		head: []string{"NAME", "CURRENT", "ADDR", "WORKSPACE", "LOGIN"},
		row: func(v contextView) []string {
			return []string{v.Name, map[bool]string{true: "*"}[v.Current], v.Addr, orDash(v.Workspace), v.Login}
		},
		empty: "There is no context yet: muster login --addr URL makes one.",
	})
}

func showContext(c *cli.Context) error {
	args, err := arguments(c, "[NAME]")
	if err != nil {
		return err
	}
	s, err := readSettings()
	if err != nil {
		return err
	}
	name, err := s.named(c, args)
	if err != nil {
		return err
	}
	all := s.views()
	v := all[slices.IndexFunc(all, func(v contextView) bool { return v.Name == name })]
	return show(c, v, func(t *table) {
		t.row("name", v.Name)
		t.row("addr", v.Addr)
		t.row("workspace", orDash(v.Workspace))
		t.row("login", v.Login)
	})
}

// named returns the context that an argument, a flag or nothing names; it is
// there.
func (s *profile) named(c *cli.Context, args []string) (string, error) {
	name := c.String("context")
	if len(args) > 0 {
		name = args[0]
	}
	if name == "" {
		name = s.Current
	}
	if name == "" {
		return "", muster.Errorf(muster.CodeNotFound, "there is no current context").WithCure("muster login makes one, muster context use NAME chooses one")
	}
	_, err := s.find(name)
	return name, err
}

func useContext(c *cli.Context) error {
	err := changeContext(c, "is current", func(s *profile, name string) { s.Current = name })
	if err == nil {
		noteEnvironment(c)
	}
	return err
}

func deleteContext(c *cli.Context) error {
	return changeContext(c, "is forgotten", func(s *profile, name string) {
		delete(s.Contexts, name)
		if s.Current == name {
			s.Current = ""
		}
	})
}

// changeContext is a verb with the name of a context, to which it does
// something.
func changeContext(c *cli.Context, did string, change func(s *profile, name string)) error {
	args, err := arguments(c, "NAME")
	if err != nil {
		return err
	}
	err = changeSettings(func(s *profile) error {
		if _, err := s.find(args[0]); err != nil {
			return err
		}
		change(s, args[0])
		return nil
	})
	if err == nil {
		fmt.Fprintf(c.App.ErrWriter, "context %s %s\n", args[0], did)
	}
	return err
}
