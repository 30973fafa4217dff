package target

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad-autoscaler/sdk"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/autoscaler"
	"github.com/muster-ml/muster/engines"
)

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

// lab is a real Nomad server, a Muster server that is played, and a target
// between the two.
type lab struct {
	*Plugin
	nomad    engines.NomadServer
	settings autoscaler.Settings
	log      *syncLog
	looks    atomic.Int64 // how often the server was asked what is wanted

	mu      sync.Mutex // guards what follows
	scaling map[string]*muster.Scaling
	reports map[string][]muster.MachineReport
	away    bool
	owner   string // whose reports alone are taken; "" is anybody
}

// syncLog writes into a test's log until the test ends.
type syncLog struct {
	mu   sync.Mutex
	t    *testing.T
	said bytes.Buffer
}

// times counts how often something was said.
func (l *syncLog) times(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.said.String(), what)
}

func (l *syncLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said.Write(b)
	if l.t != nil {
		l.t.Logf("%s", bytes.TrimRight(b, "\n"))
	}
	return len(b), nil
}

// open makes a lab with one cluster "c".
func open(t *testing.T) *lab {
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
	l := &lab{scaling: map[string]*muster.Scaling{}, reports: map[string][]muster.MachineReport{}, log: &syncLog{t: t}}
	l.nomad = engines.NomadServer{Program: program, Dir: filepath.Join(folder, "nomad"), Log: filepath.Join(folder, "nomad.log"),
		HTTPPort: ports["http"], RPCPort: ports["rpc"], SerfPort: ports["serf"], HeartbeatGrace: 2 * time.Second}
	service, err := l.nomad.Service()
	if err != nil {
		t.Fatal(err)
	}
	if err := service.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Kill)
	server := httptest.NewServer(l.routes())
	t.Cleanup(server.Close)
	l.settings = autoscaler.Settings{Addr: server.URL, Dir: filepath.Join(folder, "machines"), Program: program, Servers: fmt.Sprintf("127.0.0.1:%d", ports["rpc"])}
	l.scaling["c"] = &muster.Scaling{Cluster: "c", NodePool: "pool-c", Provider: muster.ProviderLocal,
		Size: muster.NodeSize{Name: "local.tiny", Cores: 2, MiB: 512, Reserve: 128}}
	l.restart(t)
	t.Cleanup(func() {
		l.Close()
		l.log.mu.Lock()
		l.log.t = nil
		l.log.mu.Unlock()
		for _, m := range l.list(t) {
			if err := m.Kill(); err != nil {
				t.Error(err)
			}
		}
	})
	return l
}

// logger writes into the test's log.
func (l *lab) logger() hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Output: l.log, Level: hclog.Debug})
}

// restart starts the target, as the agent would.
func (l *lab) restart(t *testing.T) {
	t.Helper()
	l.Plugin = New(l.logger())
	l.every = 100 * time.Millisecond
	if err := l.SetConfig(l.settings.Map()); err != nil {
		t.Fatal(err)
	}
}

// routes plays the Muster server's part.
func (l *lab) routes() http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, status int, what any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(what)
	}
	mux.HandleFunc("GET /api/v1/clusters/{cluster}/scaling", func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.looks.Add(1)
		s := l.scaling[r.PathValue("cluster")]
		switch {
		case l.away:
			answer(w, http.StatusServiceUnavailable, map[string]string{"code": "unreachable", "detail": "no leader yet"})
		case s == nil:
			answer(w, http.StatusNotFound, map[string]string{"code": "not_found", "detail": "there is no such cluster"})
		default:
			answer(w, http.StatusOK, s)
		}
	})
	mux.HandleFunc("PUT /api/v1/clusters/{cluster}/machines", func(w http.ResponseWriter, r *http.Request) {
		var report muster.MachineReport
		if err := json.NewDecoder(r.Body).Decode(&report); err != nil {
			answer(w, http.StatusBadRequest, map[string]string{"code": "invalid", "detail": err.Error()})
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.owner != "" && l.owner != report.Source {
			answer(w, http.StatusConflict, map[string]string{"code": "conflict", "detail": "another autoscaler has machines there"})
			return
		}
		l.reports[r.PathValue("cluster")] = append(l.reports[r.PathValue("cluster")], report)
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /api/v1/nodes", func(w http.ResponseWriter, r *http.Request) {
		nodes, err := l.nodes(r.Context())
		if err != nil {
			answer(w, http.StatusServiceUnavailable, map[string]string{"code": "unreachable", "detail": err.Error()})
			return
		}
		answer(w, http.StatusOK, nodes)
	})
	return mux
}

// nomadNode is what the tests must know of a node in Nomad.
type nomadNode struct {
	ID, Name, Status, NodePool string
	Meta                       map[string]string
	NodeResources              struct {
		Cpu     struct{ CpuShares int64 }
		Memory  struct{ MemoryMB int64 }
		Devices []struct {
			Vendor, Type, Name string
			Instances          []struct{ ID string }
		}
	}
	ReservedResources struct{ Memory struct{ MemoryMB int64 } }
}

// ask reads an answer of Nomad's.
func (l *lab) ask(ctx context.Context, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, "GET", l.nomad.URL()+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(out)
}

// nodes lists the nodes as the Muster server would.
func (l *lab) nodes(ctx context.Context) ([]muster.Node, error) {
	var stubs []nomadNode
	if err := l.ask(ctx, "/v1/nodes", &stubs); err != nil {
		return nil, err
	}
	nodes := []muster.Node{}
	for _, s := range stubs {
		nodes = append(nodes, muster.Node{ID: s.ID, Name: s.Name, NodePool: s.NodePool, Status: s.Status})
	}
	return nodes, nil
}

// node returns what Nomad knows of a machine.
func (l *lab) node(t *testing.T, name string) (n nomadNode) {
	t.Helper()
	nodes, err := l.nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(nodes, func(n muster.Node) bool { return n.Name == name })
	if i < 0 {
		t.Fatalf("Nomad knows no node %s", name)
	}
	if err := l.ask(t.Context(), "/v1/node/"+nodes[i].ID, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// list returns the machines that lie in the folder.
func (l *lab) list(t *testing.T) []*engines.Machine {
	t.Helper()
	all := engines.Machines{Dir: l.settings.Dir}
	found, err := all.List("")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// pidOf returns the process of a machine's client.
func pidOf(t *testing.T, m *engines.Machine) int {
	t.Helper()
	pid, err := m.Pid()
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// want changes what the server wants of cluster c.
func (l *lab) want(nodes int, leaving ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.scaling["c"].Wanted = muster.Wanted{Nodes: nodes}
	l.scaling["c"].Leaving = leaving
}

// agent does once what the agent does at each interval.
func (l *lab) agent(t *testing.T) {
	t.Helper()
	policy := map[string]string{ClusterKey: "c"}
	status, err := l.Status(policy)
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	wanted, away := int64(l.scaling["c"].Wanted.Nodes), l.away
	l.mu.Unlock()
	if away || !status.Ready || status.Count == wanted {
		return
	}
	if err := l.Scale(sdk.ScalingAction{Count: wanted}, policy); err != nil && !strings.Contains(err.Error(), "taken up") {
		t.Fatal(err)
	}
}

// last returns the last report on cluster c.
func (l *lab) last() (r muster.MachineReport) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if all := l.reports["c"]; len(all) > 0 {
		r = all[len(all)-1]
	}
	return r
}

// told reports whether a report on cluster c was ever such.
func (l *lab) told(such func(muster.MachineReport) bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.reports["c"], such)
}

// reach plays the agent until so many machines are running, and no other is left.
func (l *lab) reach(t *testing.T, nodes int) []string {
	t.Helper()
	var names []string
	eventually(t, fmt.Sprintf("%d machines run", nodes), func() bool {
		l.agent(t)
		names = nil
		r := l.last()
		for _, m := range r.Machines {
			if m.State == muster.MachineRunning {
				names = append(names, m.Name)
			}
		}
		return len(names) == nodes && len(r.Machines) == nodes && len(l.list(t)) == nodes
	})
	return names
}

// job runs a task in the cluster's pool and returns the number of its process.
func (l *lab) job(t *testing.T, name, node string) (pid int) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "pid")
	task := map[string]any{"Name": "main", "Driver": "raw_exec", "Config": map[string]any{"command": "/bin/sh", "args": []string{"-c", `echo $$ > "$1.new"; mv "$1.new" "$1"; exec sleep 600`, "sh", file}},
		"Resources": map[string]any{"CPU": 50, "MemoryMB": 32}}
	body, err := json.Marshal(map[string]any{"Job": map[string]any{"ID": name, "Name": name, "Type": "batch", "NodePool": "pool-c",
		"Constraints": []any{map[string]any{"LTarget": "${node.unique.name}", "RTarget": node, "Operand": "="}},
		"TaskGroups":  []any{map[string]any{"Name": "g", "Count": 1, "Tasks": []any{task}}}}})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), "PUT", l.nomad.URL()+"/v1/jobs", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the job is refused: %s", resp.Status)
	}
	eventually(t, "job "+name+" runs", func() bool {
		b, err := os.ReadFile(file)
		if err != nil {
			return false
		}
		_, err = fmt.Sscan(string(b), &pid)
		return err == nil
	})
	return pid
}

// alive reports whether a process runs.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.HasPrefix(string(b[bytes.LastIndexByte(b, ')')+1:]), " Z")
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
			of = append(of, string(bytes.ReplaceAll(args, []byte{0}, []byte(" "))))
		}
	}
	return of
}
