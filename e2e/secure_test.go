package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
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

// authority signs the certificates of a test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	a.key = a.write("ca", template, nil)
	text, err := os.ReadFile(a.file("ca.pem"))
	a.must(err)
	block, _ := pem.Decode(text)
	a.cert, err = x509.ParseCertificate(block.Bytes)
	a.must(err)
	return a
}

func (a *authority) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// file is the path of one of the authority's files.
func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// issue makes a certificate NAME.pem with NAME.key for this machine's loopback
// and other names.
func (a *authority) issue(name string, names ...string) {
	a.t.Helper()
	a.write(name, &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), DNSNames: append(names, "localhost"), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, a.cert)
}

// write makes a key and a certificate; without a parent it signs itself.
func (a *authority) write(name string, template, parent *x509.Certificate) *ecdsa.PrivateKey {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.must(err)
	signer := a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	a.must(err)
	text, err := x509.MarshalPKCS8PrivateKey(key)
	a.must(err)
	a.must(os.WriteFile(a.file(name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	a.must(os.WriteFile(a.file(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}), 0o600))
	return key
}

// web is a client that shows a certificate of the authority.
func (a *authority) web(name string) *http.Client {
	a.t.Helper()
	pair, err := tls.LoadX509KeyPair(a.file(name+".pem"), a.file(name+".key"))
	a.must(err)
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}}}
}

// guarded is a Nomad and a Consul whose doors are closed to whoever has no
// certificate and no token, and a Muster server with TLS before them.
type guarded struct {
	*authority
	dir                     string
	nomad, consul           string // URLs
	nomadToken, consulToken string // that may do anything
	server, token, data     string
	serverProcess           *exec.Cmd
	operator                *http.Client
	home                    string
}

// freePort finds a port that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// process starts a program until the test's end.
func (g *guarded) process(name string, env []string, argv ...string) *exec.Cmd {
	g.t.Helper()
	log, err := os.Create(filepath.Join(g.dir, name+".log"))
	g.must(err)
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), env...), log, log
	g.must(cmd.Start())
	g.t.Cleanup(func() { g.stop(cmd) })
	return cmd
}

// stop ends a process and waits for it.
func (g *guarded) stop(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		_, _ = cmd.Process.Signal(os.Interrupt), cmd.Wait() // how it ends is not what is tested
	}
}

// openGuarded starts Consul and Nomad with ACLs and mutual TLS.
func openGuarded(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{authority: newAuthority(t), home: t.TempDir()}
	g.dir = t.TempDir()
	open0711(t, g.dir)
	g.issue("nomad", "server.global.nomad", "client.global.nomad")
	g.issue("consul", "server.dc1.consul")
	g.issue("operator")
	g.issue("muster")
	g.operator = g.web("operator")
	g.startConsul()
	g.startNomad()
	return g
}

// startConsul starts Consul, closed by default.
func (g *guarded) startConsul() {
	g.t.Helper()
	program, err := engines.Find(g.t.Context(), "consul")
	g.must(err)
	g.consulToken = "11111111-2222-3333-4444-555555555555"
	https := freePort(g.t)
	g.consul = fmt.Sprintf("https://127.0.0.1:%d", https)
	config := map[string]any{
		"server": true, "bootstrap_expect": 1, "data_dir": filepath.Join(g.dir, "consul"), "bind_addr": "127.0.0.1", "disable_update_check": true,
		"ports": map[string]int{"http": -1, "https": https, "grpc": -1, "grpc_tls": -1, "dns": -1, "serf_wan": -1, "serf_lan": freePort(g.t), "server": freePort(g.t)},
		"acl":   map[string]any{"enabled": true, "default_policy": "deny", "tokens": map[string]string{"initial_management": g.consulToken, "agent": g.consulToken}},
		"tls": map[string]any{"defaults": map[string]any{"ca_file": g.file("ca.pem"), "cert_file": g.file("consul.pem"), "key_file": g.file("consul.key"),
			"verify_incoming": true, "verify_outgoing": true}},
	}
	text, err := json.Marshal(config)
	g.must(err)
	file := filepath.Join(g.dir, "consul.json")
	g.must(os.WriteFile(file, text, 0o600))
	g.process("consul", nil, program, "agent", "-config-file", file)
	g.eventually("Consul to lead itself", "consul", func() error {
		var leader string
		if err := g.ask(g.consul, "GET", "/v1/status/leader", "X-Consul-Token", g.consulToken, nil, &leader); err != nil || leader != "" {
			return err
		}
		return fmt.Errorf("no leader")
	})
}

// startNomad starts one Nomad agent that is server and client, closed by
// default.
func (g *guarded) startNomad() {
	g.t.Helper()
	program, err := engines.Find(g.t.Context(), "nomad")
	g.must(err)
	port := freePort(g.t)
	g.nomad = fmt.Sprintf("https://127.0.0.1:%d", port)
	allocs, err := os.MkdirTemp("", "na-") // the Task API's socket has a short path
	g.must(err)
	g.must(os.Chmod(allocs, 0o711))
	g.t.Cleanup(func() { os.RemoveAll(allocs) })
	work := filepath.Join(g.dir, "muster")
	g.must(os.Mkdir(work, 0o711))
	file := filepath.Join(g.dir, "nomad.hcl")
	g.must(os.WriteFile(file, fmt.Appendf(nil, `
name = "n1"
data_dir = %q
bind_addr = "127.0.0.1"
disable_update_check = true
ports { 
  http = %d 
  rpc = %d 
  serf = %d 
}
advertise {
  http = "127.0.0.1"
  rpc = "127.0.0.1"
  serf = "127.0.0.1"
}
server {
  enabled = true
  bootstrap_expect = 1
}
client {
  enabled = true
  servers = ["127.0.0.1"]
  node_pool = "pool"
  alloc_dir = %q
  meta { 
    muster_dir = %q 
  }
  options = { "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean" }
}
plugin "raw_exec" {
  config { 
    enabled = true 
  }
}
acl { 
  enabled = true 
}
tls {
  http = true
  rpc = true
  ca_file = %q
  cert_file = %q
  key_file = %q
  verify_server_hostname = true
  verify_https_client = true
}
consul {
  auto_advertise = false
  client_auto_join = false
  server_auto_join = false
}
`, filepath.Join(g.dir, "nomad"), port, freePort(g.t), freePort(g.t), allocs, work, g.file("ca.pem"), g.file("nomad.pem"), g.file("nomad.key")), 0o600))
	g.process("nomad", nil, program, "agent", "-config", file)
	var made struct{ SecretID string }
	g.eventually("Nomad to take its first token", "nomad", func() error {
		return g.ask(g.nomad, "POST", "/v1/acl/bootstrap", "X-Nomad-Token", "", nil, &made)
	})
	g.nomadToken = made.SecretID
	g.eventually("Nomad's node", "nomad", func() error {
		var nodes []struct{ Status string }
		if err := g.ask(g.nomad, "GET", "/v1/nodes", "X-Nomad-Token", g.nomadToken, nil, &nodes); err != nil {
			return err
		}
		if len(nodes) != 1 || nodes[0].Status != "ready" {
			return fmt.Errorf("nodes are %v", nodes)
		}
		return nil
	})
}

// ask calls an engine as the operator.
func (g *guarded) ask(base, method, path, header, token string, body, answer any) error {
	var text []byte
	if s, ok := body.(string); ok {
		text = []byte(s)
	} else if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(g.t.Context(), method, base+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set(header, token)
	resp, err := g.operator.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s %s %v", method, path, resp.Status, got, err)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(got, answer)
}

// eventually waits until a step succeeds, for at most a minute.
func (g *guarded) eventually(what, log string, step func() error) {
	g.t.Helper()
	err := within(time.Minute, step)
	if err == nil {
		return
	}
	text, _ := os.ReadFile(filepath.Join(g.dir, log+".log"))
	g.t.Fatalf("waited in vain for %s: %v\n%.6000s", what, err, text[max(0, len(text)-6000):])
}

// serve starts the Muster server, with these rights in Nomad and Consul.
func (g *guarded) serve(mode muster.NomadMode, nomadToken, consulToken string) {
	g.t.Helper()
	if g.serverProcess != nil {
		g.stop(g.serverProcess)
	}
	g.data = filepath.Join(g.dir, "server")
	if g.server == "" {
		g.server = fmt.Sprintf("https://127.0.0.1:%d", freePort(g.t))
	}
	g.serverProcess = g.process("server", nil, bin(g.t, "muster-race"), "server", "--data-dir", g.data, "--listen", strings.TrimPrefix(g.server, "https://"),
		"--agent-binary", bin(g.t, "muster-agent"), "--tick", "0", "--fence", "10s",
		"--tls-cert", g.file("muster.pem"), "--tls-key", g.file("muster.key"), "--tls-ca", g.file("ca.pem"),
		"--nomad-mode", string(mode), "--nomad-addr", g.nomad, "--nomad-token", nomadToken, "--nomad-ca-cert", g.file("ca.pem"),
		"--nomad-client-cert", g.file("muster.pem"), "--nomad-client-key", g.file("muster.key"),
		"--consul-addr", g.consul, "--consul-token", consulToken, "--consul-ca-cert", g.file("ca.pem"),
		"--consul-client-cert", g.file("muster.pem"), "--consul-client-key", g.file("muster.key"))
	g.eventually("the Muster server", "server", func() error {
		text, err := os.ReadFile(filepath.Join(g.data, "token"))
		if err != nil {
			return err
		}
		g.token = strings.TrimSpace(string(text))
		resp, err := g.operator.Get(g.server + "/healthz")
		if err == nil {
			resp.Body.Close()
		}
		return err
	})
}

// platform is what the other tests know of a platform.
func (g *guarded) platform() *platform {
	return &platform{&dev.Platform{Addr: g.server, Token: g.token, NomadAddr: g.nomad, DataDir: g.dir}, g.t, g.home}
}

// TestSecure runs on engines with ACLs and mutual TLS: with a management token,
// and by the policies that Muster prints.
func TestSecure(t *testing.T) {
	g := openGuarded(t)
	t.Setenv("MUSTER_CACERT", g.file("ca.pem"))
	g.serve(muster.NomadManage, g.nomadToken, g.consulToken)
	defer func() { g.stop(g.serverProcess); noRace(t, filepath.Join(g.dir, "server.log")) }()
	p := g.platform()
	p.muster("cluster", "create", "--node-pool", "pool", "c")
	p.muster("workspace", "create", "--default-cluster", "c", "default")
	command := `cat ${{inputs.a}}; mkdir -p outputs; echo kept > outputs/x; muster-agent child --name %s-child --wait -- 'echo below'`
	in := filepath.Join(g.dir, "in.txt")
	g.must(os.WriteFile(in, []byte("seven"), 0o644))
	name := p.submit(fmt.Sprintf("command: |\n  "+command+"\ninputs: {a: {type: uri_file, path: "+in+", mode: download}}\nx-muster: {resources: {cpus: 0.1, memory: 64Mi}}\n", "managed"), "--name", "managed")
	p.ends(name, muster.RunSucceeded)
	if files := p.muster("run", "files", name, "-r"); !strings.Contains(files, "outputs/x") {
		t.Errorf("files are %s", files)
	}
	var services map[string]any
	g.eventually("the registration in Consul", "server", func() error {
		if err := g.ask(g.consul, "GET", "/v1/agent/services", "X-Consul-Token", g.consulToken, nil, &services); err != nil {
			return err
		}
		if len(services) != 1 {
			return fmt.Errorf("services are %v", services)
		}
		return nil
	})
	var policies muster.Policies
	if err := json.Unmarshal([]byte(p.muster("policies", "-o", "json")), &policies); err != nil {
		t.Fatal(err)
	}
	if text := p.muster("policies"); !strings.Contains(text, "nomad acl policy apply muster-"+policies.Installation) {
		t.Errorf("the policies are\n%s", text)
	}

	t.Run("agents find the server in Consul", func(t *testing.T) {
		path := "/v1/health/service/muster-" + policies.Installation + "?passing=true"
		var found []any
		if g.must(g.ask(g.consul, "GET", path, "X-Consul-Token", "", nil, &found)); len(found) != 0 {
			t.Fatalf("without a right anybody finds %v", found)
		}
		g.must(g.ask(g.consul, "PUT", "/v1/acl/policy", "X-Consul-Token", g.consulToken, map[string]string{"Name": "agents", "Rules": policies.ConsulAgents}, nil))
		g.must(g.ask(g.consul, "PUT", "/v1/acl/token/00000000-0000-0000-0000-000000000002", "X-Consul-Token", g.consulToken,
			map[string]any{"AccessorID": "00000000-0000-0000-0000-000000000002", "Policies": []map[string]string{{"Name": "agents"}}}, nil))
		g.eventually("the server to be found without a token", "consul", func() error {
			if err := g.ask(g.consul, "GET", path, "X-Consul-Token", "", nil, &found); err != nil || len(found) == 1 {
				return err
			}
			return fmt.Errorf("found %v", found)
		})
	})

	t.Run("a deleted workspace's namespace", func(t *testing.T) {
		p := p.in(t)
		p.muster("workspace", "create", "--default-cluster", "c", "brief")
		name := p.submit("command: 'true'\nx-muster: {resources: {cpus: 0.1, memory: 64Mi}}\n", "-w", "brief")
		p.muster("run", "wait", name, "-w", "brief")
		var w struct{ Namespace string }
		if err := json.Unmarshal([]byte(p.muster("workspace", "show", "brief", "-o", "json")), &w); err != nil {
			t.Fatal(err)
		}
		namespaces := func() (all []struct{ Name string }) {
			g.must(g.ask(g.nomad, "GET", "/v1/namespaces?prefix="+w.Namespace, "X-Nomad-Token", g.nomadToken, nil, &all))
			return all
		}
		if len(namespaces()) != 1 {
			t.Fatalf("Nomad has no namespace %s", w.Namespace)
		}
		p.muster("workspace", "delete", "--yes", "brief")
		p.eventually("Nomad to forget the namespace", func() bool { return len(namespaces()) == 0 }, func() string { return w.Namespace })
	})

	t.Run("existing", func(t *testing.T) {
		p := p.in(t)
		nomadToken, consulToken := g.least(policies, nil), g.leastConsul(policies)
		g.serve(muster.NomadExisting, nomadToken, consulToken)
		p.muster("workspace", "create", "--default-cluster", "c", "new")
		job := fmt.Sprintf("command: |\n  "+strings.Replace(command, "cat ${{inputs.a}}; ", "", 1)+"\nx-muster: {resources: {cpus: 0.1, memory: 64Mi}}\n", "existing")
		waits := p.submit(job, "-w", "new", "--name", "existing")
		p.eventually("the missing namespace to be named", func() bool {
			return strings.Contains(p.muster("run", "events", waits, "-w", "new"), "and in mode existing it makes none")
		},
			func() string { return p.muster("run", "events", waits, "-w", "new") })
		var w struct{ Namespace string }
		if err := json.Unmarshal([]byte(p.muster("workspace", "show", "new", "-o", "json")), &w); err != nil {
			t.Fatal(err)
		}
		g.must(g.ask(g.nomad, "POST", "/v1/namespace/"+w.Namespace, "X-Nomad-Token", g.nomadToken, map[string]string{"Name": w.Namespace}, nil))
		p.eventually("the run's end", func() bool {
			return strings.Contains(p.muster("run", "show", waits, "-w", "new", "-o", "json"), `"state": "succeeded"`)
		},
			func() string { return p.muster("run", "events", waits, "-w", "new") })

		if r := p.try("run", "stats", waits, "-w", "new", "--name", "node_cpu"); r.code != 0 {
			t.Errorf("what the run used may not be read: %s", r.err)
		}

		for pool, may := range map[string]bool{"muster-elastic": true, "other": false} { // as of an elastic cluster that is deleted
			g.must(g.ask(g.nomad, "PUT", "/v1/node/pools", "X-Nomad-Token", g.nomadToken, map[string]string{"Name": pool}, nil))
			if err := g.ask(g.nomad, "DELETE", "/v1/node/pool/"+pool, "X-Nomad-Token", nomadToken, nil, nil); (err == nil) != may {
				t.Errorf("with the least rights node pool %s is removed: %v", pool, err)
			}
		}

		stopped := p.submit("command: sleep 600\nx-muster: {resources: {cpus: 0.1, memory: 64Mi}}\n")
		p.running(stopped)
		p.muster("run", "cancel", stopped)
		p.ends(stopped, muster.RunCancelled)
	})

	t.Run("a right is missing", func(t *testing.T) {
		p := p.in(t)
		lame := policies
		lame.Nomad = strings.Replace(lame.Nomad, `"submit-job", "dispatch-job"`, `"submit-job"`, 1)
		g.serve(muster.NomadExisting, g.least(lame, []string{"lame"}), g.leastConsul(policies))
		name := p.submit("command: echo never\nx-muster: {resources: {cpus: 0.1, memory: 64Mi}}\n")
		p.eventually("the missing right to be told", func() bool {
			return strings.Contains(p.muster("run", "events", name), "muster policies prints those that it needs")
		},
			func() string { return p.muster("run", "events", name) })
		p.muster("run", "cancel", name)
	})
}

// least makes a Nomad token with the printed policy alone.
func (g *guarded) least(p muster.Policies, name []string) string {
	g.t.Helper()
	policy := strings.Join(append([]string{"muster"}, name...), "-")
	g.must(g.ask(g.nomad, "POST", "/v1/acl/policy/"+policy, "X-Nomad-Token", g.nomadToken, map[string]string{"Name": policy, "Rules": p.Nomad}, nil))
	var made struct{ SecretID string }
	g.must(g.ask(g.nomad, "POST", "/v1/acl/token", "X-Nomad-Token", g.nomadToken, map[string]any{"Name": policy, "Type": "client", "Policies": []string{policy}}, &made))
	return made.SecretID
}

// leastConsul makes a Consul token with the printed policy alone.
func (g *guarded) leastConsul(p muster.Policies) string {
	g.t.Helper()
	name := fmt.Sprint("muster-", time.Now().UnixNano())
	g.must(g.ask(g.consul, "PUT", "/v1/acl/policy", "X-Consul-Token", g.consulToken, map[string]string{"Name": name, "Rules": p.Consul}, nil))
	var made struct{ SecretID string }
	g.must(g.ask(g.consul, "PUT", "/v1/acl/token", "X-Consul-Token", g.consulToken, map[string]any{"Policies": []map[string]string{{"Name": name}}}, &made))
	return made.SecretID
}
