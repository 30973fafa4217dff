package dev

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/muster-ml/muster/engines"
)

// Platform is a running platform.
type Platform struct {
	Addr       string // URL of the Muster server; "" without one
	Token      string // its first token
	NomadAddr  string // URL of Nomad
	ConsulAddr string // URL of Consul
	DataDir    string
	Lacks      []string // why workspace "default" or cluster "local" is not there, a sentence each

	config Config
	lock   *engines.Lock
	state  *state
	nomad  engines.NomadServer
	client string // path of the Nomad program

	mu       sync.Mutex // guards services, nodes and writes to config.Out
	services []*engines.Service
	nodes    []Node

	closing sync.Once
	hurry   chan struct{} // closed to end all politeness
	hurried sync.Once
	closed  error
}

// Open starts the platform, or brings back what a crashed one left: runs that
// still run are taken over. It returns when the server is ready and workspace
// "default" and cluster "local" exist, or Lacks says why not. The context bounds
// the start only.
func Open(ctx context.Context, c Config) (*Platform, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	p := &Platform{DataDir: c.DataDir, config: c, hurry: make(chan struct{})}
	if err := p.open(ctx); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// open starts one part after another; Close undoes what was done.
func (p *Platform) open(ctx context.Context) error {
	var err error
	if p.lock, err = lockFolder(p.DataDir); err != nil {
		return err
	}
	if p.state, err = loadState(p.DataDir); err != nil {
		return err
	}
	if err := p.stopLeftovers(); err != nil {
		return err
	}
	if err := p.choosePorts(); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		if err := engines.SystemCgroups().Enter(p.DataDir); err != nil {
			return err
		}
	}
	if err := p.startEngines(ctx); err != nil {
		return err
	}
	together, ctx := errgroup.WithContext(ctx)
	for _, n := range p.config.Nodes {
		together.Go(func() error { return p.AddNode(ctx, n) })
	}
	if len(p.config.Command) > 0 {
		together.Go(func() error {
			if err := p.startServer(ctx); err != nil || p.config.Autoscaler == "" {
				return err
			}
			return p.startAutoscaler(ctx)
		})
	}
	return together.Wait()
}

// stopLeftovers ends the processes that outlived a crash, but not the tasks of
// nodes that come back, and takes away what is left of nodes that do not. Machines
// go on where there will be an autoscaler again.
func (p *Platform) stopLeftovers() error {
	var notes []string
	for _, pattern := range []string{"*/process.json", "nodes/*/process.json"} {
		found, err := filepath.Glob(filepath.Join(escapeGlob(p.DataDir), pattern))
		if err != nil {
			return fmt.Errorf("look for processes of an earlier start: %w", err)
		}
		notes = append(notes, found...)
	}
	for _, note := range notes {
		found, err := engines.StopLeftover(note)
		if err != nil {
			return err
		}
		if found {
			p.say("stopped a process that an earlier start left: %s", filepath.Dir(note))
		}
	}
	for name := range p.state.Nodes {
		if !slices.ContainsFunc(p.config.Nodes, func(n Node) bool { return n.Name == name }) {
			if err := p.clearNode(name); err != nil {
				return err
			}
		}
	}
	if p.config.Autoscaler == "" || len(p.config.Command) == 0 {
		return p.stopMachines()
	}
	return nil
}

// choosePorts finds a port for everything, and says which had to move.
func (p *Platform) choosePorts() error {
	names := []string{"server", "nomad", "nomad.rpc", "nomad.serf", "consul", "consul.rpc", "consul.serf"}
	for _, n := range p.config.Nodes {
		names = append(names, NodeProcess(n.Name))
	}
	moved, err := p.state.choosePorts(names...)
	for _, name := range moved {
		p.say("the port of %s was taken by another program: it is now %d", name, p.state.port(name))
	}
	return err
}

// startEngines starts Consul and the Nomad server.
func (p *Platform) startEngines(ctx context.Context) error {
	consulProgram, err := engines.Find(ctx, "consul")
	if err != nil {
		return err
	}
	if p.client, err = engines.Find(ctx, "nomad"); err != nil {
		return err
	}
	consul := engines.Consul{Program: consulProgram, Dir: filepath.Join(p.DataDir, "consul"), Log: p.log("consul"),
		HTTPPort: p.state.port("consul"), RPCPort: p.state.port("consul.rpc"), SerfPort: p.state.port("consul.serf")}
	p.nomad = engines.NomadServer{Program: p.client, Dir: filepath.Join(p.DataDir, "nomad"), Log: p.log("nomad"),
		HTTPPort: p.state.port("nomad"), RPCPort: p.state.port("nomad.rpc"), SerfPort: p.state.port("nomad.serf"),
		HeartbeatGrace: p.config.HeartbeatGrace, Consul: consul.URL()}
	p.NomadAddr, p.ConsulAddr = p.nomad.URL(), consul.URL()
	consulService, err := consul.Service()
	if err != nil {
		return err
	}
	nomadService, err := p.nomad.Service()
	if err != nil {
		return err
	}
	together, ctx := errgroup.WithContext(ctx)
	for _, s := range []*engines.Service{consulService, nomadService} {
		together.Go(func() error { return p.start(ctx, s) })
	}
	return together.Wait()
}

// start puts a service among those of the platform and starts it.
func (p *Platform) start(ctx context.Context, s *engines.Service) error {
	s.Died = func(err error) { p.say("%v", err) }
	p.mu.Lock()
	p.services = append(p.services, s)
	p.mu.Unlock()
	return s.Start(ctx)
}

// log returns the path of a part's log.
func (p *Platform) log(name string) string { return filepath.Join(p.DataDir, "log", name+".log") }

// say writes one line on what happens.
func (p *Platform) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	io.WriteString(p.config.Out, fmt.Sprintf(format, args...)+"\n")
}
