package target

import (
	"slices"
	"time"

	"github.com/muster-ml/muster"
)

// view is what is known of a cluster at one moment.
type view struct {
	now        time.Time
	scaling    *muster.Scaling // nil while the server does not tell
	late       bool            // the server's answer has taken so long that what leaves may have changed
	nodes      bool            // which nodes are ready is known
	asked      bool            // the agent wants the number of machines changed
	until      time.Time       // no machine is bought before
	startLimit time.Duration
	machines   []sight
}

// sight is what is seen of a machine.
type sight struct {
	name    string
	state   muster.MachineState
	due     time.Time // when its client shall start, or should have
	started bool
	alive   bool      // its client runs, or it is not known
	ready   bool      // its node takes work
	proven  bool      // it was ready once
	moved   bool      // Nomad's servers are elsewhere by now
	moving  bool      // its client is down for that, maybe
	reboot  bool      // somebody asks for it
	until   time.Time // what failed with it is not tried before
}

// act is what is done with a machine.
type act string

// What is done, in the order in which it is looked for: the first that fits is
// done.
const (
	actBury   act = "bury"   // it died unasked: its tasks go, as with a computer that vanished
	actEvict  act = "evict"  // a loss is rehearsed: it vanishes
	actStop   act = "stop"   // it may be taken: its node is closed already, and the number wanted does without it
	actReboot act = "reboot" // somebody asks for it
	actStart  act = "start"  // it was ordered, and its time has come
	actMove   act = "move"   // its client is started anew, to find Nomad's servers; tasks go on
	actSettle act = "settle" // it is a ready node
	actGiveUp act = "giveup" // it was no ready node in time
)

// turn is when in a step a thing is done: what may not wait comes first.
func (a act) turn() int {
	switch a {
	case actStop:
		return 0
	case actBury, actEvict, actGiveUp:
		return 1
	}
	return 2 // these take a while
}

// plan is all that is to be done.
type plan struct {
	acts map[string]act // by machine
	buy  int            // so many machines are ordered
	have int            // those that stay or come, before buy, and those whose loss is announced
}

// decide looks at a cluster and says what is to be done. It does nothing itself.
func decide(v view) plan {
	p := plan{acts: map[string]act{}}
	for _, m := range v.machines {
		if m.state == muster.MachineStopping {
			continue // somebody works on it already
		}
		do := v.fate(m)
		if do != "" {
			p.acts[m.name] = do
		}
		if announced, _ := v.evicts(m.name); do != actBury && do != actGiveUp && !v.leaves(m.name) && !announced {
			p.have++
		}
	}
	if v.scaling == nil {
		return p
	}
	p.have += len(v.scaling.Evict) // the number counts them until the server has heard that they are gone
	if !v.asked || v.scaling.Provider != muster.ProviderLocal {
		return p
	}
	if short := v.scaling.Wanted.Nodes - p.have; short > 0 && !v.now.Before(v.until) {
		p.buy = short
	}
	return p
}

// leaves reports whether the server has let a machine go.
func (v view) leaves(name string) bool {
	return v.scaling != nil && slices.Contains(v.scaling.Leaving, name)
}

// evicts reports whether a machine's loss is rehearsed, and whether it is due.
func (v view) evicts(name string) (announced, due bool) {
	if v.scaling == nil {
		return false, false
	}
	at := slices.IndexFunc(v.scaling.Evict, func(e muster.Eviction) bool { return e.Machine == name })
	return at >= 0, at >= 0 && !v.scaling.Evict[at].At.After(v.now)
}

// fate says what becomes of one machine, whatever number is wanted. A client that
// we have taken down ourselves has not died.
func (v view) fate(m sight) act {
	starting := m.state == muster.MachineStarting
	_, taken := v.evicts(m.name)
	switch {
	case m.started && !m.alive && !m.moving && !m.reboot:
		return actBury
	case taken:
		return actEvict
	case v.leaves(m.name):
		return v.stop()
	case v.now.Before(m.until):
		return ""
	case m.reboot:
		return actReboot
	case !m.started && !v.now.Before(m.due):
		return actStart
	case m.started && (m.moved || m.moving):
		return actMove
	case starting && m.started && m.ready:
		return actSettle
	case starting && m.started && !m.proven && v.nodes && v.now.Sub(m.due) > v.startLimit:
		return actGiveUp
	}
	return ""
}

// stop takes a machine that leaves, unless it is another provider's, or the server
// said so too long ago: it opens a node again that nobody took.
func (v view) stop() act {
	if v.scaling.Provider != muster.ProviderLocal || v.late {
		return ""
	}
	return actStop
}

// Back-off of a provider that fails, or of a machine with which something does.
// A failure of the provider is told until a machine is ready, or until nobody has
// tried for so long: where one is told the demand may be another cluster's, and
// would come back with the next word.
const (
	firstBackOff = time.Second
	maxBackOff   = time.Minute
	keepFailure  = 10 * time.Minute
)

// backOff is how long it takes until the next try after so many that failed.
func backOff(tries int) time.Duration {
	if tries >= 7 {
		return maxBackOff
	}
	return min(firstBackOff<<(tries-1), maxBackOff)
}

// stale reports whether a failure has been left alone for so long that it says
// nothing any more.
func stale(f *muster.BuyFailure, now time.Time) bool {
	return f != nil && now.Sub(f.Until) > keepFailure
}

// fail returns the failure after one more try that failed.
func fail(before *muster.BuyFailure, now time.Time, kind muster.FailureKind, message string) *muster.BuyFailure {
	f := muster.BuyFailure{Kind: kind, Message: message, Since: now, Tries: 1}
	if before != nil {
		f.Since, f.Tries = before.Since, before.Tries+1
	}
	f.Until = now.Add(backOff(f.Tries))
	return &f
}
