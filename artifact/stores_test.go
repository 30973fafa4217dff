package artifact

import (
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// The credentials of the stores that tests start.
const (
	testAccess = "muster-access"
	testSecret = "muster-secret"
)

// tool builds a program of the tools module in tools/s3.
func tool(t *testing.T, pkg string) string {
	t.Helper()
	file, err := filepath.Abs("../.cache/" + filepath.Base(pkg))
	if err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-C", "../tools/s3", "-o", file, pkg)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return file
}

// freeAddress returns an address on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// started starts a store and waits until it answers.
func started(t *testing.T, addr string, c *exec.Cmd) {
	t.Helper()
	c.Stdout, c.Stderr = t.Output(), t.Output()
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	t.Cleanup(func() {
		if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		<-ended
	})
	for deadline := time.After(30 * time.Second); ; {
		resp, err := http.Get("http://" + addr + "/")
		if err == nil {
			resp.Body.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v", c.Path, err)
		case <-deadline:
			t.Fatalf("%s does not answer: %v", c.Path, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// s3Server starts an S3 server with a bucket.
func s3Server(t *testing.T) string {
	root, addr := t.TempDir(), freeAddress(t)
	for _, dir := range []string{"data/muster", "meta"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	started(t, addr, exec.Command(tool(t, "github.com/versity/versitygw/cmd/versitygw"), "--quiet", "--port", addr, "--access", testAccess, "--secret", testSecret,
		"posix", "--sidecar", filepath.Join(root, "meta"), filepath.Join(root, "data")))
	t.Setenv("AWS_ACCESS_KEY_ID", testAccess)
	t.Setenv("AWS_SECRET_ACCESS_KEY", testSecret)
	return "s3://muster?region=us-east-1&use_path_style=true&endpoint=http://" + addr
}

// gcsServer starts a server that speaks as Google's does, with a bucket.
func gcsServer(t *testing.T) string {
	root, addr := t.TempDir(), freeAddress(t)
	if err := os.MkdirAll(filepath.Join(root, "muster"), 0o700); err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	started(t, addr, exec.Command(tool(t, "github.com/fsouza/fake-gcs-server"), "-scheme", "http", "-host", host, "-port", port, "-public-host", addr,
		"-log-level", "error", "-filesystem-root", root))
	t.Setenv("STORAGE_EMULATOR_HOST", addr)
	return "gs://muster"
}
