package cli

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
)

// TestSchemas holds what every verb writes with -o json against the schema that
// muster schema prints of it.
func TestSchemas(t *testing.T) {
	p := open(t)
	p.do("run", "submit", iris, "--name", "r")
	p.do("run", "submit", iris, "--name", "waiting", "--set", "inputs.epochs=2")
	x := p.start("r")
	p.leave(x, "outputs/model.json", "{}")
	p.do("cluster", "create", "elastic", "--provider", "local", "--size", "local.small")
	p.must(p.store.PutClusterSecret(t.Context(), "elastic", "TOKEN", 1, muster.Origin{Actor: "anna"}))
	_, err := p.store.ReportNode(t.Context(), &muster.Allocation{ID: "agent", Cluster: "local", NodeID: "11111111-aaaa", NodeName: "node1"}, &muster.NodeReport{Generation: "none", State: muster.HealthReady, Log: "log-1"})
	p.must(err)
	_, _, err = p.bucket.Put(t.Context(), muster.NodeLogKey("11111111-aaaa", "log-1", 0), "", strings.NewReader("set up\n"))
	p.must(err)
	code := 0
	_, err = p.store.Report(t.Context(), x.Launch.ID, &muster.Report{Attempt: 1, Result: &muster.Result{Started: true, ExitCode: code}})
	p.must(err)
	p.end(x, muster.RunSucceeded, "")
	lines := map[string]string{
		"run files": "r", "run download": "r -d " + t.TempDir(), "cluster create": "gpu --node-pool gpus", "cluster show": "local", "cluster update": "elastic --max 3", "cluster resize": "elastic --max 4", "cluster pause": "elastic", "cluster resume": "elastic", "cluster events": "elastic", "cluster nodes": "local",
		"experiment compare": "iris --metric accuracy",
		"run diff":           "r waiting", "run events": "r", "experiment show": "iris", "run metrics": "r", "run stats": "r", "node show": "node2", "node logs": "node1", "node exclude": "node1", "node include": "node1", "node drain": "node1", "cluster secret list": "elastic", "run show": "r", "run wait": "r",
		"run why": "waiting", "workspace show": "default", "workspace create": "vision", "workspace update": "default --keep-logs 14d", "retention run": "--dry-run", "token create": "t --role reader", "context show": "-", "registry login": "--username anna registry.example:5000",
	}
	seen := map[string]bool{}
	for _, s := range shapes() {
		var schema jsonschema.Schema
		if err := json.Unmarshal([]byte(p.do("schema", s.Noun).out), &schema); err != nil {
			t.Fatalf("schema %s: %v", s.Noun, err)
		}
		resolved, err := schema.Resolve(nil)
		p.must(err)
		for _, verb := range s.Verbs {
			seen[verb] = true
			if lines[verb] == "-" {
				continue
			}
			o := try(t.Context(), "a password", slices.Concat([]string{"--addr", p.url, "--token", testToken}, strings.Fields(verb), strings.Fields(lines[verb]), []string{"-o", "json"})...)
			p.validate(resolved, verb, o.out)
		}
	}
	for line, c := range leaves(newApp(Streams{})) {
		if slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return f.Names()[0] == "watch" }) && !seen[line] {
			t.Errorf("no noun of muster schema tells what muster %s -o json writes", line)
		}
	}
}

// validate holds JSON, or each member of a list, against a schema.
func (p *platform) validate(schema *jsonschema.Resolved, verb, text string) {
	p.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		p.Errorf("muster %s -o json: %v\n%s", verb, err, text)
		return
	}
	all, isList := v.([]any)
	if !isList {
		all = []any{v}
	}
	if len(all) == 0 && verb != "context list" {
		p.Errorf("muster %s -o json: there is nothing to validate", verb)
	}
	for _, each := range all {
		if err := schema.Validate(each); err != nil {
			p.Errorf("muster %s -o json: %v\n%v", verb, err, each)
		}
	}
}

// TestKnown tells fields that are from those that cannot be.
func TestKnown(t *testing.T) {
	s, err := schemaOf(reflect.TypeFor[*muster.RunView]())
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"name": true, "state": true, "spec.priority": true, "metrics.a.b": true, "attempts.number": true, "spec.groups.resources.gpus": true,
		"stat": false, "spec.prio": false, "name.first": false, "": true,
	} {
		if got := known(s, path); got != want {
			t.Errorf("known(%q) = %v", path, got)
		}
	}
}
