package target

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/engines"
)

// scaling asks the server what is wanted; nil when it does not tell.
func (w *worker) scaling(ctx context.Context) (*muster.Scaling, error) {
	_, server := w.plugin.present()
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	s, err := server.Scaling(ctx, w.cluster)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		if w.answered.IsZero() {
			w.log.Info("the server tells what is wanted", "nodes", s.Wanted.Nodes)
		}
		w.answered, w.leaving = time.Now(), s.Leaving
		return s, nil
	}
	if !w.answered.IsZero() {
		w.log.Warn("the server does not tell what is wanted: nothing is scaled", "error", err)
	}
	w.answered, w.asked = time.Time{}, false
	return nil, err
}

// look gathers what is to be known.
func (w *worker) look(scaling *muster.Scaling, ready []string) view {
	settings, _ := w.plugin.present()
	w.mu.Lock()
	defer w.mu.Unlock()
	v := view{now: time.Now(), scaling: scaling, asked: w.asked, startLimit: w.plugin.startLimit}
	w.asked = false
	if stale(w.failure, v.now) {
		w.failure = nil
	}
	if w.failure != nil {
		v.until = w.failure.Until
	}
	for _, m := range w.machines {
		s := sight{name: m.Name, state: m.state, due: m.due}
		if m.state != muster.MachineStopping {
			s.started, s.proven, s.until = m.Started, !m.Ready.IsZero(), m.until
			s.reboot, s.moving = m.RebootAsked(), m.Moving()
			s.alive = m.Started && w.lives(m)
			s.ready = slices.Contains(ready, m.Name)
			s.moved = strings.Join(m.Servers, ",") != settings.Servers || m.Consul != settings.Consul
		}
		v.machines = append(v.machines, s)
	}
	slices.SortFunc(v.machines, func(a, b sight) int { return strings.Compare(a.name, b.name) })
	return v
}

// readyNodes asks the server and the clients themselves which of the machines
// that start are ready nodes. The server alone may tell of one that has died
// since.
func (w *worker) readyNodes(ctx context.Context) (ready []string, known bool) {
	starting := w.clients(muster.MachineStarting)
	if len(starting) == 0 {
		return nil, false
	}
	_, server := w.plugin.present()
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	nodes, err := server.Nodes(ctx, w.cluster)
	if err != nil {
		w.log.Debug("the server does not tell of nodes", "error", err)
		return nil, false
	}
	for _, n := range nodes {
		if m := starting[n.Name]; m != nil && n.Status == "ready" && m.Answers(ctx) == nil {
			ready = append(ready, n.Name)
		}
	}
	return ready, true
}

// clients returns the machines of one state.
func (w *worker) clients(state muster.MachineState) map[string]*engines.Machine {
	w.mu.Lock()
	defer w.mu.Unlock()
	found := map[string]*engines.Machine{}
	for name, m := range w.machines {
		if m.state == state {
			found[name] = m.Machine
		}
	}
	return found
}

// lives reports whether a machine's client runs. While that is not known it
// counts as alive, as a machine that is not is buried with its work.
func (w *worker) lives(m *machine) bool {
	alive, err := m.Alive()
	if err != nil && !m.blind {
		w.log.Warn("nobody knows whether a machine's client runs: it is left alone", "name", m.Name, "error", err)
	}
	m.blind = err != nil
	return alive || err != nil
}
