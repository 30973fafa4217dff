package e2e

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/dev"
)

// project writes files below a new folder and returns it.
func project(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// counting is a proxy before the server that counts what clients send.
type counting struct {
	addr  string
	bytes atomic.Int64 // of bodies
	puts  atomic.Int64
}

func newCounting(t *testing.T, to string) *counting {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	c := &counting{}
	proxy := httputil.NewSingleHostReverseProxy(u)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			c.puts.Add(1)
		}
		r.Body = &countedBody{r.Body, &c.bytes}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	c.addr = s.URL
	return c
}

type countedBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

// TestCode brings a code folder to a run, once.
func TestCode(t *testing.T) {
	p := open(t, dev.Config{})
	noise := make([]byte, 300_000)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	dir := project(t, map[string]string{
		"job.yml":           small("cat src/hello.txt; ls -a src; cat ${{inputs.table}}; ls ${{inputs.folder}}; echo ${{inputs.rate}}", "code: .\ninputs:\n  rate: 1e-3\n  table: {type: uri_file, path: data/table.csv}\n  folder: {type: uri_folder, path: data}\n"),
		"src/hello.txt":     "hello from the code folder\n",
		"src/big.bin":       string(noise),
		"src/secret.key":    "do not send",
		".amlignore":        "*.key\n",
		"data/table.csv":    "a,b\n1,2\n",
		"src/sub/.gitkeep":  "",
		"node_modules/x.js": "sent: only .amlignore counts where there is one\n",
	})
	c := newCounting(t, p.Addr)
	direct := p.Addr
	p.Addr = c.addr
	defer func() { p.Addr = direct }()
	first := strings.TrimSpace(p.muster("run", "submit", filepath.Join(dir, "job.yml")))
	p.ends(first, muster.RunSucceeded)
	out := p.muster("run", "logs", first, "--stream", "stdout")
	for _, want := range []string{"hello from the code folder", "a,b\n1,2", "table.csv", "1e-3"} {
		if !strings.Contains(out, want) {
			t.Errorf("the log lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "secret.key") {
		t.Errorf("an ignored file was sent:\n%s", out)
	}
	sent, puts := c.bytes.Swap(0), c.puts.Swap(0)
	if sent < 100_000 || puts == 0 {
		t.Fatalf("the first submit sent %d bytes in %d uploads: does the proxy count?", sent, puts)
	}
	later := time.Now().Add(time.Hour)
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, later, later)
	})
	if err != nil {
		t.Fatal(err)
	}
	second := strings.TrimSpace(p.muster("run", "submit", filepath.Join(dir, "job.yml")))
	if n := c.bytes.Load(); n > 4096 || c.puts.Load() != 0 {
		t.Errorf("the same code, with other times, sent %d bytes in %d uploads", n, c.puts.Load())
	}
	t.Logf("first submit: %d bytes in %d uploads; the same again: %d bytes, all of it the request", sent, puts, c.bytes.Load())
	p.ends(second, muster.RunSucceeded)
}

// TestBadInput proves that what is wrong is refused with place and cure, and
// that nothing is half-made.
func TestBadInput(t *testing.T) {
	p := open(t, dev.Config{})
	for name, c := range map[string]struct {
		yaml string
		args []string
		code int
		want []string
	}{
		"misspelt key":         {"comand: echo\n", nil, 2, []string{"job.yml:1:1", "comand", "command"}},
		"no command":           {"display_name: x\n", nil, 2, []string{"job.yml", "command"}},
		"not YAML":             {"command: [\n", nil, 2, []string{"job.yml"}},
		"missing code":         {"command: echo\ncode: ./nowhere\n", nil, 2, []string{"job.yml:2", "nowhere"}},
		"unknown input":        {"command: echo ${{inputs.dta}}\ninputs: {data: 1}\n", nil, 2, []string{"job.yml:1", "dta", "data"}},
		"a later kind":         {"type: sweep\ntrial: x\n", nil, 2, []string{"sweep", "later"}},
		"a bad name":           {"command: echo\n", []string{"--name", "a b"}, 2, []string{"a b", "letters"}},
		"unknown compute":      {"command: echo\ncompute: azureml:nope\n", nil, 3, []string{"nope", "the clusters there are: local"}},
		"image not mapped":     {"command: echo\nenvironment: {image: example.com/x/y:1}\n", nil, 4, []string{"example.com/x/y"}},
		"unknown flag":         {"command: echo\n", []string{"--experimnt", "x"}, 2, []string{"--experiment"}},
		"set of unknown place": {"command: echo\ninputs: {rate: 1}\n", []string{"--set", "inputs.rat=2"}, 2, []string{"rat", "rate"}},
		"no workspace":         {"command: echo\n", []string{"--workspace", "nowhere"}, 3, []string{"nowhere", "workspace list"}},
		"missing parent":       {"command: echo\n", []string{"--parent", "nobody"}, 3, []string{"nobody"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := p.try(append([]string{"run", "submit", p.file(c.yaml)}, c.args...)...)
			if r.code != c.code || r.out != "" {
				t.Errorf("exit code %d, want %d; stdout %q", r.code, c.code, r.out)
			}
			for _, want := range c.want {
				if !strings.Contains(r.err, want) {
					t.Errorf("the error lacks %q: %s", want, r.err)
				}
			}
		})
	}
	if list := p.muster("run", "list", "-o", "json"); strings.Contains(list, `"name"`) {
		t.Errorf("refused runs are there: %s", list)
	}
	for _, c := range []struct {
		args []string
		code int
	}{{[]string{"run", "show", "nope"}, 3}, {[]string{"run", "wait", "nope"}, 3}, {[]string{"run", "submit", "/nowhere.yml"}, 2}, {[]string{"rnu", "list"}, 2}, {[]string{"cluster", "show", "nope"}, 3}, {[]string{"cluster", "create", "x"}, 2}} {
		if r := p.try(c.args...); r.code != c.code || r.err == "" {
			t.Errorf("muster %s: exit code %d, want %d: %s", strings.Join(c.args, " "), r.code, c.code, r.err)
		}
	}
	good := p.Addr
	p.Addr = "http://127.0.0.1:1"
	if r := p.try("run", "list"); r.code != 5 || !strings.Contains(r.err, "muster dev") {
		t.Errorf("no server: exit code %d: %s", r.code, r.err)
	}
	p.Addr = good
	p.Token = "wrong"
	if r := p.try("run", "list"); r.code != 4 {
		t.Errorf("wrong token: exit code %d: %s", r.code, r.err)
	}
}

// TestWebInput fetches an input by HTTP, and fails with the answer where it is
// not there.
func TestWebInput(t *testing.T) {
	p := open(t, dev.Config{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/data.csv" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, "x,y\n")
	}))
	defer web.Close()
	job := func(path string) string {
		return small("cat ${{inputs.d}}", "inputs:\n  d: {type: uri_file, path: "+web.URL+path+"}\n")
	}
	name := p.submit(job("/data.csv"))
	p.ends(name, muster.RunSucceeded)
	if out := p.muster("run", "logs", name, "--stream", "stdout"); out != "x,y\n" {
		t.Errorf("log: %q", out)
	}
	v := p.ends(p.submit(job("/nowhere.csv")), muster.RunFailed)
	if !strings.Contains(v.Reason, "404") || v.ExitCode != nil {
		t.Errorf("reason %q, exit code %v", v.Reason, v.ExitCode)
	}
}
