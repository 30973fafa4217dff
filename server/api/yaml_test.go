package api_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/muster-ml/muster"
)

// TestJobFiles submits job files as they are.
func TestJobFiles(t *testing.T) {
	d := open(t)
	sum := sha256.Sum256([]byte("code"))
	code := hex.EncodeToString(sum[:])
	if resp, text := d.call("PUT", "/api/v1/workspaces/w/uploads/"+code, "code"); resp.StatusCode != 204 {
		t.Fatal(text)
	}
	job := "$schema: https://azuremlschemas.azureedge.net/latest/commandJob.schema.json\nname: y\nexperiment_name: e\ncode: upload:sha256:" + code +
		"\ncommand: python train.py --rate ${{inputs.rate}}\ninputs:\n  rate: 0.1\n  data:\n    type: uri_folder\n    path: upload:sha256:" + code + "\nlimits:\n  timeout: 60\n"
	for i, media := range []string{"application/yaml", "text/yaml; charset=utf-8"} {
		resp, text := d.call("POST", runs, strings.Replace(job, "name: y", "name: y"+string(rune('0'+i)), 1), "Content-Type", media)
		var r muster.Run
		d.must(json.Unmarshal([]byte(text), &r))
		if resp.StatusCode != 201 || r.Experiment != "e" || r.Spec.Code != muster.UploadRef(code) || *r.Spec.Inputs["rate"].Literal != "0.1" || r.Spec.Inputs["data"].Ref != muster.UploadRef(code) || r.Spec.Timeout != muster.Seconds(60) {
			t.Errorf("%s %s", resp.Status, text)
		}
	}
	before := d.everything()
	for text, says := range map[string]string{
		"command: a\ncode: ./src\n":                                           "./src lies on the machine of whoever sends this file",
		"command: a\ncode: /etc\n":                                            "upload it, and write upload:sha256:",
		"command: a\ninputs: {x: {type: uri_file, path: /etc/passwd}}\n":      "/etc/passwd lies on the machine",
		"command: a\ninputs: {x: {type: uri_file, path: upload:sha256:12}}\n": "is not a reference to data",
		"command: a\ncode: upload:sha256:" + strings.Repeat("0", 64) + "\n":   "is not uploaded to workspace w",
		"comand: a\n":                            "did you mean command",
		"command: [\n":                           "job:",
		"type: sweep\n":                          "jobs of type sweep come later",
		"":                                       "job",
		"command: " + strings.Repeat("a", 2<<20): "larger than 1 MiB",
		"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\ncommand: *b\n": "job:",
	} {
		resp, answer := d.call("POST", runs, text, "Content-Type", "application/yaml")
		if resp.StatusCode/100 != 4 || !strings.Contains(answer, says) {
			t.Errorf("%.60s: %s %s", text, resp.Status, answer)
		}
	}
	if after := d.everything(); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}
