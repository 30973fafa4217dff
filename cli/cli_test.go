package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/muster-ml/muster"
)

func TestUsageErrors(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for line, want := range map[string]struct {
		code int
		text string
	}{
		"rnu list":                        {2, "there is no command \"muster rnu\"\n  did you mean run?"},
		"run lst":                         {2, "there is no command \"muster run lst\"\n  did you mean list?"},
		"run list --wrkspace x":           {2, "muster run list has no flag --wrkspace\n  did you mean --workspace?"},
		"run list --xxxxxxxxx":            {2, "there are --experiment, --parent, --state, --archived, --tree, --limit, --filter, --sort-by, --watch, --context, --ca-cert, --addr, --token, --workspace, --output"},
		"run list -z":                     {2, "has no flag -z"},
		"run list more":                   {2, "muster run list takes no argument, and got \"more\"\n  muster run list\n"},
		"run list --limit many":           {2, "muster: --limit: \"many\" is no number\n"},
		"run list --tree=maybe":           {2, "--tree takes no value, and got \"maybe\"\n  write --tree alone"},
		"run submit a.yml --cluster gpu":  {2, "muster run submit has no flag --cluster\n  the job file names its cluster: --set compute=gpu"},
		"run clone a --cluster=gpu":       {2, "--set compute=gpu"},
		"foo":                             {2, "there is no command \"muster foo\"\n  there are workspace, experiment, run"},
		"run list --limit":                {2, "--limit wants a value"},
		"run show":                        {2, "muster run show wants NAME"},
		"run show a b":                    {2, "muster run show takes 1 argument, and got 2"},
		"run show a --output xml":         {2, `--output is "xml"`},
		"run list --watch=often":          {2, `"often" is no time between looks`},
		"run list --filter nonsense":      {5, "no server is known"},
		"run list -w=":                    {2, "--workspace is empty\n  muster workspace list shows them, or leave it out"},
		"run list -e=":                    {2, "--experiment is empty"},
		"run list --sort-by=":             {2, "--sort-by is empty"},
		"run list --filter=":              {2, "--filter is empty\n  write it like state=failed"},
		"dev --data-dir=":                 {2, "--data-dir is empty\n  name the folder, or leave it out"},
		"server --data-dir=":              {2, "--data-dir is empty"},
		"server --nomad-addr foo:bar":     {2, "--nomad-addr (or NOMAD_ADDR) is \"foo:bar\", which is no URL of a Nomad agent\n  write it like http"},
		"server --nomad-addr http://":     {2, "which is no URL of a Nomad agent"},
		"run metrics a --attempt -1":      {5, "no server is known"},
		"run submit none.yml":             {2, "the job file cannot be read: open none.yml: no such file or directory"},
		"run submit - --set x":            {2, "--set x has no value"},
		"run logs a --stream all":         {5, "no server is known"},
		"cluster create a":                {2, "muster cluster create wants --node-pool"},
		"queue":                           {5, "no server is known\n  muster dev starts one here"},
		"queue --addr http://127.0.0.1:1": {5, "no Muster server answers at http://127.0.0.1:1"},
		"--addr nonsense queue":           {2, `"nonsense" is not the URL of a server`},
	} {
		o := try(t.Context(), "command: a", strings.Fields(line)...)
		if o.code != want.code || !strings.Contains(o.err, want.text) || !strings.HasPrefix(o.err, "muster: ") || o.out != "" {
			t.Errorf("muster %s: exit code %d, want %d\n got %s%s\nwant %s", line, o.code, want.code, o.out, o.err, want.text)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	for line, want := range map[string]string{
		"":                  "run machine-learning work on nodes that you own or rent",
		"--help":            "workspace",
		"run":               "what was asked to be executed",
		"run --help":        "wait until runs end",
		"run why --help":    "-o FORMAT, -w WORKSPACE, --context NAME",
		"help":              "workspace",
		"help run":          "what was asked to be executed",
		"run submit -h":     "FILE|- [FILE…] [--set inputs.x=1]",
		"run --help submit": "prints the runs' names",
		"version":           "muster " + muster.Version,
		"--version":         "muster " + muster.Version,
	} {
		if o := try(t.Context(), "", strings.Fields(line)...); o.code != 0 || !strings.Contains(o.out, want) || o.err != "" {
			t.Errorf("muster %s: exit code %d, lacks %q\n%s%s", line, o.code, want, o.out, o.err)
		}
	}
	for line := range leaves(newApp(Streams{})) {
		for _, help := range []string{"--help", "-h"} {
			o := try(t.Context(), "", append(strings.Fields(line), "one", help, "two")...)
			if o.code != 0 || !strings.Contains(o.out, "muster "+line+" - ") || o.err != "" {
				t.Errorf("muster %s one %s two: exit code %d\n%s%s", line, help, o.code, o.out, o.err)
			}
		}
	}
	o := try(t.Context(), "", "version", "-o", "json")
	var v struct{ Version string }
	if err := json.Unmarshal([]byte(o.out), &v); err != nil || v.Version != muster.Version {
		t.Errorf("%s: %v", o.out, err)
	}
}

// TestPrepare looks for the program of muster dev before anything starts.
func TestPrepare(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "beside"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"beside": filepath.Join(bin, "beside"), "sh": "/sh", "foo-none": "", "./foo-none": "", bin: ""} {
		cmd, err := prepare(bin, []string{name})
		if want == "" && muster.CodeOf(err) != muster.CodeInvalid || want != "" && (err != nil || !strings.HasSuffix(cmd.Path, want)) {
			t.Errorf("%s: %v %v", name, cmd, err)
		}
	}
}

func TestArrange(t *testing.T) {
	for line, want := range map[string]string{
		"run show x -w w -o json":            "-w w -o json run show -- x",
		"-o json run -w w list":              "-o json -w w run list",
		"-w w run list":                      "-w w run list",
		"run -f list":                        "",
		"run submit f --set a=1 --follow":    "run submit --set a=1 --follow -- f",
		"run submit --set=a=1 f --addr http": "--addr http run submit --set=a=1 -- f",
		"run show -- -w":                     "run show -- -w",
		"run submit -":                       "run submit -- -",
		"run show -1":                        "run show -- -1",
		"dev --ephemeral -- run --x list":    "dev --ephemeral -- run --x list",
		"run list -e=x --limit 3":            "run list -e=x --limit 3",
		"run submit f --wait --name -x":      "run submit --wait --name -x -- f",
	} {
		got, err := arrange(newApp(Streams{}), strings.Fields(line))
		if want == "" && err == nil || want != "" && strings.Join(got, " ") != want {
			t.Errorf("%s\n got %v %v\nwant %s", line, got, err, want)
		}
	}
}

// TestFiles finds address and token where muster dev writes them, and gives the
// token to no other server.
func TestFiles(t *testing.T) {
	p := open(t)
	home := t.TempDir()
	dir := filepath.Join(home, ".local", "share", "muster", "dev")
	p.must(os.MkdirAll(dir, 0o700))
	p.must(os.WriteFile(filepath.Join(dir, "addr"), []byte(p.url+"\n"), 0o600))
	p.must(os.WriteFile(filepath.Join(dir, "token"), []byte(testToken+"\n"), 0o600))
	t.Setenv("XDG_DATA_HOME", "")
	t.Setenv("HOME", home)
	if o := try(t.Context(), "", "queue"); o.code != 0 {
		t.Errorf("exit code %d: %s", o.code, o.err)
	}
	if o := try(t.Context(), "", "queue", "--addr", p.url+"/"); o.code != 0 {
		t.Errorf("the same server named: exit code %d: %s", o.code, o.err)
	}
	p.must(os.WriteFile(filepath.Join(dir, "addr"), []byte("http://127.0.0.1:1\n"), 0o600))
	if o := try(t.Context(), "", "queue", "--addr", p.url); o.code != 4 || !strings.Contains(o.err, "needs a token") {
		t.Errorf("another server: exit code %d: %s", o.code, o.err)
	}
	t.Setenv("MUSTER_ADDR", p.url)
	t.Setenv("MUSTER_TOKEN", "wrong")
	if o := try(t.Context(), "", "queue"); o.code != 4 || !strings.Contains(o.err, "this token is not known here") {
		t.Errorf("a wrong token: exit code %d: %s", o.code, o.err)
	}
	t.Setenv("MUSTER_TOKEN", testToken)
	if o := try(t.Context(), "", "queue"); o.code != 0 {
		t.Errorf("by environment: exit code %d: %s", o.code, o.err)
	}
}

func TestClustersAndWorkspaces(t *testing.T) {
	p := open(t)
	p.do("cluster", "create", "gpu", "--node-pool", "gpus")
	if o := p.do("cluster", "list"); !strings.Contains(o.out, "gpu    active  none      dedicated  0      0      -       -        unknown: no node is ready") ||
		!strings.Contains(o.out, "local  active  none      dedicated  2      1      -       -        2 cores, 4000 MHz, 2048 MiB") {
		t.Errorf("cluster list:\n%s", o.out)
	}
	if o := p.do("cluster", "show", "local"); !strings.Contains(o.out, "2, 1 ready") {
		t.Errorf("cluster show:\n%s", o.out)
	}
	p.do("workspace", "create", "--default-cluster", "gpu", "vision")
	if o := p.do("workspace", "list"); !strings.Contains(o.out, "vision   gpu") {
		t.Errorf("workspace list:\n%s", o.out)
	}
	if o := p.do("workspace", "show", "vision"); !strings.Contains(o.out, "ws-") {
		t.Errorf("workspace show:\n%s", o.out)
	}
	if o := p.do("node", "list"); !strings.Contains(o.out, "node2  22222222  local    unusable") {
		t.Errorf("node list:\n%s", o.out)
	}
	if o := p.do("node", "show", "2222"); !strings.Contains(o.out, "not root") {
		t.Errorf("node show:\n%s", o.out)
	}
	for line, want := range map[string]struct {
		code int
		text string
	}{
		"cluster create gpu --node-pool other":        {4, "cluster gpu exists already"},
		"cluster create b --node-pool gpus":           {4, "node pool gpus is cluster gpu already"},
		"cluster create b/c --node-pool x":            {2, `"b/c" is not a name for a cluster`},
		"cluster create b --node-pool x --tier cheap": {2, "tier"},
		"cluster show none":                           {3, "there is no cluster none"},
		"node show none":                              {3, "there is no node none"},
		"node list --cluster none":                    {3, "there is no cluster none"},
		"queue --cluster none":                        {3, "there is no cluster none"},
		"workspace create default":                    {4, "workspace default exists already"},
		"workspace create w --default-cluster none":   {3, "there is no cluster none"},
		"workspace show none":                         {3, "there is no workspace none"},
		"experiment show none":                        {3, "there is no experiment none"},
		"experiment compare none":                     {3, "there is no experiment none"},
		"run list -w none":                            {3, "there is no workspace none"},
		"run list --state dying":                      {2, `"dying" is no state of a run`},
		"run show none":                               {3, "there is no run none in workspace default"},
		"run why none":                                {3, "there is no run none"},
		"run logs none":                               {3, "there is no run none"},
		"run logs -f none":                            {3, "there is no run none"},
		"run logs none --stream all":                  {2, "--stream is \"all\""},
		"run events none":                             {3, "there is no run none"},
		"run events -f none":                          {3, "there is no run none"},
		"run metrics none":                            {3, "there is no run none"},
		"run stats none":                              {3, "there is no run none"},
		"run files none":                              {3, "there is no run none"},
		"run download none":                           {3, "there is no run none"},
		"run cancel none":                             {3, "there is no run none"},
		"run wait none":                               {3, "there is no run none"},
	} {
		if o := p.try(strings.Fields(line)...); o.code != want.code || !strings.Contains(o.err, want.text) {
			t.Errorf("muster %s: exit code %d, want %d, %s", line, o.code, want.code, o.err)
		}
	}
}

func TestEmptyLists(t *testing.T) {
	p := open(t)
	for line, want := range map[string]string{
		"run list": "muster run submit FILE", "experiment list": "muster run submit --experiment", "queue": "No run waits.",
	} {
		if o := p.do(strings.Fields(line)...); !strings.Contains(o.out, want) {
			t.Errorf("muster %s: %s", line, o.out)
		}
		if o := p.do(append(strings.Fields(line), "-o", "json")...); o.out != "[]\n" {
			t.Errorf("muster %s -o json: %q", line, o.out)
		}
	}
}

// iris is the example project.
const iris = "../examples/iris/job.yml"

func TestSubmit(t *testing.T) {
	p := open(t)
	o := p.do("run", "submit", iris)
	name := strings.TrimSpace(o.out)
	if !regexp.MustCompile(`^[a-z]+-[a-z]+-[0-9a-f]{6}\n$`).MatchString(o.out) {
		t.Errorf("stdout is %q, want the run's name alone", o.out)
	}
	r := p.run(name)
	if r.Experiment != "iris" || r.Cluster != "local" || *r.Spec.Inputs["learning_rate"].Literal != "0.1" {
		t.Errorf("run = %+v", r)
	}
	if sum, ok := r.Spec.Code.Upload(); !ok {
		t.Errorf("code = %s", r.Spec.Code)
	} else if _, err := p.bucket.Size(t.Context(), muster.UploadKey(r.WorkspaceID, sum)); err != nil {
		t.Errorf("the code is not kept: %v", err)
	}
	if o := p.do("run", "events", name); !strings.Contains(o.out, "library/python:* → node") || !strings.Contains(o.out, "anna") {
		t.Errorf("the mapping used is not told:\n%s", o.out)
	}
	if o := p.do("queue"); !strings.Contains(o.out, "default/"+name) || !strings.Contains(o.out, "the scheduler has not looked at it yet") {
		t.Errorf("queue:\n%s", o.out)
	}
	if o := p.do("run", "why", name); !strings.Contains(o.out, "position 1 in the queue of cluster local") {
		t.Errorf("why:\n%s", o.out)
	}
	if o := p.do("run", "list", "--experiment", "iris", "--state", "queued"); !strings.Contains(o.out, name) {
		t.Errorf("list:\n%s", o.out)
	}
}

// TestSubmitAgain sends nothing the second time, judged by bytes, though every
// time of the files has changed.
func TestSubmitAgain(t *testing.T) {
	p := open(t)
	dir := t.TempDir()
	p.must(os.CopyFS(dir, os.DirFS("../examples/iris")))
	job := filepath.Join(dir, "job.yml")
	p.do("run", "submit", job)
	first := p.received.Swap(0)
	p.must(filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, p.run(p.newest()).CreatedAt, p.run(p.newest()).CreatedAt.AddDate(1, 0, 0))
	}))
	o := p.do("run", "submit", job, "--set", "inputs.learning_rate=0.5")
	if second := p.received.Load(); second > 2000 || first < second+2000 || strings.Count(o.err, "nothing to send") != 2 {
		t.Errorf("%d bytes were sent first, %d the second time\n%s", first, second, o.err)
	}
	p.must(os.WriteFile(filepath.Join(dir, "src", "new.py"), nil, 0o644))
	if o := p.do("run", "submit", job); strings.Count(o.err, "nothing to send") != 1 {
		t.Errorf("changed code:\n%s", o.err)
	}
}

// newest names the run that was submitted last.
func (p *platform) newest() string {
	p.Helper()
	all, _, err := p.store.ListRuns(p.Context(), muster.RunFilter{Workspace: "default", Limit: 1})
	p.must(err)
	return all[0].Name
}

func TestSubmitRefuses(t *testing.T) {
	p := open(t)
	p.must(p.store.CreateWorkspace(t.Context(), &muster.Workspace{Name: "bare"}))
	p.do("run", "submit", p.file("command: a"), "--name", "taken")
	for _, c := range []struct {
		job  string
		args []string
		code int
		text string
	}{
		{"command: a", []string{"--name", "taken"}, 4, "run taken exists already in workspace default\n  names are unique for ever"},
		{"command: a", []string{"--name", "a b"}, 2, `--name: "a b" is not a name for a run`},
		{"command: a\ncode: none", nil, 2, "job.yml:2:7: none does not exist"},
		{"command: a\nenvironment: {image: pytorch/pytorch}", nil, 4, "environment pytorch/pytorch runs in a container, and no node of the cluster has a container engine\n  name a cluster"},
		{"command: a\nenvironment: azureml:foo@latest", nil, 4, "job.yml:2:14: environment azureml:foo@latest is registered in Azure ML, and mapped to nothing on this site\n  name an image"},
		{"command: a\nx-muster: {resources: {gpu_model: V100}}", nil, 2, "job.yml:2:35: names the model V100, and asks for no gpus\n  say how many: gpus: 1"},
		{"command: a\ncompute: azureml:gpu", nil, 3, "job.yml:2:10: there is no cluster gpu\n  the clusters there are: local"},
		{"command: a", []string{"--workspace", "bare"}, 4, "workspace bare has no default cluster\n  name a cluster as compute"},
		{"command: a", []string{"--workspace", "none"}, 3, "there is no workspace none"},
		{"command: a", []string{"--parent", "none"}, 3, "there is no run none"},
		{"comand: a", nil, 2, "job.yml:1:1: there is no key comand\n  did you mean command?"},
	} {
		o := p.try(append([]string{"run", "submit", p.file(c.job)}, c.args...)...)
		if o.code != c.code || !strings.Contains(o.err, c.text) || o.out != "" {
			t.Errorf("%q %v: exit code %d, want %d\n%s%s", c.job, c.args, o.code, c.code, o.out, o.err)
		}
	}
	if all, _, err := p.store.ListRuns(t.Context(), muster.RunFilter{Workspace: "default"}); err != nil || len(all) != 1 {
		t.Errorf("%d runs are there, want 1: %v", len(all), err)
	}
}

func TestSubmitFromStdin(t *testing.T) {
	p := open(t)
	o := try(t.Context(), "command: echo ${{inputs.x}}\ninputs: {x: 1}\nidentity: {type: managed}\n", "run", "submit", "-", "--experiment", "e", "--addr", p.url,
		"--token", testToken, "--set", "inputs.x=1e-3", "--set", "tags.a=b,c", "--parent", p.submitted("parent"), "--name", "child")
	if o.code != 0 || o.out != "child\n" || !strings.Contains(o.err, "note: identity means nothing here") {
		t.Fatalf("exit code %d\n%s%s", o.code, o.out, o.err)
	}
	if r := p.run("child"); r.Experiment != "e" || r.Parent != "parent" || r.Tags["a"] != "b,c" || *r.Spec.Inputs["x"].Literal != "1e-3" {
		t.Errorf("run = %+v", r)
	}
	if o := p.do("run", "list", "--parent", "parent", "-o", "json"); !strings.Contains(o.out, `"name": "child"`) || strings.Contains(o.out, `"name": "parent"`) {
		t.Errorf("children:\n%s", o.out)
	}
}

// submitted submits a small job and returns its name.
func (p *platform) submitted(name string) string {
	p.Helper()
	p.do("run", "submit", p.file("command: a"), "--name", name, "--experiment", "e")
	return name
}

func TestListAll(t *testing.T) {
	p := open(t)
	for _, name := range []string{"a", "b", "c"} {
		p.submitted(name)
	}
	for limit, want := range map[string][]string{"2": {"c", "b"}, "0": {"c", "b", "a"}} {
		var runs []struct{ Name string }
		if err := json.Unmarshal([]byte(p.do("run", "list", "--limit", limit, "-o", "json").out), &runs); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range runs {
			got = append(got, r.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("--limit %s: %v, want %v", limit, got, want)
		}
	}
}
