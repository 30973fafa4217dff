// Package plugin is Muster's device plugin for Nomad. It tells the Nomad client
// which NVIDIA GPUs, FPGAs and simulated devices the node has, whole or in
// shares, withdraws those that are not well, and says how a task gets at what it
// was given. It serves Nomad's plugin protocol on the protocol's own packages.
package plugin

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	base "github.com/hashicorp/nomad/plugins/base/proto"
	device "github.com/hashicorp/nomad/plugins/device/proto"
	"google.golang.org/grpc"
)

// Name is what the program's file in Nomad's plugin_dir and the plugin's block
// in Nomad's configuration are both called.
const Name = "muster-device"

// version is the plugin's own. Nomad takes the highest where it finds several.
const version = "0.1.0"

// handshake is Nomad's: it proves that a Nomad client started the program.
var handshake = goplugin.HandshakeConfig{
	ProtocolVersion:  2,
	MagicCookieKey:   "NOMAD_PLUGIN_MAGIC_COOKIE",
	MagicCookieValue: "e4327c2e01eabfd75a8a67adb114fb34a757d57eee7728d857a8cec6e91a7255",
}

// Serve answers the Nomad client that started this program, until that client
// says that it is done, or has ended without a word.
func Serve() {
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, JSONFormat: true})
	s := &server{log: log, open: openSources, nudge: make(chan struct{}, 1)}
	served := make(chan struct{})
	go func() {
		defer close(served)
		goplugin.Serve(&goplugin.ServeConfig{HandshakeConfig: handshake, Plugins: services(s), GRPCServer: goplugin.DefaultGRPCServer, Logger: log})
	}()
	select {
	case <-served:
	case <-orphaned(os.Getppid()):
	}
	s.close()
}

// orphaned is closed when the process has another parent than it began with.
func orphaned(parent int) <-chan struct{} {
	gone := make(chan struct{})
	go func() {
		for os.Getppid() == parent {
			time.Sleep(time.Second)
		}
		close(gone)
	}()
	return gone
}

// services are the two that Nomad asks a device plugin for, under their names.
func services(s *server) goplugin.PluginSet {
	return goplugin.PluginSet{
		"base":   service{register: func(g *grpc.Server) { base.RegisterBasePluginServer(g, s) }},
		"device": service{register: func(g *grpc.Server) { device.RegisterDevicePluginServer(g, s) }},
	}
}

// service lets go-plugin serve one gRPC service.
type service struct {
	goplugin.NetRPCUnsupportedPlugin
	register func(*grpc.Server)
}

// GRPCServer puts the service onto the server.
func (v service) GRPCServer(_ *goplugin.GRPCBroker, g *grpc.Server) error {
	v.register(g)
	return nil
}

// GRPCClient is the other side, which is Nomad's.
func (service) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("muster-device only serves")
}

// server answers Nomad's calls: each verb has a file.
type server struct {
	log   hclog.Logger
	open  func(config, hclog.Logger, func()) []source
	nudge chan struct{} // says "look again" to Fingerprint

	mu      sync.Mutex // guards what follows
	config  config
	sources []source
	offers  []offer           // what the last look saw
	sick    map[string]string // what was last said of devices that are not well
}

// openSources opens what the configuration names.
func openSources(c config, log hclog.Logger, changed func()) (all []source) {
	if on(c.NVIDIA.Enabled) {
		all = append(all, &nvidia{log: log.Named("nvidia"), library: newNVML(), ignore: c.NVIDIA.Ignore, changed: changed})
	}
	if on(c.FPGA.Enabled) {
		all = append(all, &fpga{log: log.Named("fpga"), root: c.FPGA.Sysfs})
	}
	if len(c.Simulated) > 0 {
		all = append(all, newSimulated(c))
	}
	return all
}

// again makes Fingerprint look at once.
func (s *server) again() {
	select {
	case s.nudge <- struct{}{}:
	default:
	}
}

// look asks every source what there is now and cuts it into what is offered.
func (s *server) look() []offer {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []found
	for _, from := range s.sources {
		for _, f := range from.devices() {
			f.from = from
			all = append(all, f)
		}
	}
	s.offers = cut(all, s.config.Shares)
	s.tell(all)
	return s.offers
}

// tell logs each device that is withdrawn, and that is offered again.
func (s *server) tell(all []found) {
	sick := map[string]string{}
	for _, f := range all {
		was, known := s.sick[f.id]
		switch {
		case f.trouble != "" && f.trouble != was:
			s.log.Warn("device is withdrawn", "device", f.id, "reason", f.trouble)
		case f.trouble == "" && known:
			s.log.Info("device is well again", "device", f.id)
		}
		if f.trouble != "" {
			sick[f.id] = f.trouble
		}
	}
	s.sick = sick
}

// seen returns what the last look saw.
func (s *server) seen() []offer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.offers
}

// close lets the sources go.
func (s *server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, from := range s.sources {
		from.close()
	}
	s.sources = nil
}
