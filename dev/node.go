package dev

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/engines"
)

// AddNode starts a node. One of this name that an earlier start left goes on,
// and the work on it.
func (p *Platform) AddNode(ctx context.Context, n Node) error {
	if err := n.check(); err != nil {
		return err
	}
	index, err := p.claimNode(n)
	if err != nil {
		return err
	}
	if _, err := p.state.choosePorts(NodeProcess(n.Name)); err != nil {
		return err
	}
	h, err := p.settle(n)
	if err != nil {
		return err
	}
	client := engines.NomadClient{Program: p.client, Name: n.Name, Pool: n.Pool, Dir: p.nodeFolder(n.Name), Allocs: h.Allocs,
		Work: h.Work, Log: p.log("node-" + n.Name), HTTPPort: p.state.port(NodeProcess(n.Name)),
		Server: p.nomad, Index: index, MHz: n.MHz, MiB: n.MiB}
	if n.Name == p.config.Nodes[0].Name { // two nodes would both give away the same devices
		client.Plugin, client.Plugins = p.config.DevicePlugin, p.config.devices()
	}
	service, err := client.Service()
	if err != nil {
		return err
	}
	if err := p.start(ctx, service); err != nil {
		return err
	}
	return p.serve(ctx, n, h)
}

// devices is the block of the device plugin: without one Nomad does not start it.
func (c *Config) devices() string {
	share := ""
	if c.GPUShares > 0 {
		share = fmt.Sprintf("    share {\n      match = \"*\"\n      parts = %d\n    }\n", c.GPUShares)
	}
	return fmt.Sprintf("plugin %q {\n  config {\n%s  }\n}", filepath.Base(c.DevicePlugin), share)
}

// serve puts a node into service again that the last Close took out.
func (p *Platform) serve(ctx context.Context, n Node, h home) error {
	if h.Drained == "" {
		return nil
	}
	node, err := p.nomad.ReadyNode(ctx, n.Name)
	if err == nil && node.ID == h.Drained {
		err = p.nomad.Serve(ctx, node.ID)
	}
	if err != nil {
		return fmt.Errorf("put node %s into service: %w", n.Name, err)
	}
	h.Drained = ""
	return p.state.setHome(n.Name, h)
}

// claimNode refuses a second node of one name, and counts the others.
func (p *Platform) claimNode(n Node) (index int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.ContainsFunc(p.nodes, func(other Node) bool { return other.Name == n.Name }) {
		return 0, muster.Errorf(muster.CodeConflict, "there is a node %s", n.Name)
	}
	p.nodes = append(p.nodes, n)
	return len(p.nodes) - 1, nil
}

// settle makes the folders of a node. Where they lie is remembered: its running
// tasks know them by these names.
func (p *Platform) settle(n Node) (home, error) {
	h, known := p.state.homeOf(n.Name)
	if !known {
		h.Home = engines.NewHome(p.DataDir, p.nodeFolder(n.Name))
	}
	if !p.holds(h) {
		p.say("node %s works in %s: runs are not root, and may not enter %s", n.Name, h.Folder, p.DataDir)
	}
	for _, dir := range []string{filepath.Join(p.DataDir, "nodes"), p.nodeFolder(n.Name)} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return h, fmt.Errorf("make folder of node %s: %w", n.Name, err)
		}
		if err := os.Chmod(dir, 0o711); err != nil {
			return h, fmt.Errorf("open folder of node %s: %w", n.Name, err)
		}
	}
	if err := h.Make(); err != nil {
		return h, err
	}
	return h, p.state.setHome(n.Name, h)
}

// holds reports whether a home lies in the data folder.
func (p *Platform) holds(h home) bool { return strings.HasPrefix(h.Folder, p.DataDir+"/") }

// nodeFolder holds a node's configuration and what its client remembers.
func (p *Platform) nodeFolder(name string) string { return filepath.Join(p.DataDir, "nodes", name) }

// clearNode takes away what a node that does not run leaves: tasks, mounts,
// folders of allocations and its short name. What an agent could not send stays.
func (p *Platform) clearNode(name string) error {
	h, known := p.state.homeOf(name)
	if !known {
		return nil
	}
	if err := h.Clear(); err != nil {
		return fmt.Errorf("clear node %s: %w", name, err)
	}
	if _, err := os.Stat(h.Folder); err == nil && !p.holds(h) {
		p.say("node %s keeps in %s what could not be sent", name, h.Folder)
	}
	return nil
}

// escapeGlob quotes what filepath.Glob would not take literally.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
