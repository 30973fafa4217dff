package cli

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/creack/pty"
)

// TestTableFits shortens the widest column of a table that is too wide.
func TestTableFits(t *testing.T) {
	draw := &table{cut: true}
	draw.row("NAME", "REASON", "STATE")
	draw.row("a", strings.Repeat("long ", 10), "failed")
	draw.row("b\x1b[31m", "two\nlines", "")
	for width, want := range map[int]string{
		30: "NAME  REASON            STATE\na     long long long …  failed\nb     two⏎lines\n",
		0:  "NAME  REASON                                              STATE\na     " + strings.Repeat("long ", 10) + "  failed\nb     two⏎lines\n",
		20: "NAME  REASON  STATE\na     long …  failed\nb     two⏎l…\n",
		5:  "NAME  REASON                                              STATE\na     " + strings.Repeat("long ", 10) + "  failed\nb     two⏎lines\n",
	} {
		if got := draw.text(screen{width: width}); got != want {
			t.Errorf("%d columns: got\n%swant\n%s", width, got, want)
		}
	}
	draw.cut = false
	if got, want := draw.text(screen{width: 36}), "NAME  REASON                  STATE\na     long long long long     failed\n      long long long long\n      long long\nb     two⏎lines\n"; got != want {
		t.Errorf("wrapped: got\n%swant\n%s", got, want)
	}
	if got := draw.text(screen{coloured: true}); strings.Count(got, "\x1b[31mfailed\x1b[m") != 1 || strings.Count(got, "\x1b") != 2 {
		t.Errorf("colours: %q", got)
	}
}

// onTerminal runs this binary as muster on a terminal of 60 columns and returns
// what it wrote there.
func (p *platform) onTerminal(environment []string, until string, args ...string) string {
	p.Helper()
	return p.onTerminalWhen(environment, until, nil, args...)
}

// onTerminalWhen is onTerminal where the program goes on when it has written a
// text: then is done as soon as it has. Without one it is stopped there.
func (p *platform) onTerminalWhen(environment []string, until string, then func(), args ...string) string {
	p.Helper()
	self, err := os.Executable()
	p.must(err)
	ctx, cancel := context.WithTimeout(p.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Args[0] = "muster"
	cmd.Env = append(append(os.Environ(), "MUSTER_ADDR="+p.url, "MUSTER_TOKEN="+testToken, "TERM=xterm", "NO_COLOR=", "HOME="+p.TempDir()), environment...)
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 20, Cols: 60})
	p.must(err)
	defer tty.Close()
	var text strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := tty.Read(buf)
		text.Write(buf[:n])
		if err != nil { // the program has ended
			if until != "" {
				p.Errorf("it never wrote %q, but\n%q", until, text.String())
			}
			break
		}
		if until == "" || !strings.Contains(text.String(), until) {
			continue
		}
		if then == nil {
			break
		}
		then()
		until = ""
	}
	cancel()
	_ = cmd.Wait() // it was killed where it goes on for ever
	return strings.ReplaceAll(text.String(), "\r\n", "\n")
}

// TestTerminal has colours and a limit of width on terminals alone.
func TestTerminal(t *testing.T) {
	p := open(t)
	p.submitted("a-run-with-a-long-name-that-takes-much-of-the-line")
	for _, c := range []struct {
		environment []string
		coloured    bool
	}{{nil, true}, {[]string{"NO_COLOR=1"}, false}, {[]string{"TERM=dumb"}, false}} {
		text := p.onTerminal(c.environment, "", "run", "list")
		if strings.Contains(text, "\x1b[33mqueued") != c.coloured || !strings.Contains(text, "…") {
			t.Errorf("%v:\n%q", c.environment, text)
		}
		for line := range strings.Lines(ansi.Strip(text)) {
			if ansi.StringWidth(strings.TrimSpace(line)) > 60 {
				t.Errorf("a line is cut, and still too long for 60 columns: %q", line)
			}
		}
	}
	if o := p.do("run", "list"); strings.Contains(o.out, "\x1b") || !strings.Contains(o.out, "much-of-the-line") {
		t.Errorf("piped:\n%s", o.out)
	}
	if text := p.onTerminal(nil, "\x1b[H\x1b[2J", "run", "list", "--watch=100ms"); !strings.HasPrefix(text, "\x1b[H\x1b[2J") {
		t.Errorf("--watch: %q", text)
	}
}

// TestWatch writes again what has changed, and nothing else, where there is no
// terminal.
func TestWatch(t *testing.T) {
	p := open(t)
	p.submitted("a")
	s := p.begin("run", "list", "--watch=100ms", "-o", "name")
	p.says(&s.out, "a\n")
	p.submitted("b")
	p.says(&s.out, "b\na\n")
	if got := s.out.String(); got != "a\nb\na\n" {
		t.Errorf("got %q", got)
	}
}

// TestFilterOperators holds each operator against values of each kind.
func TestFilterOperators(t *testing.T) {
	p := open(t)
	p.do("run", "submit", p.file("command: a"), "--name", "low", "--experiment", "e", "--set", "queue_settings.priority=low", "--set", "tags.owner=anna")
	p.do("run", "submit", p.file("command: a"), "--name", "high", "--experiment", "e", "--set", "queue_settings.priority=high")
	for filter, want := range map[string]string{
		"spec.priority=75": "high\n", "spec.priority!=75": "low\n", "priority>25": "high\n", "priority<75": "low\n", "NAME~^l": "low\n", "name=none": "",
		"tags.owner=anna": "low\n", "tags.owner!=anna": "high\n", "tags.owner=": "high\n", "submitted>2001-01-01T00:00:00Z": "high\nlow\n",
		"submitted<2001-01-01T00:00:00Z": "", "spec.groups.count=1": "high\nlow\n", "ran=-": "high\nlow\n",
	} {
		if o := p.do("run", "list", "-o", "name", "--filter", filter); o.out != want {
			t.Errorf("--filter %s: %q, want %q", filter, o.out, want)
		}
	}
	for order, want := range map[string]string{"priority": "low\nhigh\n", "-priority": "high\nlow\n", "tags.owner": "low\nhigh\n", "-tags.owner": "low\nhigh\n", "name": "high\nlow\n"} {
		if o := p.do("run", "list", "-o", "name", "--sort-by", order); o.out != want {
			t.Errorf("--sort-by %s: %q, want %q", order, o.out, want)
		}
	}
	for _, bad := range []string{"priority>high", "name~(", "=x", "nme=x"} {
		if o := p.try("run", "list", "--filter", bad); o.code != 2 {
			t.Errorf("--filter %s: exit code %d\n%s%s", bad, o.code, o.out, o.err)
		}
	}
}
