// Package dev is a whole platform on one machine: Consul, Nomad, its nodes and
// the Muster server as supervised child processes. It is what "muster dev" and
// the end-to-end tests run.
package dev

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/muster-ml/muster"
)

// Config says what platform to run.
type Config struct {
	DataDir        string        // where all of it lies; "" is a temporary folder with Ephemeral, else DefaultFolder
	Ephemeral      bool          // remove everything at the end
	Command        []string      // argv of the Muster server, flags are appended; none for a platform without it
	Agent          string        // path of the static muster-agent
	Nodes          []Node        // none stands for one of node pool "local"; the first has this machine's GPUs and FPGAs
	GPUShares      int           // how many shares each of these GPUs is cut into; 0 leaves it whole
	HeartbeatGrace time.Duration // how long a node may be silent; 0 is 10 s
	ServerArgs     []string      // more flags for the Muster server
	Autoscaler     string        // path of muster-autoscaler; "" for a platform whose clusters do not grow
	DevicePlugin   string        // path of muster-device, without which no node has devices; may be ""
	Out            io.Writer     // takes lines on what happens; may be nil
}

// Node is one Nomad client of the platform.
type Node struct {
	Name string // unique in the platform
	Pool string // its node pool
	MHz  int    // what it offers; 0 is what the machine has
	MiB  int
}

// The names of the platform's processes, as Status shows them and Kill,
// Restart, Start and Pid take them. A node's is that of NodeProcess.
const (
	Consul     = "consul"
	Nomad      = "nomad"
	Server     = "server"
	Autoscaler = "autoscaler"
)

// NodeProcess returns the name of a node's process.
func NodeProcess(node string) string { return "node " + node }

// DefaultFolder is where "muster dev" keeps its data unless told otherwise, and
// where the CLI looks for the server's address and the token.
func DefaultFolder() (string, error) {
	if base := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(base) {
		return filepath.Join(base, "muster", "dev"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", muster.Errorf(muster.CodeRefused, "there is no home folder").WithCure("set HOME, or name a folder by --data-dir")
	}
	return filepath.Join(home, ".local", "share", "muster", "dev"), nil
}

// complete fills in what was left out, and makes the data folder.
func (c *Config) complete() error {
	if len(c.Nodes) == 0 {
		c.Nodes = []Node{{Name: "local", Pool: "local"}}
	}
	if c.Out == nil {
		c.Out = io.Discard
	}
	for i, n := range c.Nodes {
		if err := n.check(); err != nil {
			return err
		}
		for _, other := range c.Nodes[:i] {
			if other.Name == n.Name {
				return muster.Errorf(muster.CodeInvalid, "two nodes are named %s", n.Name)
			}
		}
	}
	return c.makeFolder()
}

// check refuses what Nomad would refuse later, less clearly.
func (n Node) check() error {
	if err := muster.CheckName("node", n.Name); err != nil {
		return err
	}
	return muster.CheckNodePool(n.Pool)
}

// makeFolder makes the data folder. Others may pass through it, as runs do not
// run as root; what is secret in it is closed by itself.
func (c *Config) makeFolder() error {
	var err error
	switch {
	case c.DataDir == "" && c.Ephemeral:
		if c.DataDir, err = os.MkdirTemp("", "muster-dev-"); err != nil {
			return fmt.Errorf("make temporary data folder: %w", err)
		}
		return os.Chmod(c.DataDir, 0o711)
	case c.Ephemeral:
		return muster.Errorf(muster.CodeInvalid, "an ephemeral platform takes no data folder, as it removes all it has")
	case c.DataDir == "":
		if c.DataDir, err = DefaultFolder(); err != nil {
			return err
		}
	}
	if c.DataDir, err = filepath.Abs(c.DataDir); err != nil {
		return fmt.Errorf("find data folder: %w", err)
	}
	if err := os.MkdirAll(c.DataDir, 0o711); err != nil {
		return muster.Errorf(muster.CodeRefused, "the data folder cannot be made: %v", err).WithCure("name another by --data-dir")
	}
	return nil
}
