package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// started is a command that goes on while the test does.
type started struct {
	out, err safeBuffer
	done     chan struct{}
	code     int
}

// begin starts a command against the platform.
func (p *platform) begin(args ...string) *started {
	s := &started{done: make(chan struct{})}
	argv := append([]string{"muster", "--addr", p.url, "--token", testToken}, args...)
	ctx, cancel := context.WithCancel(p.Context())
	p.Cleanup(func() { cancel(); <-s.done })
	go func() {
		defer close(s.done)
		s.code = Run(ctx, argv, Streams{strings.NewReader(""), &s.out, &s.err})
	}()
	return s
}

// ends waits for the command's end.
func (p *platform) ends(s *started) {
	p.Helper()
	p.eventually("the end of the command", func() bool {
		select {
		case <-s.done:
			return true
		default:
			return false
		}
	})
}

// says waits until the command has written something.
func (p *platform) says(b *safeBuffer, text string) {
	p.Helper()
	p.eventually(text, func() bool { return strings.Contains(b.String(), text) })
}

func TestFollow(t *testing.T) {
	p := open(t)
	s := p.begin("run", "submit", "--follow", "--name", "r", p.file("command: a"))
	p.says(&s.err, "queued: submitted to cluster local")
	x := p.start("r")
	p.log(x, muster.Stdout, 0, "one\n")
	p.says(&s.out, "one\n")
	p.log(x, muster.Stderr, 0, "oops\n")
	p.says(&s.err, "oops\n")
	p.says(&s.err, "running")
	p.log(x, muster.Stdout, 4, "two\n")
	p.end(x, muster.RunSucceeded, "")
	p.ends(s)
	if !strings.HasSuffix(s.err.String(), " succeeded\n") {
		t.Errorf("the end does not come last: %q", s.err.String())
	}
	if s.code != 0 || s.out.String() != "one\ntwo\n" || strings.Count(s.err.String(), "oops\n") != 1 {
		t.Errorf("exit code %d\nout %q\nerr %q", s.code, s.out.String(), s.err.String())
	}
}

// TestFollowOrder tells of what follows the end of a command after its last
// lines, though these come later.
func TestFollowOrder(t *testing.T) {
	p := open(t)
	s := p.begin("run", "submit", "--follow", "--name", "r", p.file("command: a"))
	p.says(&s.err, "queued")
	x := p.start("r")
	p.says(&s.err, "running")
	var phases []muster.PhaseChange
	for _, phase := range []muster.Phase{muster.PhaseCode, muster.PhaseCommand, muster.PhaseUploading, muster.PhaseDone} {
		phases = append(phases, muster.PhaseChange{Phase: phase, At: time.Now()})
	}
	_, err := p.store.Report(t.Context(), x.Launch.ID, &muster.Report{Attempt: 1, Phases: phases})
	p.must(err)
	p.log(x, muster.Stderr, 0, "the last line\n")
	p.end(x, muster.RunSucceeded, "")
	p.ends(s)
	said := s.err.String()
	if last, phase := strings.Index(said, "the last line"), strings.Index(said, "phase uploading"); last < 0 || phase < last || !strings.HasSuffix(said, " succeeded\n") {
		t.Errorf("%s", said)
	}
}

// TestLogsOfWaiting says why a run waits whose logs are waited for, and of one
// that was never started why not.
func TestLogsOfWaiting(t *testing.T) {
	p := open(t)
	p.submitted("r")
	_, err := p.ledger.Apply(t.Context(), &muster.Decision{Waits: []muster.Wait{{RunID: p.run("r").ID, Reason: muster.WaitReason{Code: muster.WaitCapacity, Message: "no room"}}}})
	p.must(err)
	s := p.begin("run", "logs", "-f", "r")
	p.says(&s.err, "run r waits: no room\n")
	x := p.start("r")
	p.log(x, muster.Stdout, 0, "a\n")
	p.end(x, muster.RunSucceeded, "")
	p.ends(s)
	if s.code != 0 || s.out.String() != "a\n" || strings.Count(s.err.String(), "\n") != 1 {
		t.Errorf("exit code %d: %q %q", s.code, s.out.String(), s.err.String())
	}
	p.submitted("b")
	p.do("run", "cancel", "b")
	_, err = p.ledger.StopQueued(t.Context())
	p.must(err)
	if o := p.do("run", "logs", "b"); o.err != "run b was never started: cancelled by the user while it waited\n" {
		t.Errorf("%q", o.err)
	}
}

func TestWaitForFailure(t *testing.T) {
	p := open(t)
	s := p.begin("run", "submit", "--wait", "--name", "r", p.file("command: a"))
	p.says(&s.out, "r\n")
	waits := func(code muster.WaitCode, message string) {
		_, err := p.ledger.Apply(t.Context(), &muster.Decision{Waits: []muster.Wait{{RunID: p.run("r").ID, Reason: muster.WaitReason{Code: code, Message: message}}}})
		p.must(err)
	}
	waits(muster.WaitCapacity, "one")
	p.says(&s.err, "run r waits: one\n")
	waits(muster.WaitCapacity, "two") // the same kind
	waits(muster.WaitAhead, "three")
	p.says(&s.err, "run r waits: three\n")
	w := p.begin("run", "wait", "r")
	p.says(&w.err, "run r waits: three\n")
	p.end(p.start("r"), muster.RunFailed, "the command ended with exit code 3")
	p.ends(s)
	p.ends(w)
	if s.code != 1 || s.out.String() != "r\n" || strings.Contains(s.err.String(), "two") ||
		!strings.HasSuffix(s.err.String(), "muster: run r failed: the command ended with exit code 3\n  muster run logs r --stream stderr --tail 20 shows what it said\n") {
		t.Errorf("submit --wait: exit code %d\nout %q\nerr %q", s.code, s.out.String(), s.err.String())
	}
	if w.code != 1 || w.out.String() != "failed\n" || strings.Contains(w.err.String(), "one") {
		t.Errorf("wait: exit code %d\nout %q\nerr %q", w.code, w.out.String(), w.err.String())
	}
}

// TestWaitForSeveral waits for all of them, and fails where one did.
func TestWaitForSeveral(t *testing.T) {
	p := open(t)
	p.submitted("good")
	p.submitted("bad")
	p.end(p.start("good"), muster.RunSucceeded, "")
	p.end(p.start("bad"), muster.RunFailed, "exit code 3")
	o := p.try("run", "wait", "good", "bad")
	if o.code != 1 || !strings.Contains(o.out, "\ngood  succeeded") || !strings.Contains(o.out, "\nbad   failed") || !strings.Contains(o.err, "run bad failed: exit code 3") {
		t.Errorf("exit code %d\n%s%s", o.code, o.out, o.err)
	}
}

// TestInterrupt stops the following alone.
func TestInterrupt(t *testing.T) {
	p := open(t)
	s := p.begin("run", "submit", "-f", "--name", "r", p.file("command: a"))
	p.says(&s.err, "submitted to cluster")
	p.must(syscall.Kill(os.Getpid(), syscall.SIGINT))
	p.ends(s)
	if s.code != 130 || !strings.Contains(s.err.String(), "run r goes on") || !strings.Contains(s.err.String(), "muster run cancel r ends it") {
		t.Errorf("exit code %d: %s", s.code, s.err.String())
	}
	if r := p.run("r"); r.State != muster.RunQueued || r.Stop != "" {
		t.Errorf("the run is %s, stop %q", r.State, r.Stop)
	}
}

// TestBrokenConnections follows a log whose connection breaks many times.
func TestBrokenConnections(t *testing.T) {
	p := open(t)
	p.submitted("r")
	x := p.start("r")
	var want strings.Builder
	for i := range 400 {
		line := fmt.Sprintf("line %d of a log\n", i)
		p.log(x, muster.Stdout, want.Len(), line)
		want.WriteString(line)
	}
	p.drop.Store(5)
	s := p.begin("run", "logs", "-f", "r")
	p.says(&s.out, "line 399 ")
	p.end(x, muster.RunSucceeded, "")
	p.ends(s)
	if s.code != 0 || s.out.String() != want.String() {
		t.Errorf("exit code %d, %d bytes, want %d\n%s", s.code, len(s.out.String()), want.Len(), s.err.String())
	}
	if p.drop.Load() > 0 {
		t.Errorf("%d connections were not broken", p.drop.Load())
	}
}

func TestLogs(t *testing.T) {
	p := open(t)
	p.submitted("r")
	if o := p.do("run", "logs", "r"); o.out != "" || o.err != "run r has not started (queued)\n" {
		t.Errorf("before the start: %q %q", o.out, o.err)
	}
	x := p.start("r")
	p.log(x, muster.Stdout, 0, "a\n")
	p.log(x, muster.Stdout, 2, "b\n")
	p.log(x, muster.Stderr, 0, "c\n")
	for line, want := range map[string][2]string{
		"run logs r":                 {"a\nb\n", "c\n"},
		"run logs --stream stdout r": {"a\nb\n", ""},
		"run logs r --stream stderr": {"c\n", ""},
		"run logs r --attempt 1":     {"a\nb\n", "c\n"},
	} {
		if o := p.do(strings.Fields(line)...); o.out != want[0] || o.err != want[1] {
			t.Errorf("%s: %q %q", line, o.out, o.err)
		}
	}
	for _, line := range []string{"run logs r --attempt 2", "run logs r --instance 1"} {
		if o := p.try(strings.Fields(line)...); o.code != 3 {
			t.Errorf("%s: exit code %d: %s", line, o.code, o.err)
		}
	}
}

func TestShow(t *testing.T) {
	p := open(t)
	p.do("run", "submit", iris, "--name", "r")
	var before map[string]any
	p.must(json.Unmarshal([]byte(p.do("run", "show", "r", "-o", "json").out), &before))
	for _, key := range []string{"name", "experiment", "state", "reason", "wait_reason", "exit_code", "attempts", "metrics", "inputs", "outputs"} {
		if _, ok := before[key]; !ok {
			t.Errorf("run show -o json lacks %s", key)
		}
	}
	x := p.start("r")
	p.leave(x, "outputs/model.json", "{}")
	_, err := p.store.Report(t.Context(), x.Launch.ID, &muster.Report{Attempt: 1, Result: &muster.Result{Started: true, ExitCode: 0, PeakMiB: 12, CPUSeconds: 1.5}})
	p.must(err)
	p.end(x, muster.RunSucceeded, "")
	o := p.do("run", "show", "r")
	for _, want := range []string{"experiment    iris", "state         succeeded\n", "admitted to node1", "dispatched", "phase code", "phase command", "s  succeeded\n", "learning_rate  0.1",
		"accuracy  0.96875", "rows  150", "outputs/model.json  2 B"} {
		if !strings.Contains(o.out, want) {
			t.Errorf("run show lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(o.out)
	}
	if o := p.do("run", "metrics", "r"); !strings.Contains(o.out, "accuracy  2     0.96875") {
		t.Errorf("metrics:\n%s", o.out)
	}
	if o := p.do("run", "events", "r"); !strings.Contains(o.out, "starting → running") {
		t.Errorf("events:\n%s", o.out)
	}
	if o := p.do("run", "events", "-f", "r", "-o", "json"); strings.Count(o.out, "\n") != strings.Count(p.do("run", "events", "r").out, "\n")-1 {
		t.Errorf("events as they come:\n%s", o.out)
	}
}

func TestCompare(t *testing.T) {
	p := open(t)
	p.do("run", "submit", iris, "--name", "one")
	p.do("run", "submit", iris, "--name", "two", "--set", "inputs.learning_rate=0.5")
	p.start("one")
	o := p.do("experiment", "compare", "iris")
	want := "RUN  STATE    epochs  learning_rate  rows  accuracy\n" +
		"one  running  60      0.1            150   0.96875\n" +
		"two  queued   60      0.5            -     -\n"
	if o.out != want {
		t.Errorf("got\n%s\nwant\n%s", o.out, want)
	}
}

func TestCancel(t *testing.T) {
	p := open(t)
	p.submitted("a")
	p.submitted("b")
	if o := p.do("run", "cancel", "a", "b"); !strings.Contains(o.err, "run a, which is queued, is told to end") {
		t.Errorf("%s", o.err)
	}
	if n, err := p.ledger.StopQueued(t.Context()); err != nil || n != 2 {
		t.Errorf("%d runs are stopped: %v", n, err)
	}
	if o := p.try("run", "cancel", "a"); o.code != 4 {
		t.Errorf("a second time: exit code %d: %s", o.code, o.err)
	}
	if o := p.try("run", "wait", "a"); o.code != 1 || !strings.Contains(o.err, "run a was cancelled") {
		t.Errorf("wait: exit code %d: %s", o.code, o.err)
	}
}

// TestFilesRemoved says of files that retention has removed that it has.
func TestFilesRemoved(t *testing.T) {
	p := open(t)
	p.submitted("r")
	x := p.start("r")
	p.leave(x, "outputs/a", "a")
	p.end(x, muster.RunSucceeded, "")
	_, err := p.store.MarkRemoved(t.Context(), &muster.Left{RunID: x.Run.ID}, true, true)
	p.must(err)
	for _, line := range []string{"run files r", "run files r -r", "run files r outputs", "run download r", "run download r outputs/a"} {
		if o := p.try(strings.Fields(line)...); o.code != 3 || o.err != "muster: the files of run r were removed by retention on "+time.Now().Format(time.DateOnly)+
			"\n  muster run archive keeps what a run left; muster workspace show tells how long it is kept otherwise\n" {
			t.Errorf("%s: exit code %d: %s", line, o.code, o.err)
		}
	}
}

func TestDownload(t *testing.T) {
	p := open(t)
	p.submitted("r")
	x := p.start("r")
	big := strings.Repeat("0123456789", 100_000)
	p.leave(x, "outputs/model.json", "{}")
	p.leave(x, "outputs/deep/a b%ü.bin", big)
	p.leave(x, "outputs/empty", "")
	p.leave(x, "score", "1")
	if o := p.do("run", "files", "-r", "r"); !strings.Contains(o.out, "outputs/deep/a b%ü.bin  976.6 KiB") {
		t.Errorf("files:\n%s", o.out)
	}
	dir := t.TempDir()
	p.do("run", "download", "r", "--dir", dir)
	for path, want := range map[string]string{"outputs/model.json": "{}", "outputs/deep/a b%ü.bin": big, "outputs/empty": "", "score": "1"} {
		if got, err := os.ReadFile(filepath.Join(dir, path)); err != nil || string(got) != want {
			t.Errorf("%s: %d bytes, %v", path, len(got), err)
		}
	}
	some := t.TempDir()
	if o := p.do("run", "download", "r", "outputs/deep/", "score", "-d", some, "-o", "json"); strings.Count(o.out, `"path"`) != 2 {
		t.Errorf("%s", o.out)
	}
	if found, _ := filepath.Glob(some + "/outputs/*"); len(found) != 1 {
		t.Errorf("got %v", found)
	}
	if o := p.do("run", "files", "r"); !strings.Contains(o.out, "outputs/  976.6 KiB  3") || strings.Contains(o.out, "model.json") {
		t.Errorf("one level:\n%s", o.out)
	}
	if o := p.do("run", "files", "r", "outputs"); !strings.Contains(o.out, "outputs/deep/       976.6 KiB  1") || !strings.Contains(o.out, "outputs/model.json") {
		t.Errorf("the next level:\n%s", o.out)
	}
	if o := p.try("run", "files", "r", "outputs/none"); o.code != 3 || !strings.Contains(o.err, "no file or folder outputs/none") {
		t.Errorf("a level that is not there: %d %s", o.code, o.err)
	}
	if o := p.do("run", "download", "r", "outputs/**/*.{bin,json}", "-d", t.TempDir()); o.out != "outputs/deep/a b%ü.bin\noutputs/model.json\n" || o.err != "2 files, 976.6 KiB, in "+o.err[strings.LastIndex(o.err, " in ")+4:] {
		t.Errorf("a pattern fetched %q, and said %q", o.out, o.err)
	}
	if o := p.try("run", "download", "r", "outputs/["); o.code != 2 || !strings.Contains(o.err, "no pattern") {
		t.Errorf("no pattern: %d %s", o.code, o.err)
	}
	if o := p.try("run", "download", "r", "--parallel", "0"); o.code != 2 || !strings.Contains(o.err, "--parallel is 0\n  use 1 or more") {
		t.Errorf("no request at a time: %d %s", o.code, o.err)
	}
	p.submitted("nothing")
	if o := p.try("run", "download", "nothing", "score"); o.code != 3 || !strings.Contains(o.err, "the run has no file score\n  there is none\n") {
		t.Errorf("a file of nothing: %d %s", o.code, o.err)
	}
	if o := p.do("run", "download", "nothing", "-d", t.TempDir()); !strings.Contains(o.err, "left no file") {
		t.Errorf("a download of nothing says %q", o.err)
	}
	if o := p.try("run", "download", "r", "outputs/modle.json"); o.code != 3 || !strings.Contains(o.err, "did you mean outputs/model.json?") {
		t.Errorf("exit code %d: %s", o.code, o.err)
	}
}
