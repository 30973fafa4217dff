package cli

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

var update = flag.Bool("update", false, "write docs/cli.md anew")

// mark is where the part of docs/cli.md begins that is made from the commands.
const mark = "<!-- Made from the commands by: go test ./cli -run TestReference -update -->\n"

// TestReference holds that docs/cli.md tells of the commands as they are.
func TestReference(t *testing.T) {
	const file = "../docs/cli.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, made, ok := strings.Cut(string(text), mark)
	if !ok {
		t.Fatalf("%s has no line %s", file, mark)
	}
	want := reference(newApp(Streams{}))
	if *update {
		if err := os.WriteFile(file, []byte(head+mark+want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if made != want {
		t.Errorf("%s is not what the commands say: go test ./cli -run TestReference -update", file)
	}
}

// common are the flags that the head of the reference tells once.
var common = []string{"filter", "sort-by", "watch"}

// reference writes one section a noun and one part a verb.
func reference(app *cli.App) string {
	var text strings.Builder
	for _, noun := range app.Commands {
		if noun.Hidden {
			continue
		}
		fmt.Fprintf(&text, "\n## muster %s\n\n%s.\n", noun.Name, sentence(noun.Usage))
		if noun.Action != nil {
			describe(&text, "muster "+noun.Name, noun)
		}
		for _, verb := range noun.Subcommands {
			section(&text, "muster "+noun.Name, verb)
		}
	}
	return text.String()
}

// section tells of a verb, and of those below it.
func section(text *strings.Builder, above string, verb *cli.Command) {
	if verb.Hidden {
		return
	}
	line := above + " " + verb.Name
	fmt.Fprintf(text, "\n### %s\n\n%s.\n", line, sentence(verb.Usage))
	if len(verb.Subcommands) == 0 {
		describe(text, line, verb)
	}
	for _, below := range verb.Subcommands {
		if below.Name != "help" {
			section(text, line, below)
		}
	}
}

// sentence begins with a capital letter.
func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// describe writes how a command is used.
func describe(text *strings.Builder, line string, c *cli.Command) {
	if before, _, _ := strings.Cut(c.Description, "Examples:"); strings.TrimSpace(before) != "" {
		fmt.Fprintf(text, "\n%s\n", strings.TrimSpace(before))
	}
	fmt.Fprintf(text, "\n```\n%s\n", strings.TrimSpace(line+" "+c.ArgsUsage))
	for i, example := range examples[strings.TrimPrefix(line, "muster ")] {
		if i == 0 {
			text.WriteString("\n# for example\n")
		}
		text.WriteString(example + "\n")
	}
	text.WriteString("```\n")
	var flags []cli.Flag
	for _, f := range c.Flags {
		if !slices.Contains(common, f.Names()[0]) && f.Names()[0] != "help" {
			flags = append(flags, f)
		}
	}
	if len(flags) > 0 {
		text.WriteString("\n| flag | |\n|---|---|\n")
	}
	for _, f := range flags {
		text.WriteString(flagRow(f))
	}
}

// flagRow writes a flag as a row.
func flagRow(f cli.Flag) string {
	d := f.(cli.DocGenerationFlag)
	usage, value := d.GetUsage(), ""
	if before, rest, ok := strings.Cut(usage, "`"); ok {
		word, after, _ := strings.Cut(rest, "`")
		usage, value = before+word+after, " "+word
	}
	var names []string
	for _, name := range f.Names() {
		dashes := "--"
		if len(name) == 1 {
			dashes = "-"
		}
		names = append(names, "`"+dashes+name+value+"`")
	}
	for _, env := range d.GetEnvVars() {
		names = append(names, "`"+env+"`")
	}
	if v := d.GetDefaultText(); v != "" && v != "false" && d.TakesValue() {
		usage += " (default: " + strings.Trim(v, `"`) + ")"
	}
	return fmt.Sprintf("| %s | %s |\n", strings.Join(names, ", "), strings.ReplaceAll(usage, "|", `\|`))
}
