package plugin

import (
	"os"
	"strings"
	"testing"

	base "github.com/hashicorp/nomad/plugins/base/proto"
	"github.com/hashicorp/nomad/plugins/shared/hclspec"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// names returns all that a schema lets stand in a block.
func names(spec *hclspec.Spec) (all []string) {
	for name, nested := range spec.GetObject().GetAttributes() {
		all = append(all, name)
		all = append(all, names(nested.GetBlockValue().GetNested())...)
		all = append(all, names(nested.GetBlockList().GetNested())...)
	}
	return all
}

// TestSchema proves that the manual names all that the schema allows.
func TestSchema(t *testing.T) {
	p := serve(t)
	got, err := p.base.ConfigSchema(t.Context(), &base.ConfigSchemaRequest{})
	p.must(err)
	page, err := os.ReadFile("../docs/devices.md")
	p.must(err)
	all := names(got.GetSpec())
	if len(all) != 16 {
		t.Errorf("the schema has %q", all)
	}
	for _, name := range all {
		if !strings.Contains(string(page), name) {
			t.Errorf("docs/devices.md does not name %q", name)
		}
	}
}

// TestConfig sets configurations that cannot be, and looks for place and cure.
func TestConfig(t *testing.T) {
	p := serve(t)
	sim := func(b block) block { return block{"simulated": []block{{"model": "V100"}, b}} }
	share := func(b block) block { return block{"share": []block{{"match": "V100", "parts": 2}, b}} }
	for _, c := range []struct {
		name string
		set  block
		want string // "" if it is taken
	}{
		{"nothing", block{}, ""},
		{"null", block{"simulated": nil, "share": nil, "nvidia": block{"enabled": nil, "ignore": nil}, "fpga": block{"enabled": false, "sysfs": nil}}, ""},
		{"all", block{"fingerprint_period": "1s", "simulated_dir": "/x", "nvidia": block{"enabled": false, "ignore": []string{"GPU-1"}}, "fpga": block{"enabled": false, "sysfs": "/x"},
			"simulated": []block{{"model": "K80", "type": "fpga", "count": 2.0, "memory_mib": 12288}}, "share": []block{{"match": "*", "parts": 64}}}, ""},
		{"period", block{"fingerprint_period": "soon"}, `plugin "muster-device": fingerprint_period is "soon": give a time of at least 100ms, such as "5s"`},
		{"short period", block{"fingerprint_period": "1ms"}, `fingerprint_period is "1ms": give a time of at least 100ms`},
		{"relative folder", block{"simulated_dir": "x"}, `simulated_dir is "x": give a path that begins with /`},
		{"relative sysfs", block{"fpga": block{"sysfs": "x"}}, `fpga: sysfs is "x": give a path that begins with /`},
		{"type", sim(block{"model": "K80", "type": "tpu"}), `simulated block 2 (model "K80"): type "tpu" is not known: give "gpu" or "fpga"`},
		{"count", sim(block{"model": "K80", "count": 0}), `simulated block 2 (model "K80"): count is 0: give 1 to 256, or leave the block out`},
		{"half a device", sim(block{"model": "K80", "count": 1.5}), `count is 1.5: give 1 to 256`},
		{"memory", sim(block{"model": "K80", "memory_mib": -1}), `memory_mib is -1: give whole MiB, 1 to 16777216`},
		{"model", sim(block{"model": "a/b"}), `simulated block 2 (model "a/b"): give a model of up to 64 letters`},
		{"two sizes", sim(block{"model": "v100", "memory_mib": 1}), `simulated blocks 1 and 2 give model "v100" 16384 and 1 MiB`},
		{"one part", share(block{"match": "K80", "parts": 1}), `share block 2 (match "K80"): parts is 1: give 2 to 64, or leave the block out for whole devices`},
		{"too many parts", share(block{"match": "K80", "parts": 65}), `parts is 65: give 2 to 64`},
		{"fraction of parts", share(block{"match": "K80", "parts": 2.5}), `parts is 2.5: give 2 to 64`},
		{"rule twice", share(block{"match": "v100", "parts": 4}), `share block 2 (match "v100"): block 1 matches the same: leave one of them out`},
		{"rule for nothing", share(block{"match": " ", "parts": 4}), `share block 2 (match " "): give a model, a device's id, or "*" for all`},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := p.configure(c.set)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("it is refused: %v", err)
			case c.want != "" && (status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), c.want)):
				t.Errorf("the error is %v, want %s", err, c.want)
			}
		})
	}
	_, err := p.base.SetConfig(t.Context(), &base.SetConfigRequest{MsgpackConfig: []byte("\x81\xa5share\xa1x")})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), `read configuration of plugin "muster-device"`) {
		t.Errorf("what is no configuration gives %v", err)
	}
}
