package bundle

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// rule is one line of an ignore file.
type rule struct {
	segments []string // globs of path.Match, "**" for any number of segments
	negated  bool
	dirOnly  bool
}

// rules are those of one folder's ignore file, for the paths below prefix.
type rules struct {
	prefix string // slash-separated, "" for the root, else with "/" behind
	list   []rule
}

// readRules reads the folder's .amlignore or, where there is none, its
// .gitignore.
func readRules(dir, prefix string) (rules, error) {
	for _, name := range []string{".amlignore", ".gitignore"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return rules{}, fmt.Errorf("read ignore file: %w", err)
		}
		return rules{prefix, parseRules(text)}, nil
	}
	return rules{prefix: prefix}, nil
}

// parseRules reads lines in the syntax of gitignore(5).
func parseRules(text []byte) (list []rule) {
	lines := bufio.NewScanner(bytes.NewReader(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))))
	lines.Buffer(nil, len(text)+1)
	for lines.Scan() {
		if r, ok := parseRule(lines.Text()); ok {
			list = append(list, r)
		}
	}
	return list
}

// parseRule reads one line; ok is false for a line that says nothing.
func parseRule(line string) (r rule, ok bool) {
	line = trimSpaces(line)
	if line == "" || line[0] == '#' {
		return rule{}, false
	}
	if line[0] == '!' {
		r.negated, line = true, line[1:]
	}
	if strings.HasSuffix(line, "/") {
		r.dirOnly, line = true, strings.TrimSuffix(line, "/")
	}
	if line == "" {
		return rule{}, false
	}
	anchored := strings.Contains(line, "/")
	for segment := range strings.SplitSeq(strings.TrimPrefix(line, "/"), "/") {
		r.segments = append(r.segments, glob(segment))
	}
	if !anchored {
		if r.segments[0] == "**" {
			r.segments[0] = "*"
		}
		r.segments = append([]string{"**"}, r.segments...)
	}
	return r, true
}

// trimSpaces takes the blanks off the end that no backslash keeps.
func trimSpaces(line string) string {
	line = strings.TrimSuffix(line, "\r")
	for strings.HasSuffix(line, " ") {
		escapes := len(line) - 1 - len(strings.TrimRight(line[:len(line)-1], `\`))
		if escapes%2 == 1 {
			break
		}
		line = line[:len(line)-1]
	}
	return line
}

// verdict is what the rules of one file say of a path.
type verdict int

const (
	silent verdict = iota
	ignored
	included
)

// judge lets the last rule that matches decide.
func (rs rules) judge(name string, isDir bool) verdict {
	segments := strings.Split(strings.TrimPrefix(name, rs.prefix), "/")
	for i := len(rs.list) - 1; i >= 0; i-- {
		r := rs.list[i]
		if r.dirOnly && !isDir || !matchSegments(r.segments, segments) {
			continue
		}
		if r.negated {
			return included
		}
		return ignored
	}
	return silent
}

// matchSegments matches a path's segments; "**" stands for any number of them,
// at the end for at least one.
func matchSegments(globs, segments []string) bool {
	for i, g := range globs {
		if g == "**" {
			if i == len(globs)-1 {
				return len(segments) > i
			}
			for from := i; from <= len(segments); from++ {
				if matchSegments(globs[i+1:], segments[from:]) {
					return true
				}
			}
			return false
		}
		if i >= len(segments) {
			return false
		}
		if ok, err := path.Match(g, segments[i]); err != nil || !ok {
			return false
		}
	}
	return len(globs) == len(segments)
}

// glob translates a segment of a gitignore pattern for path.Match, which
// differs in what stands between brackets.
func glob(segment string) string {
	var out strings.Builder
	for i := 0; i < len(segment); i++ {
		switch c := segment[i]; c {
		case '\\':
			out.WriteString(segment[i:min(i+2, len(segment))])
			i++
		case '[':
			class, end := bracket(segment, i)
			if end < 0 {
				return "[" // path.Match refuses it, and so it matches nothing, as in git
			}
			out.WriteString(class)
			i = end
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}

// posix are the named classes, as path.Match writes them.
var posix = map[string]string{
	"alnum": "0-9A-Za-z", "alpha": "A-Za-z", "blank": `\ \	`, "digit": "0-9", "lower": "a-z", "upper": "A-Z",
	"space": `\ \	-\` + "\r", "xdigit": "0-9A-Fa-f", "punct": `\!-\.\:-\@\[-\` + "`" + `\{-\~`, "graph": `\!-\.0-\~`, "print": `\ -\.0-\~`,
	"cntrl": "\x01-\x1f\x7f",
}

// bracket translates the class that opens at s[at] and returns where it ends;
// -1 where it does not.
func bracket(s string, at int) (class string, end int) {
	var out strings.Builder
	out.WriteByte('[')
	i := at + 1
	if i < len(s) && (s[i] == '!' || s[i] == '^') {
		out.WriteByte('^')
		i++
	}
	for first := true; i < len(s); first = false {
		if s[i] == ']' && !first {
			out.WriteByte(']')
			return out.String(), i
		}
		if name, rest, ok := strings.Cut(s[i:], ":]"); ok && strings.HasPrefix(name, "[:") {
			set, known := posix[name[2:]]
			if !known {
				return "", -1
			}
			out.WriteString(set)
			i = len(s) - len(rest)
			continue
		}
		low, next := member(s, i)
		i = next
		out.WriteString(`\` + low)
		if i+1 < len(s) && s[i] == '-' && s[i+1] != ']' {
			var high string
			high, i = member(s, i+1)
			out.WriteString(`-\` + high)
		}
	}
	return "", -1
}

// member returns the character of a class at s[i], without its backslash, and
// where the next one begins.
func member(s string, i int) (char string, next int) {
	if s[i] == '\\' && i+1 < len(s) {
		i++
	}
	for next = i + 1; next < len(s) && s[next]&0xC0 == 0x80; next++ {
	}
	return s[i:next], next
}
