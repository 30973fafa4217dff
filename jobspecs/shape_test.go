package jobspecs

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/muster-ml/muster"
)

var update = flag.Bool("update", false, "write the golden files anew")

// shapes are the cases, by golden file.
func shapes() map[string]*Shape {
	agent := Agent{URL: "http://10.0.0.1:4750/agent/v1/binary/abc", SHA256: "abc", Servers: []string{"http://10.0.0.1:4750", "http://10.0.0.2:4750"},
		Consul: "muster-0a1b2c", Fence: 5 * time.Minute}
	size := muster.Allocatable{Cores: muster.Whole(4), Resources: muster.Resources{MHz: muster.Whole(8000), MiB: muster.Whole(16384), DiskMiB: muster.Whole(50000),
		Devices: []muster.Devices{{Vendor: "nvidia", Type: "gpu", Name: "H200", Count: muster.Whole(2)}}}}
	shape := func(g muster.Group) *Shape {
		return &Shape{Installation: "0a1b2c", Namespace: "ws-0a1b2c-default-12345678", NodePool: "gpu", Agent: agent,
			Groups: []Group{{Name: "main", Count: g.Count, Need: g.Need(size)}}}
	}
	contained := shape(muster.Group{Count: 1, Ask: &muster.Ask{Cores: muster.Whole(1), MiB: muster.Whole(1024), GPUs: muster.Whole(1)}})
	contained.Agent.Inside = "1000:1000"
	contained.Container = &muster.Container{Image: "registry.example/team/train:3", Registry: "registry.example", ShmMiB: muster.Whole(8192),
		Args: "--ipc=host --ulimit memlock=-1 --cap-add SYS_NICE --init -e A=b --add-host db:10.0.0.1 --pids-limit 100"}
	return map[string]*Shape{
		"container":      contained,
		"whole_node":     shape(muster.Group{Count: 1}),
		"part_of_a_node": shape(muster.Group{Count: 1, Ask: &muster.Ask{Cores: 500, MiB: muster.Whole(512)}}),
		"gang":           shape(muster.Group{Count: 3, Ask: &muster.Ask{Cores: muster.Whole(1), MiB: muster.Whole(1024)}}),
		"gpu_model":      shape(muster.Group{Count: 1, Ask: &muster.Ask{Cores: muster.Whole(1), MiB: muster.Whole(1024), GPUs: muster.Whole(1), GPUModel: "RTX A4000 (16G)"}}),
		"gpu_share":      shape(muster.Group{Count: 1, Ask: &muster.Ask{Cores: muster.Whole(1), MiB: muster.Whole(1024), GPUs: 500, GPUModel: "V100"}}),
		"gpu_any_model":  shape(muster.Group{Count: 1, Ask: &muster.Ask{Cores: muster.Whole(1), MiB: muster.Whole(1024), GPUs: muster.Whole(2)}}),
	}
}

func TestGolden(t *testing.T) {
	jobs := map[string]*api.Job{"node": (&NodeJob{Installation: "0a1b2c", Cluster: "cheap", NodePool: "muster-cheap", Agent: shapes()["gang"].Agent}).Job()}
	for name, s := range shapes() {
		jobs[name] = s.Job()
	}
	for name, job := range jobs {
		got, err := json.MarshalIndent(job, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name+".json")
		if *update {
			if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got)+"\n" != string(want) {
			t.Errorf("%s differs; look at it, then run go test ./jobspecs -update\n%s", file, got)
		}
	}
}

// TestIDs proves that equal shapes have one id and all others their own: a
// shape's id is all that tells Nomad's jobs apart.
func TestIDs(t *testing.T) {
	seen := map[string]string{}
	for name, s := range shapes() {
		if again := shapes()[name]; again.ID() != s.ID() {
			t.Errorf("%s has two ids: %s, %s", name, s.ID(), again.ID())
		}
		if other := seen[s.ID()]; other != "" {
			t.Errorf("%s and %s have one id", name, other)
		}
		seen[s.ID()] = name
		newer := *s
		newer.Agent.SHA256 = "def"
		if newer.ID() == s.ID() {
			t.Errorf("%s: another agent does not change the id", name)
		}
	}
}
