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
	TLS           TLS
	Advertise     string // the URL under which nodes reach this server; "" is made of Listen
	Agent         string // path of the static muster-agent
	RunAs         string // the user of commands on nodes; "" is nobody
	Artifacts     string // where artifacts and logs are kept: a folder or a URL; "" is DataDir/artifacts
	ContainerUser string // the user of commands in containers; "" is the image's own
	Fence         time.Duration
	Tick          time.Duration // how often everything is looked at without a reason; 0 is never
	StatsEvery    time.Duration // how often what runs use is sampled; 0 is never
	Nomad         Nomad
	Consul        Consul
	NoConsul      bool
	OIDC          OIDC // whom it believes about people; without an Issuer nobody
	Site          muster.Site
	Sizes         muster.Sizes // what nodes there can be
	Limits        Limits       // how much one principal may ask for
	Origins       []string     // of pages in browsers that may call the API
	OTLP          string       // URL of the OpenTelemetry receiver that gets traces; "" is none
	AccessLog     AccessLog    // which requests are logged; "" is AccessErrors
	MetricsListen string       // host:port where /metrics is instead of with the API; "" is with it
	Log           *slog.Logger
}

// Nomad says how Nomad is reached.
type Nomad = nomad.Config

// Consul says how Consul is reached.
type Consul = consul.Config

// Limits say how much one principal may ask for.
type Limits = api.Limits

// CheckOrigin refuses what no browser calls the origin of a page.
func CheckOrigin(origin string) error { return api.CheckOrigin(origin) }

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
	people     *api.API
	metrics    *metrics
	tracer     *tracer      // nil without traces
	scraped    net.Listener // where /metrics is alone; nil with the API
	retention  *retention
	issuer     muster.Issuer // nil without one
	listener   net.Listener
	http       *http.Server
	cert       *certificate  // nil without TLS
	authority  string        // whose certificate agents are to believe, in PEM; "" is one that every node knows
	closing    chan struct{} // closed when streams are to end
	closers    []io.Closer
}

// Open opens all parts and listens. Nomad and Consul need not answer yet.
func Open(ctx context.Context, c Config) (s *Server, err error) {
	if err := c.AccessLog.Validate(); err != nil {
		return nil, err
	}
	s = &Server{Config: c, closing: make(chan struct{}), metrics: newMetrics()}
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
	s.store.Observe = s.metrics.store.observe
	if c.OTLP != "" {
		if s.tracer, err = newTracer(ctx, c.OTLP, s.store.Installation, c.Log); err != nil {
			return s, err
		}
		s.closers = append(s.closers, s.tracer)
	}
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
	if c.MetricsListen != "" {
		if s.scraped, err = net.Listen("tcp", c.MetricsListen); err != nil {
			return s, muster.Errorf(muster.CodeInvalid, "listen on %s: %v", c.MetricsListen, err).At("metrics-listen")
		}
		s.closers = append(s.closers, s.scraped)
	}
	scheme := "http"
	if c.TLS.Cert != "" {
		scheme = "https"
		if s.cert, s.authority, err = newCertificate(c.TLS, c.Log); err != nil {
			return s, err
		}
	}
	if s.URL, err = advertised(c.Advertise, scheme, s.listener.Addr().String()); err != nil {
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
func advertised(advertise, scheme, listen string) (*url.URL, error) {
	u, err := url.Parse(cmp.Or(advertise, scheme+"://"+listen))
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
	n.Installation, n.Observe = s.store.Installation, s.metrics.nomad.observe
	n.Agent = nomad.Agent{
		URL:    s.URL.JoinPath("agent/v1/binary", agent).String() + "?archive=tar",
		SHA256: agent, Servers: s.servers(), RunAs: s.RunAs, Inside: s.ContainerUser, Fence: s.Fence, CA: s.authority,
	}
	if !s.NoConsul {
		n.Agent.Consul = consul.Service(s.store.Installation)
		c := s.Consul
		c.Log, c.Observe = s.Log, s.metrics.consul.observe
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
	s.controller = controller.New(controller.Config{Leases: s.store, Engine: s.nomad, Sizes: s.Sizes, Holder: s.store.Installation + " " + s.URL.Host,
		Fence: s.Fence, Tick: s.Tick, StatsEvery: s.StatsEvery, Log: s.Log, Turned: s.metrics.turns.observe,
		Decided: func(took time.Duration) { s.metrics.decision.Observe(took.Seconds()) }})
	s.metrics.registry.MustRegister(collector{s})
	blobs := &meteredBlobs{s.bucket, s.metrics.bytes.WithLabelValues("in"), s.metrics.bytes.WithLabelValues("out")}
	held, people := &claims{Store: s.store, controller: s.controller, runAs: s.RunAs}, &runs{s.store, s.controller.Away}
	var door muster.Runs = people
	if s.tracer != nil {
		held.inTrace, door = s.putInTrace, tracedRuns{people}
	}
	s.agents = agentapi.New(agentapi.Services{Identities: s.nomad, Claims: held, Healths: held, Artifacts: s.store, Blobs: blobs, Metrics: s.store,
		FindRun: s.store.FindRunByID, Servers: s.servers, Changed: s.controller.Ordered, Agents: s.agentsFolder(), Called: called, Logger: s.Log})
	s.retention = &retention{store: s.store, bucket: s.bucket, leading: s.controller.Leading, now: time.Now, log: s.Log}
	s.people = api.New(api.Services{Workspaces: s.store, Experiments: s.store, Clusters: s.store, Nodes: &nodes{s.store, s.controller, s.Sizes}, Sizes: s.Sizes, Autoscaling: &autoscaling{s.store, s.controller, s.Sizes}, Runs: door,
		Attempts: s.store, Events: s.store, Artifacts: s.store, Blobs: blobs, Archive: s.store, Retention: s.retention, Metrics: s.store, Stats: s.store, Tokens: s.store, Audit: s.store, Changes: s.store, Receipts: s.store, Issuer: s.issuer, Registries: s.store, Fitness: s.store, ClusterSecrets: s.store, Vault: s.nomad, RunOf: s.runPrincipal, Policies: s.policies,
		Site: s.Site, Limits: s.Limits, Origins: s.Origins, Called: called, Wake: s.controller.Wake, Closing: s.closing, Logger: s.Log})
	s.http = &http.Server{Handler: s.watched(s.routes()), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn)}
}

// Serve serves until ctx ends, then lets requests finish for a moment. It may be
// called once.
func (s *Server) Serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	if err := s.observe(ctx, g); err != nil {
		return err
	}
	g.Go(func() error { return s.controller.Run(ctx) })
	g.Go(func() error { s.agents.Run(ctx); return nil })
	g.Go(func() error { s.retention.Run(ctx); return nil })
	if s.consul != nil {
		g.Go(func() error { return s.consul.Register(ctx, s.store.Installation, s.URL) })
	}
	requests, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	s.http.BaseContext = func(net.Listener) context.Context { return requests }
	g.Go(func() error {
		if s.cert == nil {
			return s.http.Serve(s.listener)
		}
		s.http.TLSConfig = s.cert.config()
		return s.http.ServeTLS(s.listener, "", "")
	})
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
