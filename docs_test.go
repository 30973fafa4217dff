package muster_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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
