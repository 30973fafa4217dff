package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/urfave/cli/v2"
	"sigs.k8s.io/yaml"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// formats are what --output takes. All verbs that show something have all of
// them: they write through show or list, and nowhere else.
var formats = []string{"table", "wide", "json", "yaml", "name"}

// show writes v as the user wants it: as JSON, as YAML with the same keys, its
// name alone, or as the table that draw makes.
func show(c *cli.Context, v any, draw func(t *table)) error {
	if f, ok := c.App.Writer.(*frame); ok {
		f.about = v
	}
	switch c.String("output") {
	case "json":
		return writeJSON(c.App.Writer, v)
	case "yaml":
		return writeYAML(c.App.Writer, v)
	case "name":
		fields, err := fieldsOf(v)
		if err != nil {
			return err
		}
		return writeName(c, c.App.Writer, fields)
	}
	t := &table{wide: c.String("output") == "wide"}
	draw(t)
	if _, err := io.WriteString(c.App.Writer, t.text(screenOf(c.App.Writer))); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// writeJSON writes v as indented JSON.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

// writeYAML writes v as YAML with the keys of its JSON.
func writeYAML(w io.Writer, v any) error {
	text, err := yaml.Marshal(v)
	if err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// nameKeys are the fields that tell things apart, the first that a thing has.
var nameKeys = []string{"name", "path", "run", "field", "noun", "host", "seq", "id"}

// writeName writes the name of a thing alone, for the next command to take.
func writeName(c *cli.Context, w io.Writer, fields any) error {
	for _, key := range nameKeys {
		if found := lookup(fields, key); len(found) == 1 && found[0] != nil {
			_, err := fmt.Fprintln(w, wordOf(found[0]))
			return err
		}
	}
	return muster.Errorf(muster.CodeInvalid, "what %s shows has no name", c.Command.HelpName).At("output").WithCure("use table, wide, json or yaml")
}

// fieldsOf returns v as its JSON reads: maps, lists, texts and numbers.
func fieldsOf(v any) (fields any, err error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&fields); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	return fields, nil
}

// listing says how items look in a table.
type listing[T any] struct {
	head  []string
	row   func(T) []string
	empty string // says what to do next

	wide   []string               // the columns that only -o wide has
	more   func(T) []string       // their cells
	fields map[string]string      // the JSON field of a column that is not named after it
	values map[string]func(T) any // what a column that is no field shows in words: a number or a time.Duration; nil of none
	wrap   bool                   // every word counts: what is too long for a column goes on below
	passed string                 // what is said where --filter leaves nothing
	limit  int                    // how many at most, after --filter and --sort-by; 0 is all
}

// list writes the items that --filter leaves, in the order that --sort-by
// wants, as JSON or YAML, as names, or as a table under a head.
func list[T any](c *cli.Context, items []T, l listing[T]) error {
	items, err := pick(c, items, l)
	if err != nil {
		return err
	}
	if c.String("output") == "name" {
		if f, ok := c.App.Writer.(*frame); ok {
			f.about = items
		}
		for _, item := range items {
			fields, err := fieldsOf(item)
			if err == nil {
				err = writeName(c, c.App.Writer, fields)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	return show(c, items, func(t *table) {
		if len(items) == 0 {
			words := l.empty
			if len(c.StringSlice("filter")) > 0 {
				words = cmp.Or(l.passed, "Nothing passes --filter.")
			}
			t.line("%s", words)
			return
		}
		t.cut = !l.wrap
		t.row(l.columns(t.wide)...)
		for _, item := range items {
			t.row(l.cells(item, t.wide)...)
		}
	})
}

// columns are the heads of the table.
func (l listing[T]) columns(wide bool) []string {
	if wide {
		return slices.Concat(l.head, l.wide)
	}
	return l.head
}

// cells are the cells of an item's row.
func (l listing[T]) cells(item T, wide bool) []string {
	if wide && l.more != nil {
		return slices.Concat(l.row(item), l.more(item))
	}
	return l.row(item)
}

// listAll is a verb without arguments that lists what fetch returns.
func listAll[T any](c *cli.Context, fetch func(api *client.Client) ([]T, error), l listing[T]) error {
	api, err := connectAlone(c)
	if err != nil {
		return err
	}
	defer api.Close()
	all, err := fetch(api)
	if err != nil {
		return err
	}
	return list(c, all, l)
}

// showOne is a verb with the name of one thing, which it shows.
func showOne[T any](c *cli.Context, fetch func(api *client.Client, name string) (T, error), draw func(t *table, v T)) error {
	args, err := arguments(c, "NAME")
	if err != nil {
		return err
	}
	api, err := connect(c)
	if err != nil {
		return err
	}
	defer api.Close()
	v, err := fetch(api, args[0])
	if err != nil {
		return err
	}
	return show(c, v, func(t *table) { draw(t, v) })
}
