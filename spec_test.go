package muster

import "testing"

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
