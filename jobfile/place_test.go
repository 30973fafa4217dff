package jobfile

import (
	"strings"
	"testing"
)

func TestPlace(t *testing.T) {
	const text = "command: a\ncompute: azureml:gpu\nenvironment:\n  image: b\nx-muster:\n  resources: {memory: 1Gi}\n"
	job, err := Read(strings.NewReader(text), "job.yml", map[string]string{"display_name": "x"})
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"compute": "job.yml:2:10", "environment": "job.yml:4:3", "environment.image": "job.yml:4:10",
		"display_name": "--set display_name", "tier": "", "compute.more": "",
		"spec.compute": "job.yml:2:10", "spec.groups[0].resources.memory_mib": "job.yml:6:23", "spec.groups[0].resources.gpus": "", "spec.groups[0].resources": "job.yml:6:14",
	} {
		if got := job.Place(field); got != want {
			t.Errorf("%s stands at %q, want %q", field, got, want)
		}
	}
}
