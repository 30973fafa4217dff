package dev

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/engines"
)

// elsewhere holds the folders of root's nodes when their data folder lies where
// the user that runs are cannot get to, such as in root's home.
const elsewhere = "/var/lib/muster/dev"

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
	service, err := engines.NomadClient{Program: p.client, Name: n.Name, Pool: n.Pool, Dir: p.nodeFolder(n.Name), Allocs: h.Allocs,
		Work: h.Work, Log: p.log("node-" + n.Name), HTTPPort: p.state.port(NodeProcess(n.Name)),
		Server: p.nomad, Index: index, MHz: n.MHz, MiB: n.MiB}.Service()
	if err != nil {
		return err
	}
	if err := p.start(ctx, service); err != nil {
		return err
	}
	return p.serve(ctx, n, h)
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

// maxWork is the longest path of a node's Muster folder.
const maxWork = 1024

// settle makes the folders of a node. Where they lie is remembered: its running
// tasks know them by these names.
func (p *Platform) settle(n Node) (home, error) {
	h, known := p.state.homeOf(n.Name)
	if !known {
		h.Folder = filepath.Join(p.DataDir, "nodes", n.Name)
		if os.Getuid() == 0 && !engines.Traversable(p.DataDir) {
			h.Folder = filepath.Join(elsewhere, shortHash(p.DataDir), n.Name)
		}
	}
	if !strings.HasPrefix(h.Folder, p.DataDir+"/") {
		p.say("node %s works in %s: runs are not root, and may not enter %s", n.Name, h.Folder, p.DataDir)
	}
	allocs, work := filepath.Join(h.Folder, "allocs"), filepath.Join(h.Folder, "muster")
	for _, dir := range []string{filepath.Join(p.DataDir, "nodes"), p.nodeFolder(n.Name), filepath.Dir(h.Folder), h.Folder, allocs, work} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return h, fmt.Errorf("make folder of node %s: %w", n.Name, err)
		}
		if err := os.Chmod(dir, 0o711); err != nil {
			return h, fmt.Errorf("open folder of node %s: %w", n.Name, err)
		}
	}
	var err error
	if h.Allocs, err = engines.Shorten(allocs, engines.MaxAllocs); err != nil {
		return h, err
	}
	if h.Work, err = engines.Shorten(work, maxWork); err != nil {
		return h, err
	}
	return h, p.state.setHome(n.Name, h)
}

// nodeFolder holds a node's configuration and what its client remembers.
func (p *Platform) nodeFolder(name string) string { return filepath.Join(p.DataDir, "nodes", name) }

// clearNode takes away what a node that does not run leaves: tasks, mounts,
// folders of allocations and its short name. What an agent could not send stays.
func (p *Platform) clearNode(name string) error {
	h, known := p.state.homeOf(name)
	if !known {
		return nil
	}
	if err := engines.KillTasks(h.Allocs); err != nil {
		return err
	}
	if err := engines.Unmount(h.Folder); err != nil {
		return err
	}
	allocs := filepath.Join(h.Folder, "allocs")
	if err := os.RemoveAll(allocs); err != nil {
		return fmt.Errorf("clear node %s: %w", name, err)
	}
	if h.Allocs != "" {
		if err := engines.RemoveShort(allocs, h.Allocs); err != nil {
			return err
		}
	}
	if h.Work != "" {
		if err := engines.RemoveShort(filepath.Join(h.Folder, "muster"), h.Work); err != nil {
			return err
		}
	}
	if strings.HasPrefix(h.Folder, elsewhere+"/") {
		removeEmpty(h.Folder, filepath.Dir(elsewhere))
		if _, err := os.Stat(h.Folder); err == nil {
			p.say("node %s keeps in %s what could not be sent", name, h.Folder)
		}
	}
	return nil
}

// removeEmpty removes the empty folders below a folder, itself, and those above
// it up to and with the last.
func removeEmpty(folder, last string) {
	var below []string
	filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			below = append(below, path)
		}
		return nil
	})
	for _, dir := range slices.Backward(below) {
		os.Remove(dir)
	}
	for dir := folder; strings.HasPrefix(dir, last); dir = filepath.Dir(dir) {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
}

// shortHash names a folder in few letters.
func shortHash(folder string) string {
	sum := sha256.Sum256([]byte(folder))
	return hex.EncodeToString(sum[:])[:10]
}

// escapeGlob quotes what filepath.Glob would not take literally.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
