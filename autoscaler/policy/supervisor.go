// Package policy runs agents of the Nomad Autoscaler for Muster's clusters: it
// writes their scaling policies as the clusters come, change and go, and keeps
// the agents and their plugins alive.
package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/autoscaler"
	"github.com/muster-ml/muster/client"
	"github.com/muster-ml/muster/engines"
)

// Config says how to run.
type Config struct {
	Settings          autoscaler.Settings // what the plugins are told; its Dir holds all that is kept here
	Self              string              // this program, which is the plugins, too
	AutoscalerProgram string
	Nomad             map[string]string // the "nomad" block of the agents' configuration
	Interval          time.Duration     // between two looks at the clusters, and of the agents at the numbers
	StopMachines      bool              // at the end, stop the machines, too
	say               func(format string, args ...any)
	ports             ports
}

// ports are those of the agents, which start at the same time.
type ports struct {
	mu    sync.Mutex
	known engines.Ports
}

// choose returns a port for an agent that does not run, the one of before if it
// can be.
func (p *ports) choose(agent string) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		p.known = engines.Ports{}
	}
	_, err := p.known.Choose(agent)
	return p.known[agent], err
}

// agentsDir holds a folder for each agent. No cluster has such a name.
func (c *Config) agentsDir() string { return filepath.Join(c.Settings.Dir, ".agents") }

// ReadyFile is there when the clusters were read and the agent of the machines
// here, if there is one, runs with its plugins.
func ReadyFile(dir string) string { return filepath.Join(dir, ".ready") }

// supervisor is a run.
type supervisor struct {
	*Config
	server *client.Client
	agents map[muster.Provider]*agent
	told   map[string]bool // what was said of clusters
	away   bool            // the server does not answer
}

// Run looks after the agents until the context ends. The machines live on unless
// the configuration says otherwise.
func Run(ctx context.Context, c *Config) error {
	if err := os.MkdirAll(c.Settings.Dir, 0o711); err != nil {
		return fmt.Errorf("make folder of the autoscaler: %w", err)
	}
	lock, err := lockRun(c)
	if err != nil {
		return err
	}
	defer lock.Release() //nolint:errcheck // the kernel gives it back
	if err := os.Remove(ReadyFile(c.Settings.Dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("begin: %w", err)
	}
	s := &supervisor{Config: c, agents: map[muster.Provider]*agent{}, told: map[string]bool{}}
	if s.server, err = c.Settings.Connect(); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		if err := engines.SystemCgroups().Enter(c.Settings.Dir); err != nil {
			return err
		}
	}
	s.loop(ctx)
	for _, a := range s.agents {
		a.stop()
	}
	if !c.StopMachines {
		return nil
	}
	return clearMachines(c.Settings.Dir)
}

// lockRun refuses a second run on one folder.
func lockRun(c *Config) (*engines.Lock, error) {
	if err := os.MkdirAll(c.agentsDir(), 0o700); err != nil {
		return nil, fmt.Errorf("make folder of the autoscaler: %w", err)
	}
	lock, holder, err := engines.TryLock(filepath.Join(c.agentsDir(), "lock"))
	if muster.CodeOf(err) == muster.CodeConflict {
		return nil, muster.Errorf(muster.CodeConflict, "muster-autoscaler runs already on %s, as process %d", c.Settings.Dir, holder).WithCure("stop that one, or name another folder by --dir")
	}
	return lock, err
}

// loop looks at the clusters at each interval.
func (s *supervisor) loop(ctx context.Context) {
	tick := time.NewTicker(s.Interval)
	defer tick.Stop()
	ready := false
	for {
		if err := s.look(ctx); err != nil && ctx.Err() == nil {
			if !s.away {
				s.say("the clusters stay as they are: %v", err)
			}
			s.away = true
		} else if ctx.Err() == nil {
			if s.away {
				s.say("the server answers again")
			}
			s.away = false
			if local := s.agents[muster.ProviderLocal]; !ready && (local == nil || local.up()) {
				ready = writeFile(ReadyFile(s.Settings.Dir), "") == nil
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look reads the clusters and tells each agent what to work on. The one of the
// machines here runs always: there may be some whose cluster is gone.
func (s *supervisor) look(ctx context.Context) error {
	// Listing is no reason to wait for ever.
	asking, cancel := context.WithTimeout(ctx, max(5*time.Second, s.Interval))
	defer cancel()
	clusters, err := s.server.Clusters(asking)
	if err != nil {
		return err
	}
	all := map[muster.Provider]*wants{}
	if s.Settings.Program != "" {
		all[muster.ProviderLocal] = &wants{policies: map[string]string{}, targets: []block{{autoscaler.Target, autoscaler.Driver, []string{"target"}, withoutNomad(s.Settings.Map())}}}
	}
	for _, c := range clusters {
		if !c.Provider.Elastic() || c.Paused {
			continue
		}
		if err := s.add(all, c); err != nil {
			s.once("%v", err)
		}
	}
	for provider, w := range all {
		if s.agents[provider] == nil {
			s.agents[provider] = newAgent(s.Config, provider)
		}
		s.agents[provider].want(*w)
	}
	for provider, a := range s.agents {
		if all[provider] == nil {
			a.stop()
			delete(s.agents, provider)
		}
	}
	return nil
}

// add puts a cluster among what the agent of its provider works on.
func (s *supervisor) add(all map[muster.Provider]*wants, c *muster.Cluster) error {
	if c.Provider == muster.ProviderLocal && s.Settings.Program == "" {
		return muster.Errorf(muster.CodeRefused, "cluster %s wants machines here, and there is no nomad", c.Name).WithCure("--nomad-program names it")
	}
	target, config, err := targetOf(c, s.Settings)
	if err != nil {
		return err
	}
	p, err := policyOf(c, target.Name, config, s.Interval)
	if err != nil {
		return err
	}
	w := all[c.Provider]
	if w == nil {
		w = &wants{policies: map[string]string{}}
		all[c.Provider] = w
	}
	w.policies[p.File] = p.Text
	for _, t := range w.targets {
		if t.Name == target.Name {
			return nil
		}
	}
	w.targets = append(w.targets, target)
	return nil
}

// once says something that has not been said yet.
func (s *supervisor) once(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !s.told[text] {
		s.told[text] = true
		s.say("%s", text)
	}
}
