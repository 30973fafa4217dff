package jobfile

import (
	"fmt"
	"strings"
)

// keys are where the file says what a request has at another place; each holds
// for what is below it, too. What is not here is called alike in both.
var keys = []struct{ field, key string }{
	{"groups[0].resources.memory_mib", "x-muster.resources.memory"},
	{"groups[0].resources", "x-muster.resources"},
	{"groups[0].count", "resources.instance_count"},
	{"container.docker_args", "resources.docker_args"},
	{"container.shm_mib", "resources.shm_size"},
	{"alternatives", "x-muster.alternatives"},
	{"checkpoint_command", "x-muster.checkpoint_command"},
	{"grace", "x-muster.grace"},
	{"max_evictions", "x-muster.max_evictions"},
	{"retries", "x-muster.retries"},
	{"timeout", "limits.timeout"},
	{"tier", "queue_settings.job_tier"},
	{"experiment", "experiment_name"},
	{"parent", "parent_job_name"},
}

// Key returns where a job file says what stands at a field of the request:
// compute for spec.compute.
func Key(field string) string {
	field = strings.TrimPrefix(field, "spec.")
	for _, k := range keys {
		if rest, ok := strings.CutPrefix(field, k.field); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return k.key + rest
		}
	}
	return field
}

// Place returns where the file says what stands at a field of the request, such
// as "job.yml:2:10" for "spec.compute", or the --set that did; "" where nobody
// said it. It lets a refusal of the server point at the line that it is about.
func (j *Job) Place(field string) string {
	n := j.root
	for _, key := range strings.Split(Key(field), ".") {
		if n == nil {
			return ""
		}
		key, _, _ = strings.Cut(key, "[") // a list stands for its members
		if n = n.get(key); n == nil {
			return ""
		}
	}
	if place, ok := j.from.set[n]; ok {
		return "--set " + place
	}
	return fmt.Sprintf("%s:%d:%d", j.from.name, n.Line, n.Column)
}
