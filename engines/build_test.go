package engines

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/muster-ml/muster"
)

// tiny is a program that builds in a moment.
var tiny = Program{Name: "tiny", Module: "example.test/tiny", Folder: "tiny", Version: "1.2.3", Minimum: "1.2.0", Usual: "a moment"}

// tinyTools makes a folder of tool modules with the program of that source.
func tinyTools(t *testing.T, source string) string {
	t.Helper()
	// The go tool's own cache lies beside ours: it stays where it is.
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOCACHE", strings.TrimSpace(string(cache)))
	t.Setenv("XDG_CACHE_HOME", filepath.Join(t.TempDir(), "a cache"))
	tools := filepath.Join(t.TempDir(), "some tools")
	for name, text := range map[string]string{"go.mod": "module example.test/tiny\n\ngo 1.26\n", "go.sum": "", "main.go": source} {
		write(t, filepath.Join(tools, "tiny", name), text, 0o644)
	}
	return tools
}

// write writes a file and the folders above it.
func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// goodTiny prints a version as the engines do.
const goodTiny = `package main

func main() { say() }
`

// printer completes goodTiny.
const printer = `package main

import "fmt"

func say() { fmt.Println("Tiny v1.2.3") }
`

func TestBuildOnce(t *testing.T) {
	tools := tinyTools(t, goodTiny)
	write(t, filepath.Join(tools, "tiny", "print.go"), printer, 0o644)
	var out [4]strings.Builder
	var wait sync.WaitGroup
	for i := range out {
		wait.Go(func() {
			if err := (builder{program: tiny, tools: tools, out: &out[i], place: "1 of 2"}).build(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	built, reused := 0, 0
	for i := range out {
		built += strings.Count(out[i].String(), "building tiny 1.2.3 (1 of 2), usually a moment, once\n")
		reused += strings.Count(out[i].String(), "using ")
	}
	if built != 1 || reused != 3 {
		t.Errorf("built %d times and reused %d times, want 1 and 3: %v", built, reused, &out)
	}
	path, err := inCache(tiny, tools)
	if err != nil || path == "" {
		t.Fatalf("in the cache: %q, %v", path, err)
	}
	if version, err := versionOf(t.Context(), path); version != "1.2.3" {
		t.Errorf("the program is of version %q, %v", version, err)
	}
	if anywhere, err := inCache(tiny, ""); anywhere != path {
		t.Errorf("without tools the program is at %q, %v, want %q", anywhere, err, path)
	}
	write(t, filepath.Join(tools, "tiny", "go.sum"), "\n", 0o644)
	if path, err := inCache(tiny, tools); path != "" || err != nil {
		t.Errorf("another go.sum finds the old program at %q, %v", path, err)
	}
}

func TestBuildBroken(t *testing.T) {
	tools := tinyTools(t, "package main\n\nfunc main() { nothing() }\n")
	err := builder{program: tiny, tools: tools, out: t.Output(), place: "1 of 1"}.build(t.Context())
	if muster.CodeOf(err) != muster.CodeRefused || !strings.Contains(err.Error(), "undefined: nothing") || strings.Contains(err.Error(), "\n") {
		t.Errorf("the error is %v", err)
	}
	if path, err := inCache(tiny, tools); path != "" {
		t.Errorf("the broken program is in the cache at %q, %v", path, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (builder{program: tiny, tools: tools, out: t.Output()}).build(ctx); err == nil || muster.CodeOf(err) != muster.CodeInternal {
		t.Errorf("a cancelled build ends with %v", err)
	}
}

func TestBuildNames(t *testing.T) {
	if err := Build(t.Context(), t.TempDir(), []string{"docker"}, t.Output()); muster.CodeOf(err) != muster.CodeInvalid {
		t.Errorf("an unknown engine: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	err := Build(t.Context(), t.TempDir(), []string{"nomad"}, t.Output())
	if muster.CodeOf(err) != muster.CodeNotFound || !strings.Contains(err.Error(), "--tools") {
		t.Errorf("a folder without tools: %v", err)
	}
}

// TestFind looks for a program on PATH and in the cache.
func TestFind(t *testing.T) {
	path, cache := t.TempDir(), t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("PATH", path+":"+os.Getenv("PATH"))
	built := filepath.Join(cache, "muster", "engines", "nomad-1.11.3-0123456789ab", "nomad")
	for _, c := range []struct {
		name, onPath string
		built        bool
		want, err    string
	}{
		{"new enough on PATH", "echo 'Nomad v1.11.2-dev'", true, filepath.Join(path, "nomad"), ""},
		{"newer on PATH", "echo 'Nomad v2.0.0'", false, filepath.Join(path, "nomad"), ""},
		{"too old, and built", "echo 'Nomad v1.9.12'", true, built, ""},
		{"too old", "echo 'Nomad v1.11.1'", false, "", `nomad 1.11.2 or newer is needed, and the one on PATH is 1.11.1: build it once by "make engines" in Muster's sources, or put it on PATH`},
		{"broken", "exit 1", false, "", `nomad 1.11.2 or newer is needed, and the one on PATH is of no known version: build it once by "make engines" in Muster's sources, or put it on PATH`},
	} {
		t.Run(c.name, func(t *testing.T) {
			write(t, filepath.Join(path, "nomad"), "#!/bin/sh\n"+c.onPath+"\n", 0o755)
			os.RemoveAll(filepath.Dir(built))
			if c.built {
				write(t, built, "#!/bin/sh\n", 0o755)
			}
			got, err := find(t.Context(), "", "nomad")
			if got != c.want || fmt.Sprint(err) != c.err && (err != nil || c.err != "") {
				t.Errorf("found %q, %v, want %q, %s", got, err, c.want, c.err)
			}
		})
	}
}
