package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/autoscaler"
	"github.com/muster-ml/muster/autoscaler/apm"
	"github.com/muster-ml/muster/autoscaler/target"
	"github.com/muster-ml/muster/engines"
)

// TestMain makes the test binary muster-autoscaler, too, when it is started under
// that name: by a test, or by the agent as a plugin.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == autoscaler.Driver {
		switch os.Args[1] {
		case "apm":
			apm.Serve()
		case "target":
			target.Serve()
		default:
			os.Exit(Main(os.Args[1:]))
		}
		return
	}
	os.Exit(m.Run())
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// site is a real Nomad server, a Muster server that is played, and
// muster-autoscaler as a process that runs real agents.
type site struct {
	dir   string
	nomad engines.NomadServer
	addr  string

	mu       sync.Mutex // guards what follows
	clusters []*muster.Cluster
	scaling  map[string]*muster.Scaling
	report   map[string]muster.MachineReport
	asked    int // for scalings
	away     bool
	auth     string // the last Authorization header
}

// configure gives a Nomad agent more configuration than engines does.
func configure(t *testing.T, service *engines.Service, dir, text string) {
	t.Helper()
	path := filepath.Join(dir, "more.hcl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	service.Command.Argv = append(service.Command.Argv, "-config", path)
}

// newSite makes a site without clusters. Its Nomad may have more configuration.
func newSite(t *testing.T, more ...string) *site {
	t.Helper()
	program, err := engines.Find(t.Context(), "nomad")
	if err != nil {
		t.Fatal(err)
	}
	ports := engines.Ports{}
	if _, err := ports.Choose("http", "rpc", "serf"); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	s := &site{dir: filepath.Join(folder, "an autoscaler"), scaling: map[string]*muster.Scaling{}, report: map[string]muster.MachineReport{}}
	s.nomad = engines.NomadServer{Program: program, Dir: filepath.Join(folder, "nomad"), Log: filepath.Join(folder, "nomad.log"),
		HTTPPort: ports["http"], RPCPort: ports["rpc"], SerfPort: ports["serf"], HeartbeatGrace: 2 * time.Second}
	service, err := s.nomad.Service()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range more {
		configure(t, service, folder, text)
	}
	if err := service.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Kill)
	server := httptest.NewServer(s.routes())
	t.Cleanup(server.Close)
	s.addr = server.URL
	t.Cleanup(func() {
		if err := clearMachines(s.dir); err != nil {
			t.Error(err)
		}
		if left := processesOf(t, s.dir); len(left) > 0 {
			t.Errorf("processes are left: %q", left)
		}
	})
	return s
}

// routes plays the Muster server's part.
func (s *site) routes() http.Handler {
	mux := http.NewServeMux()
	route := func(pattern string, do func(r *http.Request) (any, int)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.auth = r.Header.Get("Authorization")
			what, status := any(map[string]string{"code": "unreachable", "detail": "no leader yet"}), http.StatusServiceUnavailable
			if !s.away {
				what, status = do(r)
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			json.NewEncoder(w).Encode(what)
		})
	}
	missing := map[string]string{"code": "not_found", "detail": "there is no such cluster"}
	route("GET /api/v1/clusters", func(*http.Request) (any, int) { return s.clusters, http.StatusOK })
	route("GET /api/v1/clusters/{cluster}/scaling", func(r *http.Request) (any, int) {
		s.asked++
		if one := s.scaling[r.PathValue("cluster")]; one != nil {
			return one, http.StatusOK
		}
		return missing, http.StatusNotFound
	})
	route("PUT /api/v1/clusters/{cluster}/machines", func(r *http.Request) (any, int) {
		var report muster.MachineReport
		if err := json.NewDecoder(r.Body).Decode(&report); err != nil {
			return map[string]string{"code": "invalid", "detail": err.Error()}, http.StatusBadRequest
		}
		s.report[r.PathValue("cluster")] = report
		return struct{}{}, http.StatusOK
	})
	route("GET /api/v1/nodes", func(r *http.Request) (any, int) {
		nodes, err := s.nodes(r.Context())
		if err != nil {
			return map[string]string{"code": "unreachable", "detail": err.Error()}, http.StatusServiceUnavailable
		}
		return nodes, http.StatusOK
	})
	return mux
}

// nodes lists the nodes as the Muster server would.
func (s *site) nodes(ctx context.Context) ([]muster.Node, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", s.nomad.URL()+"/v1/nodes", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var stubs []struct{ ID, Name, Status string }
	err = json.NewDecoder(resp.Body).Decode(&stubs)
	nodes := []muster.Node{}
	for _, n := range stubs {
		nodes = append(nodes, muster.Node{ID: n.ID, Name: n.Name, Status: n.Status})
	}
	return nodes, err
}

// add makes a cluster.
func (s *site) add(name string, p muster.Provider, group map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &muster.Cluster{Name: name, Provider: p, ClusterSettings: muster.ClusterSettings{Max: 4, Group: group}}
	c.Complete()
	s.clusters = append(s.clusters, c)
	s.scaling[name] = &muster.Scaling{Cluster: name, NodePool: c.NodePool, Provider: p, Size: muster.NodeSize{Name: "local.tiny", Cores: 1, MiB: 256}}
}

// want changes what the server wants of a cluster.
func (s *site) want(cluster string, nodes int, leaving ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scaling[cluster].Wanted, s.scaling[cluster].Leaving = muster.Wanted{Nodes: nodes}, leaving
}

// reach waits until a cluster has so many running machines and no others, and
// returns their processes by name.
func (s *site) reach(t *testing.T, cluster string, nodes int) map[string]int {
	t.Helper()
	var pids map[string]int
	eventually(t, fmt.Sprintf("cluster %s has %d machines", cluster, nodes), func() bool {
		s.mu.Lock()
		r := s.report[cluster]
		s.mu.Unlock()
		running := !slices.ContainsFunc(r.Machines, func(m muster.Machine) bool { return m.State != muster.MachineRunning })
		pids = s.machines(t)
		return running && len(r.Machines) == nodes && len(pids) == nodes
	})
	return pids
}

// machines returns the processes of all machines by name.
func (s *site) machines(t *testing.T) map[string]int {
	t.Helper()
	all := engines.Machines{Dir: s.dir}
	found, err := all.List("")
	if err != nil {
		t.Fatal(err)
	}
	pids := map[string]int{}
	for _, m := range found {
		if pids[m.Name], err = m.Pid(); err != nil {
			t.Fatal(err)
		}
	}
	return pids
}

// run starts muster-autoscaler, and returns how to stop it politely.
func (s *site) run(t *testing.T, more ...string) (process *os.Process, stop func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path = self
	cmd.Args = append([]string{autoscaler.Driver, "run", "--dir", s.dir, "--addr", s.addr, "--interval", "1s", "--nomad-addr", s.nomad.URL(),
		"--nomad-rpc", fmt.Sprintf("127.0.0.1:%d", s.nomad.RPCPort), "--nomad-program", s.nomad.Program}, more...)
	cmd.Env = append(os.Environ(), "MUSTER_TOKEN=the-token", "AWS_ENDPOINT_URL="+os.Getenv("AWS_ENDPOINT_URL"))
	var said bytes.Buffer
	cmd.Stderr, cmd.Stdout = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); cmd.Wait() }()
	end := sync.OnceFunc(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			t.Error("muster-autoscaler does not end")
			cmd.Process.Kill()
			<-ended
		}
		t.Logf("muster-autoscaler said:\n%s", said.String())
		if t.Failed() || testing.Verbose() {
			logs, _ := filepath.Glob(filepath.Join(s.dir, ".agents", "*", "agent.log"))
			for _, log := range logs {
				b, _ := os.ReadFile(log)
				t.Logf("%s:\n%s", log, b[max(0, len(b)-8000):])
			}
		}
	})
	t.Cleanup(end)
	return cmd.Process, end
}

// plugins returns the processes of an agent's plugins.
func (s *site) plugins(t *testing.T, p muster.Provider) []engines.Copy {
	t.Helper()
	copies, err := engines.CopiesOf(filepath.Join(s.dir, ".agents", string(p), "plugins", autoscaler.Driver))
	if err != nil {
		t.Fatal(err)
	}
	return copies
}

// looks waits until the server was asked for scalings some more times.
func (s *site) looks(t *testing.T, times int) {
	t.Helper()
	asked := func() int { s.mu.Lock(); defer s.mu.Unlock(); return s.asked }
	before := asked()
	eventually(t, "the server is asked", func() bool { return asked() >= before+times })
}

// processesOf lists the processes whose arguments or environment name the folder.
func processesOf(t *testing.T, folder string) (of []string) {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range found {
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		env, _ := os.ReadFile(filepath.Join(dir, "environ"))
		if pid := filepath.Base(dir); pid != fmt.Sprint(os.Getpid()) && (bytes.Contains(args, []byte(folder)) || bytes.Contains(env, []byte(folder))) {
			of = append(of, strings.ReplaceAll(string(args), "\x00", " "))
		}
	}
	return of
}
