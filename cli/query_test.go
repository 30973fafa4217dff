package cli

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/muster-ml/muster"
)

// lap is something that took a while, or has not begun.
type lap struct {
	Name string `json:"name"`
	took time.Duration
}

// TestSpans compares a column of durations by how long they are, and puts what
// has none last.
func TestSpans(t *testing.T) {
	laps := listing[lap]{head: []string{"NAME", "RAN", "NOTE"}, row: func(s lap) []string { return []string{s.Name, length(s.took), "-"} },
		values: map[string]func(lap) any{"RAN": func(s lap) any {
			if s.took == 0 {
				return nil
			}
			return s.took
		}}}
	all := []lap{{"none", 0}, {"minutes", 2 * time.Minute}, {"second", time.Second}, {"hour", time.Hour}}
	schema := &jsonschema.Schema{Properties: map[string]*jsonschema.Schema{"name": {Type: "string"}}}
	names := func(items []item[lap]) (names string) {
		for _, i := range items {
			names += i.T.Name + " "
		}
		return strings.TrimSpace(names)
	}
	items := func() []item[lap] {
		items, err := laps.read(all)
		if err != nil {
			t.Fatal(err)
		}
		return items
	}
	for condition, want := range map[string]string{"ran>5s": "minutes hour", "ran>90": "minutes hour", "ran<2m": "second", "ran<1h": "minutes second", "ran>59m": "hour", "ran>1d": ""} {
		if got, err := laps.filter(items(), schema, condition); err != nil || names(got) != want {
			t.Errorf("%s: %q, %v; want %q", condition, names(got), err, want)
		}
	}
	for condition, want := range map[string]string{
		"ran>long": `ran is a duration, and "long" is none`, "name>5": "name is a text, and is not compared by >", "note<x": "neither a number",
	} {
		if _, err := laps.filter(items(), schema, condition); muster.CodeOf(err) != muster.CodeInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", condition, err)
		}
	}
	for order, want := range map[string]string{"ran": "second minutes hour none", "-ran": "hour minutes second none"} {
		sorted := items()
		if err := laps.sort(sorted, schema, order); err != nil || names(sorted) != want {
			t.Errorf("--sort-by %s: %q, %v", order, names(sorted), err)
		}
	}
	noted := listing[lap]{head: []string{"NAME", "NOTE"}, row: func(s lap) []string { return []string{s.Name, map[bool]string{true: "-", false: "zz"}[s.took == 0]} }}
	sorted, err := noted.read(slices.Clone(all))
	if err == nil {
		err = noted.sort(sorted, schema, "note")
	}
	if err != nil || names(sorted) != "minutes second hour none" {
		t.Errorf("a dash comes last: %q, %v", names(sorted), err)
	}
}
