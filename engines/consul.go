package engines

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Consul is one Consul server on this machine's loopback.
type Consul struct {
	Program  string // path of the program
	Dir      string // its folder: configuration and data
	Log      string
	HTTPPort int
	RPCPort  int
	SerfPort int
}

// URL returns the address of its API.
func (c Consul) URL() string { return loopback(c.HTTPPort) }

// Service writes the configuration and returns the service, not started yet.
func (c Consul) Service() (*Service, error) {
	config := filepath.Join(c.Dir, "config.json")
	b, err := json.MarshalIndent(c.config(), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write configuration of consul: %w", err)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder of consul: %w", err)
	}
	if err := os.WriteFile(config, b, 0o600); err != nil {
		return nil, fmt.Errorf("write configuration of consul: %w", err)
	}
	return &Service{
		Command: Command{Name: "consul", Argv: []string{c.Program, "agent", "-config-file", config}, Log: c.Log, Note: filepath.Join(c.Dir, "process.json")},
		Ready:   func(ctx context.Context) error { return hasLeader(ctx, c.URL()) },
		Grace:   10 * time.Second,
	}, nil
}

// config is what the file holds. All ports are named, as two platforms may
// share a machine.
func (c Consul) config() map[string]any {
	return map[string]any{
		"server":                  true,
		"bootstrap_expect":        1,
		"node_name":               "muster",
		"data_dir":                filepath.Join(c.Dir, "data"),
		"bind_addr":               "127.0.0.1",
		"advertise_addr":          "127.0.0.1",
		"client_addr":             "127.0.0.1",
		"ports":                   map[string]int{"http": c.HTTPPort, "server": c.RPCPort, "serf_lan": c.SerfPort, "serf_wan": -1, "dns": -1, "https": -1, "grpc": -1, "grpc_tls": -1},
		"performance":             map[string]int{"raft_multiplier": 1},
		"connect":                 map[string]bool{"enabled": false},
		"ui_config":               map[string]bool{"enabled": true},
		"disable_update_check":    true,
		"leave_on_terminate":      false,
		"skip_leave_on_interrupt": true,
	}
}

// hasLeader asks a Consul or Nomad agent once whether there is a leader.
func hasLeader(ctx context.Context, url string) error {
	var leader string
	if err := call(ctx, "GET", url+"/v1/status/leader", nil, &leader); err != nil {
		return err
	}
	if leader == "" {
		return errors.New("no leader yet")
	}
	return nil
}
