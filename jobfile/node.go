package jobfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/muster-ml/muster"
)

// content is what a file is about, in the words of its errors.
type content struct {
	noun  string
	first string // a key that it cannot do without
	keys  []renamed
}

// What files are about.
var (
	aJob     = content{"job", "command", jobKeys}
	aCluster = content{"cluster", "name", clusterKeys}
)

// file is the file that is read.
type file struct {
	content
	name  string // as errors call it
	dir   string // to which its paths are relative
	lines []string
	set   map[any]string // what was set from outside, by its node: the place there
	sent  bool           // it came without the files beside it
}

// node is a node of the file.
type node yaml.Node

// null reports whether nothing stands there.
func (n *node) null() bool {
	return n.Kind == yaml.ScalarNode && (*yaml.Node)(n).ShortTag() == "!!null"
}

// scalar reports whether one value stands there.
func (n *node) scalar() bool { return n.Kind == yaml.ScalarNode && !n.null() }

// pairs returns the keys and values of a mapping.
func (n *node) pairs() (list []pair) {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		list = append(list, pair{follow(n.Content[i]), follow(n.Content[i+1])})
	}
	return list
}

// pair is a key with its value.
type pair struct{ key, value *node }

// get returns the value of a key, nil where there is none.
func (n *node) get(key string) *node {
	for _, p := range n.pairs() {
		if p.key.Value == key {
			return p.value
		}
	}
	return nil
}

// key returns the node of a key, nil where there is none.
func (n *node) key(key string) *node {
	for _, p := range n.pairs() {
		if p.key.Value == key {
			return p.key
		}
	}
	return nil
}

// follow returns what an alias stands for.
func follow(n *yaml.Node) *node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return (*node)(n)
}

// parse reads the text into the mapping that it must be.
func (f *file) parse(text []byte) (*node, error) {
	if len(text) > MaxSize {
		return nil, f.at(1, 1, "the file is larger than %d bytes", MaxSize).WithCure("a %s file names data and programs, it does not hold them", f.noun)
	}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		// JSON may be indented with tabs, which YAML refuses; in its strings it has none.
		text = bytes.ReplaceAll(text, []byte("\t"), []byte(" "))
	}
	f.lines = strings.Split(string(text), "\n")
	if err := f.checkText(); err != nil {
		return nil, err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) || err == nil && len(doc.Content) > 0 && follow(doc.Content[0]).null() {
		return nil, f.at(1, 1, "the file is empty").WithCure("a %s file needs at least a %s", f.noun, f.first)
	} else if err != nil {
		return nil, f.syntaxError(err)
	}
	if err := decoder.Decode(&more); err == nil {
		return nil, f.at(max(more.Line, 1), max(more.Column, 1), "a second document begins here").WithCure("write one %s a file", f.noun)
	} else if !errors.Is(err, io.EOF) {
		return nil, f.syntaxError(err)
	}
	root := follow(doc.Content[0])
	if root.Kind != yaml.MappingNode {
		return nil, f.errorf(root, "", "a %s file is a mapping of keys to values, and this is %s", f.noun, describe(root)).WithCure("begin with %s: …", f.first)
	}
	return root, nil
}

// checkText refuses bytes that are no text, which the parser does not place.
func (f *file) checkText() error {
	for i, line := range f.lines {
		column := 0
		for _, c := range line {
			column++
			if c == utf8.RuneError || c < ' ' && c != '\t' && c != '\r' || c == 0x7f {
				return f.at(i+1, column, "a character that is not text").WithCure("%s files are YAML or JSON in UTF-8", f.noun)
			}
		}
	}
	return nil
}

var yamlLineRE = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntaxError places what the parser says. It knows the line alone.
func (f *file) syntaxError(err error) error {
	match := yamlLineRE.FindStringSubmatch(err.Error())
	line := 1
	if match != nil && match[1] != "" {
		line, _ = strconv.Atoi(match[1])
	}
	text := strings.TrimPrefix(err.Error(), strings.Join(match[:min(1, len(match))], ""))
	if strings.HasPrefix(text, "did not find expected") && line < len(f.lines) {
		line++ // of these the parser counts lines from 0
	}
	line = min(max(line, 1), len(f.lines))
	content := f.lines[line-1]
	column := len(content) - len(strings.TrimLeft(content, " ")) + 1
	if indent := content[:len(content)-len(strings.TrimLeft(content, " \t"))]; strings.Contains(indent, "\t") {
		return f.at(line, strings.Index(content, "\t")+1, "a tab stands here").WithCure("YAML is indented with spaces")
	}
	return f.at(line, column, "this is not YAML: %s", text)
}

// at makes an error about a place in the file.
func (f *file) at(line, column int, format string, args ...any) *muster.Error {
	return muster.Errorf(muster.CodeInvalid, "%s:%d:%d: %s", f.name, line, column, fmt.Sprintf(format, args...))
}

// errorf makes an error about a node.
func (f *file) errorf(n *node, field, format string, args ...any) *muster.Error {
	if place, ok := f.set[n]; ok {
		return muster.Errorf(muster.CodeInvalid, "--set %s: %s", place, fmt.Sprintf(format, args...)).At(field)
	}
	return f.at(n.Line, n.Column, format, args...).At(field)
}

// describe names the kind of a node.
func describe(n *node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.null():
		return "nothing"
	}
	return "a single value"
}

// nearest makes the cure for a misspelt word.
func nearest(word string, known []string, otherwise string) string {
	if near := muster.Nearest(word, known); near != "" {
		return "did you mean " + near + "?"
	}
	return otherwise
}

// join names a place below another.
func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}
