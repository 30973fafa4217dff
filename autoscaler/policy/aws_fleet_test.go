package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/engines"
)

// fleet is a site with one cluster, "gpu", which is "the-group" of Amazon's. Its
// machines are real Nomad clients.
type fleet struct {
	*site
	*cloud
	clients map[string]*engines.Service // by instance
	stood   map[string]string           // how an instance's node stood when it was let go; guarded by the cloud's lock
}

// newFleet makes a fleet of so many machines, all of them ready. The rules say what
// the agent may do in Nomad.
func newFleet(t *testing.T, machines int, rules string) *fleet {
	f := &fleet{cloud: newCloud(t), site: newSite(t, "acl {\n  enabled = true\n}\n"), clients: map[string]*engines.Service{}, stood: map[string]string{}}
	if os.Getuid() == 0 { // as run does it, before the first client; the site's end leaves them
		f.must(os.MkdirAll(f.dir, 0o711))
		f.must(engines.SystemCgroups().Enter(f.dir))
	}
	f.setRights(rules)
	f.add("gpu", muster.ProviderAWS, map[string]string{"aws_asg_name": "the-group"})
	f.want("gpu", machines)
	f.desired["the-group"], f.end = machines, f.pull
	ports, wait := engines.Ports{}, sync.WaitGroup{}
	for i := range machines {
		id := fmt.Sprintf("i-%04d", i)
		f.instances["the-group"] = append(f.instances["the-group"], id)
		client := f.machine(ports, i, id)
		f.clients[id] = client
		wait.Go(func() {
			if err := client.Start(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return f
}

// setRights gives the agent a token of these rules for Nomad. Who has none may do
// what the tests need.
func (f *fleet) setRights(rules string) {
	f.t.Helper()
	var root, token struct{ SecretID string }
	f.must(f.ask("POST", "/v1/acl/bootstrap", "", nil, &root))
	for name, rules := range map[string]string{"anonymous": `namespace "*" { policy = "write" }` + "\n" + `node { policy = "write" }`, "autoscaler": rules} {
		f.must(f.ask("POST", "/v1/acl/policy/"+name, root.SecretID, map[string]string{"Name": name, "Rules": rules}, nil))
	}
	f.must(f.ask("POST", "/v1/acl/token", root.SecretID, map[string]any{"Type": "client", "Policies": []string{"autoscaler"}}, &token))
	f.t.Setenv("NOMAD_TOKEN", token.SecretID)
}

// machine prepares a Nomad client that learns which instance it is from a stub of
// the instance metadata service, by Nomad's own fingerprinter.
func (f *fleet) machine(ports engines.Ports, index int, id string) *engines.Service {
	f.t.Helper()
	_, err := ports.Choose(id)
	f.must(err)
	dir := f.t.TempDir()
	home := engines.NewHome(dir, dir)
	f.must(home.Make())
	service, err := engines.NomadClient{Program: f.nomad.Program, Name: fmt.Sprintf("gpu-%d", index), Pool: f.scaling["gpu"].NodePool, Dir: dir,
		Allocs: home.Allocs, Work: home.Work, Log: filepath.Join(dir, "nomad.log"), HTTPPort: ports[id], Server: f.nomad, Index: index}.Service()
	f.must(err)
	configure(f.t, service, dir, "client {\n  options = {\n    \"fingerprint.denylist\" = \"env_gce,env_azure,env_digitalocean\"\n  }\n}\n")
	metadata := httptest.NewServer(metadataOf(id))
	// With AWS_CA_BUNDLE, such as ours may have, Nomad 1.11 does not start where it
	// looks for Amazon.
	own := []string{"env", "-i", "PATH=" + os.Getenv("PATH"), "AWS_EC2_METADATA_SERVICE_ENDPOINT=" + metadata.URL}
	service.Command.Argv = append(own, service.Command.Argv...)
	f.t.Cleanup(func() {
		service.Kill()
		metadata.Close()
		if err := home.Remove(); err != nil {
			f.t.Error(err)
		}
		if left := processesOf(f.t, dir); len(left) > 0 {
			f.t.Errorf("processes of %s are left: %q", id, left)
		}
	})
	return service
}

// metadataOf is as much of an instance's metadata service as tells which one it
// is, to who has fetched a token.
func metadataOf(id string) http.Handler {
	const ttl, token = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "X-Aws-Ec2-Metadata-Token"
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /latest/api/token", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(ttl, r.Header.Get(ttl))
		io.WriteString(w, "the-token")
	})
	mux.HandleFunc("GET /latest/meta-data/{key}", func(w http.ResponseWriter, r *http.Request) {
		value := map[string]string{"ami-id": "ami-0", "instance-id": id}[r.PathValue("key")]
		switch {
		case r.Header.Get(token) != "the-token":
			http.Error(w, "no token", http.StatusUnauthorized)
		case value == "":
			http.NotFound(w, r)
		default:
			io.WriteString(w, value)
		}
	})
	return mux
}

// pull ends an instance's machine at once, and notes how its node stood. Its
// caller is the cloud, whose lock is held.
func (f *fleet) pull(id string) error {
	n, err := f.node(id)
	if err != nil {
		return err
	}
	f.stood[id] = fmt.Sprintf("%s, drain %s", n.SchedulingEligibility, n.LastDrain.Status)
	f.clients[id].Kill()
	return nil
}

// must ends the test at an error.
func (f *fleet) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// ask sends Nomad a request.
func (f *fleet) ask(method, path, token string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, f.nomad.URL()+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-Nomad-Token", token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(answer, out)
}

// awsNode is what the tests must know of a node in Nomad.
type awsNode struct {
	ID, Name, Status, SchedulingEligibility string
	Drain                                   bool
	LastDrain                               struct{ Status string }
	Attributes                              map[string]string
}

// list reads the nodes that Nomad knows, in the order in which the target looks at
// them.
func (f *fleet) list() (nodes []awsNode, err error) {
	if err := f.ask("GET", "/v1/nodes", "", nil, &nodes); err != nil {
		return nil, err
	}
	for i, n := range nodes {
		if err := f.ask("GET", "/v1/node/"+n.ID, "", nil, &nodes[i]); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

// instance returns which instance the node is, as Nomad found out.
func (n awsNode) instance() string { return n.Attributes["unique.platform.aws.instance-id"] }

// node reads an instance's node.
func (f *fleet) node(id string) (awsNode, error) {
	nodes, err := f.list()
	for _, n := range nodes {
		if n.instance() == id {
			return n, nil
		}
	}
	return awsNode{}, errors.Join(err, fmt.Errorf("no node of instance %q", id))
}

// place has a job run a command on some nodes until the file exists, and waits
// until it does run there.
func (f *fleet) place(kind, file string, nodes ...awsNode) {
	f.t.Helper()
	ids := ""
	for _, n := range nodes {
		ids += n.ID + ","
	}
	task := map[string]any{"Name": "main", "Driver": "raw_exec", "Resources": map[string]int{"CPU": 10, "MemoryMB": 16},
		"Config": map[string]any{"command": "sh", "args": []string{"-c", `until test -e "$0"; do sleep 0.1; done`, file}}}
	job := map[string]any{"ID": kind, "Type": kind, "Datacenters": []string{"*"}, "NodePool": f.scaling["gpu"].NodePool,
		"Constraints": []any{map[string]string{"LTarget": "${node.unique.id}", "Operand": "set_contains_any", "RTarget": ids}},
		"TaskGroups":  []any{map[string]any{"Name": "main", "Tasks": []any{task}}}}
	f.must(f.ask("POST", "/v1/jobs", "", map[string]any{"Job": job}, nil))
	eventually(f.t, "the "+kind+" job runs", func() bool { return f.running(kind) == len(nodes) })
}

// running counts what a job has running.
func (f *fleet) running(job string) (n int) {
	f.t.Helper()
	var allocs []struct{ ClientStatus string }
	f.must(f.ask("GET", "/v1/job/"+job+"/allocations", "", nil, &allocs))
	for _, a := range allocs {
		if a.ClientStatus == "running" {
			n++
		}
	}
	return n
}
