package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// completionLimit is how long a shell waits for names from the server: later
// there are none.
const completionLimit = time.Second

// completionCommand prints what a shell reads.
func completionCommand() *cli.Command {
	return &cli.Command{Name: "completion", Usage: "print what makes a shell complete commands, flags and the names of runs, clusters and nodes",
		ArgsUsage: "bash|zsh|fish", Description: "Put it into the shell's start file: source <(muster completion bash), source <(muster completion zsh), or muster completion fish | source",
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "SHELL")
			if err != nil {
				return err
			}
			script, ok := completionScripts[args[0]]
			if !ok {
				return muster.Errorf(muster.CodeInvalid, "there is no completion for %q", args[0]).WithCure("use bash, zsh or fish")
			}
			_, err = io.WriteString(c.App.Writer, script)
			return err
		}}
}

// completionScripts ask "muster __complete -- WORDS" with the words so far, the
// last of which is to be completed, and offer the lines that it prints. Where it
// prints none the shell offers files.
var completionScripts = map[string]string{
	"bash": `_muster() {
  local IFS=$'\n'
  COMPREPLY=($(muster __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
  if [[ $COMP_WORDBREAKS == *=* ]]; then COMPREPLY=("${COMPREPLY[@]#--*=}"); fi
}
complete -o default -F _muster muster
`,
	"zsh": `#compdef muster
_muster() {
  local -a found
  found=("${(@f)$(muster __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "${found[1]}" ]]; then
    compadd -- "${found[@]}"
  else
    _files
  fi
}
if [[ "${funcstack[1]}" == _muster ]]; then _muster "$@"; else compdef _muster muster; fi
`,
	"fish": `function __muster_complete
  set -l words (commandline -opc) (commandline -ct)
  set -l found (muster __complete -- $words[2..-1] 2>/dev/null)
  if test (count $found) -gt 0
    printf '%s\n' $found
  else
    __fish_complete_path (commandline -ct)
  end
end
complete -c muster -f -a '(__muster_complete)'
`,
}

// completeCommand is what those scripts call.
func completeCommand() *cli.Command {
	return &cli.Command{Name: "__complete", Hidden: true, Usage: "print what the last word may become", Action: func(c *cli.Context) error {
		words := c.Args().Slice()
		if len(words) == 0 {
			words = []string{""}
		}
		for _, candidate := range complete(c, words) {
			if _, err := fmt.Fprintln(c.App.Writer, candidate); err != nil {
				return fmt.Errorf("write: %w", err)
			}
		}
		return nil
	}}
}

// complete returns what the last of words may become.
func complete(c *cli.Context, words []string) []string {
	words = joined(words)
	last := words[len(words)-1]
	a, waits := understood(c.App, words[:len(words)-1])
	prefix, values := "", []string(nil)
	switch name, _, assigned := strings.Cut(last, "="); {
	case a.ended:
		return nil
	case waits != nil:
		values = valuesOf(c, a, waits)
	case assigned && strings.HasPrefix(name, "-"):
		prefix = name + "="
		if f := a.find(strings.TrimLeft(name, "-")); f != nil {
			values = valuesOf(c, a, f)
		}
	case strings.HasPrefix(last, "-"):
		values = append(a.flagNames(), "--help")
	default:
		values = append(a.verbs(), argumentsOf(c, a)...)
	}
	var found []string
	for _, v := range values {
		if strings.HasPrefix(prefix+v, last) {
			found = append(found, prefix+v)
		}
	}
	return found
}

// joined puts together what bash takes apart at "=".
func joined(words []string) (whole []string) {
	for i, word := range words {
		if n := len(whole); n > 0 && (word == "=" || words[i-1] == "=") {
			whole[n-1] += word
			continue
		}
		whole = append(whole, word)
	}
	return whole
}

// half is a command line that is not all there.
type half struct {
	arranged
	ended bool              // "--" was there
	given map[string]string // the flags with values
}

// understood reads the words before the last. waits is the flag whose value
// comes next, if one does. What makes no sense is passed over.
func understood(app *cli.App, words []string) (h *half, waits cli.Flag) {
	h = &half{arranged: arranged{app: app, flags: [][]string{nil}}, given: map[string]string{}}
	for i := 0; i < len(words); i++ {
		word := words[i]
		switch {
		case word == "--":
			h.ended = true
			return h, nil
		case strings.HasPrefix(word, "-") && word != "-":
			name, value, assigned := strings.Cut(strings.TrimLeft(word, "-"), "=")
			f := h.find(name)
			if f == nil || !assigned && !takesWord(f) {
				continue
			}
			if !assigned {
				if i++; i == len(words) {
					return h, f
				}
				value = words[i]
			}
			h.given[f.Names()[0]] = value
		default:
			_ = h.word(word) // an unknown one has no completion
		}
	}
	return h, nil
}

// find returns the flag of that name, of the command or of the program.
func (h *half) find(name string) cli.Flag {
	if f := find(h.own(len(h.path)), name); f != nil {
		return f
	}
	return find(h.own(0), name)
}

// verbs lists the commands that may come next.
func (h *half) verbs() (names []string) {
	if len(h.args) > 0 {
		return nil
	}
	for _, c := range h.commands() {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	return names
}

// fixed are the flags that take one of a few words.
var fixed = map[string][]string{
	"output": formats, "stream": {"stdout", "stderr", "both"}, "tier": {string(muster.TierDedicated), string(muster.TierLowPriority)},
	"log-level": {"debug", "info", "warn", "error"}, "role": {"reader", "contributor", "owner", "administrator"}, "color": {"auto", "always", "never"},
}

// named are the flags that take the name of something on the server.
var named = map[string]string{
	"workspace": "workspace", "experiment": "experiment", "cluster": "cluster", "default-cluster": "cluster", "parent": "run", "context": "context",
}

// chosen are the verbs that take only some of the runs.
var chosen = map[string]client.RunQuery{
	"cancel": {States: statesThat(false)}, "wait": {States: statesThat(false)}, "archive": {States: statesThat(true)}, "delete": {States: statesThat(true)},
	"restore": {Archived: muster.ArchivedTrue},
}

// statesThat lists the states that are final, or those that are not.
func statesThat(final bool) []muster.RunState {
	return slices.DeleteFunc(muster.RunStates(), func(s muster.RunState) bool { return s.Final() != final })
}

// valuesOf returns what a flag may be set to.
func valuesOf(c *cli.Context, h *half, f cli.Flag) (values []string) {
	name := f.Names()[0]
	if name == "state" {
		for _, s := range muster.RunStates() {
			values = append(values, string(s))
		}
		return values
	}
	if noun, ok := named[name]; ok {
		return namesOf(c, h, noun)
	}
	return fixed[name]
}

// argumentsOf returns what an argument of the command may be.
func argumentsOf(c *cli.Context, h *half) []string {
	if len(h.path) == 0 {
		return nil
	}
	line := strings.TrimPrefix(h.line(), "muster ")
	switch noun := h.path[0].Name; {
	case line == "schema":
		var nouns []string
		for _, s := range shapes() {
			nouns = append(nouns, s.Noun)
		}
		return nouns
	case line == "completion":
		return []string{"bash", "zsh", "fish"}
	case len(h.path) < 2 || slices.Contains([]string{"submit", "create", "list"}, h.path[1].Name) || h.path[1].Name == "download" && len(h.args) > 0:
		return nil
	case slices.Contains([]string{"run", "experiment", "cluster", "node", "workspace", "token", "context"}, noun):
		return namesOf(c, h, noun)
	}
	return nil
}

// namesOf asks the server for the names of a noun. One that does not answer at
// once has none.
func namesOf(c *cli.Context, h *half, noun string) []string {
	for name, value := range h.given {
		if find(c.App.Flags, name) != nil {
			_ = c.Set(name, value) // a wrong one has no names
		}
	}
	if noun == "context" {
		s, err := readSettings()
		if err != nil {
			return nil
		}
		return slices.Sorted(maps.Keys(s.Contexts))
	}
	api, err := connect(c)
	if err != nil {
		return nil
	}
	defer api.Close()
	ctx, cancel := context.WithTimeout(c.Context, completionLimit*8/10)
	defer cancel()
	switch noun {
	case "run":
		q := client.RunQuery{}
		if len(h.path) > 1 && h.path[0].Name == "run" {
			q = chosen[h.path[1].Name]
		}
		q.Limit = 100
		page, err := api.Runs(ctx, workspaceOf(c), q)
		if err != nil {
			return nil
		}
		return names(page.Runs, func(r *muster.RunView) string { return r.Name })
	case "experiment":
		all, _ := api.Experiments(ctx, workspaceOf(c)) // none when it failed
		return names(all, func(e *muster.Experiment) string { return e.Name })
	case "cluster":
		all, _ := api.Clusters(ctx)
		return names(all, func(k *muster.Cluster) string { return k.Name })
	case "token":
		all, _ := api.Tokens(ctx)
		return names(all, func(k *muster.Token) string { return k.Name })
	case "node":
		all, _ := api.Nodes(ctx, "")
		return names(all, func(n *muster.Node) string { return n.Name })
	}
	all, _ := api.Workspaces(ctx)
	return names(all, func(w *muster.Workspace) string { return w.Name })
}

// names returns the name of each.
func names[T any](all []T, name func(T) string) []string {
	words := make([]string, len(all))
	for i, each := range all {
		words[i] = name(each)
	}
	return words
}
