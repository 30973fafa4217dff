package cli

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
)

// arranged is a command line that is being put in the order which urfave/cli
// wants: the flags of each command before its arguments, and those of the whole
// program first.
type arranged struct {
	app   *cli.App
	path  []*cli.Command // the commands so far
	flags [][]string     // the flags of the program and of each of these
	args  []string
	help  bool // it is asked how the command is used: arguments are for another time
}

// arrange lets flags stand before or after arguments; "--" ends them. Unknown
// flags and commands are refused with the nearest spelling.
func arrange(app *cli.App, argv []string) ([]string, error) {
	a := &arranged{app: app, flags: [][]string{nil}}
	if len(argv) > 0 && argv[0] == "help" {
		argv = append(slices.Clone(argv[1:]), "--help")
	}
	for len(argv) > 0 {
		word := argv[0]
		if word == "--" {
			a.args = append(a.args, argv[1:]...)
			break
		}
		_, notNumber := strconv.ParseFloat(word, 64)
		taken, err := 1, error(nil)
		if strings.HasPrefix(word, "-") && word != "-" && notNumber != nil {
			taken, err = a.flag(argv)
		} else {
			err = a.word(word)
		}
		if err != nil {
			return nil, err
		}
		argv = argv[taken:]
	}
	out := slices.Clone(a.flags[0])
	for i, c := range a.path {
		out = append(append(out, c.Name), a.flags[i+1]...)
	}
	if len(a.args) > 0 && !a.help {
		out = append(append(out, "--"), a.args...)
	}
	return out, nil
}

// commands are those that may come next.
func (a *arranged) commands() []*cli.Command {
	if len(a.path) == 0 {
		return a.app.Commands
	}
	return a.path[len(a.path)-1].Subcommands
}

// word takes a command or an argument.
func (a *arranged) word(word string) error {
	commands := a.commands()
	if len(a.args) == 0 {
		for _, c := range commands {
			if c.HasName(word) {
				a.path, a.flags = append(a.path, c), append(a.flags, nil)
				return nil
			}
		}
	}
	if len(commands) == 0 || len(a.path) > 0 && a.path[len(a.path)-1].Action != nil {
		a.args = append(a.args, word)
		return nil
	}
	var names []string
	for _, c := range commands {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	return muster.Errorf(muster.CodeInvalid, "there is no command %q", strings.TrimSpace(a.line()+" "+word)).WithCure("%s", didYouMean(word, names))
}

// line is the command line so far.
func (a *arranged) line() string {
	line := "muster"
	for _, c := range a.path {
		line += " " + c.Name
	}
	return line
}

// flag takes a flag, with its value where it has one, for the command or for
// the whole program.
func (a *arranged) flag(argv []string) (taken int, err error) {
	name, value, hasValue := strings.Cut(strings.TrimLeft(argv[0], "-"), "=")
	if name == "help" || name == "h" {
		a.help = true
		a.flags[len(a.path)] = append(a.flags[len(a.path)], "--help")
		return 1, nil
	}
	level := len(a.path)
	f := find(a.own(level), name)
	if f == nil {
		level = 0
		f = find(a.own(0), name)
	}
	if f == nil {
		return 0, a.noFlag(argv)
	}
	a.flags[level] = append(a.flags[level], argv[0])
	if hasValue || !takesWord(f) {
		return 1, a.checkValue(f, value, hasValue)
	}
	if len(argv) < 2 || argv[1] == "--" {
		return 0, muster.Errorf(muster.CodeInvalid, "%s wants a value", argv[0])
	}
	a.flags[level] = append(a.flags[level], argv[1])
	return 2, a.checkValue(f, argv[1], true)
}

// mayBeEmpty are the flags whose empty value means something: none, or all.
var mayBeEmpty = []string{"description", "default-cluster", "run-as", "os", "allow"}

// emptyCures say what to write in place of an empty value.
var emptyCures = map[string]string{
	"token": "give the secret itself, or - to read it from stdin at muster login", "addr": "name the server, such as https://muster.example.com",
	"context": "muster context list shows them", "workspace": "muster workspace list shows them", "experiment": "muster experiment list shows them",
	"filter": "write it like state=failed", "data-dir": "name the folder",
}

// checkValue refuses a flag that says nothing: who gives one does not want what it
// would stand for when left out. A server's may come from variables that are not
// set.
func (a *arranged) checkValue(f cli.Flag, value string, given bool) error {
	switch f.(type) {
	case *cli.StringFlag, *cli.StringSliceFlag:
	default:
		return nil
	}
	name := f.Names()[0]
	if !given || value != "" || slices.Contains(mayBeEmpty, name) || name != "data-dir" && a.line() == "muster server" {
		return nil
	}
	return muster.Errorf(muster.CodeInvalid, "--%s is empty", name).WithCure("%s, or leave it out", cmp.Or(emptyCures[name], "give it a value"))
}

// noFlag refuses a flag that is none here, and says what is.
func (a *arranged) noFlag(argv []string) error {
	given, value, hasValue := strings.Cut(argv[0], "=")
	e := muster.Errorf(muster.CodeInvalid, "%s has no flag %s", a.line(), given)
	name, line := strings.TrimLeft(given, "-"), a.line()
	if (name == "cluster" || name == "compute") && (line == "muster run submit" || line == "muster run clone") {
		if !hasValue && len(argv) > 1 {
			value = argv[1]
		}
		return e.WithCure("the job file names its cluster: --set compute=%s", cmp.Or(value, "CLUSTER"))
	}
	return e.WithCure("%s", didYouMean(name, a.flagNames()))
}

// takesWord reports whether the word behind a flag is its value.
func takesWord(f cli.Flag) bool {
	if g, ok := f.(*cli.GenericFlag); ok {
		_, bare := g.Value.(interface{ IsBoolFlag() bool })
		return !bare
	}
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

// own returns the flags of the program (0) or of a command of the path.
func (a *arranged) own(level int) []cli.Flag {
	if level == 0 {
		return a.app.Flags
	}
	return a.path[level-1].Flags
}

// find returns the flag of that name.
func find(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

// flagNames lists the flags that may stand here.
func (a *arranged) flagNames() (names []string) {
	flags := a.own(0)
	if level := len(a.path); level > 0 {
		flags = append(slices.Clone(a.own(level)), flags...)
	}
	for _, f := range flags {
		names = append(names, "--"+f.Names()[0])
	}
	return names
}

// didYouMean makes the cure for a misspelt word; a flag's candidates begin with
// "--".
func didYouMean(word string, known []string) string {
	bare := make([]string, len(known))
	for i, k := range known {
		bare[i] = strings.TrimPrefix(k, "--")
	}
	if near := muster.Nearest(word, bare); near != "" && alike(word, near) {
		return "did you mean " + known[slices.Index(bare, near)] + "?"
	}
	if len(known) == 0 {
		return "there is none"
	}
	return "there are " + strings.Join(known, ", ")
}

// alike reports whether two words share most of the first one's letters: of short
// words each is near to each.
func alike(word, other string) bool {
	shared := 0
	for _, letter := range word {
		before := len(other)
		if other = strings.Replace(other, string(letter), "", 1); len(other) < before {
			shared++
		}
	}
	return 2*shared > len(word)
}
