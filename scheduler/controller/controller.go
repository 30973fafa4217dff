// Package controller holds the leader's loops, one file each. A loop reads what
// there is and makes one kind of thing so; it can be run again at any time. A
// ring on its bell says "look again" and carries nothing.
package controller

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/muster-ml/muster"
)

// Config is what a Controller needs.
type Config struct {
	Leases     muster.Leases
	Engine     muster.Engine
	Sizes      muster.Sizes
	Holder     string        // names this server
	Fence      time.Duration // how long an unreachable node must be silent to be lost
	Tick       time.Duration // how often everything is looked at without a reason; 0 is never
	StatsEvery time.Duration // how often what runs use is sampled; 0 is never
	Log        *slog.Logger

	Turned  func(loop string, took time.Duration, err error) // told of each turn of a loop; may be nil
	Decided func(took time.Duration)                         // told how long each decision took; may be nil
}

// Controller runs the loops while its server leads.
type Controller struct {
	Config
	since time.Time // when this process began to look
	sight atomic.Pointer[sight]
	loops map[string]*loop

	mu         sync.Mutex
	leading    bool
	term       int64                // the last in which it led
	ordered    chan struct{}        // closed and replaced when agents may have new orders
	copies     map[string]time.Time // foreign copies of our children, and when they were first seen
	dispatched map[string]time.Time // launches that no look may have seen yet
	removed    time.Time            // when one of them was removed last; what was seen before lists it still
	scaled     map[string]bool      // clusters whose number was looked at in this term

	// The clusters loop's own, by cluster.
	drilled map[string]time.Time // when the losses of its drill were drawn last
	short   map[string]time.Time // since when it has fewer nodes than is wanted

	pools map[string]bool // the nodes loop's own: of the clusters without a provider that it has seen

	sampled    map[muster.InstanceID]bool // whose command ran when the stats loop looked last; its own, as is:
	sampledAll time.Time                  // when all of them were sampled last
}

// sight is what was seen last; stale says why it is not news any more.
type sight struct {
	*muster.Sight
	stale error
}

// New returns a controller that does nothing yet.
func New(c Config) *Controller {
	if c.Turned == nil {
		c.Turned = func(string, time.Duration, error) {}
	}
	if c.Decided == nil {
		c.Decided = func(time.Duration) {}
	}
	k := &Controller{Config: c, since: time.Now(), ordered: make(chan struct{}), copies: map[string]time.Time{}, dispatched: map[string]time.Time{}, drilled: map[string]time.Time{}, short: map[string]time.Time{}, pools: map[string]bool{}}
	k.loops = map[string]*loop{}
	steps := map[string]step{"look": k.look, "admit": k.admit, "launch": k.launch, "track": k.track, "stop": k.stop, "purge": k.purge, "clusters": k.clusters, "nodes": k.nodes}
	if k.StatsEvery > 0 {
		steps["stats"] = k.stats
	}
	for name, run := range steps {
		k.loops[name] = &loop{name: name, run: run, bell: make(chan struct{}, 1)}
	}
	return k
}

// Wake makes every loop look again.
func (k *Controller) Wake() {
	for _, l := range k.loops {
		l.ring()
	}
}

// ring makes some loops look again.
func (k *Controller) ring(names ...string) {
	for _, name := range names {
		k.loops[name].ring()
	}
}

// Sight returns what was seen of Nomad last. CodeUnreachable before anything
// was.
func (k *Controller) Sight() (*muster.Sight, error) {
	s := k.sight.Load()
	if s == nil {
		return nil, muster.Errorf(muster.CodeUnreachable, "Nomad has not answered yet")
	}
	return s.Sight, nil
}

// Leading reports whether this server leads.
func (k *Controller) Leading() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.leading
}

// Term returns the number of the term in which this server leads or led last, 0
// before the first.
func (k *Controller) Term() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.term
}

// Ordered returns a channel that is closed when agents may have new orders.
func (k *Controller) Ordered() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ordered
}

// Order tells those who wait on Ordered.
func (k *Controller) Order() {
	k.mu.Lock()
	defer k.mu.Unlock()
	close(k.ordered)
	k.ordered = make(chan struct{})
}

// Run keeps the lease and leads whenever it has it, until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	var mine *term
	defer func() { mine.end() }()
	fresh := true
	var until time.Time
	for {
		lease, err := k.Leases.AcquireLease(ctx, k.Holder, fresh)
		switch {
		case err != nil:
			if ctx.Err() == nil {
				k.Log.Error("keep the lease", "error", err)
			}
			if time.Now().After(until) {
				mine.end()
				mine = nil
			}
		case lease.Holder != k.Holder || mine != nil && mine.number != lease.Term:
			mine.end()
			mine = nil
		case mine == nil:
			mine = k.begin(ctx, lease.Term)
		}
		if err == nil {
			fresh, until = false, lease.Until
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(muster.LeaseRenewal):
		}
	}
}

// term is a time during which this server leads.
type term struct {
	number int64
	cancel context.CancelFunc
	done   chan struct{}
}

// begin starts to lead.
func (k *Controller) begin(ctx context.Context, number int64) *term {
	ctx, cancel := context.WithCancel(ctx)
	t := &term{number, cancel, make(chan struct{})}
	go func() {
		defer close(t.done)
		k.lead(ctx, number)
	}()
	return t
}

// end stops leading and returns when every loop has stopped.
func (t *term) end() {
	if t != nil {
		t.cancel()
		<-t.done
	}
}

// lead runs the loops of one term.
func (k *Controller) lead(ctx context.Context, term int64) {
	k.Log.Info("this server leads", "term", term)
	k.setLeading(true, term)
	defer k.setLeading(false, term)
	ledger := k.Leases.Lead(term)
	var g errgroup.Group
	for _, l := range k.loops {
		g.Go(func() error {
			k.do(ctx, l, ledger)
			return nil
		})
	}
	g.Go(func() error {
		k.watch(ctx)
		return nil
	})
	_ = g.Wait() // the loops return no error
}

func (k *Controller) setLeading(leading bool, term int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.leading, k.term, k.scaled = leading, term, map[string]bool{}
	if leading { // no loop runs yet
		k.drilled, k.short = map[string]time.Time{}, map[string]time.Time{}
		k.sight.Store(nil) // what was seen in an earlier term is no news
	}
}

// step is one turn of a loop. again says when the next is due without a ring;
// 0 leaves that to the tick.
type step func(ctx context.Context, ledger muster.Ledger) (again time.Duration, err error)

// loop runs a step whenever its bell rings.
type loop struct {
	name string
	run  step
	bell chan struct{}
}

func (l *loop) ring() {
	select {
	case l.bell <- struct{}{}:
	default: // it rings already
	}
}

// maxPause is the longest back-off after an error.
const maxPause = 5 * time.Second

// do runs the step at once, then on every ring and tick, until ctx ends. After
// an error it waits a while, longer each time, and tries again.
func (k *Controller) do(ctx context.Context, l *loop, ledger muster.Ledger) {
	pause := time.Duration(0)
	for ctx.Err() == nil {
		began := time.Now()
		again, err := l.run(ctx, ledger)
		if ctx.Err() == nil {
			k.Turned(l.name, time.Since(began), err)
		}
		switch {
		case err == nil || errors.Is(err, context.Canceled):
			pause = 0
		case errors.Is(err, muster.ErrNotLeader):
			return
		default:
			pause = min(max(2*pause, 200*time.Millisecond), maxPause)
			k.Log.Warn("loop "+l.name, "error", err, "again_in", pause)
		}
		if k.Tick > 0 && (again == 0 || again > k.Tick) {
			again = k.Tick
		}
		var due, rest <-chan time.Time
		if again > 0 {
			due = time.After(again)
		}
		if pause > 0 {
			rest = time.After(pause)
			select {
			case <-ctx.Done():
			case <-rest:
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-due:
		case <-l.bell:
		}
	}
}
