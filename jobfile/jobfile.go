// Package jobfile reads job files, Azure ML's YAML for now, into requests for
// runs. Every error names the place in the file.
package jobfile

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/muster-ml/muster"
)

// MaxSize is the largest job file, in bytes.
const MaxSize = 1 << 20

// Job is a job file that was read. What it names on this machine must be
// uploaded, and the uploads named in Request.Spec, before the run is created.
type Job struct {
	Request muster.RunRequest
	Code    string            // the local folder or file with the code; "" for none
	Uploads map[string]string // local files and folders by the name of the input
	Written
}

// Read reads a job file. name is its path: local paths in it are relative to
// its folder; "-" stands for a file without one. set holds values by their
// place, such as inputs.x, which take the place of the file's own.
func Read(r io.Reader, name string, set map[string]string) (*Job, error) {
	f := &file{content: aJob, name: name, dir: filepath.Dir(name), set: map[any]string{}}
	if name == "-" {
		f.name, f.dir = "stdin", "."
	}
	text, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read the job file: %w", err)
	}
	j, err := f.read(text, set)
	if err != nil {
		return nil, err
	}
	if j.Request.Experiment == "" {
		if folder, err := filepath.Abs(f.dir); err == nil {
			j.Request.Experiment = muster.FitName(filepath.Base(folder))
		}
	}
	return j, nil
}

// ReadSent reads the text of a job file that came without the files beside it:
// it may name what was uploaded, and nothing on a machine.
func ReadSent(text []byte) (*muster.RunRequest, error) {
	f := &file{content: aJob, name: "job", set: map[any]string{}, sent: true}
	j, err := f.read(text, nil)
	if err != nil {
		return nil, err
	}
	return &j.Request, nil
}

// read reads the file's text.
func (f *file) read(text []byte, set map[string]string) (*Job, error) {
	root, err := f.parse(text)
	if err != nil {
		return nil, err
	}
	if err := f.apply(root, set); err != nil {
		return nil, err
	}
	if err := f.checkKind(root); err != nil {
		return nil, err
	}
	j := &job{file: f, Job: Job{Uploads: map[string]string{}, Written: Written{f, root}}}
	if err := j.read(root); err != nil {
		return nil, err
	}
	return &j.Job, nil
}

// later lists what other kinds of files have, by a key that tells them.
var later = []struct{ key, kind string }{
	{"jobs", "pipeline"}, {"trial", "sweep"}, {"search_space", "sweep"}, {"sampling_algorithm", "sweep"}, {"task", "parallel or automl"},
	{"create_job", "schedule"}, {"trigger", "schedule"}, {"entry", "spark"}, {"component", "pipeline"}, {"min_instances", "compute"},
	{"is_deterministic", "component"}, {"endpoint_name", "deployment"},
}

// kinds lists the types of Azure ML's files that are not jobs of one command.
var kinds = []string{"sweep", "pipeline", "parallel", "spark", "automl", "import", "data_transfer", "schedule", "amlcompute", "component", "finetuning"}

// checkKind refuses what is not a command job, before its keys are called
// unknown.
func (f *file) checkKind(root *node) error {
	const cure = "only command jobs run in this version"
	if kind := root.get("type"); kind != nil {
		switch word := kind.Value; {
		case kind.null() || word == "command":
			return nil
		case strings.Contains(strings.Join(kinds, " ")+" ", word+" ") && word != "":
			return f.errorf(kind, "type", "jobs of type %s come later", word).WithCure(cure)
		default:
			return f.errorf(kind, "type", "%q is not a type of job", word).WithCure("%s", nearest(word, append(kinds, "command"), "write type: command"))
		}
	}
	if schema := root.get("$schema"); schema != nil {
		base := schema.Value[strings.LastIndex(schema.Value, "/")+1:]
		if kind, ok := strings.CutSuffix(base, ".schema.json"); ok && !strings.EqualFold(kind, "commandJob") {
			return f.errorf(schema, "$schema", "files of the schema %s come later", kind).WithCure(cure)
		}
	}
	for _, l := range later {
		if n := root.key(l.key); n != nil && root.get("command") == nil {
			return f.errorf(n, l.key, "%s belongs to a %s, which comes later", l.key, l.kind).WithCure(cure)
		}
	}
	return nil
}
