package jobfile

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

var expressionRE = regexp.MustCompile(`\$\{\{\s*([^{}]*?)\s*\}\}`)

// checkExpressions refuses a ${{…}} in the command that stands for nothing.
func (j *job) checkExpressions(n *node) error {
	known := append(prefixed("inputs.", j.Request.Spec.Inputs), prefixed("outputs.", j.Request.Spec.Outputs)...)
	for i, match := range expressionRE.FindAllStringSubmatchIndex(n.Value, -1) {
		whole, inner := n.Value[match[0]:match[1]], n.Value[match[2]:match[3]]
		if slices.Contains(known, inner) {
			continue
		}
		at := j.find(n, whole, i)
		kind, name, _ := strings.Cut(inner, ".")
		switch kind {
		case "inputs", "outputs":
			noun := strings.TrimSuffix(kind, "s")
			return j.errorf(at, "command", "the command uses %s, and there is no %s %s", whole, noun, name).
				WithCure("%s", nearest(inner, known, "name it under "+kind))
		case "search_space", "parent":
			return j.errorf(at, "command", "the command uses %s, which belongs to another kind of job that comes later", whole)
		}
		return j.errorf(at, "command", "the command uses %s, which stands for nothing", whole).
			WithCure("%s", nearest(inner, known, "write ${{inputs.NAME}} or ${{outputs.NAME}}"))
	}
	return nil
}

// prefixed lists the keys of m behind a prefix.
func prefixed[V any](prefix string, m map[string]V) (list []string) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, prefix+name)
	}
	return list
}

// find returns the place of the nth expression of a value. The parser knows
// only where the value begins, so it is looked for in the lines from there on.
func (j *job) find(n *node, text string, nth int) *node {
	if _, ok := j.set[n]; ok || n.Line < 1 {
		return n
	}
	for i := n.Line - 1; i < len(j.lines); i++ {
		line, start := j.lines[i], 0
		if i == n.Line-1 {
			start = min(n.Column-1, len(line))
		}
		for _, match := range expressionRE.FindAllStringIndex(line[start:], -1) {
			if nth == 0 && line[start+match[0]:start+match[1]] == text {
				at := *n
				at.Line, at.Column = i+1, utf8.RuneCountInString(line[:start+match[0]])+1
				return &at
			}
			nth--
		}
	}
	return n
}
