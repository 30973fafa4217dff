package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/dev"
)

// TestForeign fills the only node with a plain Nomad job: the reason names what
// it uses, and the run starts by the event of its end.
func TestForeign(t *testing.T) {
	p := open(t, dev.Config{})
	p.nomad("PUT", "/v1/jobs", map[string]any{"Job": map[string]any{
		"ID": "plain", "Name": "plain", "Type": "service", "Datacenters": []string{"*"}, "NodePool": "local",
		"TaskGroups": []any{map[string]any{"Name": "g", "Count": 1, "Tasks": []any{map[string]any{
			"Name": "t", "Driver": "raw_exec", "Config": map[string]any{"command": "/bin/sleep", "args": []string{"600"}},
			"Resources": map[string]any{"CPU": 321, "MemoryMB": 123}, "LogConfig": map[string]any{"MaxFiles": 1, "MaxFileSizeMB": 1}}}}},
	}}, nil)
	p.eventually("the plain job to run", func() bool {
		var allocs []struct{ ClientStatus string }
		p.nomad("GET", "/v1/job/plain/allocations", nil, &allocs)
		return len(allocs) == 1 && allocs[0].ClientStatus == "running"
	}, func() string { return "" })
	name := p.submit("command: echo at last\n")
	v := p.until(name, "a reason", func(v view) bool { return v.WaitReason != nil && v.WaitReason.Code == muster.WaitForeign })
	if !strings.Contains(v.WaitReason.Message, "(321 MHz) and 123 MiB") {
		t.Errorf("reason: %s", v.WaitReason.Message)
	}
	stopped := time.Now()
	p.nomad("DELETE", "/v1/job/plain", nil, nil)
	v = p.ends(name, muster.RunSucceeded)
	t.Logf("the tick is switched off: the run was admitted %s, and began its command %s, after the plain job was told to stop",
		v.Attempts[0].AdmittedAt.Sub(stopped).Round(time.Millisecond), v.Attempts[0].StartedAt.Sub(stopped).Round(time.Millisecond))
}

// TestOperator stops the server and does to Nomad what operators do.
func TestOperator(t *testing.T) {
	p := open(t, dev.Config{})
	purged := p.submit(small("sleep 600", ""))
	stopped := p.submit(small("sleep 600", ""))
	signal := counter(t)
	stays := p.submit(small("until test -s "+signal+"; do sleep 0.1; done", ""))
	for _, name := range []string{purged, stopped, stays} {
		p.running(name)
	}
	purgedJob, namespace, _ := p.child(purged)
	stoppedJob, _, _ := p.child(stopped)
	staysJob, _, _ := p.child(stays)
	p.kill(dev.Server)
	p.nomad("DELETE", "/v1/job/"+url.PathEscape(purgedJob)+"?purge=true&namespace="+namespace, nil, nil)
	p.nomad("DELETE", "/v1/job/"+url.PathEscape(stoppedJob)+"?namespace="+namespace, nil, nil)
	parent, _, _ := strings.Cut(staysJob, "/dispatch-")
	var launch struct{ Meta map[string]string }
	p.nomad("GET", "/v1/job/"+url.PathEscape(staysJob)+"?namespace="+namespace, nil, &launch)
	dispatchCopy := func() {
		p.nomad("PUT", "/v1/job/"+parent+"/dispatch?namespace="+namespace, map[string]any{"Meta": map[string]string{muster.LaunchMeta: launch.Meta[muster.LaunchMeta]}}, nil)
	}
	dispatchCopy()
	p.nomad("PUT", "/v1/system/gc", nil, nil)
	began := time.Now()
	p.start(dev.Server)
	if v := p.ends(purged, muster.RunCancelled); !strings.Contains(v.Reason, "cancelled by operator") || !strings.Contains(v.Reason, "purged") {
		t.Errorf("purged: %s", v.Reason)
	}
	if v := p.ends(stopped, muster.RunCancelled); !strings.Contains(v.Reason, "cancelled by operator") {
		t.Errorf("stopped: %s", v.Reason)
	}
	t.Logf("the truth was told %s after the server's start", time.Since(began).Round(time.Millisecond))
	// While the server is away the copy finds no agent to fetch, unless it is slow.
	const removed = "was a copy that somebody dispatched by hand: it is removed"
	p.eventually("the copy to be removed", func() bool { return strings.Contains(p.events(stays), removed) }, func() string { return p.events(stays) })
	dispatchCopy()
	p.eventually("the second copy's claim to be refused", func() bool { return strings.Contains(p.events(stays), "is refused") }, func() string { return p.events(stays) })
	p.eventually("the second copy to be removed", func() bool { return strings.Count(p.events(stays), removed) == 2 }, func() string { return p.events(stays) })
	if err := os.WriteFile(signal, []byte("end"), 0o666); err != nil {
		t.Fatal(err)
	}
	if v := p.ends(stays, muster.RunSucceeded); len(v.Attempts) != 1 {
		t.Errorf("%d attempts", len(v.Attempts))
	}
	p.wantEvent(purged, "purged by hand")
	p.eventually("the copy to be removed", func() bool {
		var jobs []struct{ ID, ParentID string }
		p.nomad("GET", "/v1/jobs?namespace="+namespace, nil, &jobs)
		for _, j := range jobs {
			if j.ParentID != "" {
				return false
			}
		}
		return true
	}, func() string { return p.events(stays) })
}

// TestDrain drains the node of a run: it goes back to the queue and ends when
// the node is there again.
func TestDrain(t *testing.T) {
	p := open(t, dev.Config{})
	name := p.submit(small("test $MUSTER_ATTEMPT -ge 2 || sleep 600", ""))
	v := p.running(name)
	node := v.Attempts[0].Instances[0].NodeID
	p.nomad("PUT", "/v1/node/"+node+"/drain", map[string]any{"DrainSpec": map[string]any{"Deadline": int64(time.Second)}}, nil)
	v = p.until(name, "the run to be back in the queue", func(v view) bool { return v.State == muster.RunQueued })
	if o := v.Attempts[0]; o.Outcome != muster.OutcomeLost || !strings.Contains(o.Reason, "drained") {
		t.Errorf("attempt: %s, %s", o.Outcome, o.Reason)
	}
	p.nomad("PUT", "/v1/node/"+node+"/drain", map[string]any{"DrainSpec": nil, "MarkEligible": true}, nil)
	if v := p.ends(name, muster.RunSucceeded); len(v.Attempts) != 2 {
		t.Errorf("%d attempts", len(v.Attempts))
	}
}

// TestNodeLost kills a node with all that runs on it: after the fence time the
// run starts again on the other one.
func TestNodeLost(t *testing.T) {
	p := open(t, dev.Config{Nodes: []dev.Node{{Name: "n1", Pool: "local", MHz: 4000, MiB: 1024}, {Name: "n2", Pool: "local", MHz: 4000, MiB: 1024}}})
	name := p.submit("command: test $MUSTER_ATTEMPT -ge 2 || sleep 600\n")
	v := p.running(name)
	in := v.Attempts[0].Instances[0]
	p.kill(dev.NodeProcess(in.NodeName))
	for _, pid := range append(processes(t, "NOMAD_ALLOC_ID="+in.AllocID, ""), processes(t, "MUSTER_ALLOC_ID="+in.AllocID, "")...) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	began := time.Now()
	v = p.ends(name, muster.RunSucceeded)
	if len(v.Attempts) != 2 || v.Attempts[0].Outcome != muster.OutcomeLost || v.Attempts[1].Instances[0].NodeName == in.NodeName {
		t.Errorf("attempts: %+v", v.Attempts)
	}
	t.Logf("with a fence time of 10 s the run had ended on the other node after %s", time.Since(began).Round(time.Millisecond))
}

// TestWorkloadIdentity tries a run's token on every agents' route of another
// run, and after its own end on its own.
func TestWorkloadIdentity(t *testing.T) {
	p := open(t, dev.Config{})
	a := p.submit(small("echo $MUSTER_TOKEN > outputs/token; sleep 5", ""))
	b := p.submit(small("sleep 600", ""))
	p.running(a)
	p.running(b)
	launchA, launchB := p.show(a).Attempts[0].LaunchID, p.show(b).Attempts[0].LaunchID
	routes := func(launch string) []string {
		base := "/agent/v1/launches/" + launch
		zero := strings.Repeat("0", 64)
		return []string{"POST " + base + "/claim", "POST " + base + "/report", "GET " + base + "/uploads/" + zero, "PUT " + base + "/instances/0/logs/stdout/0",
			"POST " + base + "/metrics", "PUT " + base + "/instances/0/artifacts/outputs/x"}
	}
	call := func(route, token string) int {
		method, path, _ := strings.Cut(route, " ")
		q, err := http.NewRequest(method, p.Addr+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer "+token)
		q.Header.Set(muster.ContentSHA256Header, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")
		resp, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	// The run itself could read its token; here the test takes it from the
	// process, as that user would.
	_, _, alloc := p.child(a)
	var token string
	for _, pid := range processes(t, "MUSTER_ALLOC_ID="+alloc, "") {
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		for _, v := range strings.Split(string(env), "\x00") {
			if s, ok := strings.CutPrefix(v, "MUSTER_TOKEN="); ok {
				token = s
			}
		}
	}
	if token == "" {
		t.Fatal("the run's token is not found")
	}
	for _, route := range routes(launchB) {
		if code := call(route, token); code != 403 {
			t.Errorf("A's token on B's %s: %d, want 403", route, code)
		}
		if code := call(route, "nonsense"); code != 401 {
			t.Errorf("nonsense on %s: %d, want 401", route, code)
		}
	}
	if code := call("PUT /agent/v1/launches/"+launchA+"/instances/0/artifacts/outputs/x", token); code != 200 {
		t.Errorf("A's token on its own: %d, want 200", code)
	}
	for route, want := range map[string]int{"GET /api/v1/workspaces/default/runs/" + a: 200, "GET /api/v1/workspaces/default/runs/" + b: 403,
		"POST /api/v1/workspaces/default/runs/" + b + "/cancel": 403, "GET /api/v1/clusters": 403, "GET /api/v1/tokens": 403} {
		if code := call(route, token); code != want {
			t.Errorf("A's token at the people's %s: %d, want %d", route, code, want)
		}
	}
	p.ends(a, muster.RunSucceeded)
	p.eventually("A's token to open nothing", func() bool {
		for _, route := range routes(launchA) {
			if code := call(route, token); code != 403 && code != 401 {
				return false
			}
		}
		code := call("GET /api/v1/workspaces/default/runs/"+a, token)
		return code == 401 || code == 403
	}, func() string { return p.events(a) })
	p.muster("run", "cancel", b)
	p.ends(b, muster.RunCancelled)
}

// TestTwoInstallations runs a second server against the same Nomad: neither
// touches what is the other's.
func TestTwoInstallations(t *testing.T) {
	p := open(t, dev.Config{})
	name := p.submit(small("sleep 4; echo done", ""))
	p.running(name)
	dir := t.TempDir()
	cmd := exec.Command(bin(t, "muster"), "server", "--data-dir", dir, "--listen", "127.0.0.1:0", "--nomad-addr", p.NomadAddr, "--consul-addr", "none", "--tick", "200ms", "--agent-binary", bin(t, "muster-agent"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	addr := strings.TrimSuffix(strings.Fields(line)[3], ",")
	secret, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		t.Fatal(err)
	}
	other := &platform{&dev.Platform{Addr: addr, Token: strings.TrimSpace(string(secret))}, t, t.TempDir()}
	other.muster("cluster", "create", "--node-pool", "local", "local")
	other.muster("workspace", "create", "--default-cluster", "local", "default")
	others := other.submit(small("echo from the other", ""))
	other.ends(others, muster.RunSucceeded)
	if v := p.ends(name, muster.RunSucceeded); len(v.Attempts) != 1 {
		t.Errorf("%d attempts", len(v.Attempts))
	}
	if r := p.try("run", "show", others); r.code != 3 {
		t.Errorf("the first installation knows the other's run: exit code %d", r.code)
	}
}
