package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
)

func cloneFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "set", Usage: "`PLACE=VALUE` to change, such as inputs.x=1, priority=75 or tags.owner=anna; may be given again"},
		&cli.StringFlag{Name: "experiment", Aliases: []string{"e"}, Usage: "`NAME` of the experiment (default: the same)"},
		&cli.StringFlag{Name: "name", Usage: "`NAME` of the new run (default: one is made)"},
		&cli.BoolFlag{Name: "wait", Usage: "wait for the end; exit code 1 unless it succeeded"},
		&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "wait, and print both streams live"}}
}

// cloneRun submits what a run was submitted as once more. Its uploads are on
// the server already: only their names are sent.
func cloneRun(c *cli.Context) error {
	o, err := aboutRun(c)
	if err != nil {
		return err
	}
	defer o.api.Close()
	v, err := o.api.Run(c.Context, o.workspace, o.name)
	if err != nil {
		return err
	}
	q := &muster.RunRequest{Name: c.String("name"), Experiment: v.Experiment, DisplayName: v.DisplayName, Description: v.Description,
		Tags: v.Tags, Properties: v.Properties, Spec: v.Spec}
	if c.IsSet("experiment") {
		q.Experiment = c.String("experiment")
	}
	if c.IsSet("name") {
		if err := checkRunName(q.Name); err != nil {
			return err
		}
	}
	q.Spec.Warnings = nil
	for _, s := range c.StringSlice("set") {
		if q, err = put(q, s); err != nil {
			return err
		}
	}
	if q.Name == "" {
		q.Name = muster.GenerateName() // so that a second try cannot make a second run
	}
	r, err := o.api.CreateRun(c.Context, o.workspace, q)
	if err != nil {
		return err
	}
	return afterSubmit(c, o.api, r)
}

// checkRunName blames the flag for a name that cannot be one.
func checkRunName(name string) error {
	err := muster.CheckName("run", name)
	if e, ok := err.(*muster.Error); ok {
		e = e.At("--name")
		e.Message = "--name: " + e.Message
		return e
	}
	return err
}

// put sets one PLACE=VALUE of a request. A place is written as in -o json,
// such as tags.owner or spec.priority; the spec's need no "spec.", and the
// value of an input is its literal.
func put(q *muster.RunRequest, assignment string) (*muster.RunRequest, error) {
	place, value, ok := strings.Cut(assignment, "=")
	if !ok {
		return nil, muster.Errorf(muster.CodeInvalid, "--set %s has no value", assignment).WithCure("write it like --set inputs.x=1")
	}
	path, err := placeOf(q, place)
	if err != nil {
		return nil, err
	}
	var last error
	for _, v := range []any{value, json.RawMessage(value)} { // a text, else a number
		fields, err := fieldsOf(q)
		if err != nil {
			return nil, err
		}
		assign(fields.(map[string]any), path, v)
		text, err := json.Marshal(fields)
		if err != nil {
			continue // no JSON
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		changed := new(muster.RunRequest)
		if last = d.Decode(changed); last == nil {
			return changed, nil
		}
	}
	return nil, muster.Errorf(muster.CodeInvalid, "--set %s: %s does not take %q", assignment, place, value).At("--set").
		WithCure("muster run show NAME -o json shows what it is now")
}

// placeOf finds the path that a place means in a request.
func placeOf(q *muster.RunRequest, place string) ([]string, error) {
	path := strings.Split(place, ".")
	own := []string{"experiment", "display_name", "description", "tags", "properties"}
	inSpec := []string{"command", "compute", "environment", "environment_variables", "inputs", "priority", "tier", "retries", "timeout", "grace", "groups"}
	if path[0] == "spec" && len(path) > 1 {
		path = path[1:]
	}
	named := slices.Contains([]string{"tags", "properties", "environment_variables", "inputs"}, path[0])
	switch {
	case named && len(path) == 1 || !slices.Contains(slices.Concat(own, inSpec), path[0]):
		return nil, muster.Errorf(muster.CodeInvalid, "--set: there is no place %q in a run", place).At("--set").
			WithCure("%s", didYouMean(path[0], slices.Concat(own, inSpec)))
	case named:
		path = []string{path[0], strings.Join(path[1:], ".")} // a name may hold dots
	}
	if path[0] == "inputs" {
		in, ok := q.Spec.Inputs[path[1]]
		if ok && in.Literal == nil {
			return nil, muster.Errorf(muster.CodeInvalid, "--set: input %q is data, and a clone brings no other", path[1]).At("--set").
				WithCure("submit the job file again: muster run submit FILE --set inputs.%s=PATH", path[1])
		}
		if !ok {
			return nil, muster.Errorf(muster.CodeInvalid, "--set: run has no input %q", path[1]).At("--set").
				WithCure("%s", didYouMean(path[1], slices.Sorted(maps.Keys(q.Spec.Inputs))))
		}
		path = append(path, "literal")
	}
	if slices.Contains(own, path[0]) {
		return path, nil
	}
	return append([]string{"spec"}, path...), nil
}

// assign puts a value at a path of JSON.
func assign(at map[string]any, path []string, value any) {
	for i, name := range path {
		if i == len(path)-1 {
			at[name] = value
			return
		}
		below := at[name]
		if list, ok := below.([]any); ok && i+1 < len(path) {
			var n int
			if _, err := fmt.Sscan(path[i+1], &n); err == nil && n >= 0 && n < len(list) && i+2 < len(path) {
				if member, ok := list[n].(map[string]any); ok {
					assign(member, path[i+2:], value)
					return
				}
			}
		}
		next, ok := below.(map[string]any)
		if !ok {
			next = map[string]any{}
			at[name] = next
		}
		at = next
	}
}
