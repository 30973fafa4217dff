// Package node is the agent of a node: it makes the node ready for the runs of
// its cluster, by the cluster's set-up, keeps looking whether it is well, and
// tells the server.
package node

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/host"
	"github.com/muster-ml/muster/agent/ship"
	"github.com/muster-ml/muster/client"
)

// agent makes one node ready. Two loops share it: the line, which reports and
// hears, and work, which does what is wanted and alone changes the report.
type agent struct {
	config *config
	log    *slog.Logger
	client *client.Agent
	line   *ship.Line[muster.NodeReport, muster.NodeOrders]
	dir    string      // its own folder: <muster dir>/<node id>/node
	end    func(error) // ends everything at once

	done  done   // of which set-up the node knows the end
	begun string // the generation whose set-up was told to begin
	clock atomic.Pointer[reading]

	mu       sync.Mutex
	orders   *muster.NodeOrders // the newest; nil at first
	changed  chan struct{}      // closed and made anew when they change
	answered chan struct{}      // closed and made anew at every answer
}

// Execute is the command "node".
func Execute() int {
	c, err := readConfig()
	if err != nil {
		return host.Told(err)
	}
	return execute(c)
}

// errSignal says that somebody wants the agent to end.
var errSignal = errors.New("stopped by a signal")

// leaveTime is how long the agent waits for its set-up's end at its own.
const leaveTime = 800 * time.Millisecond

// execute is the agent's life. It returns the exit code.
func execute(c *config) int {
	unix.Umask(0o022)
	life, end := context.WithCancelCause(context.Background())
	defer end(nil)
	a, err := newAgent(c, end)
	if err != nil {
		return host.Told(err)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	go func() {
		<-signals
		end(errSignal)
	}()
	go a.sweep(life)
	go func() { end(a.line.Run(life, a.hear)) }()
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		a.work(life)
	}()
	<-life.Done()
	select {
	case <-worked:
	case <-time.After(leaveTime): // its guard goes on killing
	}
	return a.leave(context.Cause(life))
}

// newAgent makes the agent.
func newAgent(c *config, end func(error)) (*agent, error) {
	a := &agent{config: c, log: slog.New(slog.NewTextHandler(os.Stderr, nil)), end: end, dir: filepath.Join(c.Dir, c.NodeID, "node"),
		changed: make(chan struct{}), answered: make(chan struct{})}
	a.client = client.NewAgent(client.AgentConfig{Cluster: c.cluster, Servers: c.Servers, Token: c.Token, Discover: ship.FromConsul(c.Consul)})
	a.line = ship.NewLine(muster.NodeReport{Boot: c.boot, State: muster.HealthPreparing, Reason: "its agent has just started"}, c.hold, a.report)
	if c.CA == "" {
		return a, nil
	}
	return a, a.client.Trust([]byte(c.CA))
}

// leave says why the agent ends, and returns the exit code.
func (a *agent) leave(why error) int {
	if errors.Is(why, errSignal) {
		a.log.Info("end", "why", why)
		return 0
	}
	a.log.Error("end", "error", why)
	if refused(why) {
		return muster.ExitRefused
	}
	return 1
}

// refused reports whether an error says that the agent was replaced.
func refused(err error) bool {
	code := muster.CodeOf(err)
	return code == muster.CodeForbidden || code == muster.CodeConflict
}

// sweep removes what dead launches leave on the node.
func (a *agent) sweep(ctx context.Context) {
	for ctx.Err() == nil {
		host.Sweep(a.config.Runs(), "", a.log)
		ship.Pause(ctx, a.config.check)
	}
}

// report sends a report. The answer to one that was not held back tells what
// time it is at the server.
func (a *agent) report(ctx context.Context, r muster.NodeReport, hold time.Duration) (*muster.NodeOrders, error) {
	r.WaitSeconds = int(hold / time.Second)
	if orders, _ := a.newest(); orders != nil {
		r.Heard = orders.Version
	}
	began := time.Now()
	o, err := a.client.ReportNode(ctx, &r)
	if now := time.Now(); err == nil && !o.Now.IsZero() && now.Sub(began) < time.Second {
		half := now.Sub(began) / 2
		a.clock.Store(&reading{behind: o.Now.Sub(now.Add(-half)), doubt: half})
	}
	return o, err
}

// hear takes over new orders. A set-up may begin when the server has heard that
// the node follows its generation: no run can come meanwhile.
func (a *agent) hear(told muster.NodeReport, o *muster.NodeOrders) (last bool) {
	o.Begin = o.Begin && told.Generation == o.Generation
	o.Now, o.Servers = time.Time{}, nil
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.orders == nil || !reflect.DeepEqual(a.orders, o) {
		a.orders = o
		close(a.changed)
		a.changed = make(chan struct{})
	}
	close(a.answered)
	a.answered = make(chan struct{})
	return false
}

// newest returns the newest orders, and what is closed when they change.
func (a *agent) newest() (*muster.NodeOrders, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.orders, a.changed
}

// ask has the server answer a report at once, and waits for that, a moment.
func (a *agent) ask(ctx context.Context) {
	a.mu.Lock()
	answered := a.answered
	a.mu.Unlock()
	a.line.Change(func(*muster.NodeReport) {})
	select {
	case <-answered:
	case <-ctx.Done():
	case <-time.After(2 * time.Second):
	}
}

// while returns a context that ends when the newest orders are not good any
// more.
func (a *agent) while(ctx context.Context, good func(*muster.NodeOrders) bool) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancel(ctx)
	go func() {
		for ctx.Err() == nil {
			o, changed := a.newest()
			if !good(o) {
				stop()
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}()
	return ctx, stop
}
