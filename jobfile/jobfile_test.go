package jobfile_test

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/jobfile"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestGoodFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.*")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, ".golden") {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			r, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			job, err := jobfile.Read(r, file, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(job, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden := file + ".golden"
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if string(want) != string(got)+"\n" {
				t.Errorf("got %s\nwant %s", got, want)
			}
			checkRunnable(t, job)
		})
	}
}

// checkRunnable puts made-up uploads into a job and lets the dictionary judge.
func checkRunnable(t *testing.T, job *jobfile.Job) {
	t.Helper()
	for name := range job.Uploads {
		in := job.Request.Spec.Inputs[name]
		in.Ref = muster.UploadRef(strings.Repeat("a", 64))
		job.Request.Spec.Inputs[name] = in
	}
	job.Request.Complete()
	if err := job.Request.Validate(); err != nil {
		t.Errorf("the dictionary refuses what was read: %v", err)
	}
}

// read reads a text as testdata/good/job.yml.
func read(text string, set map[string]string) (*jobfile.Job, error) {
	return jobfile.Read(strings.NewReader(text), "testdata/good/job.yml", set)
}

func TestSet(t *testing.T) {
	const text = "command: echo ${{inputs.x}} ${{inputs.data}}\ninputs:\n  x: 1\n  data: {path: src}\ntags: {a: b}\n"
	job, err := read(text, map[string]string{"inputs.x": "1e-3", "inputs.data": "data/iris.csv", "name": "run-7", "limits.timeout": "60", "tags.k.l": "v",
		"x-muster.resources.cpus": "2", "environment_variables.A": "yes", "display_name": "a: b"})
	if err != nil {
		t.Fatal(err)
	}
	r := job.Request
	if *r.Spec.Inputs["x"].Literal != "1e-3" || job.Uploads["data"] != "testdata/good/data/iris.csv" || r.Spec.Inputs["data"].Type != muster.TypeURIFile {
		t.Errorf("inputs are %+v %v", r.Spec.Inputs, job.Uploads)
	}
	if r.Name != "run-7" || r.Spec.Timeout != muster.Seconds(60) || r.Tags["k.l"] != "v" || r.Tags["a"] != "b" || r.DisplayName != "a: b" {
		t.Errorf("got %+v", r)
	}
	if r.Spec.Groups[0].Ask.Cores != muster.Whole(2) || r.Spec.Variables["A"] != "yes" {
		t.Errorf("got %+v", r.Spec)
	}
}

// TestSetList sets a list in the place of another, or of none.
func TestSetList(t *testing.T) {
	for _, text := range []string{"command: a\n", "command: a\nx-muster: {alternatives: [x, y]}\n", "command: a\nx-muster:\n  alternatives: x\n"} {
		for value, want := range map[string][]string{"b": {"b"}, "b,c": {"b", "c"}, "[b, c]": {"b", "c"}, "": nil} {
			job, err := read(text, map[string]string{"x-muster.alternatives": value})
			if err != nil || !slices.Equal(job.Request.Spec.Alternatives, want) {
				t.Errorf("%s--set x-muster.alternatives=%s: %v", text, value, err)
				continue
			}
			if at := job.Place("alternatives[0]"); at != "--set x-muster.alternatives" {
				t.Errorf("it stands at %q", at)
			}
		}
	}
}

func TestSetRefuses(t *testing.T) {
	const text = "command: echo ${{inputs.rate}}\ninputs:\n  rate: 1\n  data: {type: uri_folder, path: src}\n  word: {value: a}\nresources: {instance_count: 1}\n"
	for place, want := range map[string]string{
		"inputs.rat=2":                 "--set inputs.rat: the job has no input rat: did you mean rate?",
		"outputs.model=2":              "--set outputs.model: the job has no output model: it has none",
		"lmits.timeout=3":              "--set lmits.timeout: there is no key lmits: did you mean limits?",
		"limits.timout=3":              "--set limits.timout: there is no key limits.timout: did you mean timeout?",
		"limits.timeout=soon":          `--set limits.timeout: limits.timeout is a whole number from 1 to 604800, and this is "soon"`,
		"resources=3":                  "--set resources: a mapping stands there, not a single value: name a place below it: instance_count",
		"inputs.rate.x=3":              "--set inputs.rate.x: inputs.rate is a single value and has nothing below it",
		"inputs.data=none.csv":         "--set inputs.data: none.csv does not exist: paths are relative to the job file: testdata/good/none.csv was looked for",
		"inputs.data.type=uri_fodler":  `--set inputs.data.type: "uri_fodler" is not a type of data: did you mean uri_folder?`,
		"name=a b":                     `--set name: "a b" is not a name for a run: use 1 to 64 of letters, digits, '_' and '-', and begin with a letter or digit, such as a-b`,
		"inputs..x=1":                  "--set inputs..x: this is not a place: write it like inputs.x=1",
		"=1":                           "--set : this is not a place: write it like inputs.x=1",
		"command=echo ${{inputs.rte}}": "--set command: the command uses ${{inputs.rte}}, and there is no input rte: did you mean inputs.rate?",
	} {
		key, value, _ := strings.Cut(place, "=")
		_, err := read(text, map[string]string{key: value})
		if err == nil || err.Error() != want {
			t.Errorf("--set %s\n got %v\nwant %s", place, err, want)
		}
	}
}

// at is where read's file lies, in errors.
const at = "testdata/good/job.yml:"

func TestBadFiles(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "1:1: the file is empty: a job file needs at least a command"},
		{"# nothing\n", "1:1: the file is empty: a job file needs at least a command"},
		{"---\n", "1:1: the file is empty: a job file needs at least a command"},
		{"hello", "1:1: a job file is a mapping of keys to values, and this is a single value: begin with command: …"},
		{"- a\n- b", "1:1: a job file is a mapping of keys to values, and this is a list: begin with command: …"},
		{"command: a\n---\ncommand: b\n", "2:1: a second document begins here: write one job a file"},
		{"command: a\ncommand: b\n", "2:1: command stands here a second time, after line 1: take one out"},
		{"command: a\ninputs:\n  x: 1\n  x: 2\n", "4:3: inputs.x stands here a second time, after line 3: take one out"},
		{"command: a\ninputs:\n\tx: 1\n", "3:1: a tab stands here: YAML is indented with spaces"},
		{"command: a\n  inputs: b: c\n", "2:3: this is not YAML: mapping values are not allowed in this context"},
		{"command: [a\n", "2:1: this is not YAML: did not find expected ',' or ']'"},
		{"command: \"a\n", "2:1: this is not YAML: found unexpected end of stream"},
		{"command: \x01\n", "1:10: a character that is not text: job files are YAML or JSON in UTF-8"},
		{"command: é\xff\n", "1:11: a character that is not text: job files are YAML or JSON in UTF-8"},
		{"command: *nowhere\n", "1:1: this is not YAML: unknown anchor 'nowhere' referenced"},
		{"command: a\n<<: {name: b}\n", "2:1: merge keys are not read: write the keys out"},
		{"tags: &a {b: c}\nproperties:\n  <<: *a\ncommand: a\n", "3:3: merge keys are not read: write the keys out"},
		{"? [a]\n: b\n", "1:3: a key is a list: write a word"},
		{strings.Repeat("#", 10<<20), "1:1: the file is larger than 1048576 bytes: a job file names data and programs, it does not hold them"},
		{"comand: python train.py\n", "1:1: there is no key comand: did you mean command?"},
		{"command: a\nzzzzzz: 1\n", "2:1: there is no key zzzzzz: use one of $schema, code, command, compute, description, display_name, distribution, environment, environment_variables, experiment_name, identity, inputs, limits, name, outputs, parent_job_name, properties, queue_settings, resources, services, tags, type, x-muster"},
		{"name: x\n", "1:1: the job has no command: say what to execute: command: python train.py"},
		{"command: \"  \"\n", "1:10: the job has no command: say what to execute: command: python train.py"},
		{"command: [a, b]\n", "1:10: command is a single value, and this is a list"},
		{"command: a\nname: \"\"\n", `2:7: "" is not a name for a run: use 1 to 64 of letters, digits, '_' and '-', and begin with a letter or digit`},
		{"command: a\nname: -a\n", `2:7: "-a" is not a name for a run: use 1 to 64 of letters, digits, '_' and '-', and begin with a letter or digit, such as a`},
		{"command: a\nexperiment_name: my experiment\n", `2:18: "my experiment" is not a name for an experiment: use 1 to 64 of letters, digits, '_' and '-', and begin with a letter or digit, such as my-experiment`},
		{"type: sweep\n", "1:7: jobs of type sweep come later: only command jobs run in this version"},
		{"type: comand\n", `1:7: "comand" is not a type of job: did you mean command?`},
		{"$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json\njobs: {}\n", "1:10: files of the schema pipelineJob come later: only command jobs run in this version"},
		{"display_name: a\njobs:\n  one: {}\n", "2:1: jobs belongs to a pipeline, which comes later: only command jobs run in this version"},
		{"trial: {}\n", "1:1: trial belongs to a sweep, which comes later: only command jobs run in this version"},
		{"command: a\ncode: none\n", "2:7: none does not exist: paths are relative to the job file: testdata/good/none was looked for"},
		{"command: a\ncode: git+https://example.org/a.git\n", "2:7: code from git+https: comes later: use a local folder"},
		{"command: a\ncode: azureml:code:1\n", "2:7: code from azureml: comes later: use a local folder"},
		{"command: echo ${{inputs.lr}}\ninputs:\n  learning_rate: 1\n  lrs: 2\n", "1:15: the command uses ${{inputs.lr}}, and there is no input lr: did you mean inputs.lrs?"},
		{"command: |\n  echo ${{inputs.a}} é ${{inputs.a}}\n  echo ${{inputs.b}}\ninputs: {a: 1}\n", "3:8: the command uses ${{inputs.b}}, and there is no input b: did you mean inputs.a?"},
		{"command: echo ${{outputs.model}}\n", "1:15: the command uses ${{outputs.model}}, and there is no output model: name it under outputs"},
		{"command: echo ${{search_space.x}}\n", "1:15: the command uses ${{search_space.x}}, which belongs to another kind of job that comes later"},
		{"command: echo ${{input.x}}\ninputs: {x: 1}\n", "1:15: the command uses ${{input.x}}, which stands for nothing: did you mean inputs.x?"},
		{"command: echo ${{}}\n", "1:15: the command uses ${{}}, which stands for nothing: write ${{inputs.NAME}} or ${{outputs.NAME}}"},
		{"command: a\ninputs: 3\n", "2:9: inputs is a mapping, and this is a single value: write its keys on lines of their own, indented"},
		{"command: a\ninputs:\n  x:\n", "3:5: input x has no value: write a value, or path: with what to bring"},
		{"command: a\ninputs:\n  x: [1]\n", "3:6: input x is a value or a mapping, and this is a list"},
		{"command: a\ninputs:\n  a b: 1\n", `3:3: "a b" is not a name of an input: use letters, digits, '_' and '-', and begin with a letter or '_'`},
		{"command: a\ninputs:\n  x: {type: uri_file}\n", "3:6: input x has neither a value nor a path: write path: with a local path or an http(s) URL"},
		{"command: a\ninputs:\n  x: {path: src, tpye: uri_file}\n", "3:18: there is no key inputs.x.tpye: did you mean type?"},
		{"command: a\ninputs:\n  x: {type: uri_fil, path: src}\n", `3:13: "uri_fil" is not a type of data: did you mean uri_file?`},
		{"command: a\ninputs:\n  x: {type: mltable, path: src}\n", "3:13: data of type mltable comes later: use uri_file or uri_folder"},
		{"command: a\ninputs:\n  x: {type: number, path: src}\n", "3:13: a number is not brought by a path: write the value itself behind the name of the input"},
		{"command: a\ninputs:\n  x: {type: uri_file, path: src}\n", "3:13: src is a folder, and its type is uri_file: write type: uri_folder"},
		{"command: a\ninputs:\n  x: {type: uri_folder, path: data/iris.csv}\n", "3:13: data/iris.csv is a file, and its type is uri_folder: write type: uri_file"},
		{"command: a\ninputs:\n  x: {path: azureml:iris@latest}\n", "3:13: data from azureml: comes later: use a local path or an http(s) URL"},
		{"command: a\ninputs:\n  x: {path: azureml://datastores/d/paths/p}\n", "3:13: data from azureml: comes later: use a local path or an http(s) URL"},
		{"command: a\ninputs:\n  x: {path: wasbs://a@b/c}\n", "3:13: data from wasbs: comes later: use a local path or an http(s) URL"},
		{"command: a\ninputs:\n  x: {path: src, mode: eval_mount}\n", "3:24: mode eval_mount comes later: use ro_mount or download"},
		{"command: a\ninputs:\n  x: {path: src, mode: downlaod}\n", `3:24: inputs.x.mode is one of direct, download, ro_mount, and this is "downlaod": did you mean download?`},
		{"command: a\noutputs:\n  x: {type: mlflow_model}\n", "3:13: data of type mlflow_model comes later: use uri_file or uri_folder"},
		{"command: a\noutputs:\n  x: ./here\n", "3:6: outputs.x is a mapping, and this is a single value: write its keys on lines of their own, indented"},
		{"command: a\nenvironment_variables:\n  1A: x\n", `3:3: "1A" is not a name of an environment variable: use letters, digits and '_', and no digit first`},
		{"command: a\nenvironment: {name: x}\n", "2:14: the environment names no image: write image: under environment, or environment: azureml:NAME@latest"},
		{"command: a\nenvironment: {build: {path: .}}\n", "2:22: environment.build comes later: name an image, or leave environment out to use what is on the node"},
		{"command: a\nenvironment: file:./env.yml\n", "2:14: environments in files of their own come later: write environment: azureml:NAME@latest, or image: under environment"},
		{"command: a\ncompute: ${{parent.inputs.c}}\n", `2:10: "${{parent.inputs.c}}" is not a name for a cluster: use 1 to 64 of letters, digits, '_' and '-', and begin with a letter or digit, such as parent-inputs-c`},
		{"command: a\ndistribution: {type: mpi}\n", "2:15: distribution comes later: leave it out and start the processes in the command, or run on one instance"},
		{"command: a\nresources: {instance_count: 0}\n", `2:29: resources.instance_count is a whole number from 1 to 10000, and this is "0"`},
		{"command: a\nresources: {instance_cuont: 1}\n", "2:13: there is no key resources.instance_cuont: did you mean instance_count?"},
		{"command: a\nlimits: {timeout: 1.5}\n", `2:19: limits.timeout is a whole number from 1 to 604800, and this is "1.5"`},
		{"command: a\nqueue_settings: {job_tier: cheap}\n", `2:28: queue_settings.job_tier is one of basic, null, premium, spot, standard, and this is "cheap": use one of these`},
		{"command: a\nqueue_settings: {priority: hihg}\n", `2:28: queue_settings.priority is one of high, low, medium, and this is "hihg": did you mean high?`},
		{"command: a\nx-muster: {resources: {cpus: -1}}\n", `2:30: x-muster.resources.cpus is a number from 0.001 to 1000000, and this is "-1"`},
		{"command: a\nx-muster: {resources: {cpus: .nan}}\n", `2:30: x-muster.resources.cpus is a number from 0.001 to 1000000, and this is ".nan"`},
		{"command: a\nx-muster: {resources: {cpus: 1e30}}\n", `2:30: x-muster.resources.cpus is a number from 0.001 to 1000000, and this is "1e30"`},
		{"command: a\nx-muster: {resources: {memory: 2 elephants}}\n", `2:32: x-muster.resources.memory is an amount of memory from 16Mi to 1024Ti, and this is "2 elephants": write it like 512Mi, 2Gi or 2GB; a number alone counts GiB`},
		{"command: a\nx-muster: {retries: many}\n", `2:21: x-muster.retries is a whole number from 0 to 100, and this is "many"`},
		{"command: a\nx-muster: {alternatives: [a, {b: c}]}\n", "2:30: x-muster.alternatives[1] is a single value, and this is a mapping"},
		{"command: a\nx-muster: {max_evictions: 0}\n", `2:27: x-muster.max_evictions is a whole number from 1 to 1000, and this is "0"`},
		{"command: a\ntags: {a: {b: c}}\n", "2:11: tags.a is a single value, and this is a mapping"},
	} {
		_, err := read(c.text, nil)
		if err == nil || err.Error() != at+c.want {
			t.Errorf("%.60q\n got %v\nwant %s%s", c.text, err, at, c.want)
		}
		if muster.CodeOf(err) != muster.CodeInvalid {
			t.Errorf("%.60q: code %s", c.text, muster.CodeOf(err))
		}
	}
}

func TestMemory(t *testing.T) {
	for text, want := range map[string]int64{"2": 2048, "0.5": 512, "512Mi": 512, "2Gi": 2048, "2 GiB": 2048, "2GB": 1908, "1T": 953675, "20000k": 20, "16.1MiB": 17} {
		job, err := read("command: a\nx-muster: {resources: {memory: "+text+"}}\n", nil)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := job.Request.Spec.Groups[0].Ask.MiB; got != muster.Whole(want) {
			t.Errorf("%s: %s MiB, want %d", text, got, want)
		}
	}
}

// TestNotOnThisNode reads what is said about other clusters, lost nodes and parts
// of devices.
func TestNotOnThisNode(t *testing.T) {
	job, err := read("command: a\ncompute: azureml:cheap\nx-muster: {alternatives: [dear, dearer], max_evictions: 7, resources: {gpus: 0.5}}\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	s := job.Request.Spec
	if s.Compute != "cheap" || !slices.Equal(s.Alternatives, []string{"dear", "dearer"}) || s.Evictions != 7 || s.Groups[0].Ask.Share() != 2 {
		t.Errorf("read as %+v, %+v", s, s.Groups[0].Ask)
	}
}

func TestExperimentIsTheFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "my first (try)")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	job, err := jobfile.Read(strings.NewReader("command: a"), filepath.Join(dir, "job.yml"), nil)
	if err != nil || job.Request.Experiment != "my-first-try" {
		t.Errorf("%v %v", job, err)
	}
	if job, err = jobfile.Read(strings.NewReader("command: a"), "-", nil); err != nil || job.Request.Experiment != "jobfile" {
		t.Errorf("%v %v", job, err)
	}
	if _, err = jobfile.Read(strings.NewReader("comand: a"), "-", nil); err == nil || !strings.HasPrefix(err.Error(), "stdin:1:1: ") {
		t.Errorf("from standard input: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/good/*.yml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), "inputs.x", "1")
	}
	f.Add("a: &a [*a]\n", "a.b", "{")
	f.Add("inputs: &i\n  x: *i\ncommand: a", "inputs.x.x", "y")
	f.Fuzz(func(t *testing.T, text, place, value string) {
		_, err := jobfile.Read(strings.NewReader(text), "-", map[string]string{place: value})
		if e, ok := errors.AsType[*muster.Error](err); err != nil && (!ok || e.Code != muster.CodeInvalid || e.Message == "") {
			t.Errorf("not an error for the user: %v", err)
		}
	})
}

// TestReference holds that docs/job-file.md names every key.
func TestReference(t *testing.T) {
	text, err := os.ReadFile("../docs/job-file.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{"%s", "resources: {%s}", "limits: {%s}", "queue_settings: {%s}", "x-muster: {%s}", "x-muster: {resources: {%s}}"} {
		_, err := read(strings.Replace(place, "%s", "zzzzzzzzzzzz: 1", 1), nil)
		e, ok := errors.AsType[*muster.Error](err)
		keys, found := strings.CutPrefix(e.Cure, "use one of ")
		if !ok || !found {
			t.Fatalf("%s: %v", place, err)
		}
		for key := range strings.SplitSeq(keys, ", ") {
			if !regexp.MustCompile("[`.]" + regexp.QuoteMeta(key) + "[`.]").Match(text) {
				t.Errorf("docs/job-file.md does not name %s of %s", key, place)
			}
		}
	}
}
