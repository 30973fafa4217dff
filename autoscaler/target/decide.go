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
	alive   bool
	ready   bool // its node takes work
	moved   bool // Nomad's servers are elsewhere by now
	reboot  bool // somebody asks for it
}

// act is what is done with a machine.
type act string

// What is done, in the order in which it is looked for: the first that fits is
// done.
const (
	actBury   act = "bury"   // it died unasked: its tasks go, as with a computer that vanished
	actEvict  act = "evict"  // a loss is rehearsed: it vanishes
	actReboot act = "reboot" // somebody asks for it
	actStart  act = "start"  // it was ordered, and its time has come
	actMove   act = "move"   // its client is started anew, to find Nomad's servers; tasks go on
	actSettle act = "settle" // it is a ready node
	actGiveUp act = "giveup" // it was no ready node in time
	actStop   act = "stop"   // it may be taken, and is not wanted any more
)

// plan is all that is to be done.
type plan struct {
	acts map[string]act // by machine
	buy  int            // so many machines are ordered
	have int            // those that stay or come, before buy and stop
}

// decide looks at a cluster and says what is to be done. It does nothing itself.
func decide(v view) plan {
	p := plan{acts: map[string]act{}}
	var stay []string
	for _, m := range v.machines {
		if m.state == muster.MachineStopping {
			continue // somebody works on it already
		}
		do := v.fate(m)
		if do != "" {
			p.acts[m.name] = do
		}
		if do != actBury && do != actEvict && do != actGiveUp {
			stay = append(stay, m.name)
		}
	}
	p.have = len(stay)
	if v.scaling == nil || !v.asked || v.scaling.Provider != muster.ProviderLocal {
		return p
	}
	if short := v.scaling.Wanted.Nodes - p.have; short > 0 && !v.now.Before(v.until) {
		p.buy = short
	}
	for _, name := range v.scaling.Leaving {
		if p.have-p.stops() > v.scaling.Wanted.Nodes && slices.Contains(stay, name) {
			p.acts[name] = actStop
		}
	}
	return p
}

// stops counts the machines that are stopped.
func (p plan) stops() (n int) {
	for _, do := range p.acts {
		if do == actStop {
			n++
		}
	}
	return n
}

// fate says what becomes of one machine, whatever number is wanted.
func (v view) fate(m sight) act {
	starting := m.state == muster.MachineStarting
	switch {
	case m.started && !m.alive:
		return actBury
	case v.scaling != nil && slices.ContainsFunc(v.scaling.Evict, func(e muster.Eviction) bool { return e.Machine == m.name && !e.At.After(v.now) }):
		return actEvict
	case m.reboot:
		return actReboot
	case !m.started && !v.now.Before(m.due):
		return actStart
	case m.started && m.moved:
		return actMove
	case starting && m.started && m.ready:
		return actSettle
	case starting && m.started && v.nodes && v.now.Sub(m.due) > v.startLimit:
		return actGiveUp
	}
	return ""
}

// Back-off of a provider that fails.
const (
	firstBackOff = time.Second
	maxBackOff   = time.Minute
)

// fail returns the failure after one more try that failed.
func fail(before *muster.BuyFailure, now time.Time, kind muster.FailureKind, message string) *muster.BuyFailure {
	f := muster.BuyFailure{Kind: kind, Message: message, Since: now, Tries: 1}
	if before != nil {
		f.Since, f.Tries = before.Since, before.Tries+1
	}
	wait := maxBackOff
	if f.Tries < 7 {
		wait = min(firstBackOff<<(f.Tries-1), maxBackOff)
	}
	f.Until = now.Add(wait)
	return &f
}
