package jobfile

import (
	"fmt"
	"strings"
)

// Place returns where the file says what stands at a field of the request, such
// as "job.yml:2:10" for "compute", or the --set that did; "" where nobody said
// it. It lets a refusal of the server point at the line that it is about.
func (j *Job) Place(field string) string {
	n := j.root
	for _, key := range strings.Split(field, ".") {
		if n == nil {
			return ""
		}
		if n = n.get(key); n == nil {
			return ""
		}
	}
	if place, ok := j.from.set[n]; ok {
		return "--set " + place
	}
	return fmt.Sprintf("%s:%d:%d", j.from.name, n.Line, n.Column)
}
