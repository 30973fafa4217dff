package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/dev"
)

// counter makes a file that runs of any user may append to.
func counter(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "counter")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	open0711(t, filepath.Dir(file))
	return file
}

// lines returns the lines of a file.
func lines(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(text))
}

// killer is a proxy between server and Nomad. When armed, it calls kill after
// Nomad has taken a dispatch and before the server hears of it.
type killer struct {
	addr  string
	armed atomic.Bool
	kill  func()
	hits  atomic.Int64
}

// newKiller starts a proxy before the Nomad of a platform.
func newKiller(t *testing.T, nomad string) *killer {
	t.Helper()
	to, err := url.Parse(nomad)
	if err != nil {
		t.Fatal(err)
	}
	k := &killer{}
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ModifyResponse: func(r *http.Response) error {
			if strings.HasSuffix(r.Request.URL.Path, "/dispatch") && r.StatusCode == http.StatusOK && k.armed.CompareAndSwap(true, false) {
				k.kill()
				k.hits.Add(1)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	s := httptest.NewServer(proxy)
	t.Cleanup(s.Close)
	k.addr = s.URL
	return k
}

// ownServer runs the platform's server as a process of the test, with more
// flags, and returns it once it answers.
func (p *platform) ownServer(t *testing.T, flags ...string) *exec.Cmd {
	t.Helper()
	host := strings.TrimPrefix(p.Addr, "http://")
	cmd := exec.Command(bin(t, "muster-race"), append([]string{"server", "--data-dir", filepath.Join(p.DataDir, "server"), "--listen", host, "--consul-addr", p.ConsulAddr,
		"--agent-binary", bin(t, "muster-agent"), "--tick", "0", "--fence", "10s"}, flags...)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.eventually("the server to answer", func() bool {
		resp, err := http.Get(p.Addr + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, func() string { return "" })
	return cmd
}

// TestKilledBetweenDispatchAndCommit kills the server, 20 times, when Nomad has
// the dispatch and the store does not know it yet.
func TestKilledBetweenDispatchAndCommit(t *testing.T) {
	const times = 20
	p := open(t, dev.Config{})
	p.kill(dev.Server)
	k := newKiller(t, p.NomadAddr)
	server := p.ownServer(t, "--nomad-addr", k.addr)
	defer func() { _ = server.Process.Kill(); _ = server.Wait() }()
	submitted := make(chan struct{})
	k.kill = func() { <-submitted; _ = server.Process.Kill() }
	file := counter(t)
	var names []string
	for i := range times {
		name := fmt.Sprintf("kill-%02d", i)
		names = append(names, name)
		k.armed.Store(true)
		p.submit(small("echo "+name+" >> "+file+"; echo "+name+" > outputs/name", ""), "--name", name)
		submitted <- struct{}{}
		p.eventually("the kill", func() bool { return k.hits.Load() == int64(i+1) }, func() string { return fmt.Sprint(k.hits.Load()) })
		_ = server.Wait()
		server = p.ownServer(t, "--nomad-addr", k.addr)
	}
	for _, name := range names {
		p.ends(name, muster.RunSucceeded)
		dir := t.TempDir()
		p.muster("run", "download", name, "--dir", dir)
		if got, err := os.ReadFile(filepath.Join(dir, "outputs", "name")); strings.TrimSpace(string(got)) != name {
			t.Errorf("output of %s: %q, %v", name, got, err)
		}
	}
	executed := map[string]int{}
	for _, name := range lines(t, file) {
		executed[name]++
	}
	for _, name := range names {
		if executed[name] != 1 {
			t.Errorf("the command of %s was executed %d times\n%s", name, executed[name], p.events(name))
		}
	}
	if n := len(lines(t, file)); n != times {
		t.Errorf("%d executions, want %d", n, times)
	}
}

// start starts a part again and waits until the platform is ready.
func (p *platform) start(part string) {
	p.t.Helper()
	if err := p.Start(p.t.Context(), part); err != nil {
		p.t.Fatalf("start %s: %v", part, err)
	}
}

// kill ends a part by SIGKILL.
func (p *platform) kill(part string) {
	p.t.Helper()
	if err := p.Kill(part); err != nil {
		p.t.Fatalf("kill %s: %v", part, err)
	}
}

// TestServerKills follows 200,000 lines on each stream while the server is
// killed ten times.
func TestServerKills(t *testing.T) {
	const n, kills = 200_000, 10
	p := open(t, dev.Config{})
	// A pause every 4,000 lines makes the streams last over all kills.
	name := p.submit(small(fmt.Sprintf("for i in $(seq 0 49); do a=$((i*4000+1)); b=$((i*4000+4000)); seq $a $b; seq $a $b >&2; sleep 0.5; done # %d", n), ""))
	p.running(name)
	follower := p.command("run", "logs", "-f", name)
	var live [2]*os.File
	for i := range live {
		var err error
		if live[i], err = os.Create(filepath.Join(t.TempDir(), "live")); err != nil {
			t.Fatal(err)
		}
		defer live[i].Close()
	}
	follower.Stdout, follower.Stderr = live[0], live[1]
	if err := follower.Start(); err != nil {
		t.Fatal(err)
	}
	p.eventually("the first line followed", func() bool {
		info, err := live[0].Stat()
		return err == nil && info.Size() > 0
	}, func() string { return "" })
	for range kills {
		p.kill(dev.Server)
		p.start(dev.Server)
	}
	p.ends(name, muster.RunSucceeded)
	if err := follower.Wait(); err != nil {
		t.Errorf("the follower: %v", err)
	}
	for i, stream := range []string{"stdout", "stderr"} {
		followed, err := os.ReadFile(live[i].Name())
		if err != nil {
			t.Fatal(err)
		}
		numbered(t, stream+" as followed", string(followed), n)
		numbered(t, stream, p.muster("run", "logs", name, "--stream", stream), n)
	}
	if v := p.show(name); len(v.Attempts) != 1 {
		t.Errorf("%d attempts", len(v.Attempts))
	}
}

// numbered holds that a text is the numbers from 1 to n, one a line.
func numbered(t *testing.T, what, text string, n int) {
	t.Helper()
	next := 1
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); next++ {
		if s.Text() != strconv.Itoa(next) {
			t.Errorf("%s: line %d is %q", what, next, s.Text())
			return
		}
	}
	if next != n+1 {
		t.Errorf("%s: %d lines, want %d", what, next-1, n)
	}
}

// TestKills kills everything else that can die.
func TestKills(t *testing.T) {
	p := open(t, dev.Config{})
	t.Run("Nomad client", func(t *testing.T) {
		file := counter(t)
		name := p.submit(small("echo begun >> "+file+"; sleep 8; echo done", ""))
		p.eventually("the command", func() bool { return len(lines(t, file)) == 1 }, func() string { return p.events(name) })
		p.kill(dev.NodeProcess("local"))
		p.start(dev.NodeProcess("local"))
		v := p.ends(name, muster.RunSucceeded)
		if len(v.Attempts) != 1 || len(lines(t, file)) != 1 {
			t.Errorf("%d attempts, %d executions", len(v.Attempts), len(lines(t, file)))
		}
	})
	t.Run("Nomad server", func(t *testing.T) {
		name := p.submit(small("sleep 5; echo done", ""))
		p.running(name)
		p.kill(dev.Nomad)
		p.start(dev.Nomad)
		if v := p.ends(name, muster.RunSucceeded); len(v.Attempts) != 1 {
			t.Errorf("%d attempts", len(v.Attempts))
		}
	})
	t.Run("agent", func(t *testing.T) {
		file := counter(t)
		name := p.submit(small("echo $MUSTER_ATTEMPT >> "+file+"; test $MUSTER_ATTEMPT -ge 2 || sleep 600", ""))
		p.eventually("the command", func() bool { return len(lines(t, file)) == 1 }, func() string { return p.events(name) })
		_, _, alloc := p.child(name)
		pids := processes(t, "NOMAD_ALLOC_ID="+alloc, "muster-agent")
		if len(pids) == 0 {
			t.Fatal("the agent's process is not found")
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		v := p.ends(name, muster.RunSucceeded)
		if len(v.Attempts) != 2 || v.Attempts[0].Outcome != muster.OutcomePlatform {
			t.Errorf("attempts: %+v", v.Attempts)
		}
		if left := processes(t, "MUSTER_ALLOC_ID="+alloc, ""); len(left) > 0 {
			t.Errorf("processes of the killed attempt are alive: %v", left)
		}
	})
	t.Run("user's process", func(t *testing.T) {
		name := p.submit(small("sleep 600", ""))
		p.running(name)
		_, _, alloc := p.child(name)
		var pids []int
		p.eventually("the command's process", func() bool { pids = processes(t, "MUSTER_ALLOC_ID="+alloc, "sleep"); return len(pids) > 0 }, func() string { return p.events(name) })
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		if v := p.ends(name, muster.RunFailed); v.ExitCode == nil || *v.ExitCode != 137 || len(v.Attempts) != 1 {
			t.Errorf("exit code %v, %d attempts", v.ExitCode, len(v.Attempts))
		}
	})
	t.Run("Consul away", func(t *testing.T) {
		running := p.submit(small("sleep 3; echo done", ""))
		p.running(running)
		p.kill(dev.Consul)
		later := p.submit(small("echo done", ""))
		p.ends(running, muster.RunSucceeded)
		p.ends(later, muster.RunSucceeded)
		p.start(dev.Consul)
	})
}

// processes returns the processes whose environment holds a variable and whose
// command line holds a word.
func processes(t *testing.T, variable, word string) []int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for _, dir := range all {
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil {
			continue // it has ended, or is not ours
		}
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || !bytes.Contains(line, []byte(word)) || !bytes.Contains(append([]byte{0}, env...), []byte("\x00"+variable+"\x00")) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			found = append(found, pid)
		}
	}
	return found
}
