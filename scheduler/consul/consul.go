// Package consul is all that is said to Consul: the server's registration.
package consul

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/hashicorp/consul/api"
)

// Config says how Consul is reached. Empty fields take what the CONSUL_*
// variables say.
type Config struct {
	Address    string
	Token      string
	CACert     string // files
	ClientCert string
	ClientKey  string
	Log        *slog.Logger
}

// Service is the name under which servers are found in Consul.
func Service(installation string) string { return "muster-" + installation }

// Consul is a Consul agent.
type Consul struct {
	api *api.Client
	log *slog.Logger
}

// New returns Consul at an address. It does not connect yet.
func New(c Config) (*Consul, error) {
	conf := api.DefaultConfig()
	conf.Address = cmp.Or(c.Address, conf.Address)
	conf.Token = cmp.Or(c.Token, conf.Token)
	conf.TLSConfig.CAFile = cmp.Or(c.CACert, conf.TLSConfig.CAFile)
	conf.TLSConfig.CertFile = cmp.Or(c.ClientCert, conf.TLSConfig.CertFile)
	conf.TLSConfig.KeyFile = cmp.Or(c.ClientKey, conf.TLSConfig.KeyFile)
	client, err := api.NewClient(conf)
	if err != nil {
		return nil, fmt.Errorf("configure Consul: %w", err)
	}
	return &Consul{client, c.Log}, nil
}

// Times of the registration: how often it is renewed, in case the agent has
// forgotten it, how often an agent that is away is tried, how often the server
// is checked, and how long the registration of one that is gone stays.
const (
	renewal  = 10 * time.Second
	retry    = time.Second
	interval = 5 * time.Second
	forget   = 24 * time.Hour
)

// defaultPorts are those of URLs that name none.
var defaultPorts = map[string]string{"http": "80", "https": "443"}

// Register keeps a server registered, with a health check, until ctx ends, and
// then takes it out. Consul away is no error: it is tried again.
func (c *Consul) Register(ctx context.Context, installation string, advertise *url.URL) error {
	port, err := strconv.Atoi(cmp.Or(advertise.Port(), defaultPorts[advertise.Scheme]))
	if err != nil {
		return fmt.Errorf("register in Consul: the address %s has no port", advertise)
	}
	id := Service(installation) + "-" + net.JoinHostPort(advertise.Hostname(), strconv.Itoa(port))
	r := &api.AgentServiceRegistration{
		ID: id, Name: Service(installation), Address: advertise.Hostname(), Port: port,
		Meta: map[string]string{"installation": installation, "url": advertise.String()},
		Check: &api.AgentServiceCheck{
			Name: "the server answers", HTTP: advertise.JoinPath("healthz").String(),
			Interval: interval.String(), Timeout: interval.String(), DeregisterCriticalServiceAfter: forget.String(),
		},
	}
	for away := false; ctx.Err() == nil; {
		opts := api.ServiceRegisterOpts{}
		err := c.api.Agent().ServiceRegisterOpts(r, opts.WithContext(ctx))
		if (err != nil) != away && ctx.Err() == nil {
			away = err != nil
			c.log.Info("registration in Consul", "service", r.Name, "ok", !away, "error", err)
		}
		pause := renewal
		if away {
			pause = retry
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := c.api.Agent().ServiceDeregisterOpts(id, (&api.QueryOptions{}).WithContext(last)); err != nil {
		c.log.Info("take the registration out of Consul", "error", err)
	}
	return nil
}
