package cli

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
)

// View draws the whole terminal: a title, what is shown, and the keys.
func (v topView) View() tea.View {
	head, lines := v.body()
	if room := v.height - 2 - len(head); v.height > 0 && len(lines) > max(room, 1) {
		from := len(lines) - max(room, 1) // the end of a log
		if v.chosen == "" {
			from = min(max(0, v.cursor+1-room), from)
		}
		lines = lines[from : from+max(room, 1)]
	}
	all := append([]string{v.line(v.title())}, append(head, lines...)...)
	for len(all) < v.height-1 {
		all = append(all, "")
	}
	view := tea.NewView(strings.Join(append(all, v.line(keyLine())), "\n"))
	view.AltScreen = true
	return view
}

// line fits a text into one line.
func (v topView) line(text string) string {
	text = ansi.Strip(strings.ReplaceAll(text, "\n", " "))
	if v.screen.width > 0 {
		text = ansi.Truncate(text, v.screen.width, "…")
	}
	return text
}

// keyLine tells the keys at the bottom.
func keyLine() string {
	words := make([]string, len(topKeys))
	for i, k := range topKeys {
		words[i] = k[0] + " " + k[1]
	}
	return strings.Join(words, "  ")
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
	return text
}

// body is what the tab shows, by lines: a head, which stays where it is, and what
// is below it.
func (v topView) body() (head, lines []string) {
	cut := func(text string) []string {
		return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	}
	t := new(table)
	switch {
	case v.help:
		for _, k := range topKeys {
			t.row(k[0], k[1])
		}
		t.line("Enter shows a node, why a run waits and the end of its logs; any key goes on.")
		return []string{"keys"}, cut(t.text(v.screen))
	case v.chosen != "" && tabs[v.tab] == "nodes":
		v.drawNode(t)
		return []string{"node " + v.chosen}, cut(t.text(v.screen))
	case v.chosen != "":
		v.drawWaiting(t)
		head = []string{"logs of " + v.chosen}
		if text := t.text(v.screen); text != "" {
			head = append(cut(text), head...)
		}
		if v.seen.run != v.chosen {
			return append(head[:len(head)-1], head[len(head)-1]+" …"), nil
		}
		return head, cut(ansi.Hardwrap(ansi.Strip(v.seen.log), max(v.screen.width, 20), true))
	}
	t.cut = true
	v.drawTab(t)
	all := cut(t.text(v.screen))
	return all[:1], all[1:]
}

// drawWaiting says why the chosen run waits, where it does.
func (v topView) drawWaiting(t *table) {
	for _, r := range v.seen.queue {
		if r.Name != v.chosen {
			continue
		}
		t.row("run", r.Name)
		t.row("waits", lasted(r.QueuedAt, r.EndedAt))
		t.row("reason", orDash(waiting(r)))
		t.row("position", fmt.Sprintf("%d in the queue of cluster %s", r.Position, r.Cluster))
		if r.WaitReason != nil && r.WaitReason.Ahead != "" {
			t.row("before it", strings.TrimPrefix(r.WaitReason.Ahead, r.Workspace+"/"))
		}
		return
	}
}

// drawNode shows the chosen node.
func (v topView) drawNode(t *table) {
	for _, n := range v.seen.nodes {
		if n.Name != v.chosen {
			continue
		}
		t.row("id", n.ID)
		t.row("cluster", n.Cluster)
		t.row("state", nodeWords(n))
		t.row("offers", sizeOf(&n.Allocatable))
		t.row("used by runs", fmt.Sprintf("%s MHz, %s MiB, %s gpus", n.Used.MHz, n.Used.MiB, gpus(n.Used)))
		t.row("used by other Nomad jobs", fmt.Sprintf("%s MHz, %s MiB, %s gpus", n.Foreign.MHz, n.Foreign.MiB, gpus(n.Foreign)))
		t.row("runs", orDash(strings.Join(n.Runs, ", ")))
		for _, note := range n.Notes {
			t.row("note", note)
		}
		return
	}
	t.line("it is gone")
}

// drawTab lists what the tab is about.
func (v topView) drawTab(t *table) {
	row := func(i int, cells ...string) {
		mark := " "
		if i == v.cursor {
			mark = ">"
		}
		cells[0] = mark + " " + cells[0]
		t.row(cells...)
	}
	switch tabs[v.tab] {
	case "nodes":
		t.row("  NODE", "CLUSTER", "STATE", "MHZ USED", "MIB USED", "RUNS")
		for i, n := range v.seen.nodes {
			used := n.Used.Add(n.Foreign)
			row(i, n.Name, n.Cluster, string(n.State), fmt.Sprintf("%s of %s", used.MHz, n.Allocatable.MHz), fmt.Sprintf("%s of %s", used.MiB, n.Allocatable.MiB), strings.Join(n.Runs, ", "))
		}
	case "waiting":
		t.row("  RUN", "CLUSTER", "POSITION", "PRIORITY", "WAITING", "REASON")
		for i, r := range v.seen.queue {
			row(i, r.Name, r.Cluster, fmt.Sprint(r.Position), fmt.Sprint(r.Spec.Priority), lasted(r.QueuedAt, r.EndedAt), orDash(waiting(r)))
		}
	default:
		t.row("  RUN", "STATE", "EXPERIMENT", "CLUSTER", "RAN", "REASON")
		for i, r := range v.seen.runs {
			row(i, r.Name, string(r.State), r.Experiment, whereIs(r), lastedRun(r), orDash(because(r)))
		}
	}
}
