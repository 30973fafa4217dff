package cli

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/muster-ml/muster"
)

// TestComplete asks for what words may become.
func TestComplete(t *testing.T) {
	person(t)
	p := open(t)
	p.must(p.store.CreateWorkspace(t.Context(), workspaceNamed("vision")))
	p.submitted("alpha")
	p.submitted("beta")
	p.submitted("gone")
	p.end(p.start("gone"), muster.RunSucceeded, "")
	p.do("login", "--context", "here")
	for line, want := range map[string]string{
		"|ru":                           "run",
		"|run|di":                       "diff",
		"|run|show|a":                   "alpha",
		"|run|cancel|alpha|b":           "beta",
		"|run|cancel|":                  "beta alpha",
		"|run|archive|":                 "gone",
		"|run|restore|":                 "",
		"|token|revoke|an":              "anna",
		"|context|use|":                 "here",
		"|--context|h":                  "here",
		"|run|list|--st":                "--state",
		"|run|list|--state|r":           "running",
		"|run|list|--state=q":           "--state=queued",
		"|run|list|-e|":                 "e",
		"|queue|--cluster|":             "local",
		"|node|show|":                   "node1 node2",
		"|-o|j":                         "json",
		"|run|show|alpha|-o|":           "table wide json yaml name",
		"|workspace|show|v":             "vision",
		"|-w|v":                         "vision",
		"|experiment|compare|":          "e",
		"|cluster|create|--tier|":       "dedicated low_priority",
		"|schema|wo":                    "workspace",
		"|completion|":                  "bash zsh fish",
		"|run|submit|":                  "",
		"|-w|vision|run|show|":          "",
		"|dev|--|run|":                  "",
		"|run|show|--nonsense|al":       "alpha",
		"|--addr|http://127.0.0.1:1|a":  "audit",
		"|run|download|alpha|outputs/x": "",
	} {
		words := strings.Split(line, "|")[1:]
		o := p.do(append([]string{"__complete", "--"}, words...)...)
		if got := strings.Join(strings.Fields(o.out), " "); got != want || o.err != "" {
			t.Errorf("%s: %q, want %q %s", line, got, want, o.err)
		}
	}
	if o := try(t.Context(), "", "--addr", "http://127.0.0.1:1", "--token", "x", "__complete", "--", "run", "show", ""); o.code != 0 || o.out+o.err != "" {
		t.Errorf("without a server: exit code %d, %s%s", o.code, o.out, o.err)
	}
}

// TestCompleteInTime gives up on a server that does not answer.
func TestCompleteInTime(t *testing.T) {
	silent := listenSilently(t)
	o := make(chan outcome, 1)
	go func() {
		o <- try(t.Context(), "", "--addr", silent, "--token", "x", "__complete", "--", "run", "show", "")
	}()
	select {
	case got := <-o:
		if got.code != 0 || got.out+got.err != "" {
			t.Errorf("exit code %d, %s%s", got.code, got.out, got.err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for a server that says nothing")
	}
}

// shells run a real shell that completes "muster run show al".
var shells = map[string]string{
	"bash": `source <(muster completion bash)
COMP_WORDS=(muster run show al); COMP_CWORD=3; COMP_LINE="muster run show al"; COMP_POINT=${#COMP_LINE}
_muster; printf '%s\n' "${COMPREPLY[@]}"
COMP_WORDS=(muster run list --state = q); COMP_CWORD=5; _muster; printf '%s\n' "${COMPREPLY[@]}"
complete -p muster`,
	"fish": `muster completion fish | source
complete -C 'muster run show al'
complete -C 'muster run list --state q'
complete -C 'muster ver'`,
}

// needs skips a test where a program is not installed, but not in CI, which has all.
func needs(t *testing.T, program string) {
	t.Helper()
	_, err := exec.LookPath(program)
	if err != nil && os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed here", program)
	}
	if err != nil {
		t.Skipf("%s is not installed here", program)
	}
}

// TestCompletionInShells completes in the shells that are here.
func TestCompletionInShells(t *testing.T) {
	p := open(t)
	p.submitted("alpha")
	p.submitted("beta")
	wants := map[string][]string{"bash": {"alpha\n", "queued\n", "-F _muster muster"}, "fish": {"alpha\n", "queued\n", "version"}}
	for shell, script := range shells {
		t.Run(shell, func(t *testing.T) {
			needs(t, shell)
			cmd := exec.CommandContext(t.Context(), shell, "-c", script)
			cmd.Env = p.environment(t)
			out, err := cmd.CombinedOutput()
			for _, want := range wants[shell] {
				if err != nil || !strings.Contains(string(out), want) || strings.Contains(string(out), "beta") {
					t.Errorf("want %q, got %v\n%s", want, err, out)
				}
			}
		})
	}
}

// TestCompletionInZsh presses Tab in a real zsh.
func TestCompletionInZsh(t *testing.T) {
	needs(t, "zsh")
	p := open(t)
	p.submitted("alpha")
	cmd := exec.CommandContext(t.Context(), "zsh", "-f", "-i")
	cmd.Env = append(p.environment(t), "PS1=ready> ", "TERM=dumb")
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 30, Cols: 120})
	p.must(err)
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); tty.Close() })
	var screen safeBuffer
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := tty.Read(buf)
			_, _ = screen.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	p.says(&screen, "ready>")
	_, err = tty.WriteString("autoload -U compinit; compinit -u -D; source <(muster completion zsh); echo load''ed\n")
	p.must(err)
	p.says(&screen, "loaded")
	_, err = tty.WriteString("muster run show al\t")
	p.must(err)
	p.says(&screen, "alpha")
}

// environment is one in which shells find this binary as muster.
func (p *platform) environment(t *testing.T) []string {
	t.Helper()
	self, err := os.Executable()
	p.must(err)
	bin := t.TempDir()
	p.must(os.Symlink(self, filepath.Join(bin, "muster")))
	return append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+t.TempDir(), "MUSTER_ADDR="+p.url, "MUSTER_TOKEN="+testToken)
}

// listenSilently accepts connections and never answers.
func listenSilently(t *testing.T) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return "http://" + l.Addr().String()
}

func workspaceNamed(name string) *muster.Workspace { return &muster.Workspace{Name: name} }
