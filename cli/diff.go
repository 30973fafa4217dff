package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// difference is a field in which two runs differ; "" where one lacks it.
type difference struct {
	Field string `json:"field"`
	A     string `json:"a"`
	B     string `json:"b"`
}

// diffRuns shows in what two runs differ, and nothing else.
func diffRuns(c *cli.Context) error {
	args, err := arguments(c, "A", "B")
	if err != nil {
		return err
	}
	api, err := connect(c)
	if err != nil {
		return err
	}
	defer api.Close()
	views := make([]*muster.RunView, 2)
	words := make([]map[string]string, 2)
	for i, name := range args {
		if views[i], err = api.Run(c.Context, workspaceOf(c), name); err != nil {
			return err
		}
		if words[i], err = traits(views[i]); err != nil {
			return err
		}
	}
	all := differences(words[0], words[1])
	if err := list(c, all, listing[difference]{
		head:  []string{"FIELD", args[0], args[1]},
		row:   func(d difference) []string { return []string{d.Field, orDash(d.A), orDash(d.B)} },
		empty: fmt.Sprintf("Runs %s and %s differ in nothing.", args[0], args[1]),
	}); err != nil {
		return err
	}
	return diffCommands(c, views[0], views[1])
}

// diffCommands shows how the commands of two runs differ, for people.
func diffCommands(c *cli.Context, a, b *muster.RunView) error {
	if o := c.String("output"); a.Spec.Command == b.Spec.Command || o != "table" && o != "wide" {
		return nil
	}
	end := func(s string) []byte { return []byte(strings.TrimSuffix(s, "\n") + "\n") }
	text := diff.Diff(a.Name+"/command", end(a.Spec.Command), b.Name+"/command", end(b.Spec.Command))
	if _, rest, ok := strings.Cut(string(text), "\n"); ok {
		text = []byte(rest) // without the line that says "diff"
	}
	if _, err := fmt.Fprintf(c.App.Writer, "\n%s", text); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// differences lists the fields whose words are not the same, by name.
func differences(a, b map[string]string) []difference {
	all := maps.Clone(a)
	maps.Copy(all, b)
	var list []difference
	for _, field := range slices.Sorted(maps.Keys(all)) {
		if a[field] != b[field] {
			list = append(list, difference{field, a[field], b[field]})
		}
	}
	return list
}

// traits puts what can be compared of a run into words by field: what was
// asked for, what it logged, and how it went.
func traits(v *muster.RunView) (map[string]string, error) {
	words := map[string]string{"experiment": v.Experiment, "cluster": v.Cluster, "state": string(v.State), "reason": v.Reason}
	spec := v.Spec
	spec.Inputs, spec.Warnings = nil, nil
	fields, err := fieldsOf(spec)
	if err != nil {
		return nil, err
	}
	flatten("", fields, words)
	for prefix, group := range map[string]map[string]string{"inputs": v.Inputs, "parameters": v.Parameters, "tags": v.Tags, "properties": v.Properties} {
		for name, word := range group {
			words[prefix+"."+name] = word
		}
	}
	for name, value := range v.Metrics {
		words["metrics."+name] = number(value)
	}
	if v.ExitCode != nil {
		words["exit_code"] = fmt.Sprint(*v.ExitCode)
	}
	if !v.StartedAt.IsZero() {
		words["duration"] = lasted(v.StartedAt, v.EndedAt)
	}
	if n := len(v.Attempts); n > 0 {
		last := v.Attempts[n-1]
		words["attempts"] = fmt.Sprint(n)
		words["environment_digest"] = last.Digest
		words["nodes"] = strings.Join(nodeNames(last), ", ")
		if last.PeakMiB > 0 {
			words["peak_memory"] = fmt.Sprintf("%.0f MiB", last.PeakMiB)
		}
	}
	return words, nil
}

// flatten puts each value of JSON below its path.
func flatten(path string, v any, to map[string]string) {
	join := func(name string) string { return strings.TrimPrefix(path+"."+name, ".") }
	switch v := v.(type) {
	case map[string]any:
		for name, below := range v {
			flatten(join(name), below, to)
		}
	case []any:
		for i, below := range v {
			flatten(join(fmt.Sprint(i)), below, to)
		}
	case nil:
	default:
		to[path] = wordOf(v)
	}
}

// metricsByStep reads one metric of a run in the order of its steps.
func metricsByStep(c *cli.Context, api *client.Client, run, metric string) ([]muster.Metric, error) {
	all, err := api.Metrics(c.Context, workspaceOf(c), run, muster.MetricQuery{Name: metric})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b muster.Metric) int { return int(a.Step - b.Step) })
	return all, nil
}
