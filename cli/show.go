package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
)

// shownFiles is how many of a run's files are shown with it.
const shownFiles = 50

func showRun(c *cli.Context) error {
	o, err := aboutRun(c)
	if err != nil {
		return err
	}
	defer o.api.Close()
	v, err := o.api.Run(c.Context, o.workspace, o.name)
	if err != nil {
		return err
	}
	files, err := o.api.Artifacts(c.Context, o.workspace, o.name, muster.ArtifactQuery{Limit: shownFiles + 1})
	if err != nil {
		return err
	}
	below, err := runsBelow(o)
	if err != nil {
		return err
	}
	gone := ""
	if v.Parent != "" {
		if _, err := o.api.Run(c.Context, o.workspace, v.Parent); muster.CodeOf(err) == muster.CodeNotFound {
			gone = ", which is deleted"
		}
	}
	shown := full(v)
	shown.Below = below
	return show(c, shown, func(t *table) {
		drawHead(t, v, gone)
		t.line("\nTimeline")
		for _, m := range timeline(v) {
			t.row("  "+clock(m.at), since(v.CreatedAt, m.at), m.what)
		}
		drawWords(t, "Inputs", v.Inputs)
		drawWords(t, "Parameters", v.Parameters)
		metrics := map[string]string{}
		for name, value := range v.Metrics {
			metrics[name] = number(value)
		}
		drawWords(t, "Metrics (last)", metrics)
		if len(files) > 0 {
			t.line("\nFiles")
			for _, f := range files[:min(shownFiles, len(files))] {
				t.row("  "+f.Path, bytesOf(f.Size))
			}
			if len(files) > shownFiles {
				t.line("  and more: muster run files %s", v.Name)
			}
		}
		if len(below) > 0 {
			t.line("\nBelow it")
		}
		for _, b := range treeOf(below) {
			t.row("  "+b.before+b.run.Name, string(b.run.State), lastedRun(b.run), orDash(because(b.run)))
		}
	})
}

// clusterOf says where a run goes, and where it is if that is another.
func clusterOf(v *muster.RunView) string {
	text := v.Cluster
	if len(v.Spec.Alternatives) > 0 {
		text += ", else " + strings.Join(v.Spec.Alternatives, ", ")
	}
	if v.PlacedOn != "" {
		text += "; its last attempt is on " + v.PlacedOn
	}
	return text
}

// askedOf says what groups of instances want of nodes.
func askedOf(groups []muster.Group) string {
	var words []string
	for _, g := range groups {
		text := "a whole node"
		if a := g.Ask; a != nil {
			text = fmt.Sprintf("%s, %s MiB", countAmount(a.Cores, "core"), a.MiB)
			if a.GPUs > 0 {
				text += ", " + strings.TrimSpace(countAmount(a.GPUs, "gpu")+" "+a.GPUModel)
			}
		}
		if g.Count > 1 {
			text = fmt.Sprintf("%d times %s", g.Count, text)
		}
		words = append(words, text)
	}
	return strings.Join(words, "; ")
}

// drawHead writes what a run is and how it stands; gone says that its parent is
// deleted.
func drawHead(t *table, v *muster.RunView, gone string) {
	t.row("run", v.Name)
	if v.DisplayName != "" {
		t.row("display name", v.DisplayName)
	}
	t.row("workspace", v.Workspace)
	t.row("experiment", v.Experiment)
	t.row("cluster", clusterOf(v))
	if len(v.Spec.Groups) > 0 {
		t.row("asked for", askedOf(v.Spec.Groups))
	}
	t.row("submitted", v.CreatedAt.Local().Format("2006-01-02 15:04:05 MST"))
	if v.Parent != "" {
		t.row("parent", v.Parent+gone)
	}
	t.row("state", stateWords(string(v.State), because(v)))
	if !v.ArchivedAt.IsZero() {
		t.row("archived", ago(v.ArchivedAt))
	}
	if words := lastWords(v); words != "" {
		t.row("what it said", words)
	}
	if v.Stop != "" && !v.State.Final() {
		t.row("told to end", string(v.Stop))
	}
	if v.ExitCode != nil {
		t.row("exit code", fmt.Sprint(*v.ExitCode))
	}
	if n, again := survived(v); n > 0 {
		t.row("evictions survived", fmt.Sprintf("%d; at most %s of work was done again", n, length(again)))
	}
	if n := len(v.Attempts); n > 0 {
		last := v.Attempts[n-1]
		if last.PeakMiB > 0 {
			t.row("peak memory", fmt.Sprintf("%.0f MiB", last.PeakMiB))
		}
		if last.CPUSeconds > 0 {
			t.row("CPU time", fmt.Sprintf("%.1f s", last.CPUSeconds))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.Tags)) {
		t.row("tag "+name, v.Tags[name])
	}
}

// survived counts the evictions after which a run went on, and sums up the work
// that was lost by them. One that ended it was not survived, and what it took was
// never done again.
func survived(v *muster.RunView) (n int, again time.Duration) {
	for i, a := range v.Attempts {
		last := i == len(v.Attempts)-1
		if a.Outcome == muster.OutcomeEvicted && !(last && v.State.Final()) {
			n++
			if !last {
				again += a.Wasted()
			}
		}
	}
	return n, again
}

// drawWords writes names with their values, nothing for none.
func drawWords(t *table, head string, words map[string]string) {
	if len(words) == 0 {
		return
	}
	t.line("\n%s", head)
	for _, name := range slices.Sorted(maps.Keys(words)) {
		t.row("  "+name, words[name])
	}
}

// moment is an entry of a timeline.
type moment struct {
	at   time.Time
	what string
}

// timeline puts what is known of a run in order.
func timeline(v *muster.RunView) (list []moment) {
	add := func(at time.Time, format string, args ...any) {
		if !at.IsZero() {
			list = append(list, moment{at, fmt.Sprintf(format, args...)})
		}
	}
	add(v.CreatedAt, "queued")
	for _, a := range v.Attempts {
		prefix := ""
		if len(v.Attempts) > 1 {
			prefix = fmt.Sprintf("attempt %d: ", a.Number)
		}
		add(a.AdmittedAt, "%sadmitted to %s", prefix, cmp.Or(strings.Join(nodeNames(a), ", "), a.Cluster))
		add(a.DispatchedAt, "%sdispatched", prefix)
		for _, p := range a.PhaseTimes {
			add(p.At, "%sphase %s", prefix, p.Phase)
		}
		told := v.State.Final() && a.Number == len(v.Attempts) && a.Reason == v.Reason // by the run's own end
		if a.Outcome != "" && !told {
			add(a.EndedAt, "%s", strings.TrimSuffix(prefix+"ended, "+string(a.Outcome)+": "+a.Reason, ": "))
		}
	}
	if v.State.Final() {
		add(v.EndedAt, "%s", stateWords(string(v.State), because(v)))
	}
	slices.SortStableFunc(list, func(a, b moment) int { return a.at.Compare(b.at) })
	return list
}

// nodeNames lists the nodes of an attempt's instances.
func nodeNames(a *muster.Attempt) (names []string) {
	for _, in := range a.Instances {
		names = append(names, cmp.Or(in.NodeName, in.NodeID))
	}
	return names
}

// why is what is known of why a run is in its state.
type why struct {
	Name       string             `json:"name"`
	State      muster.RunState    `json:"state"`
	Reason     string             `json:"reason"`
	WaitReason *muster.WaitReason `json:"wait_reason"`
	Position   int                `json:"position"`
	Phase      muster.Phase       `json:"phase"`
	ArchivedAt time.Time          `json:"archived_at,omitzero"`
	Events     []*muster.Event    `json:"events"` // the last ones
}

// whyEvents is how many of the last events run why shows.
const whyEvents = 5

func whyRun(c *cli.Context) error {
	o, err := aboutRun(c)
	if err != nil {
		return err
	}
	defer o.api.Close()
	v, err := o.api.Run(c.Context, o.workspace, o.name)
	if err != nil {
		return err
	}
	events, err := o.allEvents()
	if err != nil {
		return err
	}
	events = events[max(0, len(events)-whyEvents):]
	if v.State == muster.RunQueued {
		v.Phase = "" // it is that of an attempt which is over
	}
	w := why{Name: v.Name, State: v.State, Reason: v.Reason, WaitReason: v.WaitReason, Position: v.Position, Phase: v.Phase, ArchivedAt: v.ArchivedAt, Events: events}
	return show(c, w, func(t *table) {
		t.line("run %s: %s", v.Name, stateWords(string(v.State), because(v)))
		drawWait(t, v)
		if v.Phase != "" {
			t.line("phase: %s", v.Phase)
		}
		if v.Stop != "" && !v.State.Final() {
			t.line("it is told to end: %s", v.Stop)
		}
		if !v.ArchivedAt.IsZero() {
			t.line("it is archived: muster run restore %s takes it back", v.Name)
		}
		if words := lastWords(v); words != "" {
			t.line("%s shows what it said", words)
		}
		t.line("\nWhat happened last")
		for _, e := range events {
			t.row("  "+clock(e.At), eventText(e))
		}
	})
}

// drawWait writes the numbers of a wait reason.
func drawWait(t *table, v *muster.RunView) {
	if v.State != muster.RunQueued {
		return
	}
	if v.Position > 0 {
		t.line("position %d in the queue of cluster %s", v.Position, v.Cluster)
	}
	if v.WaitReason == nil {
		return
	}
	if v.WaitReason.Ahead != "" {
		t.line("run %s goes first", strings.TrimPrefix(v.WaitReason.Ahead, v.Workspace+"/"))
	}
	if !v.WaitReason.Until.IsZero() {
		t.line("it is looked at again at %s", clock(v.WaitReason.Until))
	}
}
