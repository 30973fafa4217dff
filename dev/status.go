package dev

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/engines"
)

// Row is one line of the status table.
type Row struct {
	Name     string // of the process
	State    string // running, starting again, stopped
	Pid      int
	URL      string // where people look at it; "" for a node
	Restarts int    // after it ended unasked
	Log      string
}

// Status tells what every process of the platform is doing.
func (p *Platform) Status() []Row {
	p.mu.Lock()
	services := append([]*engines.Service(nil), p.services...)
	p.mu.Unlock()
	urls := map[string]string{Consul: p.ConsulAddr + "/ui", Nomad: p.NomadAddr + "/ui", Server: p.Addr}
	var rows []Row
	for _, s := range services {
		st := s.State()
		row := Row{Name: st.Name, State: "running", Pid: st.Pid, URL: urls[st.Name], Restarts: st.Restarts, Log: s.Command.Log}
		switch {
		case !st.Wanted:
			row.State = "stopped"
		case st.Pid == 0:
			row.State = "starting again"
		}
		rows = append(rows, row)
	}
	return rows
}

// TokenFile is where the first token lies.
func (p *Platform) TokenFile() string { return filepath.Join(p.DataDir, "token") }

// Pid returns the number of the named process, 0 while it does not run.
func (p *Platform) Pid(name string) int {
	if s := p.service(name); s != nil {
		return s.State().Pid
	}
	return 0
}

// Kill kills the named process by SIGKILL. It stays down until Start.
func (p *Platform) Kill(name string) error {
	s, err := p.find(name)
	if err == nil {
		s.Kill()
	}
	return err
}

// Start starts the named process after Kill, and waits until it is ready.
func (p *Platform) Start(ctx context.Context, name string) error {
	s, err := p.find(name)
	if err != nil {
		return err
	}
	return s.Start(ctx)
}

// Restart stops the named process politely and starts it again.
func (p *Platform) Restart(ctx context.Context, name string) error {
	s, err := p.find(name)
	if err != nil {
		return err
	}
	s.Stop(nil)
	return s.Start(ctx)
}

// service returns the service of that name, nil if there is none.
func (p *Platform) service(name string) *engines.Service {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.services {
		if s.Command.Name == name {
			return s
		}
	}
	return nil
}

// find is service with an error that names all there are.
func (p *Platform) find(name string) (*engines.Service, error) {
	if s := p.service(name); s != nil {
		return s, nil
	}
	var names []string
	for _, row := range p.Status() {
		names = append(names, row.Name)
	}
	return nil, muster.Errorf(muster.CodeNotFound, "the platform has no process %q", name).WithCure("it has %s", strings.Join(names, ", "))
}
