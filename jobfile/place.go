package jobfile

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// renamed is where a file says what a request has at another place; it holds for
// what is below it, too.
type renamed struct{ field, key string }

// jobKeys are those of a job. What is not here is called alike in both.
var jobKeys = []renamed{
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

// clusterKeys are those of a cluster.
var clusterKeys = []renamed{
	{"min", "min_instances"},
	{"max", "max_instances"},
	{"idle_seconds", "idle_time_before_scale_down"},
	{"setup.timeout_seconds", "x-muster.setup.timeout"},
	{"health.clock_seconds", "x-muster.health.clock"},
	{"health.free_disk_mib", "x-muster.health.free_disk"},
	{"setup", "x-muster.setup"},
	{"health", "x-muster.health"},
	{"provider", "x-muster.provider"},
	{"group", "x-muster.group"},
	{"workspaces", "x-muster.workspaces"},
	{"node_pool", "x-muster.node_pool"},
	{"run_as", "x-muster.run_as"},
	{"os", "x-muster.os"},
	{"on_shrink", "x-muster.on_shrink"},
}

// Written is what a file says, and where: it lets a refusal of the server point at
// the line that it is about.
type Written struct {
	from *file
	root *node
}

// Key returns where such a file says what stands at a field of the request: compute
// for spec.compute.
func (w *Written) Key(field string) string {
	field = strings.TrimPrefix(field, "spec.")
	for _, k := range w.from.keys {
		if rest, ok := strings.CutPrefix(field, k.field); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return k.key + rest
		}
	}
	return field
}

// Place returns where the file says what stands at a field of the request, such
// as "job.yml:2:10" for "spec.compute", or the --set that did; "" where nobody
// said it.
func (w *Written) Place(field string) string {
	n := w.root
	for _, key := range strings.Split(w.Key(field), ".") {
		if n == nil {
			return ""
		}
		key, index, _ := strings.Cut(key, "[")
		if n = cmp.Or(n.get(key), n.get(strings.TrimSuffix(key, "_seconds"))); n != nil {
			n = n.member(strings.TrimSuffix(index, "]"))
		}
	}
	if n == nil {
		return ""
	}
	if place, ok := w.from.set[n]; ok {
		return "--set " + place
	}
	return fmt.Sprintf("%s:%d:%d", w.from.name, n.Line, n.Column)
}

// member returns the member of a list with that index; what is no list, or has no
// such member, stands for it.
func (n *node) member(index string) *node {
	i, err := strconv.Atoi(index)
	if err != nil || n.Kind != yaml.SequenceNode || i < 0 || i >= len(n.Content) {
		return n
	}
	return follow(n.Content[i])
}
