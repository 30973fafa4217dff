package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// TestSetUpOnce looks that a set-up is executed once in a boot and for a
// generation, however often the agent is started, and what its log says.
func TestSetUpOnce(t *testing.T) {
	eachUser(t, func(t *testing.T, as who) {
		f := newFront(t, "placeholder")
		f.orders.Readying.Setup.Command = f.count(as, "count") + "; echo out; echo err >&2; printf end"
		a := f.start(as)
		r := f.until(muster.HealthReady, "")
		if first := f.told()[0]; first.Generation != "" || first.State != muster.HealthPreparing || first.Began {
			t.Errorf("the first report is %+v", first)
		}
		if !r.Began || !strings.Contains(r.Log, "-0-"+r.Generation+"-1-") {
			t.Errorf("it reports %+v", r)
		}
		said := strings.Split(f.log(r.Log), "\n")
		if len(said) != 6 || !strings.HasPrefix(said[0], "== set-up of node n1, try 1 of 1, as ") || strings.Join(said[1:4], " ") != "out err end" || !strings.HasPrefix(said[4], "== ended with exit code 0 after ") {
			t.Errorf("the log says %q", said)
		}
		a.kill()
		seen := len(f.told())
		a = f.start(as)
		eventually(t, "another agent is ready", func() bool { all := f.told(); return len(all) > seen && all[len(all)-1].State == muster.HealthReady })
		if n := f.lines(as, "count"); n != 1 || !f.last().Began {
			t.Errorf("in one boot it was executed %d times; %+v", n, f.last())
		}
		f.renew(func(*muster.Setup) {})
		f.until(muster.HealthReady, "")
		if n := f.lines(as, "count"); n != 2 {
			t.Errorf("with another generation it was executed %d times", n)
		}
		a.kill()
		f.start(as, muster.AgentBootVar+"=2")
		eventually(t, "after another boot it is ready", func() bool { r := f.last(); return r.State == muster.HealthReady && strings.HasSuffix(r.Boot, "/2") })
		if n := f.lines(as, "count"); n != 3 {
			t.Errorf("after another boot it was executed %d times", n)
		}
	})
}

// TestKilled kills the agent in the midst of a set-up: nothing of it goes on, and
// the next agent executes it from its beginning.
func TestKilled(t *testing.T) {
	eachUser(t, func(t *testing.T, as who) {
		f := newFront(t, "placeholder")
		flag := filepath.Join(f.dir, "go")
		f.orders.Readying.Setup.Command = f.count(as, "count") + `; (setsid sh -c 'while true; do sleep 0.05; done' &); until [ -e ` + flag + ` ]; do sleep 0.02; done`
		a := f.start(as)
		eventually(t, "the set-up runs", func() bool { return f.lines(as, "count") == 1 && len(f.living()) > 1 && len(f.logIDs()) == 1 })
		a.kill()
		eventually(t, "nothing goes on", func() bool { return f.living() == nil })
		must(t, os.WriteFile(flag, nil, 0o644))
		f.start(as)
		f.until(muster.HealthReady, "")
		if n := f.lines(as, "count"); n != 2 {
			t.Errorf("it was executed %d times", n)
		}
		if ids := f.logIDs(); len(ids) != 2 {
			t.Errorf("the logs are %q", ids)
		}
		if left, err := filepath.Glob(filepath.Join(f.musterDir(as), "node1", "node", "log-*")); err != nil || left != nil {
			t.Errorf("what was not sent is left: %q, %v", left, err)
		}
	})
}

// TestRetries looks at a set-up that fails: as often as it may, and for good.
func TestRetries(t *testing.T) {
	f := newFront(t, "placeholder")
	s := f.orders.Readying.Setup
	s.Retries = 2
	s.Command = f.count(self, "count") + fmt.Sprintf(`; [ $(wc -l < %s/count) -ge 3 ] || { echo "no mirror"; exit 3; }`, f.musterDir(self))
	a := f.start(self)
	f.until(muster.HealthReady, "")
	if n, ids := f.lines(self, "count"), f.logIDs(); n != 3 || len(ids) != 3 || !strings.Contains(f.log(ids[0])+f.log(ids[1])+f.log(ids[2]), "== ended with exit code 3 after") {
		t.Errorf("it was executed %d times, the logs are %q", n, ids)
	}
	f.renew(func(s *muster.Setup) { s.Command = f.count(self, "again") + `; echo "no  mirror"; echo; exit 3` })
	r := f.until(muster.HealthUnusable, "its set-up failed")
	if r.Reason != "its set-up failed: exit code 3, at last: no  mirror" || f.lines(self, "again") != 3 {
		t.Errorf("after %d tries it says %q", f.lines(self, "again"), r.Reason)
	}
	a.kill()
	seen := len(f.told())
	f.start(self)
	eventually(t, "another agent says so, too", func() bool { all := f.told(); return len(all) > seen && all[len(all)-1].Reason == r.Reason })
	if n := f.lines(self, "again"); n != 3 {
		t.Errorf("another agent executed it again: %d", n)
	}
	f.renew(func(s *muster.Setup) { s.Command = "kill -TERM $$" })
	f.until(muster.HealthUnusable, "its set-up failed: signal SIGTERM")
	f.renew(func(s *muster.Setup) { s.Command = "true" })
	f.until(muster.HealthReady, "")
}

// TestTimeLimit looks that nothing is left of a set-up that takes too long.
func TestTimeLimit(t *testing.T) {
	eachUser(t, func(t *testing.T, as who) {
		f := newFront(t, "placeholder")
		f.orders.Readying.Setup.Timeout = muster.Seconds(1)
		f.orders.Readying.Setup.Command = `trap '' TERM; setsid sh -c "trap '' TERM; echo deep; while true; do sleep 0.05; done" & while true; do sleep 0.05; done`
		f.start(as)
		r := f.until(muster.HealthUnusable, "")
		if r.Reason != "its set-up took longer than 1s" || f.living() != nil {
			t.Errorf("it says %q, and leaves %v", r.Reason, f.living())
		}
		if text := f.log(r.Log); !strings.Contains(text, "deep\n== ended with signal SIGKILL after 1") {
			t.Errorf("the log says %q", text)
		}
	})
}

// TestWhoseRights looks as whom a set-up is executed, and with which variables.
func TestWhoseRights(t *testing.T) {
	eachUser(t, func(t *testing.T, as who) {
		f := newFront(t, "placeholder")
		s := f.orders.Readying.Setup
		s.Command, s.Secrets = "id -u; pwd; ls -A | wc -l; grep NoNewPrivs /proc/self/status; env | sort", []string{"KEY"}
		must(t, os.WriteFile(filepath.Join(f.secrets, muster.SecretsFile), []byte(`{"MUSTER_SECRETS_VERSION":"1","KEY":"s3cret","OTHER":"hidden"}`), 0o644))
		f.start(as)
		text := f.log(f.until(muster.HealthReady, "").Log)
		want, home := fmt.Sprint(as.uid), ""
		if as.uid == 0 {
			want = "65534"
		}
		if os.Geteuid() == 0 { // neither of the two has one
			home = filepath.Join(f.musterDir(as), "node1", "node", "setup") + "\n"
		}
		said := strings.Split(text, "\n")
		if said[1] != want || said[2] != filepath.Join(f.musterDir(as), "node1", "node", "setup") || said[3] != "0" {
			t.Errorf("it says %q", said[:4])
		}
		for _, v := range []string{"MUSTER_CLUSTER=pool", "MUSTER_NODE_ID=node1", "MUSTER_NODE_NAME=n1", "MUSTER_NODE_DIR=" + f.musterDir(as), "KEY=(hidden)", f.mark, "LANG=", "HOME=" + home, "PATH=", "NoNewPrivs:\t1\n"} {
			if !strings.Contains(text, "\n"+v) {
				t.Errorf("%s is missing in %q", v, text)
			}
		}
		if strings.Contains(text, "NOMAD_") || strings.Contains(text, "OTHER") || strings.Contains(text, "token") {
			t.Errorf("it was given too much: %q", text)
		}
		f.renew(func(s *muster.Setup) { s.AsRoot = true })
		if as.uid != 0 {
			r := f.until(muster.HealthUnusable, "")
			if r.Reason != "its set-up wants root, and the Nomad client is not root" {
				t.Errorf("it says %q", r.Reason)
			}
			return
		}
		r := f.until(muster.HealthReady, "")
		if text := f.log(r.Log); !strings.Contains(text, ", as root, ") || !strings.Contains(text, "\n0\n") || !strings.Contains(text, "\nNoNewPrivs:\t0\n") || !strings.Contains(text, "\nHOME=/root\n") {
			t.Errorf("as root it says %q", text)
		}
		f.do(func() { f.orders.Readying.User = "nosuchuser" })
		f.renew(func(s *muster.Setup) { s.AsRoot = false })
		f.until(muster.HealthUnusable, `there is no user "nosuchuser"`)
	})
}

// TestClosedFolder looks at a Muster folder that the user may not pass through.
func TestClosedFolder(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root executes set-ups as another user")
	}
	f := newFront(t, "pwd > where; cat where")
	must(t, os.Chmod(f.musterDir(self), 0o700))
	t.Cleanup(func() { _, _ = os.RemoveAll("/run/muster/node1-setup"), os.Remove("/run/muster") })
	f.start(self)
	if text := f.log(f.until(muster.HealthReady, "").Log); !strings.Contains(text, "\n/run/muster/node1-setup\n") {
		t.Errorf("it says %q", text)
	}
}

// TestSecrets looks at secrets that come late, and at one that nobody has set.
func TestSecrets(t *testing.T) {
	f := newFront(t, `echo "KEY is $KEY"`)
	f.orders.Readying.Setup.Secrets, f.orders.SecretsVersion = []string{"KEY"}, 2
	file := filepath.Join(f.secrets, muster.SecretsFile)
	must(t, os.WriteFile(file, []byte(`{"MUSTER_SECRETS_VERSION":"1","KEY":"old"}`), 0o644))
	f.start(self, secretsVar+"=1s")
	f.until(muster.HealthPreparing, "waits for its secrets")
	f.until(muster.HealthUnusable, "its secrets did not arrive")
	must(t, os.WriteFile(file+".new", []byte(`{"MUSTER_SECRETS_VERSION":"2","KEY":"new"}`), 0o644))
	must(t, os.Rename(file+".new", file))
	if text := f.log(f.until(muster.HealthReady, "").Log); !strings.Contains(text, "\nKEY is new\n") {
		t.Errorf("it says %q", text)
	}
	f.renew(func(s *muster.Setup) { s.Secrets = []string{"KEY", "PASSWORD"} })
	r := f.until(muster.HealthUnusable, "")
	if r.Reason != "secret PASSWORD is not set: muster cluster secret set pool PASSWORD sets it" {
		t.Errorf("it says %q", r.Reason)
	}
}

// TestBegin looks that a set-up waits until the runs on the node have ended, and
// that a node without one does not.
func TestBegin(t *testing.T) {
	f := newFront(t, "placeholder")
	f.orders.Begin = false
	f.orders.Readying.Setup.Command = f.count(self, "count")
	f.start(self)
	r := f.until(muster.HealthPreparing, "waits until no run is on it")
	if f.lines(self, "count") != 0 || r.Began {
		t.Errorf("it did not wait: %+v", r)
	}
	f.do(func() { f.orders.Begin = true })
	f.until(muster.HealthReady, "")
	f.do(func() { f.orders.Begin = false })
	f.do(func() { f.orders.Readying.Setup, f.orders.Generation = nil, "none" })
	f.until(muster.HealthReady, "")
	if n := f.lines(self, "count"); n != 1 {
		t.Errorf("it was executed %d times", n)
	}
	for _, r := range f.told() {
		if r.Generation == "" && r.State != muster.HealthPreparing || r.Began && r.Generation == "none" {
			t.Errorf("it told %+v", r)
		}
	}
}

// TestServerAway closes the server during the set-up: it goes on, and nothing of
// its log is lost.
func TestServerAway(t *testing.T) {
	f := newFront(t, "placeholder")
	f.orders.Readying.Setup.Command = f.count(self, "began") + "; for i in $(seq 1 100); do echo $i; sleep 0.01; done; seq 101 20000; " + f.count(self, "ended")
	f.start(self)
	eventually(t, "the set-up runs", func() bool { return f.lines(self, "began") == 1 })
	must(t, f.server.Close())
	eventually(t, "it ends while the server is away", func() bool { return f.lines(self, "ended") == 1 })
	f.listen()
	r := f.until(muster.HealthReady, "")
	var want strings.Builder
	for i := range 20000 {
		fmt.Fprintln(&want, i+1)
	}
	if text := f.log(r.Log); !strings.Contains(text, want.String()+"== ended with exit code 0") {
		t.Errorf("the log has %d bytes and ends with %q", len(text), text[max(0, len(text)-200):])
	}
}

// TestDaemon looks at processes that a set-up leaves behind, in a session of
// their own or not: they stay where it has ended well, also at the agent's end,
// and else do not.
func TestDaemon(t *testing.T) {
	eachUser(t, func(t *testing.T, as who) {
		f := newFront(t, "placeholder")
		f.orders.Readying.Setup.Command = `setsid sh -c 'while echo talk; do sleep 0.05; done' & sh -c 'sleep 1000; true' > /dev/null 2>&1 & echo started`
		a := f.start(as)
		r := f.until(muster.HealthReady, "")
		if text := f.log(r.Log); !strings.Contains(text, "\nstarted\n") {
			t.Errorf("the log says %q", text)
		}
		eventually(t, "the daemons live", func() bool { return len(f.living()) >= 3 })
		f.renew(func(s *muster.Setup) {
			s.Command, s.Env = `setsid sleep 1000 & sleep 1000 & exit 1`, map[string]string{"OTHER": f.mark}
		})
		f.until(muster.HealthUnusable, "")
		for _, pid := range f.living() {
			if text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); strings.Contains(string(text), "OTHER=") {
				t.Errorf("process %d of a set-up that failed is left", pid)
			}
		}
		must(t, a.Process.Signal(syscall.SIGTERM))
		if code := a.exit(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		if n := len(f.living()); n < 1 {
			t.Errorf("at the agent's end %d processes of a set-up that ended well are left", n)
		}
	})
}

// TestSignal ends the agent during a set-up.
func TestSignal(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		f := newFront(t, "placeholder")
		f.orders.Readying.Setup.Command = `trap '' TERM INT; ` + f.count(self, "began") + `; setsid sleep 1000 & while true; do sleep 0.05; done`
		a := f.start(self)
		eventually(t, "the set-up runs", func() bool { return f.lines(self, "began") == 1 && len(f.living()) > 1 })
		must(t, a.Process.Signal(sig))
		began := time.Now()
		if code, took := a.exit(), time.Since(began); code != 0 || took > 3*time.Second {
			t.Errorf("exit code %d after %s", code, took)
		}
		eventually(t, "nothing is left", func() bool { return f.living() == nil })
		if _, err := os.Stat(filepath.Join(f.musterDir(self), "node1", "node", doneFile)); !os.IsNotExist(err) {
			t.Errorf("it is taken for done: %v", err)
		}
	}
}

// TestReplaced looks at an agent whose word counts no more.
func TestReplaced(t *testing.T) {
	f := newFront(t, "placeholder")
	f.orders.Readying.Setup.Command = f.count(self, "began") + `; sleep 1000`
	a := f.start(self)
	eventually(t, "the set-up runs", func() bool { return f.lines(self, "began") == 1 })
	f.do(func() { f.refuse = muster.Errorf(muster.CodeConflict, "another agent is the node's") })
	if code := a.exit(); code != muster.ExitRefused || !strings.Contains(a.said.String(), "another agent is the node's") {
		t.Errorf("exit code %d, it said %q", code, a.said.String())
	}
	eventually(t, "nothing is left", func() bool { return f.living() == nil })
}

// TestAnotherGeneration changes the orders during a set-up, which ends at once.
func TestAnotherGeneration(t *testing.T) {
	f := newFront(t, "placeholder")
	f.orders.Readying.Setup.Command = f.count(self, "began") + `; sleep 1000`
	f.start(self)
	eventually(t, "the set-up runs", func() bool { return f.lines(self, "began") == 1 })
	f.renew(func(s *muster.Setup) { s.Command = "true" })
	f.until(muster.HealthReady, "")
	eventually(t, "nothing is left of the first", func() bool { return f.living() == nil })
}

// TestBack changes the orders to another set-up and back, while that runs: what
// the first has made may be spoilt, so that it is executed again, also by an
// agent that is started again.
func TestBack(t *testing.T) {
	f := newFront(t, "placeholder")
	f.orders.Readying.Setup.Command = f.count(self, "first")
	first := f.orders
	a := f.start(self)
	for n := range 2 {
		f.until(muster.HealthReady, "")
		f.renew(func(s *muster.Setup) { s.Command = f.count(self, "began") + `; sleep 1000` })
		eventually(t, "the second runs", func() bool { return f.lines(self, "began") == 1 })
		if n == 1 {
			a.kill()
			f.start(self)
		}
		f.do(func() { f.orders = first })
		f.until(muster.HealthReady, "")
		if got := f.lines(self, "first"); got != n+2 {
			t.Errorf("the first was executed %d times, want %d", got, n+2)
		}
	}
}

// TestTwoAgents starts a second agent beside the first, as Nomad may do for a
// moment: it waits.
func TestTwoAgents(t *testing.T) {
	f := newFront(t, "placeholder")
	f.orders.Readying.Setup.Command = f.count(self, "count")
	a := f.start(self)
	f.until(muster.HealthReady, "")
	f.start(self)
	eventually(t, "the second waits", func() bool {
		all := f.told()
		return all[len(all)-1].Reason == "waits for the end of the agent before it"
	})
	a.kill()
	f.until(muster.HealthReady, "")
	if n := f.lines(self, "count"); n != 1 {
		t.Errorf("it was executed %d times", n)
	}
}

// TestMemory looks that a set-up may have more memory than Nomad gives its agent.
func TestMemory(t *testing.T) {
	group := filepath.Join("/sys/fs/cgroup/memory", "muster-test-"+muster.RandomID(4))
	inner := filepath.Join(group, "0123abcd.node")
	if err := os.MkdirAll(inner, 0o755); os.Geteuid() != 0 || err != nil {
		t.Skip("a writable cgroup v1 memory controller is missing")
	}
	t.Cleanup(func() { _, _ = os.Remove(inner), os.Remove(group) })
	must(t, os.WriteFile(filepath.Join(inner, "memory.limit_in_bytes"), []byte("100M"), 0o644))
	f := newFront(t, `head -c 200000000 /dev/zero | tail -c 200000000 | wc -c; exit ${PIPESTATUS[1]}`)
	script := filepath.Join(f.dir, "in-group")
	must(t, os.WriteFile(script, []byte("#!/bin/sh\necho $$ > "+inner+"/tasks\nexec "+f.exe+" \"$@\"\n"), 0o755))
	f.exe = script
	f.start(self)
	if text := f.log(f.until(muster.HealthReady, "").Log); !strings.Contains(text, "\n200000000\n") {
		t.Errorf("the log says %q", text)
	}
}
