package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster/dev"
)

// walked lists the pages of the manual whose commands TestManual runs, in this
// order and on one platform, as a newcomer would.
var walked = []string{"first-run.md", "logs-and-files.md", "job-file.md", "containers.md", "tokens.md", "api.md", "troubleshooting.md"}

// notRun begins the comment above a block that no test can run, before the
// reason.
const notRun = "<!-- not run: "

// block is a fenced block of commands in a page.
type block struct {
	page string
	line int // of its fence
	text string
	why  string // it is not run
}

// blocks returns the commands of a page in their order.
func blocks(t *testing.T, page string) (all []block) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for i := 0; i < len(lines); i++ {
		if lines[i] != "```sh" {
			continue
		}
		b := block{page: page, line: i + 1}
		if i > 0 {
			if why, marked := strings.CutPrefix(lines[i-1], notRun); marked {
				b.why = strings.TrimSuffix(why, " -->")
			}
		}
		end := slices.Index(lines[i+1:], "```")
		if end < 0 {
			t.Fatalf("%s:%d: the block does not end", page, b.line)
		}
		b.text = strings.Join(lines[i+1:i+1+end], "\n")
		all, i = append(all, b), i+1+end
	}
	return all
}

// pages returns every page of the manual.
func pages(t *testing.T) (all []string) {
	t.Helper()
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*/*.md"} {
		found, err := filepath.Glob(filepath.Join("..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

// TestManual runs the commands of the manual as they stand there, page by page,
// and finds every block that is neither run nor marked with the reason why not.
func TestManual(t *testing.T) {
	for _, page := range pages(t) {
		if filepath.Base(filepath.Dir(page)) == "docs" && slices.Contains(walked, filepath.Base(page)) {
			continue
		}
		for _, b := range blocks(t, page) {
			if b.why == "" {
				t.Errorf("%s:%d: nothing runs this block: mark it by %sREASON -->, or move it to a page that is run", b.page, b.line, notRun)
			}
		}
	}
	p, folder, run, marked := open(t, dev.Config{}), t.TempDir(), 0, 0
	if err := os.CopyFS(filepath.Join(folder, "examples"), os.DirFS(filepath.Join("..", "examples"))); err != nil {
		t.Fatal(err)
	}
	for _, page := range walked {
		t.Run(strings.TrimSuffix(page, ".md"), func(t *testing.T) {
			all := blocks(t, filepath.Join("..", "docs", page))
			todo := slices.DeleteFunc(slices.Clone(all), func(b block) bool { return b.why != "" })
			run, marked = run+len(todo), marked+len(all)-len(todo)
			p.in(t).walk(folder, todo)
		})
	}
	if run == 0 {
		t.Error("no block was run: are these the right pages?")
	}
	t.Logf("%d blocks were run, %d of their pages are marked", run, marked)
}

// walk runs a page's blocks in one shell, as somebody does who reads it: what
// one block sets the next one sees. The first failure ends the page.
func (p *platform) walk(folder string, todo []block) {
	p.t.Helper()
	var script strings.Builder
	for _, b := range todo {
		fmt.Fprintf(&script, "echo '### %s:%d' >&2\n%s\n", b.page, b.line, b.text)
	}
	shell := exec.CommandContext(p.t.Context(), "bash", "-euo", "pipefail", "-c", script.String())
	shell.Dir, shell.Env = folder, append(p.command().Env,
		"PATH="+filepath.Dir(bin(p.t, "muster"))+string(os.PathListSeparator)+os.Getenv("PATH"), "XDG_CONFIG_HOME="+p.home)
	shell.WaitDelay = time.Second
	stop := time.AfterFunc(5*time.Minute, func() { _ = shell.Process.Kill() })
	defer stop.Stop()
	out, err := shell.CombinedOutput()
	if err != nil {
		p.t.Errorf("a command of the page failed: %v", err)
	}
	p.t.Logf("the page's commands say\n%s", out)
}
