package cli

import (
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// leaves returns every command that people can see and that does something, by
// its line.
func leaves(app *cli.App) map[string]*cli.Command {
	all := map[string]*cli.Command{}
	var walk func(path string, commands []*cli.Command)
	walk = func(path string, commands []*cli.Command) {
		for _, c := range commands {
			if c.Hidden {
				continue
			}
			line := strings.TrimSpace(path + " " + c.Name)
			if c.Action != nil {
				all[line] = c
			}
			walk(line, c.Subcommands)
		}
	}
	walk("", app.Commands)
	return all
}

// TestExamples finds an example in every --help, and each example to be a
// command line that is understood.
func TestExamples(t *testing.T) {
	all := leaves(newApp(Streams{}))
	for line, c := range all {
		if len(examples[line]) == 0 || !strings.Contains(c.Description, examples[line][0]) {
			t.Errorf("muster %s --help shows no example: add one to examples", line)
		}
	}
	for line, list := range examples {
		if all[line] == nil {
			t.Errorf("there are examples of %q, which is no command", line)
		}
		for _, example := range list {
			understands(t, line, example)
		}
	}
}

// understands parses an example up to where the verb would begin.
func understands(t *testing.T, line, example string) {
	t.Helper()
	app, reached := newApp(Streams{}), ""
	for path, c := range leaves(app) {
		c.Action = func(*cli.Context) error { reached = path; return nil }
	}
	words := strings.Fields(strings.ReplaceAll(example, "'", ""))
	argv, err := arrange(app, words[1:])
	if err == nil {
		err = app.RunContext(t.Context(), append(words[:1:1], argv...))
	}
	if err != nil || reached != line || words[0] != "muster" {
		t.Errorf("the example %q of %q leads to %q: %v", example, line, reached, err)
	}
}
