package e2e

import (
	"slices"
	"strings"
	"time"

	"github.com/muster-ml/muster"
)

// zeroRounds is how often a cluster grows from nothing to be measured.
const zeroRounds = 5

// fromZero measures how long it is from submit on a cluster without a node to the
// command's first line, and where the time goes.
func (m *bench) fromZero() {
	m.muster("cluster", "create", "--provider", "local", "--size", "local.small", "--max", "1", "--idle", "1s", "zero")
	steps := []string{"decision: how many nodes", "the autoscaler asks, a machine is ordered and its node joins Nomad", "admission", "the node's agent, beside the launch, until the node is ready", "the rest of the launch: the claim is answered", "code and command's begin", "in all"}
	times := make([][]time.Duration, len(steps))
	for range zeroRounds {
		began := time.Now()
		name := m.submit("command: echo begun\ncompute: zero\n" + tiny)
		m.ends(name, muster.RunSucceeded)
		var r muster.RunView
		m.decode(&r, "run", "show", name, "-o", "json")
		a := r.Attempts[0]
		var wanted, came, ready time.Time
		var events []muster.Event
		m.decode(&events, "cluster", "events", "zero", "-o", "json")
		for _, e := range events {
			switch {
			case e.At.Before(r.CreatedAt):
			case wanted.IsZero() && strings.Contains(e.Message, "it shall have 1 node"):
				wanted = e.At
			case came.IsZero() && strings.Contains(e.Message, "has come"):
				came = e.At
			case ready.IsZero() && strings.HasSuffix(e.Message, "is ready"):
				ready = e.At
			}
		}
		marks := []time.Time{r.CreatedAt, wanted, came, a.AdmittedAt, ready, a.Instances[0].ClaimedAt, a.StartedAt}
		for i := range len(marks) - 1 {
			times[i] = append(times[i], marks[i+1].Sub(marks[i]))
		}
		times[len(steps)-1] = append(times[len(steps)-1], a.StartedAt.Sub(began))
		m.eventually("the cluster to go back to zero", func() bool { c := m.cluster("zero"); return c.Nodes == 0 && c.Wanted.Nodes == 0 }, m.clusterStory("zero"))
	}
	m.row("| from submit on a cluster at zero to the command's begin, %d rounds, the autoscaler looks every second | median | longest |\n|---|---|---|", zeroRounds)
	for i, step := range steps {
		slices.Sort(times[i])
		m.row("| %s | %d ms | %d ms |", step, times[i][len(times[i])/2].Milliseconds(), times[i][len(times[i])-1].Milliseconds())
	}
	m.row("")
}
