package muster

import "testing"

// TestCheckPath refuses what leads out of a run, and what no JSON can name.
func TestCheckPath(t *testing.T) {
	for path, want := range map[string]Code{"outputs/a b/ü.attrs": "", "a..b/..c": "", "": CodeInvalid, "/a": CodeInvalid, "a/../b": CodeInvalid, `a\b`: CodeInvalid, "a\x00": CodeInvalid, "a\xff": CodeInvalid} {
		if err := CheckPath(path); CodeOf(err) != want {
			t.Errorf("%q: %v", path, err)
		}
	}
}

// TestReservedOutputs refuses outputs whose files would lie among others that
// are kept of every run.
func TestReservedOutputs(t *testing.T) {
	for name, want := range map[string]Code{"model": "", "outputs2": "", "instance-a": "", "outputs": CodeInvalid, "logs": CodeInvalid, "instance-1": CodeInvalid} {
		q := RunRequest{Spec: Spec{Command: "true", Outputs: map[string]Output{name: {}}}}
		q.Complete()
		if err := q.Validate(); CodeOf(err) != want {
			t.Errorf("an output named %s: %v", name, err)
		}
	}
}
