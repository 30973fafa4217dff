package e2e

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/dev"
	"github.com/muster-ml/muster/engines"
)

// pack puts both programs into an archive.
func pack(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "muster.tar")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w := tar.NewWriter(out)
	for _, name := range []string{"muster", "muster-agent"} {
		text, err := os.ReadFile(bin(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestServerAsJob runs Muster as a job of the cluster that it manages, executes
// a run there, and goes on after its allocation was restarted.
func TestServerAsJob(t *testing.T) {
	dir := t.TempDir()
	open0711(t, dir)
	d, err := dev.Open(t.Context(), dev.Config{DataDir: filepath.Join(dir, "dev"), Nodes: []dev.Node{{Name: "n1", Pool: "pool"}}, HeartbeatGrace: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	files := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(pack(t)))))
	t.Cleanup(files.Close)
	program, err := engines.Find(t.Context(), "nomad")
	if err != nil {
		t.Fatal(err)
	}
	nomad := func(args ...string) string {
		cmd := exec.Command(program, args...)
		cmd.Env = append(os.Environ(), "NOMAD_ADDR="+d.NomadAddr)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("nomad %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	port, data := freePort(t), filepath.Join(dir, "server")
	nomad("job", "run", "-var", "binary="+files.URL+"/muster.tar", "-var", fmt.Sprint("port=", port), "-var", "listen=127.0.0.1", "-var", fmt.Sprint("advertise=http://127.0.0.1:", port), "-var", "nomad_addr="+d.NomadAddr, "-var", "consul_addr="+d.ConsulAddr,
		"-var", "data_dir="+data, "-var", "node=^n1$", "-var", "node_pool=pool", filepath.Join("..", "deploy", "nomad", "muster.nomad.hcl"))
	var token []byte
	err = within(time.Minute, func() (err error) {
		token, err = os.ReadFile(filepath.Join(data, "token"))
		return err
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, nomad("job", "status", "muster"))
	}
	d.Addr, d.Token = fmt.Sprintf("http://127.0.0.1:%d", port), strings.TrimSpace(string(token))
	p := &platform{d, t, t.TempDir()}
	var said string
	p.eventually("the server to be ready", func() bool {
		resp, err := http.Get(d.Addr + "/readyz")
		if err != nil {
			said = err.Error()
			return false
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		said = fmt.Sprint(string(text), err)
		return resp.StatusCode == 200
	}, func() string { return said + nomad("job", "status", "muster") })
	p.muster("cluster", "create", "--node-pool", "pool", "c")
	p.muster("workspace", "create", "--default-cluster", "c", "default")
	name := p.submit(small("echo begun; until [ -e "+filepath.Join(dir, "go")+" ]; do sleep 0.1; done; echo ended", ""))
	p.running(name)
	nomad("job", "restart", "-yes", "-on-error=fail", "muster")
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	p.eventually("the server to be back", func() bool { return p.try("run", "list").code == 0 }, func() string { return nomad("job", "status", "muster") })
	p.ends(name, muster.RunSucceeded)
	if out := p.muster("run", "logs", name, "--stream", "stdout"); out != "begun\nended\n" {
		t.Errorf("stdout is %q", out)
	}
	nomad("job", "stop", "-purge", "muster")
}

// TestImage builds the image of the server, and asks it what it is.
func TestImage(t *testing.T) {
	e := startEngine(t)
	e.docker("build", "-q", "-f", "../deploy/docker/Dockerfile", "-t", "muster", "..")
	if out := e.docker("run", "--rm", "--network", "host", "muster", "version"); out != "muster "+muster.Version {
		t.Errorf("the image says %q", out)
	}
}

// TestUnits has systemd's own checker read the units.
func TestUnits(t *testing.T) {
	checker, err := exec.LookPath("systemd-analyze")
	if err != nil {
		lacks(t, "systemd-analyze is not here: the units are not checked")
	}
	units, err := filepath.Glob("../deploy/systemd/*.service")
	if err != nil || len(units) == 0 {
		t.Fatal(units, err)
	}
	programs := map[string]string{"muster": bin(t, "muster")}
	for _, engine := range []string{"nomad", "consul"} {
		if programs[engine], err = engines.Find(t.Context(), engine); err != nil {
			t.Fatal(err)
		}
	}
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(t.TempDir(), filepath.Base(unit))
		for program, here := range programs {
			text = bytes.ReplaceAll(text, []byte("/usr/local/bin/"+program), []byte(here))
		}
		if err := os.WriteFile(copied, text, 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(checker, "verify", "--man=no", copied).CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
	}
}
