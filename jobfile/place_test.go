package jobfile

import (
	"strings"
	"testing"
)

func TestPlace(t *testing.T) {
	const text = "command: a\ncompute: azureml:gpu\nenvironment:\n  image: b\nx-muster:\n  resources: {memory: 1Gi}\n  alternatives: [a, b]\n"
	job, err := Read(strings.NewReader(text), "job.yml", map[string]string{"display_name": "x"})
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"compute": "job.yml:2:10", "environment": "job.yml:4:3", "environment.image": "job.yml:4:10",
		"display_name": "--set display_name", "tier": "", "compute.more": "",
		"spec.compute": "job.yml:2:10", "spec.groups[0].resources.memory_mib": "job.yml:6:23", "spec.groups[0].resources.gpus": "", "spec.groups[0].resources": "job.yml:6:14",
		"alternatives[1]": "job.yml:7:21", "alternatives": "job.yml:7:17",
	} {
		if got := job.Place(field); got != want {
			t.Errorf("%s stands at %q, want %q", field, got, want)
		}
	}
}

// TestPlaceOfCluster finds what a request for a cluster has in its file.
func TestPlaceOfCluster(t *testing.T) {
	const text = `name: a
min_instances: 3
idle_time_before_scale_down: 5
x-muster:
  provider: aws-asg
  group: {aws_asg_name: b}
  workspaces: [c, d]
  setup: {command: e, timeout: 6}
  health:
    free_disk: 1Gi
    checks:
      - {name: f, command: g}
      - {name: h, command: i, timeout: 7}
`
	c, err := ReadCompute(strings.NewReader(text), "c.yml")
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"min": "c.yml:2:16", "max": "", "idle_seconds": "c.yml:3:30", "size": "", "provider": "c.yml:5:13", "group.aws_asg_name": "c.yml:6:25", "group.aws_region": "",
		"workspaces[1]": "c.yml:7:19", "setup.timeout_seconds": "c.yml:8:32", "health.free_disk_mib": "c.yml:10:16", "health.checks[1].timeout_seconds": "c.yml:13:40", "health.checks[0].command": "c.yml:12:28",
	} {
		if got := c.Place(field); got != want {
			t.Errorf("%s stands at %q, want %q", field, got, want)
		}
	}
}
