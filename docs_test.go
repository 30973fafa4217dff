package muster_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// documents returns the Markdown files that people read.
func documents(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

var linkRE = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// TestLinks proves that what the documents point to is there.
func TestLinks(t *testing.T) {
	links := 0
	for _, doc := range documents(t) {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range linkRE.FindAllStringSubmatch(string(text), -1) {
			to, _, _ := strings.Cut(m[1], "#")
			if to == "" || strings.Contains(to, "://") {
				continue
			}
			links++
			if _, err := os.Stat(filepath.Join(filepath.Dir(doc), to)); err != nil {
				t.Errorf("%s points to %s, which is not there", doc, m[1])
			}
		}
	}
	if links == 0 {
		t.Error("no document has a link: does this test read the right files?")
	}
}

var (
	testRE = regexp.MustCompile(`\bTest[A-Z]\w+`)
	rowRE  = regexp.MustCompile(`\*([a-z][^*]*)\*`)

	observeRE = regexp.MustCompile(`\{"([^"]+)", \d, func\((?:sc )?\*scene\)`)
)

// TestFailureTable proves that every test that the failure table names exists,
// and that every row of TestObserve stands in it.
func TestFailureTable(t *testing.T) {
	table, err := os.ReadFile("docs/failure-table.md")
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	err = filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(file, "_test.go") {
			return err
		}
		text, err := os.ReadFile(file)
		tests.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range testRE.FindAllString(string(table), -1) {
		if !strings.Contains(tests.String(), "func "+name+"(") {
			t.Errorf("the failure table names %s, which does not exist", name)
		}
	}
	var named []string
	for _, line := range strings.Split(string(table), "\n") {
		cells := strings.Split(line, "|")
		if len(cells) < 6 || !strings.Contains(cells[4], "row") {
			continue
		}
		for _, m := range rowRE.FindAllStringSubmatch(cells[4], -1) {
			name := strings.TrimSuffix(m[1], "…")
			named = append(named, name)
			if !strings.Contains(tests.String(), `{"`+name) {
				t.Errorf("the failure table names the row %q, which TestObserve does not have", m[1])
			}
		}
	}
	for _, m := range observeRE.FindAllStringSubmatch(tests.String(), -1) {
		if !slices.ContainsFunc(named, func(name string) bool { return strings.HasPrefix(m[1], name) }) {
			t.Errorf("TestObserve has the row %q, which the failure table does not name", m[1])
		}
	}
}

var (
	shellRE   = regexp.MustCompile("(?s)\n```sh\n(.*?)\n```")
	musterRE  = regexp.MustCompile(`(?m)(?:^|[|&)] |bin/)muster (.*)$`)
	flagRE    = regexp.MustCompile(`\s(--[a-z][a-z-]*)`)
	flagRowRE = regexp.MustCompile("`(--[a-z][a-z-]*)")
)

// TestFlags proves that every flag that the documents give to muster in a block
// of commands exists, also in those that no test runs.
func TestFlags(t *testing.T) {
	reference, err := os.ReadFile("docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, m := range flagRowRE.FindAllStringSubmatch(string(reference), -1) {
		known[m[1]] = true
	}
	flags := 0
	for _, doc := range documents(t) {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range shellRE.FindAllStringSubmatch(string(text), -1) {
			commands := strings.ReplaceAll(block[1], "\\\n", " ")
			for _, command := range musterRE.FindAllStringSubmatch(commands, -1) {
				own, _, _ := strings.Cut(" "+command[1], " -- ")
				for _, m := range flagRE.FindAllStringSubmatch(own, -1) {
					flags++
					if !known[m[1]] {
						t.Errorf("%s: muster has no flag %s:\nmuster %s", doc, m[1], command[1])
					}
				}
			}
		}
	}
	if flags == 0 {
		t.Error("no document gives muster a flag: does this test read the right blocks?")
	}
}

// cellRE finds the first cell of a table's row that is code.
var cellRE = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")

// constants returns the values of the root package's constants of a type.
func constants(t *testing.T, typ string) (all []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			value, isText := spec.Values[0].(*ast.BasicLit)
			if name, named := spec.Type.(*ast.Ident); !isText || !named || name.Name != typ {
				return true
			}
			text, err := strconv.Unquote(value.Value)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, text)
			return true
		})
	}
	return all
}

// TestTroubleshooting proves that every wait reason and every error code has its
// row in the manual, that no row is of another, and that the reasons for which a
// run fails are told there in the words of the program.
func TestTroubleshooting(t *testing.T) {
	page, err := os.ReadFile("docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string][]string{}
	for _, section := range strings.Split(string(page), "\n## ")[1:] {
		title, _, _ := strings.Cut(section, "\n")
		for _, m := range cellRE.FindAllStringSubmatch(section, -1) {
			sections[title] = append(sections[title], m[1])
		}
	}
	for title, typ := range map[string]string{"A run waits": "WaitCode", "A call is refused": "Code"} {
		got, want := slices.Sorted(slices.Values(sections[title])), slices.Sorted(slices.Values(constants(t, typ)))
		if !slices.Equal(got, want) || len(want) == 0 {
			t.Errorf("docs/troubleshooting.md, %q has rows of %q, the constants of %s are %q", title, got, typ, want)
		}
	}
	program := source(t)
	for _, title := range []string{"A run failed", "The server does not start"} {
		if len(sections[title]) == 0 {
			t.Errorf("docs/troubleshooting.md has no rows under %q", title)
		}
		for _, words := range sections[title] {
			if !strings.Contains(program, words) {
				t.Errorf("docs/troubleshooting.md, %q: nothing in the program says %q", title, words)
			}
		}
	}
}

// source returns the program's text without its tests.
func source(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") {
			return err
		}
		text, err := os.ReadFile(file)
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
