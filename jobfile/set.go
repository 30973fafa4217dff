package jobfile

import (
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/muster-ml/muster"
)

// open lists the mappings whose keys the user chooses, and into which a new one
// may be set.
var open = []string{"tags", "properties", "environment_variables"}

// lists are the places of lists. A value that is set there is one, too.
var lists = []string{"x-muster.alternatives"}

// apply puts values in the places that set names.
func (f *file) apply(root *node, set map[string]string) error {
	for _, place := range slices.Sorted(maps.Keys(set)) {
		if err := f.applyOne(root, place, set[place]); err != nil {
			return err
		}
	}
	return nil
}

// applyOne puts one value in its place. Keys that are misspelt are found when
// the job is read.
func (f *file) applyOne(root *node, place, value string) error {
	n, keys := root, strings.Split(place, ".")
	if slices.Contains(open, keys[0]) && len(keys) > 2 {
		keys = []string{keys[0], strings.Join(keys[1:], ".")}
	}
	for depth, key := range keys {
		if key == "" {
			return muster.Errorf(muster.CodeInvalid, "--set %s: this is not a place", place).WithCure("write it like inputs.x=1")
		}
		old := n.get(key)
		if old == nil && depth == 1 && (keys[0] == "inputs" || keys[0] == "outputs") {
			noun := strings.TrimSuffix(keys[0], "s")
			return muster.Errorf(muster.CodeInvalid, "--set %s: the job has no %s %s", place, noun, key).At(place).
				WithCure("%s", nearest(key, n.keys(), "it has "+orNone(n.keys())))
		}
		last := depth == len(keys)-1
		switch {
		case last && old != nil && old.Kind == yaml.MappingNode && old.get("path") != nil:
			f.put(old, "path", f.value(place, value), place)
		case last && slices.Contains(lists, place):
			f.put(n, key, f.list(place, value), place)
		case last && old != nil && old.Kind != yaml.ScalarNode:
			return muster.Errorf(muster.CodeInvalid, "--set %s: %s stands there, not a single value", place, describe(old)).At(place).
				WithCure("name a place below it: %s", orNone(old.keys()))
		case last:
			f.put(n, key, f.value(place, value), place)
		case old == nil || old.null():
			below := &node{Kind: yaml.MappingNode, Tag: "!!map"}
			f.set[below] = place
			f.put(n, key, below, place)
			n = below
		case old.Kind != yaml.MappingNode:
			return muster.Errorf(muster.CodeInvalid, "--set %s: %s is %s and has nothing below it", place, strings.Join(keys[:depth+1], "."), describe(old)).At(place)
		default:
			n = old
		}
	}
	return nil
}

// value makes the node of a value. It is read as YAML reads a plain word.
func (f *file) value(place, value string) *node {
	n := &node{Kind: yaml.ScalarNode, Value: value}
	f.set[n] = place
	return n
}

// list makes the node of a list, whose members are written like a,b or [a, b].
func (f *file) list(place, value string) *node {
	n := &node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	f.set[n] = place
	words := strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune("[], ", r) })
	for _, word := range words {
		n.Content = append(n.Content, (*yaml.Node)(f.value(place, word)))
	}
	return n
}

// put sets a key of a mapping.
func (f *file) put(n *node, key string, value *node, place string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if follow(n.Content[i]).Value == key {
			n.Content[i+1] = (*yaml.Node)(value)
			return
		}
	}
	k := &node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}
	f.set[k] = place
	n.Content = append(n.Content, (*yaml.Node)(k), (*yaml.Node)(value))
}

// keys lists the keys of a mapping.
func (n *node) keys() (list []string) {
	for _, p := range n.pairs() {
		list = append(list, p.key.Value)
	}
	return list
}

// orNone lists words.
func orNone(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}
