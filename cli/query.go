package cli

import (
	"cmp"
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
)

// listFlags are those that every verb has that lists something.
func listFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "filter", Usage: "only those where `CONDITION` holds: KEY=VALUE, KEY!=VALUE, KEY~REGEX, KEY>N, KEY<N, where N is a number, a time, or for a column of durations such as 90s or 2h; KEY is a column or a field of -o json; may be given again"},
		&cli.StringFlag{Name: "sort-by", Usage: "in the order of `KEY`, a column or a field of -o json; -KEY turns it around"},
	}
}

// key is where --filter and --sort-by look: a field of the JSON, or the cell of
// a column that shows no one field.
type key struct {
	path   string
	column int
}

// item is a thing of a list with what keys find in it.
type item[T any] struct {
	T      T
	fields any
	cells  []string
}

// find returns the values at a key; a field below a list has many, and a column
// that shows a number in words has both.
func (l listing[T]) find(i item[T], k key) []any {
	if k.path != "" {
		return lookup(i.fields, k.path)
	}
	found := []any{i.cells[k.column]}
	for _, v := range l.measure(i, k) {
		if kindOf(v) == kindNumber {
			found = append(found, json.Number(wordOf(v)))
		}
	}
	return found
}

// measure returns the values at a key as they are compared: of a column that
// shows a number in words the number, of one that shows nothing none.
func (l listing[T]) measure(i item[T], k key) []any {
	if k.path != "" {
		return lookup(i.fields, k.path)
	}
	if value, ok := l.values[l.columns(true)[k.column]]; ok {
		if v := value(i.T); v != nil {
			return []any{v}
		}
		return nil
	}
	if cell := i.cells[k.column]; cell != "" && cell != "-" {
		return []any{cell}
	}
	return nil
}

// pick applies --filter and --sort-by, and the listing's limit after them.
func pick[T any](c *cli.Context, all []T, l listing[T]) ([]T, error) {
	filters, order := c.StringSlice("filter"), c.String("sort-by")
	if len(filters) > 0 || order != "" {
		items, err := l.read(all)
		if err != nil {
			return nil, err
		}
		schema, err := schemaOf(reflect.TypeFor[T]())
		if err != nil {
			return nil, err
		}
		for _, f := range filters {
			if items, err = l.filter(items, schema, f); err != nil {
				return nil, err
			}
		}
		if order != "" {
			if err := l.sort(items, schema, order); err != nil {
				return nil, err
			}
		}
		all = nil
		for _, i := range items {
			all = append(all, i.T)
		}
	}
	if l.limit > 0 && len(all) > l.limit {
		all = all[:l.limit]
	}
	if all == nil {
		all = []T{}
	}
	return all, nil
}

// read makes the fields and cells of all.
func (l listing[T]) read(all []T) ([]item[T], error) {
	items := make([]item[T], len(all))
	for i, t := range all {
		fields, err := fieldsOf(t)
		if err != nil {
			return nil, err
		}
		items[i] = item[T]{t, fields, l.cells(t, true)}
	}
	return items, nil
}

// key finds what a word on the command line means.
func (l listing[T]) key(s *jsonschema.Schema, flag, word string) (key, error) {
	columns := l.columns(true)
	for i, column := range columns {
		if !strings.EqualFold(column, word) {
			continue
		}
		if path, ok := l.fields[column]; ok {
			return key{path: path}, nil
		}
		if path := strings.ReplaceAll(strings.ToLower(column), " ", "_"); known(s, path) {
			return key{path: path}, nil
		}
		return key{column: i}, nil
	}
	if known(s, word) {
		return key{path: word}, nil
	}
	words := paths(s)
	for _, column := range columns {
		words = append(words, strings.ToLower(column))
	}
	slices.Sort(words)
	return key{}, muster.Errorf(muster.CodeInvalid, "there is no column or field %q", word).At(flag).WithCure("%s", didYouMean(word, slices.Compact(words)))
}

// sort puts items in the order of a key; those without a value come last.
func (l listing[T]) sort(items []item[T], s *jsonschema.Schema, order string) error {
	word, backwards := strings.CutPrefix(order, "-")
	k, err := l.key(s, "--sort-by", word)
	if err != nil {
		return err
	}
	if err := l.missing(items, s, k); err != nil {
		return err
	}
	slices.SortStableFunc(items, func(a, b item[T]) int {
		va, vb := first(l.measure(a, k)), first(l.measure(b, k))
		switch {
		case va == nil || vb == nil:
			return cmp.Compare(boolean(va == nil), boolean(vb == nil))
		case backwards:
			return compare(vb, va)
		}
		return compare(va, vb)
	})
	return nil
}

// missing refuses to sort by a name below a map that nothing has: it is misspelt.
func (l listing[T]) missing(items []item[T], s *jsonschema.Schema, k key) error {
	first, name, below := strings.Cut(k.path, ".")
	if field := s.Properties[first]; !below || field == nil || field.Properties != nil {
		return nil
	}
	var names []string
	for _, i := range items {
		if len(lookup(i.fields, k.path)) > 0 {
			return nil
		}
		if values := lookup(i.fields, first); len(values) == 1 {
			if has, ok := values[0].(map[string]any); ok {
				names = slices.AppendSeq(names, maps.Keys(has))
			}
		}
	}
	slices.Sort(names)
	return muster.Errorf(muster.CodeInvalid, "--sort-by: nothing here has %q among its %s", name, first).WithCure("%s", didYouMean(name, slices.Compact(names)))
}

// conditionRE splits a condition of --filter.
var conditionRE = regexp.MustCompile(`^([^=!~<>]+)(!=|=|~|>|<)(.*)$`)

// filter keeps the items where a condition holds.
func (l listing[T]) filter(items []item[T], s *jsonschema.Schema, condition string) ([]item[T], error) {
	m := conditionRE.FindStringSubmatch(condition)
	if m == nil {
		return nil, muster.Errorf(muster.CodeInvalid, "--filter %s is no condition", condition).WithCure("write it like --filter state=failed or --filter 'metrics.accuracy>0.9'")
	}
	k, err := l.key(s, "--filter", m[1])
	if err != nil {
		return nil, err
	}
	if m[2] == ">" || m[2] == "<" {
		return l.beyond(items, k, m[1], m[2], m[3])
	}
	holds, err := test(m[2], m[3])
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(items, func(i item[T]) bool { return !holds(l.find(i, k)) }), nil
}

// beyond keeps the items where a value at a key is more, or less, than something.
// Values that cannot be compared with it are refused where all are of that kind.
func (l listing[T]) beyond(items []item[T], k key, word, operator, text string) ([]item[T], error) {
	kept, met, fit := []item[T]{}, kind(""), false
	for _, i := range items {
		holds := false
		for _, v := range l.measure(i, k) {
			met = kindOf(v)
			want, ok := met.read(text)
			fit = fit || ok
			holds = holds || ok && compare(v, want) == map[string]int{">": 1, "<": -1}[operator]
		}
		if holds {
			kept = append(kept, i)
		}
	}
	if met == "" { // nobody has a value: whatever can be compared at all will do
		for _, some := range []kind{kindNumber, kindTime, kindSpan} {
			_, ok := some.read(text)
			fit = fit || ok
		}
	}
	if !fit {
		return nil, met.refuse(word, operator, text)
	}
	return kept, nil
}

// test returns what an operator with its right side asks of the values at a
// key: that one of them is so, or, for !=, that none is.
func test(operator, want string) (func([]any) bool, error) {
	one := func(v any) bool {
		_, isNumber := v.(json.Number)
		return wordOf(v) == want || isNumber && compare(v, want) == 0
	}
	switch operator {
	case "!=":
		return func(all []any) bool { return !slices.ContainsFunc(all, one) }, nil
	case "~":
		re, err := regexp.Compile(want)
		if err != nil {
			return nil, muster.Errorf(muster.CodeInvalid, "--filter: %q is no regular expression: %v", want, err)
		}
		one = func(v any) bool { return re.MatchString(wordOf(v)) }
	}
	return func(all []any) bool {
		return slices.ContainsFunc(all, one) || operator == "=" && want == "" && len(all) == 0
	}, nil
}
