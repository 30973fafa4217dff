package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/muster-ml/muster"
)

// person gives the test a home of its own, and returns where its settings are.
func person(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	for _, name := range []string{"MUSTER_ADDR", "MUSTER_TOKEN", "MUSTER_WORKSPACE", "MUSTER_CONTEXT"} {
		t.Setenv(name, "")
	}
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "config"))
	t.Setenv("XDG_DATA_HOME", filepath.Join(home, "data"))
	return filepath.Join(home, "config", "muster", "config.yml")
}

// TestTokens makes, lists and revokes tokens by commands.
func TestTokens(t *testing.T) {
	person(t)
	p := open(t)
	o := p.do("token", "create", "ci", "--role", "reader", "--expires", "90d")
	secret := strings.TrimSpace(o.out)
	if !strings.HasPrefix(secret, "muster_") || o.out != secret+"\n" || !strings.Contains(o.err, "token ci is made: reader@default, expires in 90d;") {
		t.Errorf("token create: %q %s", o.out, o.err)
	}
	if o := p.do("token", "list"); !strings.Contains(o.out, "ci") || strings.Contains(o.out, secret) {
		t.Errorf("token list:\n%s", o.out)
	}
	as := func(line string) outcome {
		return try(t.Context(), "", append([]string{"--addr", p.url, "--token", secret}, strings.Fields(line)...)...)
	}
	if o := as("whoami"); o.code != 0 || !strings.Contains(o.out, "reader") || !strings.Contains(o.out, "workspace default") {
		t.Errorf("whoami: %s%s", o.out, o.err)
	}
	if o := as("token list"); o.code != 4 || !strings.Contains(o.err, "ci may not do this: it takes an owner\n  ask an owner; muster whoami shows") {
		t.Errorf("a reader lists tokens: %d %s", o.code, o.err)
	}
	p.do("workspace", "create", "vision", "--default-cluster", "local")
	p.do("run", "submit", "-w", "vision", "--name", "theirs", p.file("command: a\n"))
	if o := as("queue"); !strings.Contains(o.out, "(not yours)") || strings.Contains(o.out, "theirs") || strings.Contains(o.out, "vision") {
		t.Errorf("another workspace's run in the queue:\n%s%s", o.out, o.err)
	}
	if o := p.do("audit", "--filter", "action=create-token", "--limit", "1", "-o", "name"); strings.Count(o.out, "\n") != 1 {
		t.Errorf("the limit is for what passes --filter:\n%s", o.out)
	}
	if o := p.do("audit", "--sort-by", "-action", "--limit", "1"); !strings.Contains(o.out, "create-workspace") {
		t.Errorf("the limit is for what is sorted:\n%s", o.out)
	}
	if o := p.do("audit", "--filter", "action=create-token"); !strings.Contains(o.out, "create-token  /tokens/ci  done") || strings.Contains(o.out, "theirs") || strings.Contains(o.out, secret) {
		t.Errorf("audit:\n%s", o.out)
	}
	p.do("token", "revoke", "ci")
	if o := as("whoami"); o.code != 4 || !strings.Contains(o.err, "this token is not known here") {
		t.Errorf("a revoked token: %d %s", o.code, o.err)
	}
	for line, want := range map[string]struct {
		code int
		text string
	}{
		"token create x":                              {2, "muster token create wants --role"},
		"token create x --role king":                  {2, "role must be one of"},
		"token create x --role reader --expires soon": {2, `--expires is "soon"`},
		"token create x --role reader --expires -1h":  {2, `--expires is "-1h"`},
		"token create x --role reader -w none":        {3, "there is no workspace none"},
		"token revoke none":                           {3, "there is no token none"},
		"token revoke anna --yes":                     {4, "is the last administrator's"},
	} {
		if o := p.try(strings.Fields(line)...); o.code != want.code || !strings.Contains(o.err, want.text) {
			t.Errorf("muster %s: exit code %d, want %d, %s", line, o.code, want.code, o.err)
		}
	}
}

// TestEmptySecrets holds that what is given and empty is refused, and stands for
// nothing else.
func TestEmptySecrets(t *testing.T) {
	person(t)
	p := open(t)
	t.Setenv("MUSTER_TOKEN", testToken)
	for _, c := range []struct {
		args []string
		text string
	}{
		{[]string{"login", "--addr", p.url, "--token", ""}, "muster: --token is empty\n"},
		{[]string{"queue", "--addr", p.url, "--token="}, "muster: --token is empty\n"},
		{[]string{"queue", "--addr", ""}, "muster: --addr is empty\n"},
		{[]string{"login", "--addr", p.url, "--token", "-"}, "stdin was empty"},
		{[]string{"login", "--addr", p.url, "--token", "two\nlines"}, "the token has a line break"},
	} {
		if o := try(t.Context(), "\n", c.args...); o.code != 2 || !strings.Contains(o.err, c.text) {
			t.Errorf("%q: exit code %d, want 2 and %q\n%s", c.args, o.code, c.text, o.err)
		}
	}
	o := try(t.Context(), "", "login", "--addr", p.url, "--context", "here")
	if o.code != 0 || !strings.Contains(o.err, "note: MUSTER_TOKEN of the environment goes before the current context; to use that: unset MUSTER_TOKEN\n") {
		t.Errorf("exit code %d, %s", o.code, o.err)
	}
}

// TestContexts logs in at two servers and changes between them.
func TestContexts(t *testing.T) {
	file := person(t)
	one, two := open(t), open(t)
	do := func(stdin string, args ...string) outcome {
		t.Helper()
		o := try(t.Context(), stdin, args...)
		if o.code != 0 {
			t.Fatalf("muster %s: %d %s", strings.Join(args, " "), o.code, o.err)
		}
		return o
	}
	one.must(os.MkdirAll(filepath.Dir(file), 0o700))
	one.must(os.WriteFile(file, []byte("colour: never\n"), 0o644))
	if o := do("", "login", "--addr", one.url+"/", "--token", testToken, "--context", "one"); !strings.Contains(o.err, "you are anna at "+one.url+"; context one is current") {
		t.Errorf("login: %s", o.err)
	}
	do(testToken+"\n", "login", "--addr", two.url, "--token", "-", "-w", "other")
	text, err := os.ReadFile(file)
	info, _ := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 || !strings.Contains(string(text), "colour: never") {
		t.Errorf("%s: %v\n%s", info.Mode(), err, text)
	}
	host := strings.TrimPrefix(two.url, "http://")
	if o := do("", "context", "list"); !strings.Contains(o.out, host) || !strings.Contains(o.out, "other") || strings.Contains(o.out, testToken) {
		t.Errorf("context list:\n%s", o.out)
	}
	one.do("workspace", "create", "vision")
	if o := do("", "workspace", "list"); strings.Contains(o.out, "vision") {
		t.Errorf("the current context is not the last login:\n%s", o.out)
	}
	if o := do("", "--context", "one", "workspace", "list"); !strings.Contains(o.out, "vision") {
		t.Errorf("--context:\n%s", o.out)
	}
	if o := try(t.Context(), "", "run", "list"); o.code != 3 || !strings.Contains(o.err, "there is no workspace other") {
		t.Errorf("the context's workspace: %d %s", o.code, o.err)
	}
	do("", "context", "use", "one")
	do("", "run", "list")
	if o := do("", "context", "show"); !strings.Contains(o.out, one.url) || strings.Contains(o.out, testToken) {
		t.Errorf("context show:\n%s", o.out)
	}
	do("", "logout")
	if o := try(t.Context(), "", "whoami"); o.code != 4 || !strings.Contains(o.err, "needs a token") {
		t.Errorf("logged out: %d %s", o.code, o.err)
	}
	do("", "context", "delete", "one")
	for line, want := range map[string]string{
		"whoami": "no server is known", "context show": "there is no current context", "context use on": "there is no context on",
		"whoami --context " + host + "x": "did you mean " + host + "?", "login --addr " + one.url: "takes tokens alone",
		"login --token x": "muster login wants --addr", "login --addr " + one.url + " --token wrong": "this token is not known here",
	} {
		if o := try(t.Context(), "", strings.Fields(line)...); o.code == 0 || !strings.Contains(o.err, want) {
			t.Errorf("muster %s: %d %s", line, o.code, o.err)
		}
	}
	one.must(os.WriteFile(file, []byte("contexts: [1]\n"), 0o600))
	if o := try(t.Context(), "", "whoami"); o.code != 2 || !strings.Contains(o.err, file) {
		t.Errorf("a broken file: %d %s", o.code, o.err)
	}
}

// TestAim holds the order of the places, and that a secret goes to its own
// server alone.
func TestAim(t *testing.T) {
	flags, env := source{from: "flag"}, source{from: "environment"}
	context := source{from: "context", context: "c", addr: "http://c", token: "of-c", workspace: "wc"}
	written := source{from: "dev", addr: "http://dev", token: "of-dev"}
	for what, c := range map[string]struct {
		all  []source
		want string
	}{
		"nothing":               {[]source{flags, env, {from: "dev"}}, "  "},
		"muster dev":            {[]source{flags, env, written}, "http://dev of-dev "},
		"context":               {[]source{flags, env, context, written}, "http://c of-c wc"},
		"environment":           {[]source{flags, {addr: "http://e", token: "of-e"}, context, written}, "http://e of-e "},
		"environment's token":   {[]source{flags, {token: "of-e"}, context, written}, "http://c of-e wc"},
		"other address":         {[]source{{addr: "http://x"}, env, context, written}, "http://x  "},
		"other environment":     {[]source{{addr: "http://x"}, {addr: "http://e", token: "of-e"}, context}, "http://x  "},
		"same address":          {[]source{{addr: "http://c/"}, env, context, written}, "http://c/ of-c wc"},
		"context of a flag":     {[]source{flags, context, {addr: "http://e", token: "of-e", workspace: "we"}, written}, "http://c of-c wc"},
		"workspace":             {[]source{{workspace: "wf"}, {workspace: "we"}, context}, "http://c of-c wf"},
		"environment workspace": {[]source{flags, {workspace: "we"}, context}, "http://c of-c we"},
	} {
		got := aim(c.all)
		if text := got.addr.addr + " " + got.secret.token + " " + got.workspace.workspace; text != c.want {
			t.Errorf("%s: got %q, want %q", what, text, c.want)
		}
	}
}

// TestSecretIsTold holds what -o json says of a new token.
func TestSecretIsTold(t *testing.T) {
	person(t)
	p := open(t)
	var k muster.NewToken
	p.must(json.Unmarshal([]byte(p.do("token", "create", "ops", "--role", "administrator", "-o", "json").out), &k))
	if k.Name != "ops" || k.Role != muster.RoleAdministrator || k.Workspace != "" || k.CreatedBy != "anna" || !k.ExpiresAt.IsZero() || !strings.HasPrefix(k.Secret, "muster_") {
		t.Errorf("token %+v", k)
	}
}
