package cli

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
)

// shape is what a noun looks like as JSON, and the verbs that write it.
type shape struct {
	Noun  string   `json:"noun"`
	Verbs []string `json:"verbs"` // a list where their name is one, else one thing
	of    reflect.Type
}

// shapes are those of all that the verbs write with -o json.
func shapes() []shape {
	return []shape{
		{"artifact", []string{"run files", "run download"}, reflect.TypeFor[*muster.Artifact]()},
		{"audit", []string{"audit"}, reflect.TypeFor[*muster.AuditEntry]()},
		{"check", []string{"doctor"}, reflect.TypeFor[check]()},
		{"cluster", []string{"cluster list", "cluster show", "cluster create", "cluster update", "cluster resize", "cluster pause", "cluster resume"}, reflect.TypeFor[*muster.Cluster]()},
		{"cluster-secret", []string{"cluster secret list"}, reflect.TypeFor[muster.ClusterSecret]()},
		{"comparison", []string{"experiment compare"}, reflect.TypeFor[compared]()},
		{"context", []string{"context list", "context show"}, reflect.TypeFor[contextView]()},
		{"difference", []string{"run diff"}, reflect.TypeFor[difference]()},
		{"event", []string{"run events", "cluster events"}, reflect.TypeFor[*muster.Event]()},
		{"experiment", []string{"experiment list", "experiment show"}, reflect.TypeFor[experimentView]()},
		{"metric", []string{"run metrics"}, reflect.TypeFor[muster.Metric]()},
		{"node", []string{"node list", "node show", "node exclude", "node include", "node drain", "cluster nodes"}, reflect.TypeFor[*muster.Node]()},
		{"node-log", []string{"node logs"}, reflect.TypeFor[*muster.NodeLog]()},
		{"principal", []string{"whoami"}, reflect.TypeFor[*muster.Principal]()},
		{"registry", []string{"registry login", "registry list"}, reflect.TypeFor[*muster.Registry]()},
		{"retention", []string{"retention run"}, reflect.TypeFor[*muster.RetentionReport]()},
		{"run", []string{"run list", "run show", "run wait"}, reflect.TypeFor[*muster.RunView]()},
		{"secret", []string{"token create"}, reflect.TypeFor[*muster.NewToken]()},
		{"setting", []string{"config show"}, reflect.TypeFor[setting]()},
		{"shape", []string{"schema"}, reflect.TypeFor[shape]()},
		{"size", []string{"size list"}, reflect.TypeFor[muster.NodeSize]()},
		{"stat", []string{"run stats"}, reflect.TypeFor[*statSeries]()},
		{"token", []string{"token list"}, reflect.TypeFor[*muster.Token]()},
		{"version", []string{"version"}, reflect.TypeFor[version]()},
		{"waiting", []string{"queue"}, reflect.TypeFor[*muster.Run]()},
		{"why", []string{"run why"}, reflect.TypeFor[why]()},
		{"workspace", []string{"workspace list", "workspace show", "workspace create", "workspace update"}, reflect.TypeFor[*muster.Workspace]()},
	}
}

// schemaCommand tells programs what they read.
func schemaCommand() *cli.Command {
	return &cli.Command{Name: "schema", Usage: "print the JSON Schema of what a noun's verbs write with -o json; without a noun list the nouns",
		ArgsUsage: "[NOUN]", Action: showSchema}
}

func showSchema(c *cli.Context) error {
	args, err := arguments(c, "[NOUN]")
	if err != nil {
		return err
	}
	all := shapes()
	if len(args) == 0 {
		return list(c, all, listing[shape]{head: []string{"NOUN", "VERBS"},
			row: func(s shape) []string { return []string{s.Noun, strings.Join(s.Verbs, ", ")} }})
	}
	i := slices.IndexFunc(all, func(s shape) bool { return s.Noun == args[0] })
	if i < 0 || len(args) > 1 {
		var nouns []string
		for _, s := range all {
			nouns = append(nouns, s.Noun)
		}
		return muster.Errorf(muster.CodeNotFound, "there is no schema of %q", strings.Join(args, " ")).WithCure("%s", didYouMean(args[0], nouns))
	}
	schema, err := schemaOf(all[i].of)
	if err != nil {
		return err
	}
	schema.Schema, schema.Title = "https://json-schema.org/draft/2020-12/schema", all[i].Noun
	if c.String("output") == "yaml" {
		return writeYAML(c.App.Writer, schema)
	}
	return writeJSON(c.App.Writer, schema)
}

// schemaOf makes the JSON Schema of what a Go type is encoded as. Where Go
// writes null for an empty map, the schema allows it.
func schemaOf(t reflect.Type) (*jsonschema.Schema, error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem() // a thing that is shown is there
	}
	s, err := jsonschema.ForType(t, &jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[muster.Amount]():   {Type: "number"},
		reflect.TypeFor[muster.Duration](): {Type: "number", Description: "seconds"},
	}})
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", t, err)
	}
	for _, f := range reflect.VisibleFields(t) {
		if name, quoted := strings.CutSuffix(f.Tag.Get("json"), ",string"); quoted {
			s.Properties[name] = &jsonschema.Schema{Type: "string"}
		}
	}
	allowNull(s)
	return s, nil
}

// allowNull lets every map be null.
func allowNull(s *jsonschema.Schema) {
	for below := range maps.Values(s.Properties) {
		allowNull(below)
		if below.Type == "object" && below.Properties == nil {
			below.Type, below.Types = "", []string{"null", "object"}
		}
	}
	if s.Items != nil {
		allowNull(s.Items)
	}
}

// known reports whether what the schema describes may have the field at a path
// such as "spec.priority". Below a map every name may stand.
func known(s *jsonschema.Schema, path string) bool {
	for s != nil && s.Items != nil {
		s = s.Items
	}
	switch {
	case s == nil:
		return false
	case path == "":
		return true
	case s.Properties == nil:
		return s.AdditionalProperties != nil
	}
	first, rest, _ := strings.Cut(path, ".")
	return known(s.Properties[first], rest)
}

// paths lists the fields that the schema describes, two steps deep.
func paths(s *jsonschema.Schema) (all []string) {
	for name, field := range s.Properties {
		all = append(all, name)
		for below := range field.Properties {
			all = append(all, name+"."+below)
		}
	}
	return all
}
