package muster_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/muster-ml/muster"

// rooms lists every package with the packages of this module it may import.
// It is the map of the code, read from the top: a package imports only what
// stands above it.
var rooms = []struct {
	dir  string
	uses []string
}{
	{".", nil},
	{"jobspecs", []string{"."}},
	{"jobfile", []string{"."}},
	{"bundle", []string{"."}},
	{"scheduler/admission", []string{"."}},
	{"scheduler/consul", []string{"."}},
	{"scheduler/nomad", []string{".", "jobspecs"}},
	{"scheduler/controller", []string{".", "scheduler/admission"}},
	{"store", []string{"."}},
	{"artifact", []string{"."}},
	{"client", []string{"."}},
	{"oidc", []string{"."}},
	{"engines", []string{"."}},
	{"server/api", []string{".", "jobfile"}},
	{"server/agentapi", []string{"."}},
	{"server", []string{".", "artifact", "scheduler/consul", "oidc", "scheduler/controller", "scheduler/nomad", "server/agentapi", "server/api", "store"}},
	{"agent/ship", []string{".", "client"}},
	{"agent/host", []string{"."}},
	{"agent/run", []string{".", "agent/host", "agent/ship", "bundle", "client"}},
	{"agent/node", []string{".", "agent/host", "agent/ship", "client"}},
	{"dev", []string{".", "engines"}},
	{"cli", []string{".", "bundle", "client", "dev", "jobfile", "oidc", "server"}},
	{"cmd/muster", []string{"cli"}},
	{"cmd/muster-agent", []string{".", "agent/host", "agent/node", "agent/run"}},
	{"plugin", nil},
	{"cmd/muster-device", []string{"plugin"}},
	{"autoscaler", []string{".", "client"}},
	{"autoscaler/apm", []string{".", "client", "autoscaler"}},
	{"autoscaler/target", []string{".", "client", "engines", "autoscaler"}},
	{"autoscaler/policy", []string{".", "client", "engines", "autoscaler"}},
	{"cmd/muster-autoscaler", []string{"autoscaler/apm", "autoscaler/target", "autoscaler/policy"}},
}

// doors lists, for a dependency, the only rooms that may import it. The longest
// match wins, so a package named here is an exception to its parent.
var doors = map[string][]string{
	"github.com/coreos/go-oidc/v3":     {"oidc"},
	"golang.org/x/oauth2":              {"oidc"},
	"database/sql":                     {"store"},
	"github.com/hashicorp/consul/api":  {"scheduler/consul"},
	"github.com/hashicorp/nomad":       nil, // BUSL-1.1
	"github.com/hashicorp/nomad/api":   {"jobspecs", "scheduler/nomad"},
	"github.com/danielgtaylor/huma/v2": {"server"},
	"github.com/prometheus":            {"server"},
	"go.opentelemetry.io":              {"server"},
	"github.com/rs/cors":               {"server/api"},
	"golang.org/x/time":                {"server/api"},
	"gocloud.dev":                      {"artifact"},
	"github.com/bmatcuk/doublestar/v4": {"cli"},
	"github.com/vbauerster/mpb/v8":     {"cli"},
	"github.com/urfave/cli/v2":         {"cli"},
	"charm.land/bubbletea/v2":          {"cli"},
	"github.com/guptarohit/asciigraph": {"cli"},
	"github.com/google/jsonschema-go":  {"cli"},

	// These alone of Nomad's plugin packages link nothing else of Nomad's.
	"github.com/hashicorp/nomad/plugins/base/proto":           {"plugin"},
	"github.com/hashicorp/nomad/plugins/device/proto":         {"plugin"},
	"github.com/hashicorp/nomad/plugins/shared/structs/proto": {"plugin"},
	"github.com/hashicorp/nomad/plugins/shared/hclspec":       {"plugin"},
	"github.com/hashicorp/nomad-autoscaler":                   {"autoscaler"},
	"github.com/hashicorp/go-plugin":                          {"plugin", "autoscaler"},
	"github.com/hashicorp/go-hclog":                           {"plugin", "autoscaler"},
	"github.com/hashicorp/go-msgpack/v2":                      {"plugin"},
	"github.com/NVIDIA/go-nvml":                               {"plugin"},
}

// within reports whether path is base or lies under it.
func within(path, base string) bool {
	return path == base || strings.HasPrefix(path, base+"/")
}

// doorOf returns the entry of doors that governs the import path, if any.
func doorOf(path string) (entry string) {
	for dep := range doors {
		if within(path, dep) && len(dep) > len(entry) {
			entry = dep
		}
	}
	return entry
}

// TestLayout keeps the import graph within rooms and doors, and every package
// documented exactly once. It reads the files itself, and does not ask "go
// list", so that the test cache notices when they change.
func TestLayout(t *testing.T) {
	uses := map[string][]string{}
	for _, r := range rooms {
		for _, use := range r.uses {
			if _, above := uses[use]; !above {
				t.Errorf("rooms: %q may import %q, which does not stand above it", r.dir, use)
			}
		}
		uses[r.dir] = r.uses
	}
	docs := map[string]int{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if n := d.Name(); d.IsDir() && (n == "testdata" || n == "node_modules" || len(n) > 1 && n[0] == '.') {
			return fs.SkipDir
		}
		if filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(file))
		docs[dir] += 0
		if f.Doc != nil {
			docs[dir]++
		}
		for _, spec := range f.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			if within(path, module) {
				use, err := filepath.Rel(module, path)
				if err != nil || !slices.Contains(uses[dir], use) {
					t.Errorf("%s: imports %q, which the row of %q in rooms does not allow", file, use, dir)
				}
			}
			if dep := doorOf(path); dep != "" && !slices.ContainsFunc(doors[dep], func(r string) bool { return within(dir, r) }) {
				t.Errorf("%s: imports %q, whose only doors are %q", file, path, doors[dep])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rooms {
		if n := docs[r.dir]; n != 1 {
			t.Errorf("package %q has %d package comments, want 1", r.dir, n)
		}
		delete(docs, r.dir)
	}
	for dir := range docs {
		t.Errorf("package %q has no row in rooms: name it there, or fold it into a neighbour", dir)
	}
}
