package cli

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster/dev"
)

// setting is a setting with where its value comes from.
type setting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"` // flag, environment, file, muster dev or default
	From   string `json:"from"`   // which flag, variable or file
}

// configCommand is about settings.
func configCommand() *cli.Command {
	return &cli.Command{Name: "config", Usage: "the settings of this command line", Subcommands: []*cli.Command{
		{Name: "show", Usage: "show every setting with its value and where it comes from", Action: showConfig},
	}}
}

func showConfig(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	if _, err := targetOf(c); err != nil {
		return err
	}
	p, err := readSettings()
	if err != nil {
		return err
	}
	return list(c, settings(c, p), listing[setting]{
		head: []string{"SETTING", "VALUE", "SOURCE", "FROM"},
		row: func(s setting) []string {
			return []string{s.Name, orDash(s.Value), s.Source, orDash(s.From)}
		},
		fields: map[string]string{"SETTING": "name"},
	})
}

// settings lists the settings that verbs follow, address and token first.
func settings(c *cli.Context, p *profile) []setting {
	all := sources(c, p)
	t := aim(all)
	addr := t.addr.setting("addr", t.addr.addr)
	token := t.secret.setting("token", "")
	if t.secret.token != "" || t.secret.login != nil {
		token.Value = "(hidden)"
	}
	workspace := t.workspace.setting("workspace", cmp.Or(t.workspace.workspace, "default"))
	current := settingOf(c, "context")
	if current.Value == "" && p.Current != "" {
		current = setting{"context", p.Current, "file", settingsFile()}
	}
	output := settingOf(c, "output")
	if word, ok := p.output(); ok && output.Source == "default" {
		output = setting{"output", word, "file", settingsFile()}
	}
	folder, _ := dev.DefaultFolder() // "" without a home folder
	return []setting{addr, token, workspace, current, output,
		ofVariable("settings file", settingsFile(), "XDG_CONFIG_HOME"), ofVariable("muster dev data", folder, "XDG_DATA_HOME"),
		ofVariable("no colour", os.Getenv("NO_COLOR"), "NO_COLOR"), ofVariable("terminal", os.Getenv("TERM"), "TERM")}
}

// ofVariable tells of a setting that a variable decides where it is set.
func ofVariable(name, value, variable string) setting {
	if os.Getenv(variable) == "" {
		return setting{name, value, "default", ""}
	}
	return setting{name, value, "environment", variable}
}

// setting tells of a value that was found in a source.
func (s source) setting(name, value string) setting {
	found := setting{Name: name, Value: value, Source: "default"}
	switch {
	case s.from == "flag":
		found.Source, found.From = "flag", "--"+name
	case s.from == "environment":
		found.Source, found.From = "environment", "MUSTER_"+strings.ToUpper(name)
	case s.context != "":
		found.Source, found.From = "file", s.from+" in "+settingsFile()
	case s.from != "":
		folder, _ := dev.DefaultFolder() // it was read from there
		found.Source, found.From = s.from, filepath.Join(folder, name)
	}
	return found
}

// output returns the format that the settings file wants where nothing else
// says one.
func (p *profile) output() (string, bool) {
	word, ok := p.Other["output"].(string)
	return word, ok
}

// settingOf tells of a flag of the whole program.
func settingOf(c *cli.Context, name string) setting {
	s := setting{Name: name, Value: c.String(name), Source: "default"}
	f := find(c.App.Flags, name)
	if f == nil {
		return s
	}
	given, _ := c.App.Metadata["given"].([]string)
	if slices.ContainsFunc(f.Names(), func(n string) bool { return slices.Contains(given, n) }) {
		s.Source, s.From = "flag", "--"+name
		return s
	}
	for _, env := range f.(cli.DocGenerationFlag).GetEnvVars() {
		if os.Getenv(env) != "" {
			s.Source, s.From = "environment", env
			return s
		}
	}
	return s
}
