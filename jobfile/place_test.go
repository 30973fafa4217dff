package jobfile

import (
	"strings"
	"testing"
)

func TestPlace(t *testing.T) {
	const text = "command: a\ncompute: azureml:gpu\nenvironment:\n  image: b\n"
	job, err := Read(strings.NewReader(text), "job.yml", map[string]string{"display_name": "x"})
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"compute": "job.yml:2:10", "environment": "job.yml:4:3", "environment.image": "job.yml:4:10",
		"display_name": "--set display_name", "tier": "", "compute.more": "",
	} {
		if got := job.Place(field); got != want {
			t.Errorf("%s stands at %q, want %q", field, got, want)
		}
	}
}
