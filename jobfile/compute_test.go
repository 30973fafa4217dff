package jobfile

import (
	"strings"
	"testing"

	"github.com/muster-ml/muster"
)

// TestCompute reads Azure ML's own example, and what Muster adds.
func TestCompute(t *testing.T) {
	c, err := ReadCompute(strings.NewReader(`$schema: https://azuremlschemas.azureedge.net/latest/amlCompute.schema.json
name: low-pri-example
type: amlcompute
size: STANDARD_DS3_v2
min_instances: 0
max_instances: 2
idle_time_before_scale_down: 120
tier: low_priority
location: eastus
x-muster: {provider: aws-asg, group: {aws_asg_name: ds3}, workspaces: [vision]}
`), "compute.yml")
	if err != nil {
		t.Fatal(err)
	}
	q := c.Request
	if q.Name != "low-pri-example" || q.Size != "STANDARD_DS3_v2" || q.Min != 0 || q.Max != 2 || q.Idle != muster.Seconds(120) || q.Tier != muster.TierLowPriority ||
		q.Provider != muster.ProviderAWS || q.Group["aws_asg_name"] != "ds3" || q.Workspaces[0] != "vision" {
		t.Errorf("read as %+v", q)
	}
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "location means nothing here") {
		t.Errorf("warnings %q", c.Warnings)
	}
}

// TestBadCompute holds that errors name the place and the cure.
func TestBadCompute(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "c.yml:1:1: the file is empty: a cluster file needs at least a name",
		"gpu":                            "c.yml:1:1: a cluster file is a mapping of keys to values, and this is a single value: begin with name: …",
		"name: a\n---\nname: b\n":        "c.yml:2:1: a second document begins here: write one cluster a file",
		"name: \x01\n":                   "c.yml:1:7: a character that is not text: cluster files are YAML or JSON in UTF-8",
		strings.Repeat("#", 2*MaxSize):   "c.yml:1:1: the file is larger than 1048576 bytes: a cluster file names data and programs, it does not hold them",
		"name: a\ntype: kubernetes\n":    `c.yml:2:7: type is "kubernetes": clusters are of type amlcompute`,
		"name: a\nmin_instance: 1\n":     "c.yml:2:1: there is no key min_instance: did you mean min_instances?",
		"name: a\nmax_instances: many\n": `c.yml:2:16: max_instances is a whole number from 1 to 10000, and this is "many"`,
		"type: amlcompute\n":             "c.yml:1:1: the cluster has no name: say how it is called: name: gpu",
		"name: a\ntier: spot\n":          `c.yml:2:7: tier is one of dedicated, low_priority, lowpriority, and this is "spot": use one of these`,
		"name: a\nx-muster: {workspaces: {a: b}}\n":  "c.yml:2:24: x-muster.workspaces[0] is a single value, and this is a mapping",
		"name: a\nidle_time_before_scale_down: -1\n": `c.yml:2:30: idle_time_before_scale_down is a whole number from 1 to 604800, and this is "-1"`,
	} {
		if _, err := ReadCompute(strings.NewReader(text), "c.yml"); err == nil || err.Error() != want {
			t.Errorf("%q\n got %v\nwant %s", text, err, want)
		}
	}
}
