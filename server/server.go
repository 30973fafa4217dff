// Package server assembles the Muster server: it opens every part from the
// bottom up, serves the front doors, and closes the parts in reverse.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/artifact"
	"github.com/muster-ml/muster/oidc"
	"github.com/muster-ml/muster/scheduler/consul"
	"github.com/muster-ml/muster/scheduler/controller"
	"github.com/muster-ml/muster/scheduler/nomad"
	"github.com/muster-ml/muster/server/agentapi"
	"github.com/muster-ml/muster/server/api"
	"github.com/muster-ml/muster/store"
)

// Config is how a server is set up.
type Config struct {
	DataDir       string
	Listen        string // host:port; port 0 takes a free one
	Advertise     string // the URL under which nodes reach this server; "" is made of Listen
	Agent         string // path of the static muster-agent
	RunAs         string // the user of commands on nodes; "" is nobody
	Artifacts     string // where artifacts and logs are kept: a folder or a URL; "" is DataDir/artifacts
	ContainerUser string // the user of commands in containers; "" is the image's own
	Fence         time.Duration
	Tick          time.Duration // how often everything is looked at without a reason; 0 is never
	Nomad         Nomad
	Consul        Consul
	NoConsul      bool
	OIDC          OIDC // whom it believes about people; without an Issuer nobody
	Site          muster.Site
	Log           *slog.Logger
}

// Nomad says how Nomad is reached.
type Nomad = nomad.Config

// Consul says how Consul is reached.
type Consul = consul.Config

// OIDC says which OpenID Connect issuer is believed.
type OIDC = oidc.Config

// Server is a running server.
type Server struct {
	Config
	URL *url.URL // under which nodes reach it

	store      *store.Store
	bucket     *artifact.Bucket
	nomad      *nomad.Nomad
	consul     *consul.Consul
	controller *controller.Controller
	agents     *agentapi.API
	issuer     muster.Issuer // nil without one
	listener   net.Listener
	http       *http.Server
	closing    chan struct{} // closed when streams are to end
	closers    []io.Closer
}

// Open opens all parts and listens. Nomad and Consul need not answer yet.
func Open(ctx context.Context, c Config) (s *Server, err error) {
	s = &Server{Config: c, closing: make(chan struct{})}
	defer func() {
		if err != nil {
			s.closeAll()
			s = nil
		}
	}()
	if s.store, err = store.Open(ctx, c.DataDir); err != nil {
		return s, err
	}
	s.closers = append(s.closers, s.store)
	if s.bucket, err = artifact.Open(ctx, cmp.Or(c.Artifacts, filepath.Join(c.DataDir, "artifacts"))); err != nil {
		return s, err
	}
	s.closers = append(s.closers, s.bucket)
	if err := s.firstToken(ctx); err != nil {
		return s, err
	}
	if c.OIDC.Issuer != "" {
		if s.issuer, err = oidc.New(c.OIDC); err != nil {
			return s, err
		}
	}
	if s.listener, err = net.Listen("tcp", c.Listen); err != nil {
		return s, muster.Errorf(muster.CodeInvalid, "listen on %s: %v", c.Listen, err).At("listen")
	}
	s.closers = append(s.closers, s.listener)
	if s.URL, err = advertised(c.Advertise, s.listener.Addr().String()); err != nil {
		return s, err
	}
	agent, err := keepAgent(c.Agent, s.agentsFolder())
	if err != nil {
		return s, err
	}
	if err := s.connect(agent); err != nil {
		return s, err
	}
	s.assemble()
	return s, nil
}

// firstToken makes the first token, in a file that the CLI finds.
func (s *Server) firstToken(ctx context.Context) error {
	n, err := s.store.CountTokens(ctx)
	if err != nil || n > 0 {
		return err
	}
	// The file comes first: a token that is in the store and nowhere else would
	// lock everybody out.
	secret, file := muster.NewSecret(), filepath.Join(s.DataDir, "token")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the first token: %w", err)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		return fmt.Errorf("write the first token: %w", err)
	}
	return s.store.CreateToken(ctx, &muster.Token{Name: "admin", Role: muster.RoleAdministrator, Hash: muster.HashToken(secret)})
}

// advertised returns the URL under which the server is reached.
func advertised(advertise, listen string) (*url.URL, error) {
	u, err := url.Parse(cmp.Or(advertise, "http://"+listen))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, muster.Errorf(muster.CodeInvalid, "%q is not a URL", advertise).At("advertise").WithCure("use http://HOST:PORT")
	}
	if advertise == "" {
		if ip := net.ParseIP(u.Hostname()); ip != nil && ip.IsUnspecified() {
			return nil, muster.Errorf(muster.CodeInvalid, "nodes cannot call the server at %s", listen).At("advertise").
				WithCure("name a URL that they reach with --advertise http://HOST:PORT")
		}
	}
	return u, nil
}

// connect sets up what is said to Nomad and Consul; agent is the digest of the
// agent that new launches start.
func (s *Server) connect(agent string) (err error) {
	n := s.Nomad
	n.Installation = s.store.Installation
	n.Agent = nomad.Agent{
		URL:    s.URL.JoinPath("agent/v1/binary", agent).String() + "?archive=tar",
		SHA256: agent, Servers: s.servers(), RunAs: s.RunAs, Inside: s.ContainerUser, Fence: s.Fence,
	}
	if !s.NoConsul {
		n.Agent.Consul = consul.Service(s.store.Installation)
		c := s.Consul
		c.Log = s.Log
		if s.consul, err = consul.New(c); err != nil {
			return err
		}
	}
	s.nomad, err = nomad.New(n)
	return err
}

// servers lists the URLs that agents may call.
func (s *Server) servers() []string { return []string{s.URL.String()} }

// assemble puts the parts together.
func (s *Server) assemble() {
	s.controller = controller.New(controller.Config{Leases: s.store, Engine: s.nomad, Holder: s.store.Installation + " " + s.URL.Host,
		Fence: s.Fence, Tick: s.Tick, Log: s.Log})
	s.agents = agentapi.New(agentapi.Services{Identities: s.nomad, Claims: &claims{s.store, s.controller}, Artifacts: s.store, Blobs: s.bucket, Metrics: s.store,
		FindRun: s.store.FindRunByID, Servers: s.servers, Changed: s.controller.Ordered, Agents: s.agentsFolder(), Logger: s.Log})
	people := api.New(api.Services{Workspaces: s.store, Experiments: s.store, Clusters: s.store, Nodes: &nodes{s.store, s.controller}, Runs: &runs{s.store, s.controller.Away},
		Attempts: s.store, Events: s.store, Artifacts: s.store, Blobs: s.bucket, Metrics: s.store, Tokens: s.store, Audit: s.store, Issuer: s.issuer, Registries: s.store, Vault: s.nomad, RunOf: s.runPrincipal,
		Site: s.Site, Wake: s.controller.Wake, Closing: s.closing, Logger: s.Log})
	mux := http.NewServeMux()
	mux.Handle("/api/", people)
	mux.Handle("/agent/v1/", s.agents)
	mux.HandleFunc("GET /{$}", welcome)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", s.metrics())
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn)}
}

// welcome tells somebody who opens the address in a browser what there is.
func welcome(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintf(w, "Muster %s\n\nThe API is below /api/v1, described by /api/v1/openapi.json.\nHealth: /healthz, /readyz. Prometheus: /metrics.\n", muster.Version)
}

// ready answers whether runs can be taken and started.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	_, seen := s.controller.Sight()
	for what, err := range map[string]error{"store": s.store.Ping(ctx), "nomad": errors.Join(s.nomad.Ping(ctx), seen)} {
		if err != nil {
			http.Error(w, what+": "+err.Error(), http.StatusServiceUnavailable)
			return
		}
	}
	fmt.Fprintln(w, "ok")
}

// Serve serves until ctx ends, then lets requests finish for a moment. It may be
// called once.
func (s *Server) Serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.controller.Run(ctx) })
	g.Go(func() error { s.agents.Run(ctx); return nil })
	if s.consul != nil {
		g.Go(func() error { return s.consul.Register(ctx, s.store.Installation, s.URL) })
	}
	requests, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	s.http.BaseContext = func(net.Listener) context.Context { return requests }
	g.Go(func() error { return s.http.Serve(s.listener) })
	g.Go(func() error {
		<-ctx.Done()
		defer end()
		close(s.closing)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if err := s.http.Shutdown(last); err != nil {
			return s.http.Close()
		}
		return nil
	})
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close closes all parts; call it when Serve has returned.
func (s *Server) Close() error { return s.closeAll() }

func (s *Server) closeAll() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		if err := s.closers[i].Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	s.closers = nil
	return errors.Join(errs...)
}

// claims rings the controller when an agent said something that moves a run.
type claims struct {
	*store.Store
	controller *controller.Controller
}

// Claim gives an instance to an allocation.
func (c *claims) Claim(ctx context.Context, a *muster.Allocation, bootID string, notes []string) (*muster.Assignment, error) {
	defer c.controller.Order()
	defer c.controller.Wake()
	return c.Store.Claim(ctx, a, bootID, notes)
}

// Report keeps what an agent said.
func (c *claims) Report(ctx context.Context, launch string, r *muster.Report) (*muster.Orders, error) {
	orders, err := c.Store.Report(ctx, launch, r)
	if err == nil && orders.News {
		c.controller.Wake()
	}
	return orders, err
}
