package engines

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"text/template"
	"time"
)

// NomadServer is one Nomad server on this machine's loopback.
type NomadServer struct {
	Program        string // path of the program
	Dir            string // its folder: configuration and data
	Log            string
	HTTPPort       int
	RPCPort        int
	SerfPort       int
	HeartbeatGrace time.Duration // how long a node may be silent; 0 is 10 s
	Issuer         string        // of workload identities; may be ""
	Consul         string        // URL; may be ""
	Addrs          []string      // for RPC, of servers of which no more is known; none stands for RPCPort
}

// rpc lists the addresses at which clients find it.
func (s NomadServer) rpc() []string {
	if len(s.Addrs) > 0 {
		return s.Addrs
	}
	return []string{fmt.Sprintf("127.0.0.1:%d", s.RPCPort)}
}

// URL returns the address of its API.
func (s NomadServer) URL() string { return loopback(s.HTTPPort) }

// NomadClient is one Nomad client, a node, on this machine.
type NomadClient struct {
	Program  string // path of the program
	Name     string
	Pool     string
	Dir      string // its folder: configuration and state
	Allocs   string // folder of allocations: at most MaxAllocs bytes long
	Work     string // what agents find as meta "muster_dir"
	Log      string
	HTTPPort int
	Server   NomadServer
	Index    int // counts the nodes of this machine: each has its own ports for tasks
	MHz      int // what it offers; 0 is what the machine has
	MiB      int
	Reserved int               // MiB of these that no task gets
	Meta     map[string]string // besides "muster_dir"
	Plugin   string            // program of a Nomad plugin; may be ""
	Plugins  string            // its block
}

// taskRanges is how many nodes of one machine have ports for tasks of their own.
const taskRanges = 24

// FirstTaskPort is the first port that this node gives to a task.
func (c NomadClient) FirstTaskPort() int { return 20000 + c.Index%taskRanges*500 }

// LastTaskPort is the last one.
func (c NomadClient) LastTaskPort() int { return c.FirstTaskPort() + 499 }

// MaxAllocs is the longest path of a folder of allocations under which Nomad
// still makes the socket of the task API: a socket's path has 107 bytes, and
// "/", an allocation's id, "/main/secrets/api.sock" follow.
const MaxAllocs = 107 - 1 - 36 - len("/main/secrets/api.sock")

var nomadServerConfig = template.Must(template.New("").Parse(`name                 = "server"
data_dir             = {{printf "%q" .Data}}
bind_addr            = "127.0.0.1"
disable_update_check = true

ports {
  http = {{.HTTPPort}}
  rpc  = {{.RPCPort}}
  serf = {{.SerfPort}}
}

advertise {
  http = "127.0.0.1"
  rpc  = "127.0.0.1"
  serf = "127.0.0.1"
}

server {
  enabled           = true
  bootstrap_expect  = 1
  heartbeat_grace   = "{{.HeartbeatGrace}}"
  min_heartbeat_ttl = "{{.HeartbeatGrace}}"
{{- with .Issuer}}
  oidc_issuer       = {{printf "%q" .}}
{{- end}}
}

consul {
{{- with .Consul}}
  address          = {{printf "%q" .}}
{{- end}}
  auto_advertise   = false
  server_auto_join = false
  client_auto_join = false
}
`))

var nomadClientConfig = template.Must(template.New("").Parse(`name                 = {{printf "%q" .Name}}
data_dir             = {{printf "%q" .Data}}
bind_addr            = "127.0.0.1"
disable_update_check = true
{{- if .Plugin}}
plugin_dir           = {{printf "%q" .PluginDir}}
{{- end}}

# Only http is listened on: a client has the two others in name only.
ports {
  http = {{.HTTPPort}}
}

advertise {
  http = "127.0.0.1"
  rpc  = "127.0.0.1"
  serf = "127.0.0.1"
}

# What it offers is on the loopback: by itself the client looks for a default route, and
# does not start where this machine is on no network, or has no program "ip".
client {
  enabled           = true
  network_interface = "lo"
  servers           = [{{range $i, $addr := .Servers}}{{if $i}}, {{end}}{{printf "%q" $addr}}{{end}}]
  node_pool         = {{printf "%q" .Pool}}
  alloc_dir         = {{printf "%q" .Allocs}}
  alloc_mounts_dir  = {{printf "%q" .Mounts}}
  min_dynamic_port  = {{.FirstTaskPort}}
  max_dynamic_port  = {{.LastTaskPort}}
{{- if .MHz}}
  cpu_total_compute = {{.MHz}}
{{- end}}
{{- if .MiB}}
  memory_total_mb   = {{.MiB}}
{{- end}}

  meta {
    muster_dir = {{printf "%q" .Work}}
{{- range $key, $value := .Meta}}
    {{$key}} = {{printf "%q" $value}}
{{- end}}
  }
{{- if .Reserved}}

  reserved {
    memory = {{.Reserved}}
  }
{{- end}}

  options = {
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean"
  }
}

# Without it Nomad does not measure what tasks use.
telemetry {
  publish_allocation_metrics = true
}

plugin "raw_exec" {
  config {
    enabled = true
  }
}

# One Docker engine may serve several clients: each would remove the others'
# containers as strays.
plugin "docker" {
  config {
    gc {
      image = false
      dangling_containers {
        enabled = false
      }
    }
  }
}

consul {
{{- with .Server.Consul}}
  address          = {{printf "%q" .}}
{{- end}}
  auto_advertise   = false
  server_auto_join = false
  client_auto_join = false
}
{{- if .Plugin}}

{{.Plugins}}
{{- end}}
`))

// Service writes the configuration and returns the service, not started yet.
func (s NomadServer) Service() (*Service, error) {
	if s.HeartbeatGrace == 0 {
		s.HeartbeatGrace = 10 * time.Second
	}
	config, err := writeConfig(s.Dir, nomadServerConfig, struct {
		NomadServer
		Data string
	}{s, filepath.Join(s.Dir, "data")})
	if err != nil {
		return nil, fmt.Errorf("write configuration of nomad: %w", err)
	}
	return &Service{
		Command: Command{Name: "nomad", Argv: []string{s.Program, "agent", "-config", config}, Log: s.Log, Note: filepath.Join(s.Dir, "process.json")},
		Ready:   func(ctx context.Context) error { return hasLeader(ctx, s.URL()) },
		Grace:   10 * time.Second,
	}, nil
}

// Service writes the configuration, makes the folders and returns the service,
// not started yet. Start it when its server has a leader: one that is turned
// away at first comes back much later.
func (c NomadClient) Service() (*Service, error) {
	config, err := c.writeConfig()
	if err != nil {
		return nil, err
	}
	return &Service{
		Command: Command{Name: "node " + c.Name, Argv: []string{c.Program, "agent", "-config", config}, Log: c.Log, Note: filepath.Join(c.Dir, "process.json")},
		Ready: func(ctx context.Context) error {
			// The server takes a dead client for ready until its heartbeat is missed.
			if err := c.answers(ctx); err != nil {
				return err
			}
			_, err := c.Server.ReadyNode(ctx, c.Name)
			return err
		},
		Grace: 10 * time.Second,
	}, nil
}

// plugins is the folder of the client's plugins: one of its own, by which their
// processes are known.
func (c NomadClient) plugins() string { return filepath.Join(c.Dir, "plugins") }

// linkPlugin puts the plugin's program where the client looks for it.
func (c NomadClient) linkPlugin() error {
	if c.Plugin == "" {
		return nil
	}
	if err := os.MkdirAll(c.plugins(), 0o711); err != nil {
		return err
	}
	link := filepath.Join(c.plugins(), filepath.Base(c.Plugin))
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(c.Plugin, link)
}

// writeConfig writes the client's configuration.
func (c NomadClient) writeConfig() (string, error) {
	if err := c.linkPlugin(); err != nil {
		return "", fmt.Errorf("link plugin of node %s: %w", c.Name, err)
	}
	config, err := writeConfig(c.Dir, nomadClientConfig, struct {
		NomadClient
		Data, Mounts, PluginDir string
		Servers                 []string
	}{c, filepath.Join(c.Dir, "data"), filepath.Join(c.Dir, "mounts"), c.plugins(), c.Server.rpc()})
	if err != nil {
		return "", fmt.Errorf("write configuration of node %s: %w", c.Name, err)
	}
	return config, nil
}

// answers asks the client itself whether it is up.
func (c NomadClient) answers(ctx context.Context) error {
	return call(ctx, "GET", loopback(c.HTTPPort)+"/v1/agent/health?type=client", nil, nil)
}

// writeConfig writes a configuration file into the folder.
func writeConfig(dir string, t *template.Template, data any) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "config.hcl")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", err
	}
	if err := t.Execute(f, data); err != nil {
		f.Close()
		return "", err
	}
	return path, f.Close()
}
