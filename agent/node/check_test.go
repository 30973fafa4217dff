package node

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// TestOwnCheck looks at a check that fails, hangs and recovers.
func TestOwnCheck(t *testing.T) {
	eachUser(t, func(t *testing.T, as who) {
		f := newFront(t, "")
		flag := filepath.Join(f.dir, "scratch")
		f.orders.Readying.Health.Checks = []muster.Check{{Name: "scratch", Command: "echo as $(id -u); test -e " + flag, Timeout: muster.Seconds(10)}}
		f.start(as)
		who := "as 4242"
		if as.uid == 0 {
			who = "as 65534"
		}
		f.until(muster.HealthUnusable, "check scratch: exit code 1: "+who)
		must(t, os.WriteFile(flag, nil, 0o644))
		f.until(muster.HealthReady, "")
		must(t, os.Remove(flag))
		f.until(muster.HealthUnusable, "check scratch: exit code 1")
		f.do(func() {
			f.orders.Readying.Health.Checks = []muster.Check{{Name: "slow", Command: "export " + f.mark + "; setsid sleep 1000 & sleep 1000", Timeout: muster.Seconds(0.2)}}
		})
		f.until(muster.HealthUnusable, "check slow: it took longer than 200ms")
		f.do(func() { f.orders.Readying.Health.Checks = nil })
		f.until(muster.HealthReady, "")
		if as.uid == 0 {
			f.do(func() { f.orders.Readying.User = "nosuchuser" })
			f.until(muster.HealthUnusable, `runs cannot be started: there is no user "nosuchuser" on this node`)
			f.do(func() { f.orders.Readying.User = "" })
			f.until(muster.HealthReady, "")
		}
		if left := f.living(); left != nil {
			t.Errorf("processes of a check are left: %v", left)
		}
	})
}

// TestCheckAtOnce looks that changed orders do not wait for the next look, nor
// for a check that is being made.
func TestCheckAtOnce(t *testing.T) {
	f := newFront(t, "")
	f.start(self, paceVar+"=1h")
	f.until(muster.HealthReady, "")
	f.do(func() {
		f.orders.Readying.Health.Checks = []muster.Check{{Name: "long", Command: f.mark + " sleep 1000", Timeout: muster.Seconds(300)}}
	})
	eventually(t, "the check is made", func() bool { return f.living() != nil })
	if r := f.last(); r.State != muster.HealthReady {
		t.Errorf("while a check is repeated the node is %+v", r)
	}
	f.do(func() {
		f.orders.Readying.Health.Checks = []muster.Check{{Name: "quick", Command: "exit 7", Timeout: muster.Seconds(10)}}
	})
	r := f.until(muster.HealthUnusable, "check quick")
	if r.Reason != "check quick: exit code 7" {
		t.Errorf("it says %q", r.Reason)
	}
}

// TestDiskAndClock looks at the checks that every node has.
func TestDiskAndClock(t *testing.T) {
	f := newFront(t, "")
	f.start(self)
	f.until(muster.HealthReady, "")
	f.do(func() { f.orders.Readying.Health.DiskMiB = 1 << 40 })
	f.until(muster.HealthUnusable, "MiB are free where runs work, and 1099511627776 are wanted")
	f.do(func() { f.orders.Readying.Health.DiskMiB = 1 })
	f.until(muster.HealthReady, "")
	for behind, says := range map[time.Duration]string{42 * time.Second: "42s behind the server's", -100 * time.Second: "1m40s ahead of the server's"} {
		f.quietly(func() { f.behind = behind })
		r := f.until(muster.HealthUnusable, "clock")
		if r.Reason != "clock: it is "+says+", and 30s are allowed" {
			t.Errorf("it says %q", r.Reason)
		}
		f.quietly(func() { f.behind = 0 })
		f.until(muster.HealthReady, "")
	}
}

// TestEngine looks at nodes with and without a container engine.
func TestEngine(t *testing.T) {
	dir, err := os.MkdirTemp("", "e") // the path of a socket must be short
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "sock")
	f := newFront(t, "")
	f.orders.Readying.Health.Engine = true
	f.start(self, "DOCKER_HOST=unix://"+socket)
	f.until(muster.HealthUnusable, "container engine: ")
	l, err := net.Listen("unix", socket)
	must(t, err)
	engine := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/_ping" {
			w.WriteHeader(http.StatusNotFound)
		}
	})}
	go func() { _ = engine.Serve(l) }()
	f.until(muster.HealthReady, "")
	must(t, engine.Close())
	f.until(muster.HealthUnusable, "container engine: ")
}

// TestSweep looks that the agent removes what a dead launch has left, again and
// again, and nothing of one that lives.
func TestSweep(t *testing.T) {
	f := newFront(t, "")
	runs := filepath.Join(f.musterDir(self), "node1", "runs")
	leave := func(name string) (dir string, lock *os.File) {
		dir = filepath.Join(runs, name)
		must(t, os.MkdirAll(filepath.Join(dir, "work"), 0o755))
		lock, err := os.Create(filepath.Join(dir, "lock"))
		must(t, err)
		t.Cleanup(func() { _ = lock.Close() })
		return dir, lock
	}
	live, lock := leave("live")
	must(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
	dead, _ := leave("dead")
	left := exec.Command("sleep", "1000")
	left.Env = []string{"NOMAD_ALLOC_ID=dead"}
	must(t, left.Start())
	ended := make(chan error, 1)
	go func() { ended <- left.Wait() }()
	f.start(self)
	for _, dir := range []string{dead, filepath.Join(runs, "later")} {
		if strings.HasSuffix(dir, "later") {
			leave("later")
		}
		eventually(t, dir+" is removed", func() bool { _, err := os.Stat(dir); return os.IsNotExist(err) })
	}
	if err := <-ended; err == nil || err.Error() != "signal: killed" {
		t.Errorf("the left-over process: %v", err)
	}
	if _, err := os.Stat(live); err != nil {
		t.Errorf("one that lives was removed: %v", err)
	}
	must(t, lock.Close())
	eventually(t, "it is removed when it is dead", func() bool { _, err := os.Stat(live); return os.IsNotExist(err) })
	if _, err := os.Stat(filepath.Join(f.musterDir(self), "node1", "node")); err != nil {
		t.Errorf("the agent's own folder: %v", err)
	}
}
