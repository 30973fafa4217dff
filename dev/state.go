package dev

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/engines"
)

// state is what one start of the platform leaves to the next, and a crashed one
// to the one that cleans up.
type state struct {
	Ports engines.Ports   `json:"ports"`
	Nodes map[string]home `json:"nodes"`

	path string
	mu   sync.Mutex
}

// home is where a node works.
type home struct {
	engines.Home
	Drained string `json:"drained,omitempty"` // the id under which it was taken out of service
}

// loadState reads the state in the data folder.
func loadState(folder string) (*state, error) {
	s := &state{path: filepath.Join(folder, "state.json")}
	b, err := os.ReadFile(s.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read state: %w", err)
	}
	if err == nil {
		if err := json.Unmarshal(b, s); err != nil {
			return nil, muster.Errorf(muster.CodeRefused, "%s cannot be read: %v", s.path, err).WithCure("remove it")
		}
	}
	if s.Ports == nil {
		s.Ports = engines.Ports{}
	}
	if s.Nodes == nil {
		s.Nodes = map[string]home{}
	}
	return s, nil
}

// save writes the state as a whole or not at all.
func (s *state) save() error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return writeFile(s.path, b)
}

// setHome remembers where a node works.
func (s *state) setHome(node string, h home) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Nodes[node] = h
	return s.save()
}

// homeOf returns where a node works.
func (s *state) homeOf(node string) (home, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.Nodes[node]
	return h, ok
}

// choosePorts finds ports and returns the names of those that moved.
func (s *state) choosePorts(names ...string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	moved, err := s.Ports.Choose(names...)
	if err != nil {
		return nil, err
	}
	return moved, s.save()
}

// port returns a port that was chosen.
func (s *state) port(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Ports[name]
}

// writeFile puts a file in place that only its owner may read.
func writeFile(path string, b []byte) error {
	partial := path + ".partial"
	if err := os.WriteFile(partial, b, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(partial, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// lockFolder refuses a second platform on one data folder.
func lockFolder(folder string) (*engines.Lock, error) {
	lock, holder, err := engines.TryLock(filepath.Join(folder, "lock"))
	if muster.CodeOf(err) == muster.CodeConflict {
		return nil, muster.Errorf(muster.CodeConflict, "muster dev runs already on %s, as process %d", folder, holder).
			WithCure("use that one, stop it, or name another folder by --data-dir")
	}
	return lock, err
}
