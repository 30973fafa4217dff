package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/muster-ml/muster"
)

// kind is what values are, where they are compared.
type kind string

// The kinds.
const (
	kindNumber kind = "number"
	kindTime   kind = "time"
	kindSpan   kind = "duration"
	kindText   kind = "text"
)

// kindOf tells what a value is.
func kindOf(v any) kind {
	if _, is := v.(time.Duration); is {
		return kindSpan
	}
	if _, is := numberOf(v); is {
		return kindNumber
	}
	if _, err := time.Parse(time.RFC3339, wordOf(v)); err == nil {
		return kindTime
	}
	return kindText
}

// read reads a word of the command line as a value of the kind; a duration may be
// a number of seconds.
func (k kind) read(text string) (any, bool) {
	n, isNumber := numberOf(text)
	switch k {
	case kindNumber:
		return n, isNumber
	case kindTime:
		_, err := time.Parse(time.RFC3339, text)
		return text, err == nil
	case kindSpan:
		if isNumber {
			return time.Duration(n * float64(time.Second)), true
		}
		d, err := readAge(text)
		return d, err == nil
	}
	return nil, false
}

// refuse says that a key is not compared with a text.
func (k kind) refuse(key, operator, text string) error {
	switch k {
	case kindNumber:
		return muster.Errorf(muster.CodeInvalid, "--filter: %s is a number, and %q is none", key, text)
	case kindTime:
		return muster.Errorf(muster.CodeInvalid, "--filter: %s is a time, and %q is none", key, text).WithCure("write it like 2026-05-01T12:00:00Z")
	case kindSpan:
		return muster.Errorf(muster.CodeInvalid, "--filter: %s is a duration, and %q is none", key, text).WithCure("write it like 90s, 5m or 2h30m; a number counts seconds")
	case kindText:
		return muster.Errorf(muster.CodeInvalid, "--filter: %s is a text, and is not compared by %s", key, operator).WithCure("use =, != or ~")
	}
	return muster.Errorf(muster.CodeInvalid, "--filter: %q is neither a number, a duration nor a time such as 2026-05-01T12:00:00Z", text)
}

// compare puts two values in order: numbers by size, times by time, all else by
// letters.
func compare(a, b any) int {
	da, aIs := a.(time.Duration)
	if db, bIs := b.(time.Duration); aIs && bIs {
		return cmp.Compare(da, db)
	}
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
