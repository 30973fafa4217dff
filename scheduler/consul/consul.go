// Package consul is all that is said to Consul: the server's registration.
package consul

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/muster-ml/muster"
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

	Observe func(operation string, took time.Duration, err error) // told of each call; may be nil
}

// Service is the name under which servers are found in Consul.
func Service(installation string) string { return "muster-" + installation }

// Policy is the policy of a token that keeps a server registered.
func Policy(installation string) string {
	return fmt.Sprintf("service %q {\n  policy = \"write\"\n}\n", Service(installation))
}

// AgentsPolicy is the policy by which agents find the servers: they ask the
// Consul agent of their node, without a token.
func AgentsPolicy(installation string) string {
	return fmt.Sprintf("service %q {\n  policy = \"read\"\n}\n\n# A service is shown only with its node.\nnode_prefix \"\" {\n  policy = \"read\"\n}\n", Service(installation))
}

// Consul is a Consul agent.
type Consul struct {
	registered atomic.Pointer[error] // how the last registration ended; nil before the first
	api        *api.Client
	log        *slog.Logger
	observe    func(operation string, took time.Duration, err error)
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
	if c.Observe == nil {
		c.Observe = func(string, time.Duration, error) {}
	}
	return &Consul{api: client, log: c.Log, observe: c.Observe}, nil
}

// Registered returns nil once the server is registered, and else why it is not.
func (c *Consul) Registered() error {
	if last := c.registered.Load(); last != nil {
		return *last
	}
	return muster.Errorf(muster.CodeUnreachable, "Consul has not answered yet")
}

// measure makes one call, and tells of it unless we hung up ourselves.
func (c *Consul) measure(ctx context.Context, operation string, call func() error) error {
	began := time.Now()
	err := call()
	if !errors.Is(ctx.Err(), context.Canceled) {
		c.observe(operation, time.Since(began), err)
	}
	return err
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
			Name: "the server answers", HTTP: advertise.JoinPath("healthz").String(), TLSSkipVerify: true, // it asks whether the server answers, and tells it nothing
			Interval: interval.String(), Timeout: interval.String(), DeregisterCriticalServiceAfter: forget.String(),
		},
	}
	for away := false; ctx.Err() == nil; {
		opts := api.ServiceRegisterOpts{}
		err := c.measure(ctx, "register service", func() error { return c.api.Agent().ServiceRegisterOpts(r, opts.WithContext(ctx)) })
		c.registered.Store(&err)
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
	err = c.measure(last, "deregister service", func() error {
		return c.api.Agent().ServiceDeregisterOpts(id, (&api.QueryOptions{}).WithContext(last))
	})
	if err != nil {
		c.log.Info("take the registration out of Consul", "error", err)
	}
	return nil
}
