package cli

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/creack/pty"

	"github.com/muster-ml/muster"
)

// press sends keys to a view, one after another.
func press(v tea.Model, keys ...tea.KeyPressMsg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	for _, k := range keys {
		v, cmd = v.Update(k)
	}
	return v, cmd
}

// TestTopKeys switches, chooses a run and shows its logs.
func TestTopKeys(t *testing.T) {
	run := func(name string) *muster.RunView {
		return &muster.RunView{Run: muster.Run{Name: name, State: muster.RunRunning}}
	}
	seen := glance{runs: []*muster.RunView{run("alpha"), run("beta")}, nodes: []*muster.Node{{Name: "node1", State: muster.NodeIdle}},
		queue: []*muster.Run{{Name: "gamma", Cluster: "local", Position: 1, WaitReason: &muster.WaitReason{Message: "no room", Ahead: "other/delta"}}}, total: 1}
	asked := ""
	first := topView{height: 20, look: func(run string) glance {
		asked = run
		g := seen
		g.run, g.log = run, strings.Repeat("more\n", 30)+"hello\x1b[2J\n"
		return g
	}}
	v, _ := first.Update(seen)
	for _, c := range []struct {
		keys []tea.KeyPressMsg
		want []string
	}{
		{nil, []string{"[runs] nodes waiting   1 node, 1 ready, 1 waiting run", "> alpha  running", "  beta", "\nr runs  n nodes  w waiting "}},
		{[]tea.KeyPressMsg{{Code: tea.KeyDown}, {Code: tea.KeyDown}}, []string{"> beta"}},
		{[]tea.KeyPressMsg{{Code: tea.KeyTab}}, []string{"[nodes]", "> node1"}},
		{[]tea.KeyPressMsg{{Code: 'n', Text: "n"}, {Code: tea.KeyEnter}}, []string{"node node1\nid", "used by runs"}},
		{[]tea.KeyPressMsg{{Code: 'w', Text: "w"}}, []string{"[waiting]", "> gamma  local    1"}},
		{[]tea.KeyPressMsg{{Code: 'w', Text: "w"}, {Code: tea.KeyEnter}}, []string{"reason     no room", "position   1 in the queue of cluster local", "before it  other/delta", "logs of gamma …"}},
		{[]tea.KeyPressMsg{{Code: '?', Text: "?"}}, []string{"keys\nr      runs", "q      quit"}},
	} {
		shown, _ := press(v, c.keys...)
		for _, want := range c.want {
			if text := shown.View().Content; !strings.Contains(text, want) {
				t.Errorf("after %v it lacks %q:\n%s", c.keys, want, text)
			}
		}
	}
	logs, cmd := press(v, tea.KeyPressMsg{Code: tea.KeyDown}, tea.KeyPressMsg{Code: tea.KeyEnter})
	if logs, cmd = logs.Update(cmd()); cmd != nil {
		t.Error("a look because of a key begins another chain of looks")
	}
	if _, cmd := logs.Update(seen); cmd == nil {
		t.Error("a regular look is the last one")
	}
	if text := logs.View().Content; asked != "beta" || !strings.Contains(text, "logs of beta\nmore") || !strings.Contains(text, "more\nhello\nr runs") || strings.Count(text, "\n") != 19 || strings.Contains(text, "\x1b") {
		t.Errorf("logs of %q:\n%q", asked, text)
	}
	back, _ := press(logs, tea.KeyPressMsg{Code: tea.KeyEsc})
	away, _ := back.Update(glance{err: errors.New("it is away")})
	if text := away.View().Content; !strings.Contains(text, "it is away") || !strings.Contains(text, "> beta") {
		t.Errorf("a server that is away:\n%s", text)
	}
	if _, cmd := press(v, tea.KeyPressMsg{Code: 'q', Text: "q"}); cmd == nil || cmd() != tea.Quit() {
		t.Error("q does not end it")
	}
}

// TestTop runs it in a terminal.
func TestTop(t *testing.T) {
	p := open(t)
	p.submitted("alpha")
	p.start("alpha")
	self, err := os.Executable()
	p.must(err)
	cmd := exec.CommandContext(t.Context(), self, "top")
	cmd.Args[0] = "muster"
	cmd.Env = append(os.Environ(), "MUSTER_ADDR="+p.url, "MUSTER_TOKEN="+testToken, "TERM=xterm", "HOME="+t.TempDir())
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 20, Cols: 100})
	p.must(err)
	defer tty.Close()
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
	p.says(&screen, "alpha")
	_, err = tty.WriteString("n")
	p.must(err)
	p.says(&screen, "node2")
	_, err = tty.WriteString("q")
	p.must(err)
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ends with %v\n%q", err, screen.String())
	}
}
