// Package target is the plugin by which the Nomad Autoscaler starts and stops
// machines of Muster's provider "local": Nomad clients on this computer. It is
// the double of a cloud, and fails like one where a file of faults says so.
//
// The agent's calls return at once. What they ask for is done behind them, by
// one worker a cluster.
package target

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad-autoscaler/plugins"
	"github.com/hashicorp/nomad-autoscaler/plugins/base"
	"github.com/hashicorp/nomad-autoscaler/plugins/target"
	"github.com/hashicorp/nomad-autoscaler/sdk"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/autoscaler"
	"github.com/muster-ml/muster/client"
	"github.com/muster-ml/muster/engines"
)

// ClusterKey is the key in a policy's target that names the cluster.
const ClusterKey = "cluster"

// Plugin is the plugin. One serves all clusters of a folder.
type Plugin struct {
	log        hclog.Logger
	every      time.Duration // between two looks of a worker
	startLimit time.Duration // in which a machine must become a ready node

	ctx    context.Context
	cancel context.CancelFunc
	begin  sync.Once
	wait   sync.WaitGroup

	mu       sync.Mutex // guards what follows
	settings autoscaler.Settings
	server   *client.Client
	machines *engines.Machines // nil until the folder is ours
	source   string            // the folder's id
	workers  map[string]*worker
}

var _ target.Target = (*Plugin)(nil)

// New makes a plugin that does nothing before it is configured.
func New(log hclog.Logger) *Plugin {
	ctx, cancel := context.WithCancel(context.Background())
	return &Plugin{log: log, every: time.Second, startLimit: time.Minute, ctx: ctx, cancel: cancel, workers: map[string]*worker{}}
}

// Serve runs the plugin until the agent ends it. Its machines live on.
func Serve() {
	autoscaler.EndWithAgent()
	plugins.Serve(func(log hclog.Logger) any { return New(log) })
}

// Close ends the workers, and leaves the machines alone.
func (p *Plugin) Close() {
	p.cancel()
	p.wait.Wait()
}

// PluginInfo tells the agent what it has started.
func (p *Plugin) PluginInfo() (*base.PluginInfo, error) {
	return &base.PluginInfo{Name: autoscaler.Driver, PluginType: sdk.PluginTypeTarget}, nil
}

// SetConfig takes the plugin's settings; the agent calls it at each reload, too.
func (p *Plugin) SetConfig(config map[string]string) error {
	s := autoscaler.Read(config)
	server, err := s.Connect()
	if err != nil {
		return autoscaler.Tell(err)
	}
	if !filepath.IsAbs(s.Dir) || s.Program == "" || s.Servers == "" {
		return errors.New("the target needs an absolute dir, the program nomad and the addresses of Nomad's servers")
	}
	p.mu.Lock()
	p.settings, p.server = s, server
	p.mu.Unlock()
	p.begin.Do(func() { p.wait.Go(p.own) })
	return nil
}

// own waits until no other plugin works on the folder, such as one whose agent
// has just died, and takes up the machines in it. What stands in the way may pass,
// so that it is tried again: a plugin that lives must work.
func (p *Plugin) own() {
	settings, _ := p.present()
	all := &engines.Machines{Dir: settings.Dir}
	var lock *engines.Lock
	var source string
	var found []*engines.Machine
	for _, do := range []func() error{
		func() (err error) { lock, err = all.Lock(); return },
		func() (err error) { source, err = all.ID(); return },
		func() (err error) { found, err = all.List(""); return },
	} {
		if !p.insist(do) {
			p.release(lock)
			return
		}
	}
	p.mu.Lock()
	p.machines, p.source = all, source
	p.mu.Unlock()
	for _, m := range found {
		p.worker(m.Group)
	}
	<-p.ctx.Done()
	p.mu.Lock()
	workers := p.workers
	p.machines, p.workers = nil, map[string]*worker{}
	p.mu.Unlock()
	for _, w := range workers {
		<-w.done
	}
	p.release(lock)
}

// release gives the lock back, if there is one.
func (p *Plugin) release(lock *engines.Lock) {
	if lock == nil {
		return
	}
	if err := lock.Release(); err != nil {
		p.log.Warn("cannot give back the lock", "error", err)
	}
}

// insist does something until it is done, and tells each new reason why it is not;
// false when the plugin ends before.
func (p *Plugin) insist(do func() error) bool {
	told := ""
	for {
		err := do()
		if err == nil {
			return true
		}
		switch text := err.Error(); {
		case text == told:
		case muster.CodeOf(err) == muster.CodeConflict:
			p.log.Info("waiting until nobody else works on the machines", "error", err)
		default:
			p.log.Error("cannot take over the machines, trying again", "error", err)
		}
		told = err.Error()
		select {
		case <-p.ctx.Done():
			return false
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// worker returns the worker of a cluster, a new one where there is none; nil
// before the folder is ours.
func (p *Plugin) worker(cluster string) *worker {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.workers[cluster]; w != nil || p.machines == nil {
		return w
	}
	w := &worker{plugin: p, cluster: cluster, source: p.source, log: p.log.With("cluster", cluster), all: p.machines, wake: make(chan struct{}, 1), done: make(chan struct{})}
	if err := w.load(); err != nil {
		w.log.Error("cannot take up the machines", "error", err)
		return nil
	}
	p.workers[cluster] = w
	go w.run(p.ctx)
	return w
}

// forget drops the worker of a cluster that is gone.
func (p *Plugin) forget(cluster string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.workers, cluster)
}

// present returns the settings as they are now.
func (p *Plugin) present() (autoscaler.Settings, *client.Client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.settings, p.server
}

// Status tells, at once, how many machines a cluster has. It is not ready, so
// that nothing is scaled, while the Muster server does not answer. That is no
// error: with one the agent would drop the policy for good if it has just begun.
func (p *Plugin) Status(config map[string]string) (*sdk.TargetStatus, error) {
	cluster := config[ClusterKey]
	if err := muster.CheckName("cluster", cluster); err != nil {
		return nil, autoscaler.Tell(err)
	}
	w := p.worker(cluster)
	if w == nil {
		return &sdk.TargetStatus{}, nil
	}
	count, fresh := w.status()
	return &sdk.TargetStatus{Ready: fresh, Count: int64(count)}, nil
}

// Scale asks a cluster's worker to bring its machines to what the server wants,
// which it reads anew: the number of the action may be seconds old.
func (p *Plugin) Scale(action sdk.ScalingAction, config map[string]string) error {
	if action.Count == sdk.StrategyActionMetaValueDryRunCount {
		return nil
	}
	w := p.worker(config[ClusterKey])
	if w == nil {
		return sdk.NewTargetScalingNoOpError("the machines of %s are not taken up yet", config[ClusterKey])
	}
	w.ask()
	return nil
}
