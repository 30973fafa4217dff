package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/muster-ml/muster"
)

// elsewhere are the verbs that are proven by a test with real engines.
var elsewhere = map[string]string{"dev": "TestDevCommand", "server": "e2e"}

// TestScripts runs every script of testdata/script against one server. The
// commands start, log, leave and end play the scheduler and the agents; names of
// runs are different in all scripts, as they share workspace default.
func TestScripts(t *testing.T) {
	p, players := open(t), new(sync.Mutex)
	play := func(do func(args []string)) func(*testscript.TestScript, bool, []string) {
		return func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) == 0 {
				ts.Fatalf("it wants a run, and cannot be negated")
			}
			players.Lock()
			defer players.Unlock()
			do(args)
		}
	}
	running := map[string]*muster.Execution{}
	t.Run("all", func(t *testing.T) {
		testscript.Run(t, testscript.Params{
			Dir: "testdata/script", RequireExplicitExec: true, RequireUniqueNames: true, UpdateScripts: *update,
			Setup: func(env *testscript.Env) error {
				env.Setenv("MUSTER_ADDR", p.url)
				env.Setenv("MUSTER_TOKEN", testToken)
				env.Setenv("HOME", env.WorkDir)
				env.Setenv("XDG_DATA_HOME", "")
				env.Setenv("XDG_CONFIG_HOME", "")
				return nil
			},
			Cmds: map[string]func(*testscript.TestScript, bool, []string){
				"start": play(func(args []string) { running[args[0]] = p.start(args[0]) }),
				"log": play(func(args []string) {
					p.log(running[args[0]], muster.Stream(args[1]), 0, strings.Join(args[2:], " ")+"\n")
				}),
				"leave": play(func(args []string) { p.leave(running[args[0]], args[1], strings.Join(args[2:], " ")) }),
				"end":   play(func(args []string) { p.end(running[args[0]], muster.RunState(args[1]), strings.Join(args[2:], " ")) }),
				"code":  checkCode,
			},
		})
	})
}

// checkCode runs a command that must end with an exit code: code 2 muster …
func checkCode(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if err != nil || neg || want == 0 || len(args) < 2 {
		ts.Fatalf("usage: code NUMBER COMMAND…")
	}
	err = ts.Exec(args[1], args[2:]...)
	exit, ok := err.(interface{ ExitCode() int })
	if !ok || exit.ExitCode() != want {
		ts.Fatalf("want exit code %d, got %v", want, err)
	}
}

// TestScriptsOfEveryVerb finds a script that runs each verb.
func TestScriptsOfEveryVerb(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no scripts: %v", err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	for line := range leaves(newApp(Streams{})) {
		if _, ok := elsewhere[line]; ok {
			continue
		}
		if !regexp.MustCompile(`(?m)^(exec|code \d+|! exec) muster ` + regexp.QuoteMeta(line) + `( |$)`).MatchString(all.String()) {
			t.Errorf("no script of testdata/script runs muster %s", line)
		}
	}
}
