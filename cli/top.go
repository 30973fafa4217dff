package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// topCommand is the live view.
func topCommand() *cli.Command {
	return &cli.Command{Name: "top", Usage: "watch runs, nodes and the queue live, in a terminal", Action: top,
		Description: "Tab, r, n and q switch between runs, nodes and queue; up and down choose a run, Enter shows the end of its logs, Esc goes back; x or Ctrl-C ends."}
}

func top(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	s := screenOf(c.App.Writer)
	if in, ok := c.App.Reader.(*os.File); !s.terminal || !ok || !isTerminal(in) {
		return muster.Errorf(muster.CodeRefused, "muster top needs a terminal").WithCure("muster run list --watch goes anywhere")
	}
	api, err := connect(c)
	if err != nil {
		return err
	}
	defer api.Close()
	if _, err := api.Workspace(c.Context, workspaceOf(c)); err != nil {
		return err
	}
	view := topView{screen: s, look: func(run string) glance { return look(c.Context, api, workspaceOf(c), run) }}
	_, err = tea.NewProgram(view, tea.WithContext(c.Context), tea.WithInput(c.App.Reader), tea.WithOutput(c.App.Writer)).Run()
	if err != nil {
		return fmt.Errorf("show the live view: %w", err)
	}
	return nil
}

// topPause is the time between two looks, topRuns how many runs are shown at
// most, and topLines how many lines of the end of a run's logs.
const (
	topPause = 2 * time.Second
	topRuns  = 200
	topLines = 500
)

// glance is what one look at the server saw.
type glance struct {
	runs  []*muster.RunView
	nodes []*muster.Node
	queue []*muster.Run
	total int    // of the queue
	run   string // whose logs are in log
	log   string
	err   error
}

// look reads what the live view shows, and the logs of a run where one is
// chosen.
func look(ctx context.Context, api *client.Client, workspace, run string) (g glance) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if g.runs, g.err = api.AllRuns(ctx, workspace, client.RunQuery{}, topRuns); g.err != nil {
		return g
	}
	if g.nodes, g.err = api.Nodes(ctx, ""); g.err != nil {
		return g
	}
	if g.queue, g.total, g.err = api.Queue(ctx, ""); g.err != nil || run == "" {
		return g
	}
	var text strings.Builder
	for chunk, err := range api.Logs(ctx, client.LogQuery{Workspace: workspace, Run: run, All: true, Tail: topLines, Once: true}) {
		if err != nil && muster.CodeOf(err) != muster.CodeNotFound { // it has not started
			g.err = err
			return g
		}
		if err == nil {
			text.Write(chunk.Data)
		}
	}
	g.run, g.log = run, text.String()
	return g
}

// tabs are what the live view switches between.
var tabs = []string{"runs", "nodes", "queue"}

// topView is the state of the live view; each message makes a new one.
type topView struct {
	screen screen
	height int
	look   func(run string) glance

	tab    int
	cursor int
	run    string // whose logs are shown; "" for none
	seen   glance
}

// Init takes the first look.
func (v topView) Init() tea.Cmd { return v.see() }

// see looks at the server behind the scenes.
func (v topView) see() tea.Cmd {
	run := v.run
	return func() tea.Msg { return v.look(run) }
}

// again asks for another look.
type again struct{}

// Update takes what was seen, the terminal's size or a key.
func (v topView) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		v.screen.width, v.height = msg.Width, msg.Height
	case glance:
		if msg.err != nil { // what was seen last stays
			v.seen.err = msg.err
		} else {
			v.seen = msg
		}
		v.cursor = max(0, min(v.cursor, len(v.names())-1))
		return v, tea.Tick(topPause, func(time.Time) tea.Msg { return again{} })
	case again:
		return v, v.see()
	case tea.KeyPressMsg:
		return v.key(msg.String())
	}
	return v, nil
}

// key follows a key.
func (v topView) key(key string) (tea.Model, tea.Cmd) {
	switch key {
	case "ctrl+c", "x":
		return v, tea.Quit
	case "tab":
		v.tab, v.cursor, v.run = (v.tab+1)%len(tabs), 0, ""
	case "r", "n", "q":
		v.tab, v.cursor, v.run = slices.IndexFunc(tabs, func(t string) bool { return t[:1] == key }), 0, ""
	case "up":
		v.cursor = max(0, v.cursor-1)
	case "down":
		v.cursor = max(0, min(v.cursor+1, len(v.names())-1))
	case "esc":
		v.run = ""
	case "enter":
		if names := v.names(); v.cursor < len(names) && tabs[v.tab] != "nodes" {
			v.run = names[v.cursor]
			return v, func() tea.Msg { return again{} }
		}
	}
	return v, nil
}

// names lists what the cursor can be on.
func (v topView) names() []string {
	switch tabs[v.tab] {
	case "nodes":
		return names(v.seen.nodes, func(n *muster.Node) string { return n.Name })
	case "queue":
		return names(v.seen.queue, func(r *muster.Run) string { return r.Name })
	}
	return names(v.seen.runs, func(r *muster.RunView) string { return r.Name })
}

// View draws the whole terminal.
func (v topView) View() tea.View {
	lines := strings.Split(strings.TrimSuffix(v.body(), "\n"), "\n")
	if room := v.height - 2; room > 0 && len(lines) > room {
		if v.run != "" {
			lines = lines[len(lines)-room:] // the end of a log
		} else {
			from := min(max(0, v.cursor+2-room), len(lines)-room)
			lines = append(lines[:1:1], lines[1+from:from+room]...)
		}
	}
	view := tea.NewView(v.title() + "\n" + strings.Join(lines, "\n"))
	view.AltScreen = true
	return view
}

// title says where one is, and how things stand.
func (v topView) title() string {
	words := make([]string, len(tabs))
	for i, tab := range tabs {
		words[i] = tab
		if i == v.tab {
			words[i] = "[" + tab + "]"
		}
	}
	ready := 0
	for _, n := range v.seen.nodes {
		ready += boolean(n.Ready())
	}
	text := fmt.Sprintf("%s   %s, %d ready, %s", strings.Join(words, " "), count(len(v.seen.nodes), "node"), ready, count(v.seen.total, "waiting run"))
	if v.seen.err != nil {
		text += "   " + v.seen.err.Error()
	}
	if v.screen.width > 0 {
		text = ansi.Truncate(ansi.Strip(strings.ReplaceAll(text, "\n", " ")), v.screen.width, "…")
	}
	return text
}

// body is the table of the tab, or the logs of the chosen run.
func (v topView) body() string {
	if v.run != "" {
		if v.seen.run != v.run {
			return "logs of " + v.run + " …"
		}
		return "logs of " + v.run + "\n" + ansi.Hardwrap(ansi.Strip(v.seen.log), max(v.screen.width, 20), true)
	}
	t := new(table)
	row := func(i int, cells ...string) {
		mark := " "
		if i == v.cursor {
			mark = ">"
		}
		t.row(append([]string{mark}, cells...)...)
	}
	switch tabs[v.tab] {
	case "nodes":
		t.row("", "NODE", "CLUSTER", "STATE", "MHZ USED", "MIB USED", "RUNS")
		for i, n := range v.seen.nodes {
			used := n.Used.Add(n.Foreign)
			row(i, n.Name, n.Cluster, string(n.State), fmt.Sprintf("%s of %s", used.MHz, n.Allocatable.MHz), fmt.Sprintf("%s of %s", used.MiB, n.Allocatable.MiB), strings.Join(n.Runs, ", "))
		}
	case "queue":
		t.row("", "CLUSTER", "POSITION", "RUN", "PRIORITY", "WAITING", "REASON")
		for i, r := range v.seen.queue {
			row(i, r.Cluster, fmt.Sprint(r.Position), r.Name, fmt.Sprint(r.Spec.Priority), lasted(r.QueuedAt, r.EndedAt), waiting(r))
		}
	default:
		t.row("", "RUN", "STATE", "EXPERIMENT", "CLUSTER", "RAN", "REASON")
		for i, r := range v.seen.runs {
			row(i, r.Name, string(r.State), r.Experiment, r.Cluster, lastedRun(r), because(r))
		}
	}
	return t.text(v.screen)
}
