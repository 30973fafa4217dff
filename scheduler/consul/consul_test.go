package consul_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/muster-ml/muster/dev"
	"github.com/muster-ml/muster/scheduler/consul"
)

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 40 s: %s", what)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// TestRegister keeps a server in a real Consul that is killed, comes back, and
// forgets it; at the end it is taken out.
func TestRegister(t *testing.T) {
	p, err := dev.Open(t.Context(), dev.Config{DataDir: filepath.Join(t.TempDir(), "p"), Out: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	var asked sync.Map
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked.Store(r.URL.Path, true) }))
	defer server.Close()
	advertise, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	c, err := consul.New(consul.Config{Address: p.ConsulAddr, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if c.Registered() == nil {
		t.Error("registered before anything was said")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Register(ctx, "abc123", advertise) }()
	defer cancel()

	client, err := api.NewClient(&api.Config{Address: p.ConsulAddr})
	if err != nil {
		t.Fatal(err)
	}
	registered := func() *api.AgentService {
		services, err := client.Agent().Services()
		if err != nil {
			return nil
		}
		return services["muster-abc123-"+advertise.Host]
	}
	passing := func() bool {
		entries, _, err := client.Health().Service(consul.Service("abc123"), "", true, nil)
		return err == nil && len(entries) == 1
	}
	eventually(t, "the server is registered, and its check passes", passing)
	if err := c.Registered(); err != nil {
		t.Error(err)
	}
	if s := registered(); s.Service != "muster-abc123" || s.Meta["url"] != server.URL || s.Address != advertise.Hostname() || s.Port == 0 {
		t.Errorf("registered as %+v", s)
	}
	if _, ok := asked.Load("/healthz"); !ok {
		t.Error("Consul did not ask /healthz")
	}

	if err := client.Agent().ServiceDeregister("muster-abc123-" + advertise.Host); err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(dev.Consul); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is noticed that Consul is away", func() bool { return log.count("ok=false") == 1 })
	if err := p.Start(t.Context(), dev.Consul); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is noticed that Consul is back", func() bool { return log.count("ok=true") >= 1 })
	eventually(t, "the server is registered where Consul had forgotten it", passing)

	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s := registered(); s != nil {
		t.Errorf("at the end it is still registered: %+v", s)
	}
	if n := log.count("\n"); n > 3 {
		t.Errorf("%d lines are logged, one a change is enough", n)
	}
}

// TestWithoutConsul holds that the end comes without an error where Consul
// never answered.
func TestWithoutConsul(t *testing.T) {
	log := &lines{}
	c, err := consul.New(consul.Config{Address: "127.0.0.1:1", Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Register(ctx, "abc123", &url.URL{Scheme: "http", Host: "127.0.0.1:2"}) }()
	eventually(t, "it is told that Consul is away", func() bool { return log.count("ok=false") == 1 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestAddressWithoutPort holds that a URL says its port by its scheme.
func TestAddressWithoutPort(t *testing.T) {
	var got api.AgentServiceRegistration
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	agent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/register") {
			if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
				t.Error(err)
			}
			cancel()
			return
		}
		if want := "/v1/agent/service/deregister/muster-abc123-muster.example:443"; r.URL.Path != want {
			t.Errorf("asked for %s", r.URL.Path)
		}
	}))
	defer agent.Close()
	c, err := consul.New(consul.Config{Address: agent.URL, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Register(ctx, "abc123", &url.URL{Scheme: "https", Host: "muster.example"}); err != nil {
		t.Fatal(err)
	}
	if got.Port != 443 || got.Address != "muster.example" || got.Check.HTTP != "https://muster.example/healthz" {
		t.Errorf("registered %+v, %+v", got, got.Check)
	}
	if err := c.Register(t.Context(), "abc123", &url.URL{Scheme: "ftp", Host: "muster.example"}); err == nil {
		t.Error("an address was taken whose port is unknown")
	}
}
