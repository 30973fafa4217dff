package cli

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/muster-ml/muster/jobfile"
)

// TestJobFileDocs reads the example in docs/job-file.md as a job file.
func TestJobFileDocs(t *testing.T) {
	text, err := os.ReadFile("../docs/job-file.md")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(text)
	job, err := jobfile.Read(strings.NewReader(string(example[1])), iris, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(job.Request.Spec.Warnings) > 0 || job.Request.Spec.Retries != 1 {
		t.Errorf("read %+v", job.Request)
	}
}
