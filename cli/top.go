package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// topCommand is the live view.
func topCommand() *cli.Command {
	return &cli.Command{Name: "top", Usage: "watch runs, nodes and the queue live, in a terminal", Action: top,
		Description: "Tab, r, n and w switch between runs, nodes and waiting runs; up and down choose one, Enter shows a node, why a run waits and the end of its logs,\n" +
			"Esc goes back; ? shows the keys, q or Ctrl-C ends."}
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
	extra bool // between two regular looks, because of a key
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

// tabs are what the live view switches between; the first letter of each is its
// key.
var tabs = []string{"runs", "nodes", "waiting"}

// topKeys are the keys of the live view.
var topKeys = [][2]string{{"r", "runs"}, {"n", "nodes"}, {"w", "waiting"}, {"Tab", "next"}, {"↑↓", "choose"}, {"Enter", "look"}, {"Esc", "back"}, {"?", "keys"}, {"q", "quit"}}

// topView is the state of the live view; each message makes a new one.
type topView struct {
	screen screen
	height int
	look   func(run string) glance

	tab    int
	cursor int
	chosen string // the run or node that is shown; "" for none
	help   bool   // the keys are shown
	seen   glance
}

// Init takes the first look.
func (v topView) Init() tea.Cmd { return v.see() }

// see looks at the server behind the scenes.
func (v topView) see() tea.Cmd {
	run := v.chosen
	if tabs[v.tab] == "nodes" {
		run = ""
	}
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
		if msg.extra {
			return v, nil // the next regular look is due already
		}
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
	help := v.help
	v.help = false
	switch key {
	case "ctrl+c", "q", "x":
		return v, tea.Quit
	case "?":
		v.help = !help
	case "tab":
		v.tab, v.cursor, v.chosen = (v.tab+1)%len(tabs), 0, ""
	case "r", "n", "w":
		v.tab, v.cursor, v.chosen = slices.IndexFunc(tabs, func(t string) bool { return t[:1] == key }), 0, ""
	case "up":
		v.cursor = max(0, v.cursor-1)
	case "down":
		v.cursor = max(0, min(v.cursor+1, len(v.names())-1))
	case "esc":
		v.chosen = ""
	case "enter":
		if names := v.names(); v.cursor < len(names) {
			v.chosen = names[v.cursor]
			see := v.see()
			return v, func() tea.Msg {
				g := see().(glance)
				g.extra = true
				return g
			}
		}
	}
	return v, nil
}

// names lists what the cursor can be on.
func (v topView) names() []string {
	switch tabs[v.tab] {
	case "nodes":
		return names(v.seen.nodes, func(n *muster.Node) string { return n.Name })
	case "waiting":
		return names(v.seen.queue, func(r *muster.Run) string { return r.Name })
	}
	return names(v.seen.runs, func(r *muster.RunView) string { return r.Name })
}
