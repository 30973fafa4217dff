package e2e

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/dev"
)

// engine is a container engine of the test's own.
type engine struct {
	t    *testing.T
	host string
}

// lacks skips a test that needs what is not here, but not in CI, which has all.
func lacks(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// startEngine starts dockerd, and leads everything that is started after it
// there. On a machine without it containers are not tested, except where all
// must be: where CI is set.
func startEngine(t *testing.T) *engine {
	t.Helper()
	program, err := exec.LookPath("dockerd")
	busybox, err2 := exec.LookPath("busybox")
	if err != nil || err2 != nil || os.Getuid() != 0 {
		why := fmt.Sprintf("containers are not tested: that needs root, dockerd and a static busybox (docker.io and busybox-static): uid %d, %v, %v", os.Getuid(), err, err2)
		lacks(t, why)
	}
	dir, err := os.MkdirTemp("", "engine-") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{t, "unix://" + filepath.Join(dir, "docker.sock")}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--iptables=false", "--bridge=none", "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "--host", e.host)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait()                                                         // a daemon that was told to end ends as it likes
		_ = syscall.Unmount(filepath.Join(dir, "exec", "netns", "default"), 0) // the daemon leaves it where it has used the host's network
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("DOCKER_HOST", e.host)
	if err := within(time.Minute, func() error { return e.tried("info") }); err != nil {
		text, _ := os.ReadFile(log.Name())
		t.Fatalf("dockerd does not answer: %v\n%s", err, text)
	}
	e.image(busybox, "local/busybox:1", "ENV FROM_IMAGE=yes")
	return e
}

// tried runs a command whose output is of no interest.
func (e *engine) tried(args ...string) error {
	_, err := e.try(args...)
	return err
}

// try runs a command of the engine's CLI.
func (e *engine) try(args ...string) (string, error) {
	cmd := exec.Command("docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+e.host)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// docker runs a command of the engine's CLI that must succeed.
func (e *engine) docker(args ...string) string {
	e.t.Helper()
	out, err := e.try(args...)
	if err != nil {
		e.t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// image makes an image of busybox and a Dockerfile's lines.
func (e *engine) image(busybox, name string, changes ...string) {
	e.t.Helper()
	root := e.t.TempDir()
	for _, dir := range []string{"bin", "etc", "tmp", "proc", "sys", "dev"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			e.t.Fatal(err)
		}
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		e.t.Fatal(err)
	}
	files := map[string][]byte{"bin/busybox": program, "etc/passwd": []byte("root:x:0:0:root:/root:/bin/sh\nann:x:1234:1234::/tmp:/bin/sh\n"), "etc/marker": []byte(name)}
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(root, file), text, 0o755); err != nil {
			e.t.Fatal(err)
		}
	}
	for _, applet := range []string{"sh", "cat", "echo", "id", "df", "sleep", "ls", "env", "grep", "wc", "mkdir", "tail", "dd", "awk", "head", "tr"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", applet)); err != nil {
			e.t.Fatal(err)
		}
	}
	e.importImage(root, name, changes...)
}

// importImage makes an image of a folder.
func (e *engine) importImage(root, name string, changes ...string) {
	e.t.Helper()
	pack := exec.Command("tar", "-C", root, "--owner=0", "--group=0", "-c", ".")
	args := []string{"import"}
	for _, change := range changes {
		args = append(args, "--change", change)
	}
	into := exec.Command("docker", append(args, "-", name)...)
	into.Env = append(os.Environ(), "DOCKER_HOST="+e.host)
	var err error
	if into.Stdin, err = pack.StdoutPipe(); err != nil {
		e.t.Fatal(err)
	}
	var out bytes.Buffer
	into.Stdout, into.Stderr = &out, &out
	for _, step := range []func() error{pack.Start, into.Run, pack.Wait} {
		if err := step(); err != nil {
			e.t.Fatalf("import image %s: %v\n%s", name, err, out.String())
		}
	}
}

// containers counts the engine's containers, running or not.
func (e *engine) containers() int {
	return len(strings.Fields(e.docker("ps", "-aq")))
}

// containerJob is a job file of a container.
func containerJob(image, command, more string) string {
	return fmt.Sprintf("command: |\n  %s\nenvironment:\n  image: %s\nx-muster: {resources: {cpus: 0.1, memory: 128Mi}}\n%s", strings.ReplaceAll(command, "\n", "\n  "), image, more)
}

// TestContainer executes runs in containers of a real engine.
func TestContainer(t *testing.T) {
	e := startEngine(t)
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	p := open(t, dev.Config{Nodes: []dev.Node{{Name: "a", Pool: "local"}, {Name: "b", Pool: "local"}}})
	p.eventually("two nodes with an engine", func() bool {
		return strings.Count(p.muster("node", "list", "-o", "json"), `"container_engine": true`) == 2
	},
		func() string { return p.muster("node", "list", "-o", "json") })

	t.Run("all of a run", func(t *testing.T) {
		p := p.in(t)
		data := filepath.Join(t.TempDir(), "data.txt")
		if err := os.WriteFile(data, []byte("seven lines"), 0o600); err != nil {
			t.Fatal(err)
		}
		name := p.submit(containerJob("local/busybox:1", `cat /etc/marker; echo; cat ${{inputs.data}}; echo
echo "from image $FROM_IMAGE, file $A, uid $(id -u), home $HOME" >&2
df -m /dev/shm | tail -1 | awk '{print "shm " $2}'
cat /proc/self/limits | grep 'open files'
env | grep -c NOMAD_
muster-agent metric loss 0.25 --step 3
mkdir -p outputs ${{outputs.model}} && echo weights > ${{outputs.model}}/w.txt && echo kept > outputs/o.txt`,
			fmt.Sprintf("inputs:\n  data: {type: uri_file, path: %q, mode: download}\noutputs:\n  model: {type: uri_folder, mode: upload}\nenvironment_variables: {A: b}\nresources: {shm_size: 96m, docker_args: \"--ulimit nofile=777:777\"}\n", data)))
		v := p.ends(name, muster.RunSucceeded)
		out, errs := p.muster("run", "logs", name, "--stream", "stdout"), p.muster("run", "logs", name, "--stream", "stderr")
		for _, want := range []string{"local/busybox:1", "seven lines", "shm 96", "777", "\n0\n"} {
			if !strings.Contains(out, want) {
				t.Errorf("stdout lacks %q:\n%s", want, out)
			}
		}
		if !strings.Contains(errs, "from image yes, file b, uid 0, home /root") {
			t.Errorf("stderr is %q", errs)
		}
		if v.Metrics["loss"] != 0.25 {
			t.Errorf("metrics are %v", v.Metrics)
		}
		files := p.muster("run", "files", "-r", name)
		if !strings.Contains(files, "model/w.txt") || !strings.Contains(files, "outputs/o.txt") {
			t.Errorf("files are\n%s", files)
		}
		p.eventually("the container to be removed", func() bool { return e.containers() == 0 }, func() string { return e.docker("ps", "-a") })
	})

	t.Run("the image's user", func(t *testing.T) {
		p := p.in(t)
		e.image(busybox, "local/user:1", "USER ann")
		name := p.submit(containerJob("local/user:1", "id -u; echo kept > $MUSTER_OUTPUT_DIR/x", ""))
		p.ends(name, muster.RunSucceeded)
		if out := p.muster("run", "logs", name, "--stream", "stdout"); out != "1234\n" {
			t.Errorf("the command ran as %q", out)
		}
		if files := p.muster("run", "files", "-r", name); !strings.Contains(files, "outputs/x") {
			t.Errorf("files are\n%s", files)
		}
	})

	t.Run("no shell", func(t *testing.T) {
		p := p.in(t)
		root := t.TempDir()
		if err := os.WriteFile(filepath.Join(root, "nothing"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		e.importImage(root, "local/empty:1")
		v := p.ends(p.submit(containerJob("local/empty:1", "echo never", "")), muster.RunFailed)
		if !strings.Contains(v.Reason, "the image local/empty:1 has no shell") {
			t.Errorf("the reason is %q", v.Reason)
		}
	})

	t.Run("no image", func(t *testing.T) {
		p := p.in(t)
		name := p.submit(containerJob("127.0.0.1:1/none:1", "echo never", ""))
		v := p.ends(name, muster.RunFailed)
		if !strings.Contains(v.Reason, "the platform failed 3 times") || !strings.Contains(v.Reason, "Failed to pull `127.0.0.1:1/none:1`") {
			t.Errorf("the reason is %q", v.Reason)
		}
	})

	t.Run("stop", func(t *testing.T) {
		p := p.in(t)
		name := p.submit(containerJob("local/busybox:1", "trap 'echo saved > outputs/last; exit 3' TERM\nmkdir -p outputs\necho ready\nwhile :; do sleep 0.1; done", ""))
		p.running(name)
		p.muster("run", "cancel", name)
		p.ends(name, muster.RunCancelled)
		if files := p.muster("run", "files", "-r", name); !strings.Contains(files, "outputs/last") {
			t.Errorf("what it wrote when it was told to end is not kept:\n%s", files)
		}
		p.eventually("the container to be removed", func() bool { return e.containers() == 0 }, func() string { return e.docker("ps", "-a") })
	})

	t.Run("out of memory", func(t *testing.T) {
		p := p.in(t)
		v := p.ends(p.submit(containerJob("local/busybox:1", "head -c 400m /dev/zero | tr '\\0' x | grep y", "")), muster.RunFailed)
		if !strings.Contains(v.Reason, "out of memory: the limit is 128 MiB") {
			t.Errorf("the reason is %q", v.Reason)
		}
	})

	// Two clients share the engine: neither may take the other's container for
	// a stray, even when it starts anew.
	t.Run("a gang on one engine", func(t *testing.T) {
		p := p.in(t)
		name := p.submit(containerJob("local/busybox:1", "echo instance $MUSTER_INSTANCE\nwhile [ ! -e /tmp/never ]; do sleep 0.1; done", "resources: {instance_count: 2}\n"))
		p.running(name)
		if n := e.containers(); n != 2 {
			t.Errorf("%d containers for two instances", n)
		}
		before := e.docker("ps", "-q", "--no-trunc")
		if err := p.Kill(dev.NodeProcess("a")); err != nil {
			t.Fatal(err)
		}
		if err := p.Start(t.Context(), dev.NodeProcess("a")); err != nil {
			t.Fatal(err)
		}
		p.eventually("the node to be back", func() bool { return strings.Count(p.muster("node", "list", "-o", "json"), `"state": "running"`) == 2 },
			func() string { return p.muster("node", "list") })
		if after := e.docker("ps", "-q", "--no-trunc"); after != before {
			t.Errorf("containers before\n%s\nafter\n%s", before, after)
		}
		p.muster("run", "cancel", name)
		p.ends(name, muster.RunCancelled)
	})
}

// slowRegistry is a real registry that wants a login, behind a door that lets no
// layer through until it is opened.
type slowRegistry struct {
	host  string
	asked chan struct{} // closed when a layer was asked for
	open  chan struct{} // close it to let layers through
}

// startRegistry starts a registry with one user, ci, whose password is pass.
func startRegistry(t *testing.T) *slowRegistry {
	t.Helper()
	for _, program := range []string{"docker-registry", "htpasswd"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("the engine is here, and %s is not: install docker-registry and apache2-utils", program)
		}
	}
	dir := t.TempDir()
	users, err := exec.Command("htpasswd", "-Bbn", "ci", "pass").Output()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	inner := listener.Addr().String()
	listener.Close()
	config := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q, secret: x}\nauth: {htpasswd: {realm: test, path: %q}}\n",
		filepath.Join(dir, "data"), inner, filepath.Join(dir, "users"))
	for file, text := range map[string]string{"users": string(users), "config.yml": config} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("docker-registry", "serve", filepath.Join(dir, "config.yml"))
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	r := &slowRegistry{asked: make(chan struct{}), open: make(chan struct{})}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: inner})
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	asked := sync.OnceFunc(func() { close(r.asked) })
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method == http.MethodGet && strings.Contains(q.URL.Path, "/blobs/") {
			asked()
			<-r.open
		}
		proxy.ServeHTTP(w, q)
	}))
	t.Cleanup(door.Close)
	r.host = strings.TrimPrefix(door.URL, "http://")
	return r
}

// TestRegistry fetches an image where a login is wanted: first without, then
// with it, and tells of the fetch while it goes on.
func TestRegistry(t *testing.T) {
	e := startEngine(t)
	r := startRegistry(t)
	image := r.host + "/team/busybox:1"
	e.docker("tag", "local/busybox:1", image)
	if err := within(time.Minute, func() error { return e.tried("login", "-u", "ci", "-p", "pass", r.host) }); err != nil {
		t.Fatalf("the registry lets nobody in: %v", err)
	}
	e.docker("push", image)
	e.docker("logout", r.host)
	e.docker("rmi", image, "local/busybox:1")
	p := open(t, dev.Config{})
	p.eventually("a node with an engine", func() bool {
		return strings.Contains(p.muster("node", "list", "-o", "json"), `"container_engine": true`)
	},
		func() string { return p.muster("node", "list", "-o", "json") })

	v := p.ends(p.submit(containerJob(image, "echo never", "")), muster.RunFailed)
	if !strings.Contains(v.Reason, "the platform failed 3 times") || !strings.Contains(v.Reason, "no basic auth credentials") {
		t.Errorf("without a login: %s", v.Reason)
	}

	login := p.command("registry", "login", "--username", "ci", r.host)
	login.Stdin = strings.NewReader("pass\n")
	if out, err := login.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	name := p.submit(containerJob(image, "echo fetched; env | grep -c REGISTRY_PASSWORD || true", ""))
	<-r.asked
	p.until(name, "the fetch to be told", func(v view) bool { return v.Phase == muster.PhaseEnvironment })
	p.wantEvent(name, "phase environment: Downloading image")
	launches := p.show(name).Attempts
	alloc := launches[len(launches)-1].Instances[0]
	if !strings.Contains(alloc.Doing, "Downloading image") {
		t.Errorf("the instance is %+v", alloc)
	}
	var jobs []struct{ ID, Namespace string }
	p.nomad("GET", "/v1/jobs?namespace=*", nil, &jobs)
	logins := 0
	for _, j := range jobs {
		var job struct{ TaskGroups []any }
		p.nomad("GET", "/v1/job/"+url.PathEscape(j.ID)+"?namespace="+j.Namespace, nil, &job)
		text := fmt.Sprint(job)
		if strings.Contains(text, "PASSWORD=pass") || strings.Contains(text, "password:pass") {
			t.Errorf("Nomad job %s holds the password: %s", j.ID, text)
		}
		logins += strings.Count(text, "password:${MUSTER_REGISTRY_PASSWORD}")
	}
	if logins == 0 {
		t.Error("no Nomad job logs in")
	}
	close(r.open)
	p.ends(name, muster.RunSucceeded)
	if out := p.muster("run", "logs", name, "--stream", "stdout"); out != "fetched\n0\n" {
		t.Errorf("stdout is %q", out)
	}
	p.muster("registry", "logout", r.host)
	if out := p.muster("registry", "list", "-o", "json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("after the logout: %s", out)
	}
}
