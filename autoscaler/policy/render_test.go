package policy

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/autoscaler"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares a text with a file of testdata.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != text {
		t.Errorf("%s has changed; go test ./autoscaler/policy -update writes it anew:\n%s", path, text)
	}
}

// examples is a cluster of each provider.
func examples() map[string]*muster.Cluster {
	cluster := func(name string, p muster.Provider, group map[string]string) *muster.Cluster {
		c := &muster.Cluster{Name: name, Provider: p, ClusterSettings: muster.ClusterSettings{Max: 4, Min: 1, Group: group}}
		c.Complete()
		return c
	}
	return map[string]*muster.Cluster{
		"local": cluster("small", muster.ProviderLocal, nil),
		"aws-asg": cluster("gpu", muster.ProviderAWS, map[string]string{"aws_region": "eu-central-1", "aws_asg_name": "gpu-${nodes} \"a\"",
			"scale_in_protection": "true"}),
		"azure-vmss": cluster("big", muster.ProviderAzure, map[string]string{"subscription_id": "s", "tenant_id": "t", "client_id": "c",
			"resource_group": "rg", "vm_scale_set": "nodes"}),
		"gce-mig": cluster("tpu", muster.ProviderGCE, map[string]string{"project": "p", "region": "europe-west3", "mig_name": "nodes", "node_drain_deadline": "5m"}),
	}
}

func TestGolden(t *testing.T) {
	s := autoscaler.Settings{Addr: "https://muster.example:4750", TokenFile: "/etc/muster/token", CACert: "/etc/muster/ca.pem", Dir: "/var/lib/muster autoscaler",
		Program: "/usr/bin/nomad", Servers: "10.0.0.1:4647,10.0.0.2:4647", DevicePlugin: "/opt/muster/muster-device"}
	for name, c := range examples() {
		t.Run(name, func(t *testing.T) {
			target, config, err := targetOf(c, s)
			if err != nil {
				t.Fatal(err)
			}
			p, err := policyOf(c, target.Name, config, 2*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".policy.hcl", p.Text)
			text, err := agentConfig{PluginDir: "/plugins", PolicyDir: "/policies", Port: 10000, Nomad: map[string]string{"address": "https://nomad.example:4646", "token": "secret"}}.render(s, []block{target})
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".agent.hcl", text)
		})
	}
}

// TestPolicyName has another name for another content, and the same for the same.
func TestPolicyName(t *testing.T) {
	c := examples()["local"]
	name := func(max int, pool string, interval time.Duration) string {
		c.Max = max
		p, err := policyOf(c, autoscaler.Target, map[string]string{"cluster": c.Name, "node_pool": pool}, interval)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(p.Text, `scaling "`+strings.TrimSuffix(p.File, ".hcl")+`" {`) {
			t.Errorf("file %s holds %s", p.File, p.Text)
		}
		return p.File
	}
	first := name(4, "a", time.Second)
	if name(4, "b", time.Second) == first || name(4, "a", 2*time.Second) == first || name(4, "a", time.Second) != first {
		t.Errorf("%s is not the name of what it holds", first)
	}
	if name(1, "a", time.Second) != first {
		t.Error("a cluster's maximum is in its policy, which then takes nodes that are at work")
	}
}

// TestSecrets refuses keys that hold secrets: a group is shown to all.
func TestSecrets(t *testing.T) {
	for _, key := range []string{"aws_access_key_id", "aws_secret_access_key", "aws_session_token", "credentials", "secret_access_key", "Password", "aws_credential_provider"} {
		c := examples()["aws-asg"]
		c.Group[key] = "hunter2"
		if _, _, err := targetOf(c, autoscaler.Settings{}); muster.CodeOf(err) != muster.CodeInvalid || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// TestTargetShared has one target for the same settings, and two for two.
func TestTargetShared(t *testing.T) {
	names := map[string]bool{}
	for _, region := range []string{"a", "a", "b"} {
		c := examples()["aws-asg"]
		c.Group["aws_region"] = region
		target, _, err := targetOf(c, autoscaler.Settings{})
		if err != nil {
			t.Fatal(err)
		}
		names[target.Name] = true
	}
	if len(names) != 2 {
		t.Errorf("targets %v, want two", names)
	}
	c := examples()["gce-mig"]
	c.Group = map[string]string{"a b": "c"}
	if _, _, err := targetOf(c, autoscaler.Settings{}); muster.CodeOf(err) != muster.CodeInvalid {
		t.Errorf("a key that cannot be: %v", err)
	}
}
