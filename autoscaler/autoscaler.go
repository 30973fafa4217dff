// Package autoscaler holds what Muster's plugins of the Nomad Autoscaler and the
// supervision of its agent agree on.
package autoscaler

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// Driver is the program of both plugins, by which the agent knows them; APM and
// Target are the names of their blocks.
const (
	Driver = "muster-autoscaler"
	APM    = "muster"
	Target = "muster-local"
)

// Settings is what the plugins must know. The agent hands it to them as a map.
type Settings struct {
	Addr         string // the Muster server's URL
	TokenFile    string // holds the token; read anew for each request
	CACert       string // PEM of the authority of the server's certificate; may be ""
	Dir          string // where machines lie
	Program      string // path of nomad
	Servers      string // Nomad's, for RPC, with commas between
	Consul       string // URL for the nodes; may be ""
	DevicePlugin string // path of muster-device; may be ""
}

// fields lists the settings by their keys.
func (s *Settings) fields() map[string]*string {
	return map[string]*string{"addr": &s.Addr, "token_file": &s.TokenFile, "ca_cert": &s.CACert, "dir": &s.Dir, "program": &s.Program,
		"servers": &s.Servers, "consul": &s.Consul, "device_plugin": &s.DevicePlugin}
}

// Map returns the settings as the agent's configuration holds them.
func (s Settings) Map() map[string]string {
	m := map[string]string{}
	for key, field := range s.fields() {
		if *field != "" {
			m[key] = *field
		}
	}
	return m
}

// Read returns the settings of a map; what else the agent puts into it is its own.
func Read(m map[string]string) Settings {
	var s Settings
	for key, field := range s.fields() {
		*field = m[key]
	}
	return s
}

// Connect makes a client of the Muster server.
func (s Settings) Connect() (*client.Client, error) {
	c := client.New(s.Addr, "")
	if s.TokenFile != "" {
		c.Secret = func(context.Context) (string, error) {
			b, err := os.ReadFile(s.TokenFile)
			if err != nil {
				return "", muster.Errorf(muster.CodeUnauthenticated, "the token cannot be read: %v", err).WithCure("--token-file names the file")
			}
			return strings.TrimSpace(string(b)), nil
		}
	}
	if s.CACert == "" {
		return c, nil
	}
	pem, err := os.ReadFile(s.CACert)
	if err != nil {
		return nil, fmt.Errorf("read the authority of the server: %w", err)
	}
	return c, c.Trust(pem)
}

// tellable replaces the words at which the agent believes that Nomad itself is
// gone, drops all its policies and comes back ten seconds later.
var tellable = strings.NewReplacer("connection refused", "nobody listens", "EOF", "it hung up")

// Tell makes an error fit for the agent.
func Tell(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s", tellable.Replace(err.Error()))
}

// EndWithAgent ends this process, a plugin, soon after the agent that started
// it: one that was killed leaves its plugins behind.
func EndWithAgent() {
	agent := os.Getppid()
	go func() {
		for range time.Tick(200 * time.Millisecond) {
			if os.Getppid() != agent {
				os.Exit(1)
			}
		}
	}()
}
