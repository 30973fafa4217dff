package dev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/muster-ml/muster/engines"
)

// drainWithin is how long work may take to stop and to send what it has, and
// tellAfter how long it does so without a word.
const (
	drainWithin = 15 * time.Second
	tellAfter   = time.Second
)

// Close stops everything: first the work on the nodes, while the server still
// takes what the agents send, then the processes. What runs is queued again and
// starts anew with the next Open. It may be called twice.
func (p *Platform) Close() error {
	p.closing.Do(func() { p.closed = p.close() })
	return p.closed
}

// Hurry makes a Close that is under way, or comes, kill instead of ask.
func (p *Platform) Hurry() { p.hurried.Do(func() { close(p.hurry) }) }

// close undoes open, the last step first.
func (p *Platform) close() error {
	if p.lock == nil {
		return p.removeEphemeral()
	}
	var errs []error
	if p.state != nil {
		p.stop(Autoscaler)
		errs = append(errs, p.drain())
		p.stop(Server)
		errs = append(errs, p.stopNodes())
		p.stop(Nomad)
		p.stop(Consul)
		for _, n := range p.nodes {
			errs = append(errs, p.clearNode(n.Name))
		}
		if os.Getuid() == 0 {
			errs = append(errs, engines.SystemCgroups().Leave(p.DataDir))
		}
	}
	errs = append(errs, p.removeEphemeral(), p.lock.Release())
	return errors.Join(errs...)
}

// removeEphemeral removes the data folder of an ephemeral platform.
func (p *Platform) removeEphemeral() error {
	if !p.config.Ephemeral {
		return nil
	}
	if err := engines.Unmount(p.DataDir); err != nil {
		return err
	}
	if err := os.RemoveAll(p.DataDir); err != nil {
		return fmt.Errorf("remove temporary data folder: %w", err)
	}
	return nil
}

// drain stops the work on all nodes that run, and waits for its end.
func (p *Platform) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainWithin)
	defer cancel()
	go func() {
		select {
		case <-p.hurry:
			cancel()
		case <-ctx.Done():
		}
	}()
	machines, err := p.machines()
	if err != nil {
		return err
	}
	var wait sync.WaitGroup
	errs := make([]error, len(p.nodes))
	for i, n := range p.nodes {
		wait.Go(func() { errs[i] = p.drainNode(ctx, n) })
	}
	for _, m := range machines {
		wait.Go(func() {
			if node, err := p.nomad.ReadyNode(ctx, m.Name); err == nil {
				if alive, err := m.Alive(); alive || err != nil {
					p.empty(ctx, node)
				}
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// drainNode stops the work on a node. A node or server that is away is no
// error: what is left of its tasks is killed later.
func (p *Platform) drainNode(ctx context.Context, n Node) error {
	s := p.service(NodeProcess(n.Name))
	if s == nil || s.State().Pid == 0 {
		return nil
	}
	node, err := p.nomad.ReadyNode(ctx, n.Name)
	if err != nil {
		return nil
	}
	h, _ := p.state.homeOf(n.Name)
	h.Drained = node.ID
	if err := p.state.setHome(n.Name, h); err != nil {
		return err
	}
	p.empty(ctx, node)
	return nil
}

// empty drains a node and waits until the work on it has ended. What does not end
// in time is killed later.
func (p *Platform) empty(ctx context.Context, node engines.Node) {
	if err := p.nomad.Drain(ctx, node.ID); err != nil {
		return
	}
	tell := time.AfterFunc(tellAfter, func() { p.say("stopping the runs on node %s: they start anew with the next start", node.Name) })
	defer tell.Stop()
	for {
		busy, err := p.nomad.Busy(ctx, node.ID)
		if err != nil {
			return
		}
		if busy == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
	tell.Stop()
	p.nomad.Forget(ctx, node.ID)
}

// stop stops the named process, if there is one.
func (p *Platform) stop(name string) {
	if s := p.service(name); s != nil {
		s.Stop(p.hurry)
	}
}

// stopNodes stops all nodes at once, machines among them.
func (p *Platform) stopNodes() error {
	var wait sync.WaitGroup
	for _, n := range p.nodes {
		wait.Go(func() { p.stop(NodeProcess(n.Name)) })
	}
	err := p.stopMachines()
	wait.Wait()
	return err
}
