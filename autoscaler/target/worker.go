package target

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/engines"
)

// Times of a worker.
const (
	answerWithin = 5 * time.Second  // the server answers a question
	staleAfter   = 10 * time.Second // its last answer counts so long
	stopWithin   = 10 * time.Second // a client ends politely
	tryAgain     = time.Second      // after a machine that could not be removed
)

// machine is a machine in the worker's hands. Only who has its worker's mu may
// touch it, and while it is stopping who takes it away.
type machine struct {
	*engines.Machine
	state muster.MachineState
	since time.Time
	due   time.Time // when its client is to start
}

// worker brings the machines of one cluster to what the server wants. It looks
// every second, and whenever the agent asks.
type worker struct {
	plugin  *Plugin
	cluster string
	log     hclog.Logger
	all     *engines.Machines
	wake    chan struct{} // holds one: look again
	done    chan struct{}
	takers  sync.WaitGroup // of those who take machines away

	mu       sync.Mutex // guards what follows
	machines map[string]*machine
	answered time.Time // when the server last answered; zero since it did not
	asked    bool
	evicted  []string // taken, and not told yet

	// Only the worker itself uses these.
	failure *muster.BuyFailure
	sent    *muster.MachineReport
	sentAt  time.Time
}

// load takes up the machines that are there.
func (w *worker) load() error {
	found, err := w.all.List(w.cluster)
	if err != nil {
		return err
	}
	w.machines = map[string]*machine{}
	for _, m := range found {
		k := &machine{Machine: m, state: muster.MachineStarting, since: m.At, due: m.At}
		if !m.Ready.IsZero() {
			k.state, k.since = muster.MachineRunning, m.Ready
		}
		w.machines[m.Name] = k
	}
	return nil
}

// status counts the machines that come or are there, and says whether the server
// was heard of lately.
func (w *worker) status() (count int, fresh bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.machines {
		if m.state != muster.MachineStopping {
			count++
		}
	}
	return count, time.Since(w.answered) < staleAfter
}

// ask makes the worker bring the number of machines to what is wanted.
func (w *worker) ask() {
	w.mu.Lock()
	w.asked = true
	w.mu.Unlock()
	w.again()
}

// again makes the worker look at once.
func (w *worker) again() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run looks and acts until the cluster is gone or the plugin ends.
func (w *worker) run(ctx context.Context) {
	defer close(w.done)
	defer w.takers.Wait()
	tick := time.NewTicker(w.plugin.every)
	defer tick.Stop()
	for {
		gone, err := w.step(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			w.log.Error("cannot do what is due", "error", err)
		}
		if gone {
			w.plugin.forget(w.cluster)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-w.wake:
		}
	}
}

// step looks once, does what is due and tells the server.
func (w *worker) step(ctx context.Context) (gone bool, err error) {
	scaling, err := w.scaling(ctx)
	if muster.CodeOf(err) == muster.CodeNotFound {
		err := w.end()
		return err == nil, err
	}
	v := w.look(ctx, scaling)
	p := decide(v)
	w.act(v, p)
	if scaling == nil {
		return false, nil
	}
	return false, w.report(ctx, scaling)
}

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
		w.answered = time.Now()
		return s, nil
	}
	if !w.answered.IsZero() {
		w.log.Warn("the server does not tell what is wanted: nothing is scaled", "error", err)
	}
	w.answered, w.asked = time.Time{}, false
	return nil, err
}

// look gathers what is to be known.
func (w *worker) look(ctx context.Context, scaling *muster.Scaling) view {
	settings, _ := w.plugin.present()
	ready, known := w.readyNodes(ctx, scaling)
	w.mu.Lock()
	defer w.mu.Unlock()
	v := view{now: time.Now(), scaling: scaling, nodes: known, asked: w.asked, startLimit: w.plugin.startLimit}
	w.asked = false
	if w.failure != nil {
		v.until = w.failure.Until
	}
	for _, m := range w.machines {
		s := sight{name: m.Name, state: m.state, due: m.due}
		if m.state != muster.MachineStopping {
			s.started, s.reboot = m.Started, m.RebootAsked()
			s.alive = m.Started && m.Alive()
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
func (w *worker) readyNodes(ctx context.Context, scaling *muster.Scaling) (ready []string, known bool) {
	starting := w.clients(muster.MachineStarting)
	if scaling == nil || len(starting) == 0 {
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

// act does what the plan says.
func (w *worker) act(v view, p plan) {
	for name, do := range p.acts {
		w.mu.Lock()
		m := w.machines[name]
		w.mu.Unlock()
		if do != actSettle {
			w.log.Info("machine", "name", name, "act", do)
		}
		if err := w.handle(v, m, do); err != nil {
			w.failure = fail(w.failure, v.now, muster.FailOther, fmt.Sprintf("machine %s: %v", name, err))
			w.log.Error("machine", "name", name, "act", do, "error", err)
			w.take(m, m.Kill, false)
		}
	}
	for range p.buy {
		if !w.buy(v) {
			break
		}
	}
	if w.failure != nil && v.scaling != nil && p.have >= v.scaling.Wanted.Nodes && len(w.clients(muster.MachineStarting)) == 0 {
		w.failure = nil // it has nothing to give any more
	}
}

// handle does one thing with a machine.
func (w *worker) handle(v view, m *machine, do act) error {
	switch do {
	case actBury:
		w.take(m, m.Kill, false)
	case actEvict:
		w.take(m, m.Kill, true)
	case actGiveUp:
		w.failure = fail(w.failure, v.now, muster.FailStart, fmt.Sprintf("machine %s was no ready node within %s; its log ends with: %s", m.Name, w.plugin.startLimit, m.LastWords()))
		w.take(m, m.Kill, false)
	case actStop:
		w.take(m, func() error { return m.Stop(stopWithin, nil) }, false)
	case actStart:
		return m.Start()
	case actReboot:
		return m.Reboot()
	case actMove:
		settings, _ := w.plugin.present()
		return m.Move(strings.Split(settings.Servers, ","), settings.Consul)
	case actSettle:
		if err := m.MarkReady(v.now); err != nil {
			return err
		}
		w.failure = nil
		w.mu.Lock()
		m.state, m.since = muster.MachineRunning, v.now
		w.mu.Unlock()
		w.log.Info("machine is ready", "name", m.Name)
	}
	return nil
}
