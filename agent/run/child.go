package run

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"os/signal"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// childUse says how a child is made.
const childUse = "muster-agent child [--name NAME] [--set INPUT=VALUE] [--env NAME=VALUE] [--instances N] [--cpus N] [--memory MIB] [--gpus N] [--wait] -- COMMAND…"

// child is a run below this one, as the command line asks for it.
type child struct {
	name      string
	inputs    pairs
	variables pairs
	instances int
	cores     float64
	mib       int64
	gpus      float64
	wait      bool
	command   string
}

// pairs are NAME=VALUE words of a flag that may be given again.
type pairs map[string]string

// String shows nothing: there is no default.
func (p pairs) String() string { return "" }

// Set takes one pair.
func (p pairs) Set(word string) error {
	name, value, ok := strings.Cut(word, "=")
	if !ok || name == "" {
		return fmt.Errorf("%q is not NAME=VALUE", word)
	}
	p[name] = value
	return nil
}

// MakeChild submits a run below the one whose command calls: it has the
// parent's code, inputs, environment and resources, and another command. Its
// name is printed; with --wait the exit code says whether it succeeded.
func MakeChild(args []string) error {
	q, err := readChild(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	api, workspace, parent, err := ownServer()
	if err != nil {
		return err
	}
	defer api.Close()
	own, err := api.Run(ctx, workspace, parent)
	if err != nil {
		return err
	}
	if err := q.check(own); err != nil {
		return err
	}
	made, err := api.CreateRun(ctx, workspace, q.request(own))
	if err != nil {
		return err
	}
	fmt.Println(made.Name)
	if !q.wait {
		return nil
	}
	ended, err := api.WaitRun(ctx, workspace, made.Name)
	if err == nil && ended.State != muster.RunSucceeded {
		err = failed(muster.FaultCommand, "run %s has ended, %s: %s", ended.Name, ended.State, ended.Reason)
	}
	return err
}

// readChild reads the command line.
func readChild(args []string) (*child, error) {
	q := &child{inputs: pairs{}, variables: pairs{}}
	flags := flag.NewFlagSet("child", flag.ContinueOnError)
	flags.StringVar(&q.name, "name", "", "")
	flags.Var(q.inputs, "set", "")
	flags.Var(q.variables, "env", "")
	flags.IntVar(&q.instances, "instances", 0, "")
	flags.Float64Var(&q.cores, "cpus", 0, "")
	flags.Int64Var(&q.mib, "memory", 0, "")
	flags.Float64Var(&q.gpus, "gpus", -1, "")
	flags.BoolVar(&q.wait, "wait", false, "")
	var command []string
	if i := slices.Index(args, "--"); i >= 0 {
		args, command = args[:i], args[i+1:]
	}
	words, err := parseFlags(flags, args)
	words = append(words, command...)
	if err != nil || len(words) == 0 {
		why := "it has no command"
		if err != nil {
			why = err.Error()
		}
		return nil, muster.Errorf(muster.CodeInvalid, "this is not how a child is made: %s", why).WithCure("%s", childUse)
	}
	q.command = words[0] // one word is a command for the shell, several are quoted for it
	if len(words) > 1 {
		for i, w := range words {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		q.command = strings.Join(words, " ")
	}
	return q, nil
}

// ownServer is the API that this run's code may call, with the run itself.
func ownServer() (api *client.Client, workspace, run string, err error) {
	addr, file := os.Getenv("MUSTER_ADDR"), os.Getenv("MUSTER_TOKEN_FILE")
	workspace, run = os.Getenv("MUSTER_WORKSPACE"), os.Getenv("MUSTER_RUN_NAME")
	token, err := os.ReadFile(file) // renewed; the variable MUSTER_TOKEN is not
	if err != nil || addr == "" || workspace == "" || run == "" {
		return nil, "", "", muster.Errorf(muster.CodeInvalid, "this is not the command of a run").WithCure("make children from within a run's command")
	}
	api = client.New(addr, strings.TrimSpace(string(token)))
	if file := os.Getenv("MUSTER_CACERT"); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, "", "", muster.Errorf(muster.CodeInvalid, "the server's authority cannot be read: %v", err)
		}
		if err := api.Trust(text); err != nil {
			return nil, "", "", err
		}
	}
	return api, workspace, run, nil
}

// check refuses inputs that the parent does not have: no command would see them.
func (q *child) check(parent *muster.RunView) error {
	names := slices.Sorted(maps.Keys(parent.Spec.Inputs))
	for _, name := range slices.Sorted(maps.Keys(q.inputs)) {
		if slices.Contains(names, name) {
			continue
		}
		cure := "it has none; --env NAME=VALUE sets a variable"
		if near := muster.Nearest(name, names); near != "" {
			cure = "did you mean " + near + "?"
		} else if len(names) > 0 {
			cure = "it has " + strings.Join(names, ", ")
		}
		return muster.Errorf(muster.CodeInvalid, "--set %s: run %s has no input of that name", name, parent.Name).WithCure("%s", cure)
	}
	return nil
}

// request is what is asked for: the parent's spec with what the command line
// changes.
func (q *child) request(parent *muster.RunView) *muster.RunRequest {
	s := parent.Spec
	s.Command, s.Warnings = q.command, nil
	s.Variables = maps.Clone(s.Variables)
	if s.Variables == nil {
		s.Variables = map[string]string{}
	}
	maps.Copy(s.Variables, q.variables)
	s.Inputs = maps.Clone(s.Inputs)
	if s.Inputs == nil {
		s.Inputs = map[string]muster.Input{}
	}
	for name, value := range q.inputs {
		s.Inputs[name] = muster.Input{Literal: &value}
	}
	g := s.Groups[0]
	g.Command = ""
	if q.instances > 0 {
		g.Count = q.instances
	}
	g.Ask = q.ask(g.Ask)
	s.Groups = []muster.Group{g}
	return &muster.RunRequest{Name: q.name, Experiment: parent.Experiment, Parent: parent.Name, Spec: s}
}

// ask is the part of a node that the child wants: its parent's, but for what
// the command line says.
func (q *child) ask(of *muster.Ask) *muster.Ask {
	if q.cores <= 0 && q.mib <= 0 && q.gpus < 0 {
		return of
	}
	ask := muster.Ask{Cores: muster.Whole(1), MiB: muster.Whole(1024)}
	if of != nil {
		ask = *of
	}
	if q.cores > 0 {
		ask.Cores = muster.Amount(q.cores * 1000)
	}
	if q.mib > 0 {
		ask.MiB = muster.Whole(q.mib)
	}
	if q.gpus >= 0 {
		ask.GPUs = muster.Amount(math.Round(q.gpus * 1000))
	}
	return &ask
}
