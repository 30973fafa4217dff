package cli

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/oidc"
	"github.com/muster-ml/muster/server"
	"github.com/muster-ml/muster/server/api"
)

// issuer is a real OpenID issuer: the example server of zitadel/oidc. Its user
// test-user@localhost has subject id1, and its tokens say amr: [pwd].
type issuer struct {
	url     string
	process *os.Process
}

// startIssuer builds and starts the issuer.
func startIssuer(t *testing.T) *issuer {
	t.Helper()
	program := filepath.Join(t.TempDir(), "issuer")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/zitadel/oidc/v3/example/server")
	build.Dir = "../tools/oidc"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the issuer: %v\n%s", err, out)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	free.Close()
	c := exec.Command(program)
	c.Env = append(os.Environ(), "PORT="+port, "REDIRECT_URI=http://127.0.0.1/callback")
	c.Stderr = t.Output()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	i := &issuer{url: "http://localhost:" + port + "/", process: c.Process}
	for deadline := time.Now().Add(20 * time.Second); ; {
		resp, err := http.Get(i.url + ".well-known/openid-configuration")
		if err == nil {
			resp.Body.Close()
			return i
		}
		if time.Now().After(deadline) {
			t.Fatalf("the issuer does not answer: %v", err)
		}
	}
}

var loginIDRE = regexp.MustCompile(`name="id" value="([^"]+)"`)

// browse does what a person does in a browser: opens the page, fills in the
// form, and is sent back to where the CLI listens.
func (i *issuer) browse(t *testing.T, address, password string) string {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	read := func(resp *http.Response, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	page := read(browser.Get(address))
	id := loginIDRE.FindStringSubmatch(page)
	if id == nil {
		t.Fatalf("%s is no login:\n%s", address, page)
	}
	return read(browser.PostForm(i.url+"login/username", url.Values{"id": {id[1]}, "username": {"test-user@localhost"}, "password": {password}}))
}

// believe serves the platform's store by an API that believes the issuer.
func (p *platform) believe(i *issuer, client string) *oidc.Issuer {
	p.Helper()
	conf := oidc.Config{Issuer: i.url, ClientID: client, Scopes: []string{"openid", "profile", "email", "offline_access"}, NameClaim: "email", GroupsClaim: "amr"}
	for _, text := range []string{"pwd=contributor@default", "*=reader", "otp=administrator"} {
		rule, err := oidc.ReadRule(text)
		p.must(err)
		conf.Rules = append(conf.Rules, rule)
	}
	checker, err := oidc.New(conf)
	p.must(err)
	server := httptest.NewServer(api.New(api.Services{Workspaces: p.store, Experiments: p.store, Clusters: p.store, Nodes: twoNodes{}, Runs: p.store, Attempts: p.store,
		Events: p.store, Artifacts: p.store, Blobs: p.bucket, Metrics: p.store, Tokens: p.store, Audit: p.store, Changes: p.store, Receipts: p.store, Issuer: checker, Site: muster.DefaultSite(),
		Wake: func() {}, Logger: slog.New(slog.NewTextHandler(p.Output(), nil))}))
	p.Cleanup(server.Close)
	p.url = server.URL
	return checker
}

// logIn runs muster login --oidc, and its person's part in the browser.
func (p *platform) logIn(i *issuer) (code int, told string) {
	p.Helper()
	r, w := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- Run(p.Context(), []string{"muster", "login", "--oidc", "--addr", p.url}, Streams{strings.NewReader(""), io.Discard, w})
		w.Close()
	}()
	for lines := bufio.NewScanner(r); lines.Scan(); {
		told += lines.Text() + "\n"
		if address := strings.TrimSpace(lines.Text()); strings.HasPrefix(address, i.url) {
			if page := i.browse(p.T, address, "verysecure"); !strings.Contains(page, "You are logged in") {
				p.Errorf("the browser ends at\n%s", page)
			}
		}
	}
	return <-ended, told
}

// age lets the token that is kept of the only context come to its end.
func age(s *profile) (old session) {
	for _, a := range s.Contexts {
		a.OIDC.Expires = time.Now()
		old = *a.OIDC
	}
	return old
}

// TestLogInByIssuer logs in at a real issuer with a browser's part, works,
// renews, and outlives the issuer for as long as its token lasts.
func TestLogInByIssuer(t *testing.T) {
	file := person(t)
	i, p := startIssuer(t), open(t)
	p.believe(i, "native")
	if code, told := p.logIn(i); code != 0 || !strings.Contains(told, "you are oidc:id1 at "+p.url) {
		t.Fatalf("login: %d\n%s", code, told)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("settings: %v %v", info, err)
	}
	for line, want := range map[string]struct {
		code int
		text string
	}{
		"whoami": {0, "oidc:id1"}, "whoami -o json": {0, `"role": "contributor"`}, "run list": {0, ""}, "context list": {0, "oidc"},
		"cluster create x --node-pool x": {4, "oidc:id1 may not do this: it takes an administrator"},
	} {
		if o := try(t.Context(), "", strings.Fields(line)...); o.code != want.code || !strings.Contains(o.out+o.err, want.text) {
			t.Errorf("muster %s: %d %s%s", line, o.code, o.out, o.err)
		}
	}
	renewed(t)
	s, err := readSettings()
	p.must(err)
	for _, a := range s.Contexts {
		other := open(t)
		if _, err := other.believe(i, "web").Identify(t.Context(), a.OIDC.Token); muster.CodeOf(err) != muster.CodeUnauthenticated {
			t.Errorf("a token for another client: %v", err)
		}
	}
	p.must(i.process.Kill())
	if o := try(t.Context(), "", "whoami"); o.code != 0 {
		t.Errorf("the issuer is away, and the token good: %d %s", o.code, o.err)
	}
	p.must(changeSettings(func(s *profile) error { age(s); return nil }))
	if o := try(t.Context(), "", "whoami"); o.code != 5 || !strings.Contains(o.err, "the OpenID issuer "+i.url+" does not answer") {
		t.Errorf("the issuer is away, and the token old: %d %s", o.code, o.err)
	}
}

// renewed runs a command with an old token, and looks for the new one.
func renewed(t *testing.T) {
	t.Helper()
	var old session
	if err := changeSettings(func(s *profile) error { old = age(s); return nil }); err != nil {
		t.Fatal(err)
	}
	if o := try(t.Context(), "", "whoami"); o.code != 0 {
		t.Errorf("renew: %d %s", o.code, o.err)
	}
	s, err := readSettings()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range s.Contexts {
		if a.OIDC.Refresh == old.Refresh || a.OIDC.Refresh == "" || time.Until(a.OIDC.Expires) < early {
			t.Errorf("it is not renewed: %s", fmt.Sprint(a.OIDC.Expires))
		}
	}
}

// TestServerFlags reads what the server is told about logins.
func TestServerFlags(t *testing.T) {
	read := func(args ...string) (conf server.Config, err error) {
		app := &cli.App{Flags: serverCommand().Flags, Writer: io.Discard, ErrWriter: io.Discard, DisableSliceFlagSeparator: true, Action: func(c *cli.Context) error {
			conf, err = serverConfig(c)
			return nil
		}}
		if e := app.Run(append([]string{"server"}, args...)); e != nil {
			t.Fatal(e)
		}
		return conf, err
	}
	conf, err := read("--oidc-issuer", "https://login.example.com", "--oidc-client-id", "muster", "--oidc-audience", "api", "--oidc-role", "cn=ml,dc=x=owner@vision", "--oidc-role", "*=reader")
	if err != nil || conf.OIDC.Issuer != "https://login.example.com" || conf.OIDC.ClientID != "muster" || conf.OIDC.Audience != "api" || conf.OIDC.NameClaim != "email" || conf.OIDC.GroupsClaim != "groups" ||
		fmt.Sprint(conf.OIDC.Scopes) != "[openid profile email offline_access]" || fmt.Sprint(conf.OIDC.Rules) != "[{cn=ml,dc=x owner@vision} {* reader}]" {
		t.Errorf("%+v, %v", conf.OIDC, err)
	}
	if _, err := read("--oidc-role", "ml=king"); muster.CodeOf(err) != muster.CodeInvalid {
		t.Errorf("a role that does not exist: %v", err)
	}
}
