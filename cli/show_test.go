package cli

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// TestSurvived counts the evictions that a run outlived, and the work that was
// done again after them.
func TestSurvived(t *testing.T) {
	begin := time.Now()
	attempt := func(o muster.Outcome) *muster.Attempt {
		return &muster.Attempt{Outcome: o, StartedAt: begin, EndedAt: begin.Add(time.Minute)}
	}
	evicted, going := attempt(muster.OutcomeEvicted), &muster.Attempt{StartedAt: begin}
	for name, want := range map[string]struct {
		state    muster.RunState
		attempts []*muster.Attempt
		n        int
		again    time.Duration
	}{
		"ended well":              {muster.RunSucceeded, []*muster.Attempt{evicted, evicted, attempt(muster.OutcomeSucceeded)}, 2, 2 * time.Minute},
		"ended by the second one": {muster.RunFailed, []*muster.Attempt{evicted, evicted}, 1, time.Minute},
		"ended by the first one":  {muster.RunFailed, []*muster.Attempt{evicted}, 0, 0},
		"waits after one":         {muster.RunQueued, []*muster.Attempt{evicted}, 1, 0},
		"goes on":                 {muster.RunRunning, []*muster.Attempt{evicted, going}, 1, time.Minute},
	} {
		v := &muster.RunView{Run: muster.Run{State: want.state}, Attempts: want.attempts}
		if n, again := survived(v); n != want.n || again != want.again {
			t.Errorf("%s: %d, %s", name, n, again)
		}
	}
}

// TestAsked says in a line what a run wants of nodes.
func TestAsked(t *testing.T) {
	p := open(t)
	for resources, want := range map[string]string{
		"resources: {instance_count: 1}":                                                 "asked for   a whole node\n",
		"resources: {instance_count: 4}":                                                 "asked for   4 times a whole node\n",
		"x-muster: {resources: {cpus: 2, memory: 4Gi}}":                                  "asked for   2 cores, 4096 MiB\n",
		"x-muster: {resources: {cpus: 1, memory: 512Mi, gpus: 1, gpu_model: A100}}":      "asked for   1 core, 512 MiB, 1 gpu A100\n",
		"resources: {instance_count: 2}\nx-muster: {resources: {cpus: 0.5, gpus: 0.25}}": "asked for   2 times 0.5 cores, ",
	} {
		name := strings.TrimSpace(p.do("run", "submit", p.file("command: a\n"+resources+"\n")).out)
		if o := p.do("run", "show", name); !strings.Contains(o.out, want) {
			t.Errorf("%s:\n%s\nlacks %q", resources, o.out, want)
		}
	}
}

// TestLastAttempt holds that how the last attempt ended is told where the run's own
// end says something else, and once where it says the same.
func TestLastAttempt(t *testing.T) {
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	view := func(reason string) (words []string) {
		v := &muster.RunView{Run: muster.Run{State: muster.RunFailed, Reason: reason, CreatedAt: at, EndedAt: at.Add(time.Minute)},
			Attempts: []*muster.Attempt{{Number: 1, Outcome: muster.OutcomeEvicted, Reason: "node n was taken back", EndedAt: at.Add(time.Minute)}}}
		for _, m := range timeline(v) {
			words = append(words, m.what)
		}
		return words
	}
	if got := view("evicted 2 times"); !slices.Equal(got, []string{"queued", "ended, evicted: node n was taken back", "failed: evicted 2 times"}) {
		t.Errorf("%q", got)
	}
	if got := view("node n was taken back"); len(got) != 2 {
		t.Errorf("%q", got)
	}
}

// TestWhereIs holds that a run which waits again is shown where it waits, and not
// where it was.
func TestWhereIs(t *testing.T) {
	for _, want := range []struct {
		state    muster.RunState
		placedOn string
		cluster  string
	}{
		{muster.RunQueued, "", "cheap"},
		{muster.RunQueued, "dear", "cheap"},
		{muster.RunRunning, "dear", "dear"},
		{muster.RunSucceeded, "dear", "dear"},
		{muster.RunSucceeded, "", "cheap"},
	} {
		v := &muster.RunView{Run: muster.Run{State: want.state, Cluster: "cheap", PlacedOn: want.placedOn}}
		if got := whereIs(v); got != want.cluster {
			t.Errorf("%s, placed on %q: %s", want.state, want.placedOn, got)
		}
	}
}
