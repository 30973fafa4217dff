package server

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/muster-ml/muster"
)

// keptAgents is how many agents a server keeps: launches that were dispatched
// before it was given another fetch theirs.
const keptAgents = 5

// agentsFolder is where agents are kept, by SHA-256.
func (s *Server) agentsFolder() string { return filepath.Join(s.DataDir, "agents") }

// keepAgent copies the agent into the folder, and returns its digest. What nodes
// fetch is the copy: the file itself may be replaced while the server runs.
func keepAgent(file, dir string) (sum string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", muster.Errorf(muster.CodeInvalid, "the agent is missing: %v", err).At("agent-binary").
			WithCure("make build puts muster-agent beside muster; --agent-binary names another place")
	}
	defer f.Close()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("keep the agent: %w", err)
	}
	part, err := os.CreateTemp(dir, "part-")
	if err != nil {
		return "", fmt.Errorf("keep the agent: %w", err)
	}
	defer os.Remove(part.Name()) // it has another name by then, unless something failed
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(part, hash), f)
	if err := errors.Join(err, part.Close()); err != nil {
		return "", fmt.Errorf("keep the agent: %w", err)
	}
	sum = hex.EncodeToString(hash.Sum(nil))
	if err := os.Rename(part.Name(), filepath.Join(dir, sum)); err != nil {
		return "", fmt.Errorf("keep the agent: %w", err)
	}
	return sum, forgetAgents(dir)
}

// forgetAgents removes the agents beyond those that were kept last.
func forgetAgents(dir string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look through the agents: %w", err)
	}
	kept := map[string]time.Time{}
	for _, f := range list {
		info, err := f.Info()
		if err != nil {
			return fmt.Errorf("look through the agents: %w", err)
		}
		kept[f.Name()] = info.ModTime()
	}
	slices.SortFunc(list, func(a, b os.DirEntry) int {
		return cmp.Or(kept[b.Name()].Compare(kept[a.Name()]), cmp.Compare(a.Name(), b.Name()))
	})
	for _, f := range list[min(keptAgents, len(list)):] {
		if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
			return fmt.Errorf("forget an agent: %w", err)
		}
	}
	return nil
}
