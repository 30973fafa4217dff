package target

import (
	"cmp"
	"context"
	"fmt"
	"maps"
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
	answerWithin = 5 * time.Second        // the server answers a question
	staleAfter   = 10 * time.Second       // its last answer counts so long
	stopWithin   = 10 * time.Second       // a client ends politely
	tryAgain     = time.Second            // after a machine that could not be removed
	leaveWithin  = 500 * time.Millisecond // of the question what is wanted, machines that may leave are taken
)

// machine is a machine in the worker's hands. Only who has its worker's mu may
// touch it, and while it is stopping who takes it away.
type machine struct {
	*engines.Machine
	state muster.MachineState
	since time.Time
	due   time.Time // when its client is to start

	// Only the worker itself uses these.
	tries int       // that failed in a row to do something with it
	until time.Time // it is not tried again before
	blind bool      // it was told that nobody knows whether its client runs
}

// worker brings the machines of one cluster to what the server wants. It looks
// every second, and whenever the agent asks.
type worker struct {
	plugin  *Plugin
	cluster string
	source  string // by which the server knows whose word a report is
	log     hclog.Logger
	all     *engines.Machines
	wake    chan struct{} // holds one: look again
	done    chan struct{}
	takers  sync.WaitGroup // of those who take machines away

	mu       sync.Mutex // guards what follows
	machines map[string]*machine
	answered time.Time // when the server last answered; zero since it did not
	leaving  []string  // those that may be taken, by its last answer
	asked    bool
	evicted  []string // taken, and not told yet

	// Only the worker itself uses these.
	failure *muster.BuyFailure
	denied  bool // it was told that the server knows no such cluster
	refused bool // it was told that the server hears another autoscaler on the cluster
	number  int64
	sent    *muster.MachineReport // nil until the server has heard us, and since it does not
	sentAt  time.Time
}

// load takes up the machines that are there.
func (w *worker) load() error {
	found, err := w.all.List(w.cluster)
	if err != nil {
		return err
	}
	torn, err := w.all.Torn(w.cluster)
	if err != nil {
		return err
	}
	for _, m := range torn {
		w.log.Error("what is known of a machine is torn: it is left alone and not counted; muster-autoscaler clear ends it", "folder", m.Folder())
	}
	w.machines = map[string]*machine{}
	for _, m := range found {
		k := &machine{Machine: m, state: muster.MachineStarting, since: m.At, due: time.Now()} // it gets its whole time again
		if !m.Ready.IsZero() {
			k.state, k.since = muster.MachineRunning, m.Ready
		}
		w.machines[m.Name] = k
	}
	return nil
}

// status counts the machines that come or stay, and says whether the server was
// heard of lately. Its number is without those that leave, too.
func (w *worker) status() (count int, fresh bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, m := range w.machines {
		if m.state != muster.MachineStopping && !slices.Contains(w.leaving, name) {
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

// step looks once, does what is due and tells the server. What takes long is
// looked at before the server says what may leave.
func (w *worker) step(ctx context.Context) (gone bool, err error) {
	ready, known := w.readyNodes(ctx)
	began := time.Now()
	scaling, err := w.scaling(ctx)
	if w.deny(err) {
		return true, w.all.Forget(w.cluster, faultsFile)
	}
	var refused error
	if scaling != nil && w.sent == nil {
		if refused = w.report(ctx, scaling); w.sent == nil {
			scaling = nil // who is not heard buys nothing
		}
	}
	v := w.look(scaling, ready)
	v.nodes, v.late = known, time.Since(began) > leaveWithin
	w.act(v, decide(v))
	if scaling == nil {
		return false, refused
	}
	return false, w.report(ctx, scaling)
}

// act does what the plan says: first it lets go, as that may not wait.
func (w *worker) act(v view, p plan) {
	names := slices.Sorted(maps.Keys(p.acts))
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(p.acts[a].turn(), p.acts[b].turn()) })
	for _, name := range names {
		w.mu.Lock()
		m := w.machines[name]
		w.mu.Unlock()
		do := p.acts[name]
		if do != actSettle {
			w.log.Info("machine", "name", name, "act", do)
		}
		if err := w.handle(v, m, do); err != nil {
			w.failed(v, m, do, err)
		} else {
			m.tries = 0
		}
	}
	for range p.buy {
		if !w.buy(v) {
			break
		}
	}
}

// failed deals with a machine with which something could not be done. One that
// was ready once may have work on it, so that is tried again; any other goes.
func (w *worker) failed(v view, m *machine, do act, err error) {
	if m.Ready.IsZero() {
		w.log.Error("machine", "name", m.Name, "act", do, "error", err)
		w.failure = fail(w.failure, v.now, muster.FailStart, fmt.Sprintf("machine %s: %v", m.Name, err))
		w.take(m, m.Kill, false)
		return
	}
	m.tries++
	m.until = time.Now().Add(backOff(m.tries))
	w.log.Error("machine: it stays, and is tried again", "name", m.Name, "act", do, "error", err, "tries", m.tries, "until", m.until)
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
