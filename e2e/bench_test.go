package e2e

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
	"github.com/muster-ml/muster/dev"
	"github.com/muster-ml/muster/engines"
)

// What BenchmarkPlatform measures with.
const (
	latencyRuns    = 40
	throughputRuns = 300
	senders        = 16
	logBytes       = 256 << 20
	fileBytes      = 2 << 30
)

// bench measures Muster and what it stands on, side by side on one Nomad.
type bench struct {
	*testing.B
	*platform
	nomadProgram string
	dir          string
	report       strings.Builder
}

// BenchmarkPlatform measures once and prints the tables of docs/performance.md.
// Nothing is asserted but that the raw figure is what a shell loop measures too.
func BenchmarkPlatform(b *testing.B) {
	program, err := engines.Find(b.Context(), "nomad")
	if err != nil {
		b.Fatal(err)
	}
	p := openWith(b, "muster", dev.Config{Autoscaler: bin(b, "muster-autoscaler")})
	m := &bench{B: b, platform: p, nomadProgram: program, dir: b.TempDir()}
	open0711(b, m.dir)
	m.registerRaw()
	for _, part := range []struct {
		name string
		f    func()
	}{{"latency", m.latency}, {"throughput", m.throughput}, {"logs", m.logs}, {"files", m.files}, {"from zero", m.fromZero}} {
		b.Run(part.name, func(b *testing.B) { part.f() })
	}
	fmt.Printf("\n%s\n%s", m.machine(), m.report.String())
}

// row adds a line to the report.
func (m *bench) row(format string, args ...any) { fmt.Fprintf(&m.report, format+"\n", args...) }

// machine says what was measured on.
func (m *bench) machine() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		m.Fatal(err)
	}
	return fmt.Sprintf("Measured with `make bench` on %d cores (%s), Linux %s, %s.\n", runtime.NumCPU(), model, strings.TrimSpace(string(kernel)), runtime.Version())
}

// raw runs the nomad program.
func (m *bench) raw(args ...string) string {
	m.B.Helper()
	cmd := exec.Command(m.nomadProgram, args...)
	cmd.Env = append(os.Environ(), "NOMAD_ADDR="+m.NomadAddr)
	out, err := cmd.CombinedOutput()
	if err != nil {
		m.Fatalf("nomad %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// registerRaw registers the no-op that Nomad alone is measured by: its first
// line is the time, in a file named by the dispatch.
func (m *bench) registerRaw() {
	marks := filepath.Join(m.dir, "marks")
	if err := os.Mkdir(marks, 0o777); err != nil {
		m.Fatal(err)
	}
	if err := os.Chmod(marks, 0o777); err != nil {
		m.Fatal(err)
	}
	file := filepath.Join(m.dir, "raw.hcl")
	text := fmt.Sprintf(`job "raw" {
  type = "batch"
  node_pool = "local"
  datacenters = ["*"]
  parameterized { meta_required = ["mark"] }
  group "g" {
    restart { attempts = 0 }
    task "t" {
      driver = "raw_exec"
      config {
        command = "/bin/sh"
        args = ["-c", "date +%%s%%N > %s/$NOMAD_META_mark.new; mv %s/$NOMAD_META_mark.new %s/$NOMAD_META_mark"]
      }
      logs { disabled = true }
      resources {
        cpu = 20
        memory = 32
      }
    }
  }
}`, marks, marks, marks)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		m.Fatal(err)
	}
	m.raw("job", "run", file)
}

// mark waits for the time that a command has written.
func (m *bench) mark(name string) time.Time {
	for {
		if text, err := os.ReadFile(filepath.Join(m.dir, "marks", name)); err == nil {
			ns, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			if err != nil {
				m.Fatal(err)
			}
			return time.Unix(0, ns)
		}
		time.Sleep(time.Millisecond)
	}
}

// latency measures from the start of the command that submits to the first line
// of the command that was submitted.
func (m *bench) latency() {
	var muster, raw, looped []time.Duration
	marks := filepath.Join(m.dir, "marks")
	for i := range latencyRuns + 1 { // the first registers, and is not counted
		name := fmt.Sprint("raw", i)
		began := time.Now()
		m.raw("job", "dispatch", "-detach", "-meta", "mark="+name, "raw")
		raw = append(raw, m.mark(name).Sub(began))
		name = fmt.Sprint("run", i)
		job := m.file(noop(fmt.Sprintf("date +%%s%%N > %s/%s.new; mv %s/%s.new %s/%s", marks, name, marks, name, marks, name)))
		began = time.Now()
		m.muster("run", "submit", job, "--name", name)
		muster = append(muster, m.mark(name).Sub(began))
	}
	loop := fmt.Sprintf(`for i in $(seq %d); do a=$(date +%%s%%N); %q job dispatch -detach -meta mark=loop$i raw >/dev/null; until [ -e %s/loop$i ]; do sleep 0.001; done; echo $(( $(cat %s/loop$i) - a )); done`,
		latencyRuns, m.nomadProgram, marks, marks)
	cmd := exec.Command("bash", "-c", loop)
	cmd.Env = append(os.Environ(), "NOMAD_ADDR="+m.NomadAddr)
	out, err := cmd.Output()
	if err != nil {
		m.Fatal(err)
	}
	for line := range strings.FieldsSeq(string(out)) {
		ns, err := strconv.ParseInt(line, 10, 64)
		if err != nil {
			m.Fatal(err)
		}
		looped = append(looped, time.Duration(ns))
	}
	m.row("| from submit to the command's first line, one after another | p50 | p95 |\n|---|---|---|")
	for _, r := range []struct {
		what string
		all  []time.Duration
	}{{"`muster run submit`", muster[1:]}, {"`nomad job dispatch` of the same no-op", raw[1:]}, {"the same in a shell loop", looped}} {
		m.row("| %s | %.0f ms | %.0f ms |", r.what, ms(quantile(r.all, 0.5)), ms(quantile(r.all, 0.95)))
	}
	if a, b := ms(quantile(raw[1:], 0.5)), ms(quantile(looped, 0.5)); a > b*1.15 || b > a*1.15 {
		m.Errorf("the raw figure is %.0f ms, and a shell loop measures %.0f ms: they differ by more than 15 %%", a, b)
	}
}

// noop is a job of the same size as the raw one.
func noop(command string) string {
	return fmt.Sprintf("command: %q\nx-muster: {resources: {cpus: 0.01, memory: 32Mi}}\n", command)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func quantile(all []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// throughput measures how many no-ops are finished a second.
func (m *bench) throughput() {
	api := client.New(m.Addr, m.Token)
	defer api.Close()
	began := time.Now()
	m.send(func(i int) error {
		_, err := api.CreateRun(m.Context(), "default", &muster.RunRequest{Name: fmt.Sprint("many", i), Spec: muster.Spec{Command: "true",
			Groups: []muster.Group{{Ask: &muster.Ask{Cores: 10, MiB: muster.Whole(32)}}}}})
		return err
	})
	for i := range throughputRuns {
		if v, err := api.WaitRun(m.Context(), "default", fmt.Sprint("many", i)); err != nil || v.State != muster.RunSucceeded {
			m.Fatal(v, err)
		}
	}
	ours := time.Since(began)
	began = time.Now()
	m.send(func(i int) error {
		return m.tryNomad("PUT", "/v1/job/raw/dispatch", map[string]any{"Meta": map[string]string{"mark": fmt.Sprint("many", i)}}, nil)
	})
	for i := range throughputRuns {
		m.mark(fmt.Sprint("many", i))
	}
	raw := time.Since(began)
	m.row("\n| %d no-ops, %d senders, one node | finished a second |\n|---|---|", throughputRuns, senders)
	m.row("| runs of Muster, to their recorded end | %.1f |", throughputRuns/ours.Seconds())
	m.row("| dispatches of Nomad, to the command's line | %.1f |", throughputRuns/raw.Seconds())
}

// send calls f for each of the no-ops, some at a time.
func (m *bench) send(f func(i int) error) {
	g := errgroup.Group{}
	g.SetLimit(senders)
	for i := range throughputRuns {
		g.Go(func() error { return f(i) })
	}
	if err := g.Wait(); err != nil {
		m.Fatal(err)
	}
}

// logs measures what a command's output passes at, and how fast it is read back.
func (m *bench) logs() {
	name := m.submit(fmt.Sprintf("command: head -c %d /dev/zero | tr '\\\\0' '\\\\n'\nx-muster: {resources: {cpus: 1, memory: 512Mi}}\n", logBytes))
	m.ends(name, muster.RunSucceeded)
	api := client.New(m.Addr, m.Token)
	defer api.Close()
	v, err := api.Run(m.Context(), "default", name)
	if err != nil {
		m.Fatal(err)
	}
	began := time.Now()
	cmd := m.command("run", "logs", name, "--stream", "stdout")
	cmd.Stdout = io.Discard
	if err := cmd.Run(); err != nil {
		m.Fatal(err)
	}
	m.row("\n| %d MiB of log | MiB/s |\n|---|---|", logBytes>>20)
	m.row("| written by a command and kept | %.0f |", logBytes/float64(1<<20)/v.EndedAt.Sub(v.StartedAt).Seconds())
	m.row("| read by `muster run logs` | %.0f |", logBytes/float64(1<<20)/time.Since(began).Seconds())
}

// files measures a large file on its way in and out.
func (m *bench) files() {
	data := filepath.Join(m.dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		m.Fatal(err)
	}
	file := filepath.Join(data, "large.bin")
	m.fill(file)
	m.row("\n| one file of %d GiB of random bytes | MiB/s |\n|---|---|", fileBytes>>30)
	rate := func(what string, f func()) {
		began := time.Now()
		f()
		m.row("| %s | %.0f |", what, fileBytes/float64(1<<20)/time.Since(began).Seconds())
	}
	var name string
	rate("`muster run submit` with it as an input", func() {
		name = m.submit(fmt.Sprintf("command: mkdir -p outputs; cp ${{inputs.d}} outputs/\ninputs: {d: {type: uri_file, path: %q, mode: download}}\nx-muster: {resources: {cpus: 1, memory: 512Mi}}\n", file))
	})
	m.ends(name, muster.RunSucceeded)
	rate("`muster run download` of it", func() { m.muster("run", "download", name, "--dir", filepath.Join(m.dir, "down")) })
	rate("`cp`", func() { m.run("cp", file, filepath.Join(m.dir, "copy")) })
	if _, err := exec.LookPath("rclone"); err != nil {
		m.row("| `rclone copy` | not installed |")
		return
	}
	rate("`rclone copy`, local to local", func() { m.run("rclone", "copy", "--config", "/dev/null", file, filepath.Join(m.dir, "rclone")) })
}

// fill writes random bytes.
func (m *bench) fill(file string) {
	f, err := os.Create(file)
	if err != nil {
		m.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyN(f, rand.Reader, fileBytes); err != nil {
		m.Fatal(err)
	}
}

// run runs a program.
func (m *bench) run(argv ...string) {
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		m.Fatalf("%v: %v\n%s", argv, err, bytes.TrimSpace(out))
	}
}
