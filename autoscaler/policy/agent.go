package policy

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/autoscaler"
	"github.com/muster-ml/muster/engines"
)

// Times of an agent.
const (
	watchEvery   = 300 * time.Millisecond // between two looks at its plugins
	pluginsIn    = 30 * time.Second       // after the start of the agent all its plugins run
	firstBackOff = time.Second            // after a start that failed
	maxBackOff   = time.Minute
	agentGrace   = 10 * time.Second // in which it ends politely, and its plugins with it
)

// agent is a Nomad Autoscaler for the clusters of one provider, so that what is
// wrong with one provider's credentials, without which it does not start, stops no
// other's.
type agent struct {
	config   *Config
	provider muster.Provider
	dir      string

	wake   chan struct{} // holds one: something is new
	ended  chan struct{}
	cancel context.CancelFunc

	mu      sync.Mutex // guards what follows
	wanted  wants
	running bool

	// Only the agent's own goroutine uses these.
	service  *engines.Service
	port     int
	reload   bool      // it must read its files again
	pid      int       // of the process that was last seen
	since    time.Time // when that was first seen
	complete bool      // all its plugins have been seen
	checked  time.Time // when it was last asked what it handles
	short    bool      // then it handled fewer policies than there are
	retry    time.Time // it is not started before
	backOff  time.Duration
	told     string // the last trouble, told once
}

// wants is what an agent shall work on.
type wants struct {
	policies map[string]string // texts by file
	targets  []block
}

// newAgent starts looking after an agent.
func newAgent(c *Config, provider muster.Provider) *agent {
	ctx, cancel := context.WithCancel(context.Background())
	a := &agent{config: c, provider: provider, dir: filepath.Join(c.agentsDir(), string(provider)), wake: make(chan struct{}, 1), ended: make(chan struct{}), cancel: cancel}
	go a.run(ctx)
	return a
}

// want says what the agent shall work on from now on.
func (a *agent) want(w wants) {
	a.mu.Lock()
	a.wanted = w
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// up reports whether the agent runs with all its plugins.
func (a *agent) up() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.running
}

// stop ends the agent and its plugins.
func (a *agent) stop() {
	a.cancel()
	<-a.ended
}

// run keeps the agent going until stop.
func (a *agent) run(ctx context.Context) {
	defer close(a.ended)
	select { // nothing before it is told what to work on
	case <-ctx.Done():
		return
	case <-a.wake:
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		err := a.step(ctx)
		if ctx.Err() != nil {
			break
		}
		a.tell(err)
		a.mu.Lock()
		a.running = a.complete
		a.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-a.wake:
		}
	}
	if a.service != nil {
		a.service.Stop(nil)
	}
	if err := a.endOrphans(0); err != nil {
		a.config.say("%v", err)
	}
}

// tell says what is wrong, once.
func (a *agent) tell(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != a.told && text != "" {
		a.config.say("autoscaler of provider %s: %s", a.provider, text)
	}
	a.told = text
}

// step does what is due.
func (a *agent) step(ctx context.Context) error {
	a.mu.Lock()
	w := a.wanted
	a.mu.Unlock()
	if a.service == nil {
		return a.start(ctx, w)
	}
	changed, err := a.write(w)
	if err != nil {
		return err
	}
	a.reload = a.reload || changed
	if well, err := a.watch(len(plugins(w))); err != nil || !well {
		return err
	}
	return a.keepReading(ctx, len(w.policies))
}

// plugins lists the blocks that run as processes of their own: ours.
func plugins(w wants) []block {
	own := []block{{Name: autoscaler.APM}}
	for _, t := range w.targets {
		if t.Driver == autoscaler.Driver {
			own = append(own, t)
		}
	}
	return own
}

// start starts the agent; after a failure not again at once.
func (a *agent) start(ctx context.Context, w wants) error {
	if time.Now().Before(a.retry) {
		return fmt.Errorf("%s", a.told) // as before
	}
	err := a.tryStart(ctx, w)
	if err != nil {
		a.service = nil
		a.backOff = min(max(2*a.backOff, firstBackOff), maxBackOff)
		a.retry = time.Now().Add(a.backOff)
		return err
	}
	a.backOff, a.reload, a.pid, a.complete = 0, false, 0, false
	return nil
}

// tryStart clears what an earlier agent left, writes the files and starts the
// agent.
func (a *agent) tryStart(ctx context.Context, w wants) error {
	note := filepath.Join(a.dir, "process.json")
	if _, err := engines.StopLeftover(note); err != nil {
		return err
	}
	if err := a.endOrphans(0); err != nil {
		return err
	}
	if err := a.prepare(); err != nil {
		return err
	}
	if _, err := a.write(w); err != nil {
		return err
	}
	a.service = &engines.Service{
		Command: engines.Command{Name: "nomad-autoscaler of " + string(a.provider), Argv: []string{a.config.AutoscalerProgram, "agent", "-config", a.configFile()},
			Log: filepath.Join(a.dir, "agent.log"), Note: note},
		Ready: a.ready,
		Grace: agentGrace,
		Died:  func(err error) { a.config.say("%v", err) },
	}
	if err := a.service.Start(ctx); err != nil {
		if why := lastError(a.service.Command.Log); why != "" && ctx.Err() == nil {
			return muster.Errorf(muster.CodeOf(err), "it does not start: %s", why).WithCure("see %s", a.service.Command.Log)
		}
		return err
	}
	return nil
}

// lastError returns the last line of an agent's log without what the agent
// frames long errors with.
func lastError(log string) string {
	b, err := os.ReadFile(log)
	if err != nil {
		return ""
	}
	for _, line := range slices.Backward(strings.Split(string(b), "\n")) {
		line = strings.TrimPrefix(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "|")), `\t* `)
		if line != "" {
			return line
		}
	}
	return ""
}
