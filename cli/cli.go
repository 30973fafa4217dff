// Package cli is the command line: a noun, then a verb, one file a noun.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
)

// Streams are what a command reads and writes.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// Main runs the command line with the process's own streams and returns the
// exit code.
func Main(ctx context.Context, argv []string) int {
	return Run(ctx, argv, Streams{os.Stdin, os.Stdout, os.Stderr})
}

// Run runs a command line and returns the exit code: 0 done, 1 the run failed
// or was cancelled, 2 usage, 3 not found, 4 refused, 5 unreachable, 6 internal.
func Run(ctx context.Context, argv []string, s Streams) int {
	app := newApp(s)
	args, err := arrange(app, argv[1:])
	if err == nil {
		app.Metadata = map[string]any{"given": given(args)}
		err = app.RunContext(ctx, append([]string{"muster"}, args...))
	}
	return report(err, s.Err)
}

// given returns the names of the flags of the whole program that stand in an
// arranged command line.
func given(args []string) (names []string) {
	for i := 0; i < len(args) && strings.HasPrefix(args[i], "-"); i++ {
		name, _, hasValue := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		names = append(names, name)
		if name != "version" && name != "help" && !hasValue {
			i++ // its value
		}
	}
	return names
}

// newApp lists the commands.
func newApp(s Streams) *cli.App {
	app := &cli.App{
		Name: "muster", HelpName: "muster", Usage: "run machine-learning work on nodes that you own or rent",
		UsageText: "muster NOUN [VERB] [FLAGS] [ARGUMENTS]", HideVersion: true, HideHelpCommand: true, DisableSliceFlagSeparator: true,
		Reader: s.In, Writer: s.Out, ErrWriter: s.Err,
		ExitErrHandler: func(*cli.Context, error) {}, // report does it
		OnUsageError:   usageError,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "context", Usage: "`NAME` of the server and login to use, of those that muster login has kept (default: the current one)", EnvVars: []string{"MUSTER_CONTEXT"}},
			&cli.StringFlag{Name: "ca-cert", Usage: "`FILE` with the authority of the server's certificate, beside those that this machine knows", EnvVars: []string{"MUSTER_CACERT"}},
			&cli.StringFlag{Name: "addr", Usage: "`URL` of the server (default: that of the context, or what muster dev wrote down)", EnvVars: []string{"MUSTER_ADDR"}},
			&cli.StringFlag{Name: "token", Usage: "`SECRET` that says who calls (default: that of the context, or what muster dev wrote down)", EnvVars: []string{"MUSTER_TOKEN"}},
			&cli.StringFlag{Name: "workspace", Aliases: []string{"w"}, Usage: "`NAME` of the workspace", DefaultText: "default", EnvVars: []string{"MUSTER_WORKSPACE"}},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FORMAT`: table, wide, json, yaml or name", Value: "table", EnvVars: []string{"MUSTER_OUTPUT"}},
			&cli.BoolFlag{Name: "version", Usage: "print the version"},
		},
		Before: checkOutput,
		Commands: []*cli.Command{
			workspaceCommand(), experimentCommand(), runCommands(), queueCommand(), retentionCommand(), nodeCommand(), clusterCommand(), sizeCommand(),
			loginCommand(), logoutCommand(), whoamiCommand(), contextCommand(), tokenCommand(), auditCommand(),
			registryCommand(), policiesCommand(), serverCommand(), devCommand(), topCommand(), configCommand(), doctorCommand(), completionCommand(), completeCommand(), schemaCommand(), versionCommand(),
		},
		Action: func(c *cli.Context) error {
			if c.Bool("version") {
				return showVersion(c)
			}
			return cli.ShowAppHelp(c)
		},
	}
	settle("", app.Commands)
	return app
}

// lists and looks are the verbs that list something and those that show how
// something stands, beside all that are called list and show.
var (
	lists = []string{"queue", "run files", "run events", "run metrics", "run stats", "run diff", "cluster events", "cluster nodes", "experiment compare", "audit", "config show", "doctor"}
	looks = []string{"run why"}
)

// settle gives every command what all of them have, and those that list or show
// something what all of these have. A noun alone shows its help.
func settle(path string, commands []*cli.Command) {
	for _, c := range commands {
		line := strings.TrimSpace(path + " " + c.Name)
		c.HideHelpCommand, c.OnUsageError = true, usageError
		if c.Name == "list" || slices.Contains(lists, line) {
			c.Flags = append(c.Flags, listFlags()...)
			watched(c)
		} else if c.Name == "show" || slices.Contains(looks, line) {
			watched(c)
		}
		exemplify(c, line)
		if c.Action != nil {
			c.Action = sayingFlags(c.Action)
			c.CustomHelpTemplate = cli.CommandHelpTemplate + everywhere
		}
		settle(line, c.Subcommands)
	}
}

// fieldFlags are the flags of fields of the API that are called otherwise.
var fieldFlags = map[string]string{"drain_seconds": "wait", "excluded": "reason", "workspaces": "allow"}

// flagOf returns the flag that would say what stands at a field, or in it.
func flagOf(field string) string {
	if i := strings.IndexAny(field, ".["); i >= 0 {
		field = field[:i]
	}
	return cmp.Or(fieldFlags[field], strings.ReplaceAll(strings.TrimSuffix(field, "_seconds"), "_", "-"))
}

// sayingFlags lets what the server says of a field speak of the flag that the
// caller has given for it.
func sayingFlags(do cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		err := do(c)
		e, ok := err.(*muster.Error)
		if !ok || e.Field == "" || c.Command == nil {
			return err
		}
		flag := flagOf(e.Field)
		rest, about := strings.CutPrefix(e.Message, e.Field+" ")
		if !about || find(c.Command.Flags, flag) == nil || !c.IsSet(flag) {
			return err
		}
		said := *e
		said.Field, said.Message = "--"+flag, "--"+flag+" "+rest
		return &said
	}
}

// everywhere is what the help of every verb says at its end.
const everywhere = `
   -o FORMAT, -w WORKSPACE, --context NAME and the other flags of muster --help may stand here too
`

// badValueRE reads what the flag package says of a value that a flag does not
// take.
var badValueRE = regexp.MustCompile(`^invalid (?:boolean )?value (".*") for (?:flag )?-+(\S+): (.*)$`)

// usageError puts into our words what the flag package says, and keeps the
// library from printing the whole help.
func usageError(c *cli.Context, err error, _ bool) error {
	message, cure := err.Error(), "--help shows how the command is used"
	if m := badValueRE.FindStringSubmatch(message); m != nil {
		value, name, why := m[1], m[2], m[3]
		f := find(c.App.Flags, name)
		if c.Command != nil && find(c.Command.Flags, name) != nil {
			f = find(c.Command.Flags, name)
		}
		switch f.(type) {
		case *cli.IntFlag, *cli.Int64Flag, *cli.UintFlag, *cli.Uint64Flag, *cli.Float64Flag:
			message = fmt.Sprintf("--%s: %s is no number", name, value)
		case *cli.DurationFlag:
			message, cure = fmt.Sprintf("--%s: %s is no time", name, value), "write it like 30s, 5m or 2h30m"
		case *cli.BoolFlag:
			message, cure = fmt.Sprintf("--%s takes no value, and got %s", name, value), fmt.Sprintf("write --%s alone, or --%s=false", name, name)
		default:
			message = fmt.Sprintf("--%s: %s", name, why)
		}
	}
	return muster.Errorf(muster.CodeInvalid, "%s", message).WithCure("%s", cure)
}

// checkOutput refuses a format that does not exist.
func checkOutput(c *cli.Context) error {
	if p, err := readSettings(); err == nil && settingOf(c, "output").Source == "default" { // whoever connects tells of a bad file
		if word, ok := p.output(); ok {
			if err := c.Set("output", word); err != nil {
				return fmt.Errorf("set the output: %w", err)
			}
		}
	}
	if o := c.String("output"); !slices.Contains(formats, o) {
		return muster.Errorf(muster.CodeInvalid, "--output is %q", o).WithCure("use table, wide, json, yaml or name")
	}
	return nil
}

// placedRE knows a message that begins with its place in a file: FILE:L:C.
var placedRE = regexp.MustCompile(`^[^ ]+:\d+:\d+: `)

// report prints an error and returns the exit code that stands for it.
func report(err error, to io.Writer) int {
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[cli.ExitCoder](err); ok {
		if exit.Error() != "" {
			fmt.Fprintf(to, "muster: %s\n", exit.Error())
		}
		return exit.ExitCode()
	}
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(to, "muster: interrupted")
		return 130
	}
	e, ok := errors.AsType[*muster.Error](err)
	if _, local := errors.AsType[*fs.PathError](err); local && !ok { // this machine refuses: a file that may not be read, a full disk
		e, ok = muster.Errorf(muster.CodeRefused, "%v", err), true
	}
	if !ok {
		fmt.Fprintf(to, "muster: %v\n", err)
		return muster.CodeInternal.ExitCode()
	}
	at := ""
	if e.Code == muster.CodeInvalid && e.Field != "" && !strings.Contains(e.Message, e.Field) && !placedRE.MatchString(e.Message) {
		at = e.Field + ": "
	}
	fmt.Fprintf(to, "muster: %s%s\n", at, e.Message)
	if e.Cure != "" {
		fmt.Fprintf(to, "  %s\n", e.Cure)
	}
	return e.Code.ExitCode()
}

// arguments returns the arguments that names call for, such as "NAME", or
// "PATH…" for any number at the end.
func arguments(c *cli.Context, names ...string) ([]string, error) {
	got, least, open := c.Args().Slice(), len(names), false
	if least > 0 && names[least-1][0] == '[' {
		least, open = least-1, true
	}
	if len(got) >= least && (open || len(got) == least) {
		for i, a := range got[:least] {
			if a == "" {
				return nil, muster.Errorf(muster.CodeInvalid, "%s is empty", names[i])
			}
		}
		return got, nil
	}
	message := fmt.Sprintf("%s takes %s, and got %d", c.Command.HelpName, count(least, "argument"), len(got))
	switch {
	case len(got) < least:
		message = fmt.Sprintf("%s wants %s", c.Command.HelpName, names[len(got)])
	case least == 0:
		message = fmt.Sprintf("%s takes no argument, and got %q", c.Command.HelpName, got[0])
	}
	return nil, muster.Errorf(muster.CodeInvalid, "%s", message).WithCure("%s", strings.TrimSpace(c.Command.HelpName+" "+c.Command.ArgsUsage))
}

// versionCommand says what this program is.
func versionCommand() *cli.Command {
	return &cli.Command{Name: "version", Usage: "print the version", Action: showVersion}
}

// version is what muster version shows.
type version struct {
	Version string `json:"version"`
}

func showVersion(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	return show(c, version{muster.Version}, func(w *table) { w.line("muster %s", muster.Version) })
}
