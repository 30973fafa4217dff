package run_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/muster-ml/muster"
)

func text(s string) *string { return &s }

// TestRun goes through everything that one run can have.
func TestRun(t *testing.T) {
	var asked atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("from the web"))
	}))
	defer web.Close()
	const command = `
		set -e
		test "$(pwd)" = "$(dirname $MUSTER_OUTPUT_DIR)"
		./tool.sh
		echo "rate ${{ inputs.rate }}" >&2
		cat ${{inputs.table}} ${{inputs.set}}/b/two.txt ${{inputs.page}}
		if touch ${{inputs.set}}/new 2>/dev/null; then echo "inputs can be written"; fi
		id -u >> outputs/uid.txt
		echo model > ${{outputs.model}}
		echo log > logs/my.log
		mkdir -p ${{outputs.data}}/deep && echo d > ${{outputs.data}}/deep/d.txt
		env | sort > outputs/env.txt
		muster-agent metric loss 0.5 --step 3
		muster-agent metric --step=4 loss -0.25
		muster-agent param optimizer "a dam"
		printf '{"name":"acc","value":1}' >> "$MUSTER_METRICS_FILE"
		echo through a path > /dev/stdout
		echo home > $HOME/.muster-test-home && rm $HOME/.muster-test-home
	`
	eachUser(t, func(t *testing.T, as who) {
		asked.Store(0)
		p := newPlatform(t, muster.Spec{Command: command, Variables: map[string]string{"MINE": "yes", "LANG": "C"}})
		p.spec.Code = p.upload(map[string]string{"tool.sh": "#!/bin/sh\necho tool runs\n"})
		p.spec.Inputs = map[string]muster.Input{
			"rate":  {Literal: text("0.1")},
			"table": {Type: muster.TypeURIFile, Ref: p.upload(map[string]string{"iris.csv": "table,"}), Mode: muster.ModeROMount},
			"set":   {Type: muster.TypeURIFolder, Ref: p.upload(map[string]string{"a.txt": "1", "b/two.txt": "two,"}), Mode: muster.ModeDownload},
			"page":  {Type: muster.TypeURIFile, Ref: muster.Ref(web.URL + "/x/page.txt?q=1")},
		}
		p.spec.Outputs = map[string]muster.Output{"model": {Type: muster.TypeURIFile, Mode: "rw_mount"}, "data": {Type: muster.TypeURIFolder}, "none": {Type: muster.TypeURIFile}}
		if code := p.start(as, "HOME="+p.musterDir(as)).exit(); code != 0 {
			t.Errorf("exit code %d, want 0; %+v", code, p.last().Result)
		}
		if got, want := p.log(muster.Stdout), "tool runs\ntable,two,from the webthrough a path\n"; got != want {
			t.Errorf("stdout %q, want %q", got, want)
		}
		if got := p.log(muster.Stderr); got != "rate 0.1\n" {
			t.Errorf("stderr %q", got)
		}
		for name, want := range map[string]string{"model": "model\n", "data/deep/d.txt": "d\n", "logs/my.log": "log\n"} {
			if got := p.file(name); got != want {
				t.Errorf("artifact %s is %q, want %q", name, got, want)
			}
		}
		checkUser(t, p, as)
		checkEnvironment(t, p.file("outputs/env.txt"))
		checkMetrics(t, p)
		if got, want := p.phases(), []muster.Phase{"code", "inputs", "command", "uploading", "done"}; !slices.Equal(got, want) {
			t.Errorf("phases %q, want %q", got, want)
		}
		res := p.last().Result
		if res == nil || !res.Started || res.Fault != "" || res.ExitCode != 0 || res.PeakMiB <= 0 || res.CPUSeconds <= 0 {
			t.Errorf("result %+v", res)
		}
		for _, note := range []string{"input table: ro_mount acts as download", "output model: rw_mount acts as upload at the end", "output none: the command left no file"} {
			if !p.noted(note) {
				t.Errorf("it did not say %q, but %q", note, p.last().Notes)
			}
		}
		p.gone(as)
	})
}

// checkUser looks whom the command ran as.
func checkUser(t *testing.T, p *platform, as who) {
	t.Helper()
	uid := strings.TrimSpace(p.file("outputs/uid.txt"))
	last := len(p.notes) - 1
	if last < 0 || p.notes[last] != "this node has no Nomad Task API socket: a Muster server that is away for 4m30s stops the command" {
		t.Fatalf("of Nomad's Task API it told %q", p.notes)
	}
	switch lacks := p.notes[:last]; {
	case as.name == "root" && uid != "65534":
		t.Errorf("the command ran as user %s", uid)
	case as.name == "root" && len(lacks) > 0:
		t.Errorf("as root it lacks %q", lacks)
	case as.name == "user" && (len(lacks) != 1 || !strings.HasPrefix(lacks[0], "not root: ")):
		t.Errorf("as a user it told %q", lacks)
	}
}

// checkEnvironment looks at the command's variables.
func checkEnvironment(t *testing.T, env string) {
	t.Helper()
	for _, want := range []string{"AZUREML_RUN_ID=brave-otter", "MUSTER_RUN_NAME=brave-otter", "MUSTER_ATTEMPT=1", "AZUREML_EXPERIMENT_ID=5", "AZUREML_NODE_COUNT=1",
		"AZUREML_CR_NODE_RANK=0", "NVIDIA_VISIBLE_DEVICES=void", "MINE=yes", "LANG=C", "MUSTER_WORKSPACE=default", "MUSTER_EXPERIMENT=iris", "AZ_BATCHAI_NUM_GPUS=0"} {
		if !strings.Contains("\n"+env, "\n"+want+"\n") {
			t.Errorf("the environment lacks %s:\n%s", want, env)
		}
	}
	for _, want := range []string{"MUSTER_ADDR=http://127.0.0.1:", "MUSTER_TOKEN=token of alloc-", "MUSTER_TOKEN_FILE=/", "AZUREML_DATAREFERENCE_set=/", "AZ_BATCHAI_INPUT_set=/", "AZ_BATCHAI_OUTPUT_model=/", "TMPDIR=/"} {
		if !strings.Contains("\n"+env, "\n"+want) {
			t.Errorf("the environment lacks %s…", want)
		}
	}
	for _, not := range []string{"NOMAD_", "MUSTER_SERVERS", "MUSTER_AGENT_PRIVATE"} {
		if strings.Contains(env, not) {
			t.Errorf("the environment holds %s…", not)
		}
	}
}

// checkMetrics looks at what was logged.
func checkMetrics(t *testing.T, p *platform) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	var got []string
	for _, m := range p.metrics {
		got = append(got, strings.Join([]string{m.Name, string(rune('0' + m.Step))}, "@"))
	}
	if want := []string{"loss@3", "loss@4", "acc@0"}; !slices.Equal(got, want) {
		t.Errorf("metrics %q, want %q", got, want)
	}
	if p.params["optimizer"] != "a dam" {
		t.Errorf("parameters %q", p.params)
	}
}

// TestFailureKeepsOutputs looks at a command that fails.
func TestFailureKeepsOutputs(t *testing.T) {
	eachUser(t, func(t *testing.T, as who) {
		p := newPlatform(t, muster.Spec{Command: "echo half > outputs/half.txt; exit 7"})
		if code := p.start(as).exit(); code != 7 {
			t.Errorf("exit code %d, want 7", code)
		}
		if res := p.last().Result; res == nil || res.ExitCode != 7 || res.Fault != "" || res.Signal != "" {
			t.Errorf("result %+v", res)
		}
		if got := p.file("outputs/half.txt"); got != "half\n" {
			t.Errorf("the output is %q", got)
		}
		p.gone(as)
	})
}

// TestRefusedOutput looks at one file that the server refuses among others.
func TestRefusedOutput(t *testing.T) {
	p := newPlatform(t, muster.Spec{Command: "for i in 0 1 2 3 4 5 6 7 8 9; do touch outputs/$i; done"})
	p.unkept = "outputs/0"
	p.start(users(t)[0]).exit()
	if res := p.last().Result; res == nil || res.Fault != muster.FaultUpload || !strings.HasPrefix(res.Failure, "upload outputs/0: outputs/0 cannot be kept") {
		t.Errorf("result %+v", res)
	}
	if got := p.fileNames(); len(got) != 9 {
		t.Errorf("kept %q", got)
	}
}

// TestSignal looks at a command that is killed.
func TestSignal(t *testing.T) {
	p := newPlatform(t, muster.Spec{Command: "kill -SEGV $$"})
	if code := p.start(users(t)[0]).exit(); code != 139 {
		t.Errorf("exit code %d, want 139", code)
	}
	if res := p.last().Result; res == nil || res.ExitCode != 139 || res.Signal != "SIGSEGV" {
		t.Errorf("result %+v", res)
	}
}

// TestTooLong looks at a variable that the kernel refuses to hand over.
func TestTooLong(t *testing.T) {
	p := newPlatform(t, muster.Spec{Command: "true", Variables: map[string]string{"BIG": strings.Repeat("x", 200<<10)}})
	as := users(t)[0]
	if code := p.start(as).exit(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if res := p.last().Result; res == nil || res.Started || res.Fault != muster.FaultCommand || !strings.Contains(res.Failure, "and the variable BIG has 200 KiB: hand long texts over in a file") {
		t.Errorf("result %+v", res)
	}
	p.gone(as)
}

// TestTokenFile looks that the command can read the token that Nomad renews
// while it runs, and that no other user can.
func TestTokenFile(t *testing.T) {
	eachUser(t, func(t *testing.T, as who) {
		p := newPlatform(t, muster.Spec{Command: `
			test "$(cat $MUSTER_TOKEN_FILE)" = "$MUSTER_TOKEN" && stat -c '%a %u' $MUSTER_TOKEN_FILE
			until grep -q renewed $MUSTER_TOKEN_FILE; do sleep 0.05; done
			cat $MUSTER_TOKEN_FILE; stat -c ' %a %u' $MUSTER_TOKEN_FILE; id -u`})
		secrets := openDir(t)
		jwt := filepath.Join(secrets, "nomad_muster.jwt")
		must(t, os.WriteFile(jwt, []byte("token of "+p.alloc), 0o644))
		a := p.start(as, "NOMAD_SECRETS_DIR="+secrets)
		p.begun()
		must(t, os.WriteFile(jwt, []byte("token of "+p.alloc+" renewed"), 0o644))
		if code := a.exit(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		lines := strings.Split(p.log(muster.Stdout), "\n")
		uid := lines[len(lines)-2]
		if want := []string{"400 " + uid, "token of " + p.alloc + " renewed 400 " + uid, uid, ""}; !slices.Equal(lines, want) {
			t.Errorf("it read %q, want %q", lines, want)
		}
		p.gone(as)
	})
}

// TestInputFaults looks whose fault an input is that cannot be brought.
func TestInputFaults(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	for name, c := range map[string]struct {
		input muster.Input
		fault muster.Fault
		says  string
	}{
		"not found on the web": {muster.Input{Type: muster.TypeURIFile, Ref: muster.Ref(web.URL + "/none.csv")}, muster.FaultCommand, "input x: " + web.URL + "/none.csv answers 404"},
		"not kept any more":    {muster.Input{Ref: muster.UploadRef(strings.Repeat("a", 64))}, muster.FaultPlatform, "input x: the upload aaaaaaaaaaaa is not kept any more"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlatform(t, muster.Spec{Command: "true", Inputs: map[string]muster.Input{"x": c.input}})
			as := users(t)[0]
			if code := p.start(as).exit(); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if res := p.last().Result; res == nil || res.Started || res.Fault != c.fault || res.Failure != c.says {
				t.Errorf("result %+v", res)
			}
			p.gone(as)
		})
	}
}

// TestDamagedUpload looks at bytes that are not what their digest says.
func TestDamagedUpload(t *testing.T) {
	p := newPlatform(t, muster.Spec{Command: "true"})
	p.spec.Code = p.upload(map[string]string{"a": "1"})
	for key := range p.blobs {
		p.blobs[key] = append(p.blobs[key], 'x')
	}
	p.start(users(t)[0]).exit()
	if res := p.last().Result; res == nil || res.Fault != muster.FaultPlatform || !strings.Contains(res.Failure, "arrived damaged") {
		t.Errorf("result %+v", res)
	}
}

// TestGang looks that an instance waits for the others.
func TestGang(t *testing.T) {
	p := newPlatform(t, muster.Spec{Command: "echo go; env | grep NODE_COUNT"})
	p.gang = 2
	a := p.start(users(t)[0])
	eventually(t, "it waits for its peers", func() bool { return slices.Contains(p.phases(), muster.PhasePeers) })
	if got := p.log(muster.Stdout); got != "" {
		t.Errorf("the command ran before its peers were there: %q", got)
	}
	p.do(func() { p.gang = 0 })
	if code := a.exit(); code != 0 || p.log(muster.Stdout) != "go\nAZUREML_NODE_COUNT=2\n" {
		t.Errorf("exit code %d, stdout %q", code, p.log(muster.Stdout))
	}
}

// TestHostileOutputs looks that nothing is kept which the command could not
// have read, whatever links it leaves.
func TestHostileOutputs(t *testing.T) {
	secret := filepath.Join(openDir(t), "secret")
	must(t, os.WriteFile(secret, []byte("root's own"), 0o600))
	p := newPlatform(t, muster.Spec{Outputs: map[string]muster.Output{"model": {Type: muster.TypeURIFile}, "data": {}, "swap": {}}, Command: `
		ln -s ` + secret + ` outputs/absolute
		ln -s ../../../../../../../../..` + secret + ` outputs/relative
		ln ` + secret + ` outputs/hard 2>/dev/null
		ln -s /etc outputs/folder
		ln -s loop outputs/loop
		mkfifo outputs/pipe
		echo good > good.txt; ln -s ../good.txt outputs/inside
		echo "odd" > 'outputs/a b%2F?#ü.txt'; echo back > 'outputs/a\b'
		ln -s ` + secret + ` ${{outputs.model}}
		touch "outputs/$(printf 'latin\377')"
		rm -rf ${{outputs.swap}}; ln -s /etc ${{outputs.swap}}
		chmod 0 good.txt
		echo done > ${{outputs.data}}/done`})
	as := users(t)[0]
	if code := p.start(as).exit(); code != 0 {
		t.Errorf("exit code %d; %+v", code, p.last().Result)
	}
	want := []string{"data/done", "outputs/a b%2F?#ü.txt", "outputs/inside"}
	if os.Geteuid() != 0 {
		want = slices.Delete(want, 2, 3) // what its owner may not read only root can
	}
	if got := p.fileNames(); !slices.Equal(got, want) {
		t.Errorf("kept %q, want %q", got, want)
	}
	for _, name := range []string{"outputs/absolute", "outputs/relative", "outputs/folder", "outputs/pipe", "outputs/loop", "model", `a\\b`, `latin\xff`} {
		if !p.noted(name) {
			t.Errorf("it did not say that %s is not kept: %q", name, p.last().Notes)
		}
	}
	if !p.noted("outputs/pipe is not kept: it is not a regular file") {
		t.Errorf("it did not say why outputs/pipe is not kept: %q", p.last().Notes)
	}
	p.gone(as)
}

// TestHardLink looks at a hard link to a file that the user may not read.
func TestHardLink(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make such a link where links are protected")
	}
	p := newPlatform(t, muster.Spec{Command: "echo there; until [ -e outputs/hard ]; do sleep 0.05; done"})
	as := users(t)[0]
	a := p.start(as)
	p.begun()
	secret := filepath.Join(p.dir, "secret")
	must(t, os.WriteFile(secret, []byte("root's own"), 0o600))
	must(t, os.Link(secret, filepath.Join(p.runFolder(as), "work", "outputs", "hard")))
	if code := a.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := p.fileNames(); got != nil || !p.noted("outputs/hard is not kept") {
		t.Errorf("kept %q, notes %q", got, p.last().Notes)
	}
}

// TestClosedFolder looks at a Muster folder below one that the run-as user may
// not pass through, such as root's home.
func TestClosedFolder(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root runs commands as another user")
	}
	p := newPlatform(t, muster.Spec{Command: "pwd > outputs/where; cat $PWD/outputs/where; muster-agent metric a 1"})
	as := who{"root", 0}
	must(t, os.Chmod(p.musterDir(as), 0o700))
	if code := p.start(as).exit(); code != 0 {
		t.Errorf("exit code %d; %q", code, p.log(muster.Stderr))
	}
	if got, want := p.file("outputs/where"), "/run/muster/"+p.alloc+"/work\n"; got != want {
		t.Errorf("it worked in %q, want %q", got, want)
	}
	p.gone(as)
}
