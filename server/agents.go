package server

import (
	"archive/tar"
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

// agentMode is what the agent is packed for: an archive keeps the right to
// execute it, which a file that Nomad fetches into a container would not have.
const agentMode = 0o755

// keepAgent packs the agent into the folder, and returns the digest of the pack.
// What nodes fetch is the copy: the file itself may be replaced while the server
// runs.
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
	err = packAgent(f, io.MultiWriter(part, hash))
	if err := errors.Join(err, part.Close()); err != nil {
		return "", fmt.Errorf("keep the agent: %w", err)
	}
	sum = hex.EncodeToString(hash.Sum(nil))
	if err := os.Rename(part.Name(), filepath.Join(dir, sum)); err != nil {
		return "", fmt.Errorf("keep the agent: %w", err)
	}
	return sum, forgetAgents(dir)
}

// packAgent writes the agent as the only file of an archive. The same agent gives
// the same bytes.
func packAgent(f *os.File, to io.Writer) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	w := tar.NewWriter(to)
	if err := w.WriteHeader(&tar.Header{Name: "muster-agent", Mode: agentMode, Size: info.Size()}); err != nil {
		return err
	}
	if _, err := io.Copy(w, f); err != nil {
		return err
	}
	return w.Close()
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
