package cli

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster/jobfile"
)

// TestReference holds that docs/cli.md names every command and every flag; those
// of the server stand in its help.
func TestReference(t *testing.T) {
	text, err := os.ReadFile("../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	var walk func(path string, commands []*cli.Command)
	walk = func(path string, commands []*cli.Command) {
		for _, c := range commands {
			if c.Hidden {
				continue
			}
			line := path + " " + c.Name
			if !strings.Contains(string(text), "`"+line) {
				t.Errorf("docs/cli.md does not name %s", line)
			}
			for _, f := range c.Flags {
				if name := "--" + f.Names()[0]; c.Name != "server" && !strings.Contains(string(text), name) {
					t.Errorf("docs/cli.md does not name %s of %s", name, line)
				}
			}
			walk(line, c.Subcommands)
		}
	}
	walk("muster", newApp(Streams{}).Commands)
}

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
