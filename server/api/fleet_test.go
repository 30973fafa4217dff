package api_test

import (
	"context"
	"strings"
	"testing"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/server/api"
)

// TestElasticClusters makes, changes and deletes a cluster whose nodes come and
// go, and refuses what its provider could not follow.
func TestElasticClusters(t *testing.T) {
	d := open(t)
	for _, c := range []struct{ method, path, body, want string }{
		{"POST", "/clusters", `{"name":"e","provider":"local","size":"LOCAL.small","max":4}`, `"size":"local.small","min":0,"max":4,"idle_seconds":120`},
		{"POST", "/clusters", `{"name":"e","provider":"local","size":"local.small","max":4}`, `cluster e exists already`},
		{"POST", "/clusters", `{"name":"f","provider":"local","size":"loc.small","max":4}`, `there is no size loc.small`},
		{"POST", "/clusters", `{"name":"f","provider":"local","size":"local.small","max":4,"min":5}`, `min is 5`},
		{"POST", "/clusters", `{"name":"f","provider":"local","max":4}`, `needs a size`},
		{"POST", "/clusters", `{"name":"f","provider":"none","max":4}`, `nodes of a cluster without a provider just exist`},
		{"POST", "/clusters", `{"name":"f","provider":"local","size":"local.small","max":4,"workspaces":["nobody"]}`, `there is no workspace nobody`},
		{"POST", "/clusters", `{"name":"f","provider":"local","size":"local.small","maxx":4}`, `did you mean max?`},
		{"POST", "/clusters", `{"name":"f","provider":"local","size":"local.small","max":4,"workspaces":[""]}`, `the name of a workspace is empty`},
		{"POST", "/clusters", `{"name":"f","provider":"aws-asg","size":"Standard_NC6","max":4}`, `provider aws-asg needs group.aws_asg_name`},
		{"POST", "/clusters", `{"name":"f","provider":"azure-vmss","size":"Standard_NC6","max":4,"group":{"resource_group":"g"}}`, `needs group.vm_scale_set`},
		{"POST", "/clusters", `{"name":"f","provider":"gce-mig","size":"Standard_NC6","max":4,"group":{"project":"p","mig_name":"m"}}`, `needs group.region or group.zone`},
		{"POST", "/clusters", `{"name":"f","provider":"local","size":"local.small","max":4,"group":{"aws_asg_name":"g"}}`, `provider local has no groups of nodes","code":"invalid","field":"group","cure":"leave the group out, or name the provider that has it: aws-asg, azure-vmss, gce-mig"`},
		{"POST", "/clusters", `{"name":"f","provider":"none","group":{"aws_asg_name":"g"}}`, `provider none has no groups of nodes`},
		{"PATCH", "/clusters/e", `{"group":{"aws_asg_name":"g"}}`, `"field":"group"`},
		{"GET", "/clusters/e", "", `"allocatable":{"cores":1,"mhz":1000,"mib":512`},
		{"PATCH", "/clusters/e", `{"max":2,"idle_seconds":5,"paused":true}`, `"max":2,"idle_seconds":5`},
		{"PATCH", "/clusters/e", `{"min":3}`, `use 0 to max, which is 2`},
		{"GET", "/clusters/e/events", "", `max 4 → 2, idle time 2m0s → 5s, paused","actor":"anna"`},
		{"GET", "/clusters/e/events", "", `"message":"it is made","actor":"anna"`},
		{"PATCH", "/clusters/e", `{"paused":false,"health":{"free_disk_mib":512}}`, `"paused":false`},
		{"GET", "/clusters/e/events", "", `"message":"resumed, a health check"`},
		{"PATCH", "/clusters/e", `{"paused":true}`, `"paused":true`},
		{"PATCH", "/clusters/e", `{"idle_seconds":32400000}`, `idle_seconds is 32400000","code":"invalid","field":"idle_seconds","cure":"use 1 to 604800"`},
		{"GET", "/clusters/e/scaling", "", `"status":409`},
		{"PUT", "/clusters/e/machines", `{"machines":[],"failure":{"kind":"quota","message":"no more","since":"2026-01-01T00:00:00Z","tries":1,"until":"2026-01-01T00:00:00Z"}}`, ""},
		{"GET", "/clusters/e", "", `"failure":{"kind":"quota","message":"no more"`},
		{"GET", "/sizes?name=Standard_NC6s", "", `"model":"V100","count":1`},
		{"PATCH", "/clusters/e", `{"setup":{"command":"true","secrets":["TOKEN"],"environment_variables":{"A":"b"}},"health":{"checks":[{"name":"scratch","command":"test -w /scratch"}]},"run_as":"ml"}`, `"run_as":"ml","setup":{"command":"true","environment_variables":{"A":"b"},"secrets":["TOKEN"]}`},
		{"PATCH", "/clusters/e", `{"setup":{"command":"true","secrets":["1TOKEN"]}}`, `"field":"setup.secrets[0]"`},
		{"PATCH", "/clusters/e", `{"setup":{"command":"true","timeout_seconds":1e9}}`, `"field":"setup.timeout_seconds"`},
		{"PATCH", "/clusters/e", `{"health":{"checks":[{"name":"a","command":"b"},{"name":"a","command":"b"}]}}`, `there are two checks a`},
		{"PATCH", "/clusters/e", `{"run_as":"a b"}`, `is no name of a user`},
		{"PUT", "/clusters/e/secrets/TOKEN", `{"value":"hush"}`, ""},
		{"PUT", "/clusters/e/secrets/MUSTER_X", `{"value":"hush"}`, `"field":"secret"`},
		{"PUT", "/clusters/e/secrets/TOKEN", `{"value":""}`, `the value is empty`},
		{"PUT", "/clusters/none/secrets/TOKEN", `{"value":"hush"}`, `there is no cluster none`},
		{"GET", "/clusters/e/secrets", "", `[{"name":"TOKEN","updated_at":`},
		{"DELETE", "/clusters/e/secrets/OTHER", "", `cluster e has no secret OTHER`},
		{"GET", "/clusters/e/events", "", `secret TOKEN is set`},
		{"DELETE", "/clusters/e/secrets/TOKEN", "", ""},
		{"GET", "/clusters/e/secrets", "", `[]`},
		{"PATCH", "/clusters/e", `{"on_shrink":"requeue","os":"debian"}`, `"os":"debian","on_shrink":"requeue"`},
		{"PATCH", "/clusters/e", `{"on_shrink":"explode"}`, `on_shrink must be one of`},
		{"POST", "/clusters", `{"name":"az","provider":"azure-vmss","size":"Standard_NC6","max":4,"group":{"resource_group":"g","vm_scale_set":"s"}}`, `"name":"az"`},
		{"POST", "/clusters/az/evictions", `{}`, `provider azure-vmss takes no nodes on demand","code":"refused","cure":"drills work on clusters of provider local; here az vmss simulate-eviction takes a spot machine of its set"`},
		{"POST", "/clusters/c/evictions", `{}`, `drills work on clusters of provider local; here stop the Nomad client of one`},
		{"POST", "/clusters/e/evictions", `{"rate_per_hour":0.2,"notice_seconds":30}`, `"drill":{"rate_per_hour":0.2,"notice_seconds":30}`},
		{"GET", "/clusters/e", "", `"drill":{"rate_per_hour":0.2,`},
		{"POST", "/clusters/e/evictions", `{"rate_per_hour":0.2,"nodes":1}`, `send one of the two`},
		{"POST", "/clusters/e/evictions", `{"rate_per_hour":0}`, `"nodes":[]`},
		{"GET", "/clusters/e/events", "", `the drill is over`},
		{"PATCH", "/clusters/e", `{"setup":{"command":""}}`, `"run_as":"ml","health"`},
		{"DELETE", "/clusters/e?confirm=e", "", ""},
		{"GET", "/clusters/e", "", `"deleting":true`},
		{"POST", "/clusters", `{"name":"e","provider":"local","size":"local.small","max":4}`, `cluster e is being deleted: its nodes leave`},
		{"POST", "/workspaces/w/runs", `{"spec":{"command":"a","compute":"e"}}`, `is being deleted`},
		{"DELETE", "/clusters/c?confirm=c", "", `is the default of 1 workspace"`},
	} {
		_, text := d.call(c.method, "/api/v1"+c.path, c.body)
		if !strings.Contains(text, c.want) || c.want == "" && text != "" {
			t.Errorf("%s %s %s:\n%s\nlacks %s", c.method, c.path, c.body, text, c.want)
		}
	}
}

// oneReady is a Nomad that has one node, ready, of cluster e.
type oneReady struct{}

func (oneReady) ListNodes(context.Context) ([]*muster.Node, error) {
	return []*muster.Node{{ID: "n1", Name: "e-1", Cluster: "e", State: muster.NodeIdle}}, nil
}

// TestEvictsTooMany says how many a cluster can lose.
func TestEvictsTooMany(t *testing.T) {
	d := open(t, func(s *api.Services) { s.Nodes = oneReady{} })
	for cluster, want := range map[string]string{
		"e": `cluster e has 1 node ready, and is to lose 3","code":"conflict","field":"nodes","cure":"take at most 1: muster cluster nodes e lists them"`,
		"f": `cluster f has 0 nodes ready, and is to lose 3","code":"conflict","field":"nodes","cure":"nodes come while runs wait for them, or with muster cluster resize f --min 1"`,
	} {
		d.call("POST", "/api/v1/clusters", `{"name":"`+cluster+`","provider":"local","size":"local.small","max":4}`)
		if _, text := d.call("POST", "/api/v1/clusters/"+cluster+"/evictions", `{"nodes":3}`); !strings.Contains(text, want) {
			t.Errorf("%s\nlacks %s", text, want)
		}
	}
}

// TestClusterOfOthers holds that only the workspaces that a cluster names use it.
func TestClusterOfOthers(t *testing.T) {
	d := open(t)
	d.must(d.store.CreateWorkspace(t.Context(), &muster.Workspace{Name: "v"}))
	d.call("POST", "/api/v1/clusters", `{"name":"e","provider":"local","size":"local.small","max":4,"workspaces":["v"]}`)
	const run = `{"spec":{"command":"a","compute":"e"}}`
	if _, text := d.call("POST", "/api/v1/workspaces/w/runs", run); !strings.Contains(text, "workspace w may not use cluster e") {
		t.Errorf("w uses it:\n%s", text)
	}
	if resp, text := d.call("POST", "/api/v1/workspaces/v/runs", run); resp.StatusCode != 201 {
		t.Errorf("v does not:\n%s", text)
	}
}
