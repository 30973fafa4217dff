package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
)

// listFlags are those that every verb has that lists something.
func listFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "filter", Usage: "only those where `CONDITION` holds: KEY=VALUE, KEY!=VALUE, KEY~REGEX, KEY>N, KEY<N; KEY is a column or a field of -o json; may be given again"},
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

// find returns the values at a key; a field below a list has many.
func (i item[T]) find(k key) []any {
	if k.path == "" {
		return []any{i.cells[k.column]}
	}
	return lookup(i.fields, k.path)
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
	slices.SortStableFunc(items, func(a, b item[T]) int {
		va, vb := first(a.find(k)), first(b.find(k))
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
	holds, err := test(m[2], m[3])
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(items, func(i item[T]) bool { return !holds(i.find(k)) }), nil
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
	case ">", "<":
		_, isNumber := numberOf(want)
		if _, err := time.Parse(time.RFC3339, want); err != nil && !isNumber {
			return nil, muster.Errorf(muster.CodeInvalid, "--filter: %q is neither a number nor a time such as 2026-05-01T12:00:00Z", want)
		}
		sign := map[string]int{">": 1, "<": -1}[operator]
		one = func(v any) bool {
			_, is := numberOf(v)
			return is == isNumber && compare(v, want) == sign
		}
	}
	return func(all []any) bool {
		return slices.ContainsFunc(all, one) || operator == "=" && want == "" && len(all) == 0
	}, nil
}

// lookup returns the values at a path such as "metrics.accuracy"; where it
// leads through a list, those of all its members. A name may hold dots.
func lookup(v any, path string) (found []any) {
	switch v := v.(type) {
	case []any:
		for _, each := range v {
			found = append(found, lookup(each, path)...)
		}
		return found
	case map[string]any:
		if path == "" {
			return []any{v}
		}
		if below, ok := v[path]; ok {
			return lookup(below, "")
		}
		for i, r := range path {
			if below, ok := v[path[:i]]; r == '.' && ok {
				found = append(found, lookup(below, path[i+1:])...)
			}
		}
		return found
	}
	if path != "" || v == nil {
		return nil
	}
	return []any{v}
}

// first returns the first of values; nil of none.
func first(all []any) any {
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

// boolean is 1 for true.
func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// compare puts two values in order: numbers by size, times by time, all else by
// letters.
func compare(a, b any) int {
	na, aIs := numberOf(a)
	nb, bIs := numberOf(b)
	if aIs && bIs {
		return cmp.Compare(na, nb)
	}
	ta, errA := time.Parse(time.RFC3339, wordOf(a))
	tb, errB := time.Parse(time.RFC3339, wordOf(b))
	if errA == nil && errB == nil {
		return ta.Compare(tb)
	}
	return cmp.Compare(wordOf(a), wordOf(b))
}

// numberOf reads a value as a number.
func numberOf(v any) (float64, bool) {
	n, err := strconv.ParseFloat(wordOf(v), 64)
	return n, err == nil
}

// wordOf shows a value of JSON in a word.
func wordOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case map[string]any, []any:
		text, _ := json.Marshal(v) // was read from JSON a moment ago
		return string(text)
	}
	return fmt.Sprint(v)
}
