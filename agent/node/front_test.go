package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/host"
)

// The variables by which a test makes the agent faster.
const (
	paceVar    = "TEST_PACE"    // of checks
	secretsVar = "TEST_SECRETS" // within which secrets must arrive
)

// TestMain makes the test's program the agent, too: it starts itself. os.Exit
// takes a second of each process under the race detector.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == host.GuardVerb {
		syscall.Exit(host.Guard())
	}
	if len(os.Args) > 1 && os.Args[1] == "node" {
		c, err := readConfig()
		if err != nil {
			syscall.Exit(host.Told(err))
		}
		c.retry = 10 * time.Millisecond
		for name, of := range map[string]*time.Duration{paceVar: &c.check, secretsVar: &c.secrets} {
			if d, err := time.ParseDuration(os.Getenv(name)); err == nil {
				*of = d
			}
		}
		syscall.Exit(execute(c))
	}
	os.Exit(m.Run())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !condition(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// front is a server's door for the agents of nodes, with one node behind it.
type front struct {
	t       *testing.T
	dir     string // the node's Muster folder lies in it
	secrets string
	exe     string // the agent
	addr    string
	server  *http.Server
	mark    string // a variable that all have which the set-up starts

	mu      sync.Mutex
	orders  muster.NodeOrders
	answer  muster.NodeOrders // the last one
	behind  time.Duration     // how much the node's clock is behind
	refuse  error
	changed chan struct{}
	reports []muster.NodeReport
	logs    map[string]map[int64][]byte
}

// newFront opens the door for a node with a set-up, "" for none.
func newFront(t *testing.T, command string) *front {
	t.Helper()
	f := &front{t: t, dir: openDir(t), secrets: openDir(t), addr: "127.0.0.1:0", mark: "MARK=" + muster.RandomID(8), changed: make(chan struct{}), logs: map[string]map[int64][]byte{}}
	f.exe = filepath.Join(f.dir, "agent")
	text, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	must(t, os.WriteFile(f.exe, text, 0o755))
	c := muster.Cluster{}
	if command != "" {
		c.Setup = &muster.Setup{Command: command, Env: map[string]string{"MARK": strings.TrimPrefix(f.mark, "MARK=")}}
	}
	f.orders = muster.NodeOrders{Generation: c.Generation(), Readying: c.Readying(), Begin: true}
	f.orders.Readying.Health.DiskMiB = 1
	f.listen()
	t.Cleanup(func() { _ = f.server.Close() })
	return f
}

// openDir makes a folder that every user may pass through.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	return dir
}

// listen opens the door, at the address where it was before.
func (f *front) listen() {
	f.t.Helper()
	l, err := net.Listen("tcp", f.addr)
	must(f.t, err)
	f.addr = l.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /agent/v1/nodes/pool/report", f.report)
	mux.HandleFunc("PUT /agent/v1/nodes/pool/logs/{log}/{offset}", f.putChunk)
	f.server = &http.Server{Handler: mux}
	go func(s *http.Server) { _ = s.Serve(l) }(f.server)
}

// let answers a call unless it is refused.
func (f *front) let(w http.ResponseWriter, r *http.Request) bool {
	f.mu.Lock()
	refuse := f.refuse
	f.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer token" {
		refuse = muster.Errorf(muster.CodeInvalid, "forged")
	}
	if refuse != nil {
		w.WriteHeader(muster.CodeOf(refuse).Status())
		_ = json.NewEncoder(w).Encode(map[string]string{"code": string(muster.CodeOf(refuse)), "detail": refuse.Error()})
	}
	return refuse == nil
}

// report keeps a report and answers what is wanted; one that may wait waits
// until that is another than before.
func (f *front) report(w http.ResponseWriter, r *http.Request) {
	var told muster.NodeReport
	if !f.let(w, r) || json.NewDecoder(r.Body).Decode(&told) != nil {
		return
	}
	f.mu.Lock()
	f.reports = append(f.reports, told)
	changed, known := f.changed, reflect.DeepEqual(f.answer, f.orders)
	f.mu.Unlock()
	if told.WaitSeconds > 0 && known {
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
	f.mu.Lock()
	answer, behind := f.orders, f.behind
	f.answer = answer
	refused := f.refuse != nil
	f.mu.Unlock()
	if refused && !f.let(w, r) {
		return
	}
	answer.Now = time.Now().Add(behind)
	_ = json.NewEncoder(w).Encode(answer)
}

// putChunk keeps a piece of a log, as a server does.
func (f *front) putChunk(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	offset, bad := strconv.ParseInt(r.PathValue("offset"), 10, 64)
	if !f.let(w, r) || err != nil || bad != nil {
		return
	}
	id := r.PathValue("log")
	if !regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}$`).MatchString(id) {
		f.t.Errorf("the log is called %q", id)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.logs[id] == nil {
		f.logs[id] = map[int64][]byte{}
	}
	if f.logs[id][offset] == nil {
		f.logs[id][offset] = data
	}
	_ = json.NewEncoder(w).Encode(muster.ChunkAnswer{Kept: int64(len(f.logs[id][offset]))})
}

// quietly changes something of which no report that waits is told.
func (f *front) quietly(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// do changes what is wanted, and wakes the report that waits.
func (f *front) do(change func()) {
	f.quietly(change)
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.changed)
	f.changed = make(chan struct{})
}

// renew wants the set-up anew, as after a change.
func (f *front) renew(change func(*muster.Setup)) {
	f.do(func() {
		s := *f.orders.Readying.Setup
		change(&s)
		f.orders.Readying.Setup, f.orders.Generation = &s, "g"+muster.RandomID(4)
	})
}

// told returns all reports.
func (f *front) told() []muster.NodeReport {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.reports)
}

// last returns the last report.
func (f *front) last() (r muster.NodeReport) {
	if all := f.told(); len(all) > 0 {
		r = all[len(all)-1]
	}
	return r
}

// until waits for a state with a reason that holds the text, of the generation
// that is wanted.
func (f *front) until(state muster.HealthState, reason string) muster.NodeReport {
	f.t.Helper()
	var r muster.NodeReport
	ok := func() bool {
		f.mu.Lock()
		want := f.orders.Generation
		f.mu.Unlock()
		r = f.last()
		return r.State == state && strings.Contains(r.Reason, reason) && r.Generation == want
	}
	for end := time.Now().Add(20 * time.Second); !ok(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("never %s %q, at last %+v", state, reason, r)
		}
	}
	return r
}

// logIDs lists the logs, in order of their names.
func (f *front) logIDs() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.logs))
}

// log puts the pieces of a log together, and fails where one is missing.
func (f *front) log(id string) string {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	var text []byte
	for _, offset := range slices.Sorted(maps.Keys(f.logs[id])) {
		if int64(len(text)) != offset {
			f.t.Errorf("log %s: %d bytes hang together, and the next piece is of %d", id, len(text), offset)
		}
		text = append(text, f.logs[id][offset]...)
	}
	return string(text)
}

// who is whom the agent runs as.
type who struct {
	name string
	uid  uint32
}

// eachUser runs a test once for every user that the agent can be started as.
func eachUser(t *testing.T, f func(t *testing.T, as who)) {
	all := []who{{"root", 0}, {"user", 4242}}
	if os.Geteuid() != 0 {
		t.Log("not root: the agent is tested as this user alone")
		all = []who{self}
	}
	for _, as := range all {
		t.Run(as.name, func(t *testing.T) { f(t, as) })
	}
}

// self is the user of the test.
var self = who{"self", uint32(os.Geteuid())}

// musterDir returns the Muster folder for agents of a user, who owns it.
func (f *front) musterDir(as who) string {
	dir := filepath.Join(f.dir, "muster-"+as.name)
	if err := os.Mkdir(dir, 0o755); err == nil && as.uid != uint32(os.Geteuid()) {
		must(f.t, os.Chown(dir, int(as.uid), int(as.uid)))
	}
	return dir
}

// started is an agent that runs.
type started struct {
	*exec.Cmd
	t    *testing.T
	said bytes.Buffer
	done chan struct{}
}

// start starts an agent; what it is told comes last.
func (f *front) start(as who, env ...string) *started {
	f.t.Helper()
	must(f.t, os.WriteFile(filepath.Join(f.secrets, "nomad_muster.jwt"), []byte("token\n"), 0o644))
	a := &started{Cmd: exec.Command(f.exe, "node"), t: f.t, done: make(chan struct{})}
	a.Env = append([]string{"PATH=" + os.Getenv("PATH"), "NOMAD_SECRETS_DIR=" + f.secrets, "NOMAD_TOKEN=secret", "NOMAD_META_" + muster.ClusterMeta + "=pool", "NOMAD_ALLOC_ID=0123abcd",
		muster.AgentServersVar + "=http://" + f.addr, muster.AgentDirVar + "=" + f.musterDir(as), muster.AgentNodeVar + "=node1", muster.AgentNodeNameVar + "=n1",
		muster.AgentBootVar + "=${meta.muster_boot}", paceVar + "=50ms"}, env...)
	a.Stderr = &a.said
	if as.uid != uint32(os.Geteuid()) {
		a.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: as.uid, Gid: as.uid}}
	}
	must(f.t, a.Start())
	go func() {
		_ = a.Wait()
		close(a.done)
	}()
	f.t.Cleanup(func() {
		a.kill()
		for _, pid := range f.living() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if strings.Contains(a.said.String(), "DATA RACE") {
			f.t.Error("the race detector has found something")
		}
		if f.t.Failed() {
			f.t.Logf("the agent said:\n%s", a.said.String())
		}
	})
	return a
}

// kill kills the agent and waits for its end.
func (a *started) kill() {
	_ = a.Process.Kill()
	<-a.done
}

// exit waits for the agent's end and returns its exit code.
func (a *started) exit() int {
	a.t.Helper()
	select {
	case <-a.done:
	case <-time.After(20 * time.Second):
		a.t.Fatal("the agent does not end")
	}
	return a.ProcessState.ExitCode()
}

// living lists the processes that the set-up has started.
func (f *front) living() (list []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil && bytes.Contains(text, []byte(f.mark)) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			list = append(list, pid)
		}
	}
	return list
}

// lines counts the lines of a file in the node's Muster folder.
func (f *front) lines(as who, name string) int {
	text, err := os.ReadFile(filepath.Join(f.musterDir(as), name))
	if err != nil {
		return 0
	}
	return strings.Count(string(text), "\n")
}

// count makes a command that counts in a file of the node's Muster folder, which
// all may write.
func (f *front) count(as who, name string) string {
	file := filepath.Join(f.musterDir(as), name)
	must(f.t, os.WriteFile(file, nil, 0o666))
	must(f.t, os.Chmod(file, 0o666))
	return fmt.Sprintf("echo x >> '%s'", file)
}
