package jobfile

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/muster-ml/muster"
)

// readers says, for each key of a mapping, what reads its value.
type readers map[string]func(n *node, field string) error

// job is a job that is being read.
type job struct {
	*file
	Job
}

// mapping reads a mapping whose keys are known.
func (j *job) mapping(n *node, field string, known readers) error {
	return j.entries(n, field, func(key, value *node, at string) error {
		read := known[key.Value]
		if read == nil {
			keys := slices.Sorted(maps.Keys(known))
			return j.errorf(key, at, "there is no key %s", at).WithCure("%s", nearest(key.Value, keys, "use one of "+strings.Join(keys, ", ")))
		}
		return read(value, at)
	})
}

// entries calls read for each entry of a mapping; nothing is an empty one.
func (j *job) entries(n *node, field string, read func(key, value *node, at string) error) error {
	if n.null() {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		return j.errorf(n, field, "%s is a mapping, and this is %s", field, describe(n)).WithCure("write its keys on lines of their own, indented")
	}
	seen := map[string]*node{}
	for _, p := range n.pairs() {
		if p.key.Kind != yaml.ScalarNode {
			return j.errorf(p.key, field, "a key is %s", describe(p.key)).WithCure("write a word")
		}
		if (*yaml.Node)(p.key).ShortTag() == "!!merge" {
			return j.errorf(p.key, field, "merge keys are not read").WithCure("write the keys out")
		}
		at := join(field, p.key.Value)
		if first := seen[p.key.Value]; first != nil {
			return j.errorf(p.key, at, "%s stands here a second time, after line %d", at, first.Line).WithCure("take one out")
		}
		seen[p.key.Value] = p.key
		if err := read(p.key, p.value, at); err != nil {
			return err
		}
	}
	return nil
}

// text reads a single value as it is written.
func (j *job) text(to *string) func(n *node, field string) error {
	return func(n *node, field string) error {
		if n.null() {
			return nil
		}
		if !n.scalar() {
			return j.errorf(n, field, "%s is a single value, and this is %s", field, describe(n))
		}
		*to = n.Value
		return nil
	}
}

// texts reads a list of single values; one alone is a list of one.
func (j *job) texts(to *[]string) func(n *node, field string) error {
	return func(n *node, field string) error {
		if n.null() {
			return nil
		}
		all := []*node{n}
		if n.Kind == yaml.SequenceNode {
			all = nil
			for _, each := range n.Content {
				all = append(all, (*node)(each))
			}
		}
		for i, each := range all {
			if !each.scalar() || each.null() {
				return j.errorf(each, field, "%s[%d] is a single value, and this is %s", field, i, describe(each))
			}
			*to = append(*to, each.Value)
		}
		return nil
	}
}

// words reads a mapping of names to single values.
func (j *job) words(to *map[string]string) func(n *node, field string) error {
	return func(n *node, field string) error {
		*to = map[string]string{}
		return j.entries(n, field, func(key, value *node, at string) error {
			word := ""
			if err := j.text(&word)(value, at); err != nil {
				return err
			}
			(*to)[key.Value] = word
			return nil
		})
	}
}

// integer reads a whole number from low to high.
func (j *job) integer(to *int, low, high int) func(n *node, field string) error {
	return func(n *node, field string) error {
		if n.null() {
			return nil
		}
		v, err := strconv.Atoi(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil || v < low || v > high {
			return j.errorf(n, field, "%s is a whole number from %d to %d, and this is %s", field, low, high, quote(n))
		}
		*to = v
		return nil
	}
}

// number reads a number from least to most.
func (j *job) number(n *node, field string, least, most float64) (float64, error) {
	v, err := strconv.ParseFloat(n.Value, 64)
	if n.Kind != yaml.ScalarNode || err != nil || !(v >= least && v <= most) { // not a number is neither
		return 0, j.errorf(n, field, "%s is a number from %s to %s, and this is %s", field, plain(least), plain(most), quote(n))
	}
	return v, nil
}

// plain writes a number without an exponent.
func plain(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// choice reads one of several words, without regard to case.
func choice[T any](j *job, to *T, words map[string]T) func(n *node, field string) error {
	return func(n *node, field string) error {
		if n.null() {
			return nil
		}
		v, ok := words[strings.ToLower(n.Value)]
		if !ok || n.Kind != yaml.ScalarNode {
			list := slices.Sorted(maps.Keys(words))
			return j.errorf(n, field, "%s is one of %s, and this is %s", field, strings.Join(list, ", "), quote(n)).
				WithCure("%s", nearest(n.Value, list, "use one of these"))
		}
		*to = v
		return nil
	}
}

// quote shows what stands at a node.
func quote(n *node) string {
	if !n.scalar() {
		return describe(n)
	}
	if len(n.Value) > 40 {
		return strconv.Quote(strings.ToValidUTF8(n.Value[:40], "")) + "…"
	}
	return strconv.Quote(n.Value)
}

// pass accepts a key that says nothing to Muster or to anybody.
func pass(*node, string) error { return nil }

// means warns of a key that says nothing here.
func (j *job) means(why string) func(n *node, field string) error {
	return func(n *node, field string) error {
		if !n.null() {
			j.warn(field + " " + why)
		}
		return nil
	}
}

// warn keeps a warning, which becomes an event of the run.
func (j *job) warn(text string) {
	j.Request.Spec.Warnings = append(j.Request.Spec.Warnings, text)
}

// comesLater refuses what is right in Azure ML and does not work here yet.
func (j *job) comesLater(cure string) func(n *node, field string) error {
	return func(n *node, field string) error {
		if n.null() {
			return nil
		}
		return j.errorf(n, field, "%s comes later", field).WithCure("%s", cure)
	}
}

// name reads a name.
func (j *job) checkedName(noun string, to *string) func(n *node, field string) error {
	return func(n *node, field string) error {
		if err := j.text(to)(n, field); err != nil || n.null() {
			return err
		}
		if err, ok := muster.CheckName(noun, *to).(*muster.Error); ok && err != nil {
			return j.errorf(n, field, "%s", err.Message).WithCure("%s", err.Cure)
		}
		return nil
	}
}
