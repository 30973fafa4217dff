package policy

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/muster-ml/muster"
)

// TestRun takes a cluster through its days with the stock agent: it grows and
// shrinks, the server is away, a plugin dies, muster-autoscaler itself is killed.
func TestRun(t *testing.T) {
	s := newSite(t)
	s.add("c", muster.ProviderLocal, nil)
	s.want("c", 2)
	process, _ := s.run(t)
	two := s.reach(t, "c", 2)
	if _, err := os.Stat(ReadyFile(s.dir)); err != nil {
		t.Errorf("it does not say that it is ready: %v", err)
	}
	names := slices.Sorted(maps.Keys(two))
	s.want("c", 1, names[1])
	one := s.reach(t, "c", 1)
	if one[names[0]] != two[names[0]] {
		t.Errorf("%v are left of %v, want %s", one, two, names[0])
	}

	t.Run("server away", func(t *testing.T) {
		s.mu.Lock()
		s.away = true
		s.mu.Unlock()
		s.want("c", 0, names[0])
		// Its first question after that is the target's or the APM's.
		eventually(t, "nobody scales", func() bool { return strings.Contains(agentLog(t, s, muster.ProviderLocal), "nothing is scaled") })
		if now := s.machines(t); !maps.Equal(now, one) {
			t.Errorf("machines %v became %v", one, now)
		}
		s.want("c", 1)
		s.mu.Lock()
		s.away = false
		s.mu.Unlock()
		s.looks(t, 6)
		if now := s.machines(t); !maps.Equal(now, one) {
			t.Errorf("machines %v became %v", one, now)
		}
	})

	t.Run("plugin killed", func(t *testing.T) {
		before := s.plugins(t, muster.ProviderLocal)
		if len(before) != 2 {
			t.Fatalf("plugins %v, want two", before)
		}
		if err := syscall.Kill(before[0].Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "another agent has two other plugins", func() bool {
			now := s.plugins(t, muster.ProviderLocal)
			return len(now) == 2 && now[0].Parent != before[0].Parent && now[0].Parent == now[1].Parent
		})
		s.want("c", 2)
		if now := s.reach(t, "c", 2); now[names[0]] != one[names[0]] {
			t.Errorf("machine %s is another one: %v, and was %v", names[0], now, one)
		}
	})

	t.Run("killed itself", func(t *testing.T) {
		before := s.machines(t)
		if err := process.Kill(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "its agent and plugins are gone", func() bool {
			return len(s.plugins(t, muster.ProviderLocal)) == 0 && !slices.ContainsFunc(processesOf(t, s.dir), func(args string) bool { return strings.Contains(args, "nomad-autoscaler") })
		})
		_, stop := s.run(t)
		s.looks(t, 3)
		if now := s.reach(t, "c", 2); !maps.Equal(now, before) {
			t.Errorf("machines %v became %v", before, now)
		}
		s.want("c", 3)
		s.reach(t, "c", 3)
		stop()
		if now := s.machines(t); len(now) != 3 || slices.Contains(slices.Collect(maps.Values(now)), 0) {
			t.Errorf("after the end machines %v live, want three", now)
		}
		if left := s.plugins(t, muster.ProviderLocal); len(left) > 0 {
			t.Errorf("plugins %v are left", left)
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.auth != "Bearer the-token" {
		t.Errorf("the server was asked with %q", s.auth)
	}
}

// agentLog returns what a provider's agent has said.
func agentLog(t *testing.T, s *site, p muster.Provider) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, ".agents", string(p), "agent.log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestClustersComeAndGo has clusters made, paused and deleted while it runs. At
// its end the machines stop, as it was told.
func TestClustersComeAndGo(t *testing.T) {
	s := newSite(t)
	_, stop := s.run(t, "--stop-machines")
	eventually(t, "it runs without a cluster", func() bool { _, err := os.Stat(ReadyFile(s.dir)); return err == nil })
	s.add("a", muster.ProviderLocal, nil)
	s.want("a", 1)
	one := s.reach(t, "a", 1)

	// Paused, it keeps what it has.
	s.mu.Lock()
	s.clusters[0].Paused = true
	s.mu.Unlock()
	eventually(t, "there is no policy", func() bool {
		files, err := filepath.Glob(filepath.Join(s.dir, ".agents", "local", "policies", "*"))
		return err == nil && len(files) == 0
	})
	s.want("a", 2)
	s.looks(t, 5)
	if now := s.machines(t); !maps.Equal(now, one) {
		t.Errorf("paused, machines %v became %v", one, now)
	}
	s.mu.Lock()
	s.clusters[0].Paused = false
	s.mu.Unlock()
	s.reach(t, "a", 2)

	// A machine is rebooted while the target works on it.
	for name, pid := range one {
		if err := reboot(t.Context(), s.dir, name); err != nil {
			t.Error(err)
		}
		if now := s.machines(t)[name]; now == pid || now == 0 {
			t.Errorf("the rebooted machine is process %d, and was %d", now, pid)
		}
	}
	if err := command(t.Context(), []string{"clear", "--dir", s.dir}, t.Output()); muster.CodeOf(err) != muster.CodeConflict {
		t.Errorf("clearing while it runs: %v", err)
	}

	// Deleted, it is gone when its machines have left, and another cluster goes on.
	s.want("a", 0, slices.Collect(maps.Keys(s.machines(t)))...)
	s.reach(t, "a", 0)
	s.add("b", muster.ProviderLocal, nil)
	s.want("b", 1)
	s.mu.Lock()
	s.clusters = s.clusters[1:]
	delete(s.scaling, "a")
	s.mu.Unlock()
	s.reach(t, "b", 1)
	stop()
	if now := s.machines(t); len(now) > 0 {
		t.Errorf("machines %v are left", now)
	}
}

// TestTwoRuns refuses a second run on one folder.
func TestTwoRuns(t *testing.T) {
	c := &Config{say: t.Logf}
	c.Settings.Dir = t.TempDir()
	lock, err := lockRun(c)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	if err := Run(t.Context(), c); muster.CodeOf(err) != muster.CodeConflict {
		t.Errorf("the second run: %v", err)
	}
}

func TestCommands(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", "no command is given"},
		{"rum", `there is no command "rum": did you mean run?`},
		{"frobnicate", `there is no command "frobnicate": use one of run, clear, local, help`},
		{"local stop", "local knows reboot only"},
		{"clear --dir /nowhere x", "clear takes 0 arguments beside flags, which stand before them, and there are 1"},
		{"local reboot --dir /nowhere", "local reboot takes 1 arguments beside flags, which stand before them, and there are 0"},
		{"clear --dir /nowhere", "there are no machines"},
		{"run --intervall 2s", "flag provided but not defined: -intervall"},
		{"run --interval 1ms", "the interval is 1ms: use 100ms at least, 2s is usual"},
		{"run --nomad-addr nomad.example", `"nomad.example" is not the URL of Nomad: write it like http://127.0.0.1:4646`},
		{"local reboot --dir /nowhere m", "there is no machine m below /nowhere"},
	} {
		err := command(t.Context(), strings.Fields(c.args), t.Output())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s", c.args, err, c.want)
		}
	}
}
