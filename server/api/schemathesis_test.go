package api_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/server/api"
)

// schemathesis is where make fuzz installs the tool.
const schemathesis = "../../.cache/schemathesis/bin/schemathesis"

// oneNode is what the server knows of nodes once Nomad has answered.
type oneNode struct{}

func (oneNode) ListNodes(context.Context) ([]*muster.Node, error) {
	return []*muster.Node{{ID: "0a1b2c3d", Name: "n", Cluster: "c", NodePool: "pool", State: muster.NodeIdle, Status: "ready", Runs: []string{"w/r"}}}, nil
}

// TestSchemathesis lets the tool of that name ask what the document allows and
// what it does not: the server never fails, and answers nothing that the
// document does not tell.
func TestSchemathesis(t *testing.T) {
	tool, err := filepath.Abs(schemathesis)
	if err == nil {
		_, err = os.Stat(tool)
	}
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("schemathesis is not installed: make fuzz does that")
	} else if err != nil {
		t.Fatalf("schemathesis is not installed, and CI is set: %v", err)
	}
	examples := os.Getenv("MUSTER_FUZZ_EXAMPLES") // of each operation
	if examples == "" {
		examples = "10"
	}
	d := open(t, func(s *api.Services) { s.Nodes = oneNode{} })
	d.submit()
	out := filepath.Join(t.TempDir(), "out")
	c := exec.CommandContext(t.Context(), tool, "run", d.url+"/api/v1/openapi.json", "--header", "Authorization: Bearer "+secret,
		"--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance,unsupported_method,allow_header_conformance,ignored_auth",
		"--phases", "examples,coverage,fuzzing", "--max-examples", examples, "--seed", "1", "--generation-deterministic", "--workers", "1", "--request-timeout", "30",
		"--warnings", "off", "--no-color", "--exclude-path-regex", "logs$", "--suppress-health-check", "all")
	c.Dir, c.WaitDelay = t.TempDir(), 5*time.Second
	f, err := os.Create(out)
	d.must(err)
	defer f.Close()
	c.Stdout, c.Stderr = f, f
	err = c.Run()
	text, readErr := os.ReadFile(out)
	d.must(readErr)
	if err != nil {
		t.Errorf("%v\n%s", err, text)
	}
	t.Logf("%.1500s", text[max(0, len(text)-1500):])
}
