// Package e2e runs the whole platform on real engines and uses it as a user
// does: by the CLI's binary, and by what an operator does to Nomad.
package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/dev"
)

// bin is where make puts the programs; muster-race is the server with the race
// detector.
func bin(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "bin", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run make build-race first", err)
	}
	return path
}

// platform is a platform of the test's own.
type platform struct {
	*dev.Platform
	t    testing.TB
	home string // HOME of the CLI: nothing of the tester's is read
}

// open starts a platform that does nothing without an event: its tick is
// switched off.
func open(t testing.TB, c dev.Config, serverArgs ...string) *platform {
	t.Helper()
	return openWith(t, "muster-race", c, serverArgs...)
}

// openWith starts a platform whose server is one of the programs.
func openWith(t testing.TB, program string, c dev.Config, serverArgs ...string) *platform {
	t.Helper()
	c.DataDir = filepath.Join(t.TempDir(), "a folder")
	open0711(t, filepath.Dir(c.DataDir))
	c.Command = []string{bin(t, program), "server"}
	c.Agent = bin(t, "muster-agent")
	c.HeartbeatGrace = 2 * time.Second
	c.ServerArgs = append([]string{"--tick", "0", "--fence", "10s"}, serverArgs...)
	out := &bytes.Buffer{}
	c.Out = out
	p, err := dev.Open(t.Context(), c)
	if err != nil {
		t.Fatalf("start the platform: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("stop the platform: %v", err)
		}
		noRace(t, filepath.Join(c.DataDir, "log", "server.log"))
		if t.Failed() {
			tellErrors(t, filepath.Join(c.DataDir, "log", "server.log"))
		}
	})
	return &platform{p, t, t.TempDir()}
}

// in returns the platform for a part of the test.
func (p *platform) in(t testing.TB) *platform { return &platform{p.Platform, t, p.home} }

// tellErrors tells the last errors of a server, by its log.
func tellErrors(t testing.TB, log string) {
	t.Helper()
	text, _ := os.ReadFile(log) // without a log there is nothing to tell
	var errs []string
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "status=5") {
			errs = append(errs, line)
		}
	}
	t.Logf("the server's last errors:\n%s", strings.Join(errs[max(0, len(errs)-10):], ""))
}

// noRace fails where the race detector has written into a server's log.
func noRace(t testing.TB, log string) {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Error(err)
	}
	if _, race, found := bytes.Cut(text, []byte("WARNING: DATA RACE")); found {
		t.Errorf("the server has a data race:\n%.4000s", race)
	}
}

// result is what a command of the CLI did.
type result struct {
	out, err string
	code     int
}

// command prepares a command of the CLI.
func (p *platform) command(args ...string) *exec.Cmd {
	cmd := exec.Command(bin(p.t, "muster"), args...)
	cmd.Env = append(os.Environ(), "MUSTER_ADDR="+p.Addr, "MUSTER_TOKEN="+p.Token, "HOME="+p.home, "XDG_DATA_HOME="+p.home)
	return cmd
}

// try runs a command of the CLI.
func (p *platform) try(args ...string) result {
	p.t.Helper()
	var out, errs bytes.Buffer
	cmd := p.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		p.t.Fatalf("muster %s: %v", strings.Join(args, " "), err)
	} else if ok {
		return result{out.String(), errs.String(), exit.ExitCode()}
	}
	return result{out.String(), errs.String(), 0}
}

// muster runs a command of the CLI that must succeed, and returns its output.
func (p *platform) muster(args ...string) string {
	p.t.Helper()
	r := p.try(args...)
	if r.code != 0 {
		p.t.Fatalf("muster %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
	return r.out
}

// file writes a job file and returns its path.
func (p *platform) file(yaml string) string {
	p.t.Helper()
	path := filepath.Join(p.t.TempDir(), "job.yml")
	if err := os.WriteFile(path, []byte(yaml), 0o644); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// small is a job that shares its node; more is appended.
func small(command, more string) string {
	text, _ := json.Marshal(command)
	return fmt.Sprintf("command: %s\nx-muster:\n  resources: {cpus: 0.1, memory: 128Mi}\n%s", text, more)
}

// submit submits a job file's text and returns the run's name.
func (p *platform) submit(yaml string, args ...string) string {
	p.t.Helper()
	return strings.TrimSpace(p.muster(append([]string{"run", "submit", p.file(yaml)}, args...)...))
}

// view is what "run show -o json" tells.
type view struct {
	Name       string             `json:"name"`
	Experiment string             `json:"experiment"`
	State      muster.RunState    `json:"state"`
	Reason     string             `json:"reason"`
	WaitReason *muster.WaitReason `json:"wait_reason"`
	ExitCode   *int               `json:"exit_code"`
	Attempts   []muster.Attempt   `json:"attempts"`
	Metrics    map[string]float64 `json:"metrics"`
	Inputs     map[string]any     `json:"inputs"`
	Outputs    map[string]any     `json:"outputs"`
	Phase      muster.Phase       `json:"phase"`
	Parent     string             `json:"parent"`
}

// show tells of a run.
func (p *platform) show(name string) view {
	p.t.Helper()
	var v view
	if err := json.Unmarshal([]byte(p.muster("run", "show", name, "-o", "json")), &v); err != nil {
		p.t.Fatal(err)
	}
	return v
}

// until waits for a condition of a run.
func (p *platform) until(name string, what string, is func(v view) bool) view {
	p.t.Helper()
	var v view
	p.eventually(what, func() bool { v = p.show(name); return is(v) }, func() string {
		return fmt.Sprintf("run %s is %s (%s)\n%s\n%s\n%s", name, v.State, v.Reason, p.muster("run", "events", name), p.muster("node", "list", "-o", "wide"), p.undone())
	})
	return v
}

// undone tells what Nomad has still to do, and why it has not.
func (p *platform) undone() string {
	var evals []struct {
		ID, JobID, Status, StatusDescription, TriggeredBy, BlockedEval string
		FailedTGAllocs                                                 map[string]json.RawMessage
		CreateTime                                                     int64
	}
	var allocs []struct{ JobID, NodeName, DesiredStatus, ClientStatus string }
	if err := errors.Join(p.tryNomad("GET", "/v1/evaluations?namespace=*", nil, &evals), p.tryNomad("GET", "/v1/allocations?namespace=*", nil, &allocs)); err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, e := range evals {
		if e.Status != "complete" || len(e.FailedTGAllocs) > 0 {
			fmt.Fprintf(&b, "evaluation %s of %s at %s: %s %s, by %s, blocked as %q: %s\n", e.ID, e.JobID, time.Unix(0, e.CreateTime).UTC().Format(time.TimeOnly), e.Status, e.StatusDescription, e.TriggeredBy, e.BlockedEval, e.FailedTGAllocs)
		}
	}
	for _, a := range allocs {
		if a.DesiredStatus == "run" && a.ClientStatus == "pending" {
			fmt.Fprintf(&b, "allocation of %s waits on node %s\n", a.JobID, a.NodeName)
		}
	}
	return b.String()
}

// within tries a step until it succeeds, for at most that long, and returns the
// error of its last try.
func within(limit time.Duration, step func() error) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		if err := step(); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// eventually waits until ok, for at most a minute and a half.
func (p *platform) eventually(what string, ok func() bool, state func() string) {
	p.t.Helper()
	if within(90*time.Second, func() error {
		if !ok() {
			return errors.New("not yet")
		}
		return nil
	}) != nil {
		p.t.Fatalf("waited in vain for: %s\n%s", what, state())
	}
}

// ends waits for a run's end.
func (p *platform) ends(name string, want muster.RunState) view {
	p.t.Helper()
	v := p.until(name, "the end of the run", func(v view) bool { return v.State.Final() })
	if v.State != want {
		p.t.Fatalf("run %s is %s (%s), want %s\n%s", name, v.State, v.Reason, want, p.muster("run", "events", name))
	}
	return v
}

// running waits until a run's command has begun.
func (p *platform) running(name string) view {
	p.t.Helper()
	return p.until(name, "the command to begin", func(v view) bool { return v.State == muster.RunRunning })
}

// events returns a run's events as text.
func (p *platform) events(name string) string { return p.muster("run", "events", name) }

// wantEvent fails unless an event of the run says text.
func (p *platform) wantEvent(name, text string) {
	p.t.Helper()
	if events := p.events(name); !strings.Contains(events, text) {
		p.t.Errorf("no event of run %s says %q:\n%s", name, text, events)
	}
}

// nomad calls Nomad as an operator does.
func (p *platform) nomad(method, path string, body, answer any) {
	p.t.Helper()
	if err := p.tryNomad(method, path, body, answer); err != nil {
		p.t.Fatal(err)
	}
}

func (p *platform) tryNomad(method, path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	q, err := http.NewRequest(method, p.NomadAddr+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s %s", method, path, resp.Status, got)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(got, answer)
}

// child returns the Nomad job and allocation of a run's last attempt.
func (p *platform) child(name string) (job, namespace, alloc string) {
	p.t.Helper()
	v := p.show(name)
	alloc = v.Attempts[len(v.Attempts)-1].Instances[0].AllocID
	var a struct{ JobID, Namespace string }
	p.nomad("GET", "/v1/allocation/"+alloc, nil, &a)
	return a.JobID, a.Namespace, alloc
}
