package plugin

import (
	"fmt"
	"strings"
	"testing"
)

// TestShares cuts one device by every sort of rule.
func TestShares(t *testing.T) {
	v100 := found{id: "GPU-1", kind: kindGPU, name: "Tesla V100", memoryMiB: 16385}
	circuit := found{id: "0000:3b:00.0", kind: kindFPGA, name: "Alveo U250"}
	for _, c := range []struct {
		name  string
		of    found
		rules []rule
		want  string
	}{
		{"no rule", v100, nil, "gpu GPU-1 1/1 16385"},
		{"another model", v100, []rule{{"K80", 2}}, "gpu GPU-1 1/1 16385"},
		{"model", v100, []rule{{"tesla v100", 2}}, "gpu-1of2 GPU-1::1 1/2 8192, gpu-1of2 GPU-1::2 1/2 8192"},
		{"all", v100, []rule{{"*", 3}}, "gpu-1of3 GPU-1::1 1/3 5461, gpu-1of3 GPU-1::2 1/3 5461, gpu-1of3 GPU-1::3 1/3 5461"},
		{"model before all", v100, []rule{{"*", 3}, {"Tesla V100", 2}}, "gpu-1of2 GPU-1::1 1/2 8192, gpu-1of2 GPU-1::2 1/2 8192"},
		{"id before model", v100, []rule{{"*", 4}, {"Tesla V100", 3}, {"GPU-1", 2}}, "gpu-1of2 GPU-1::1 1/2 8192, gpu-1of2 GPU-1::2 1/2 8192"},
		{"no FPGA", circuit, []rule{{"*", 2}, {"Alveo U250", 2}}, "fpga 0000:3b:00.0 1/1 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, o := range cut([]found{c.of}, c.rules) {
				got = append(got, fmt.Sprintf("%s %s %s %d", o.kind(), o.id, o.share(), o.memoryMiB()))
			}
			if strings.Join(got, ", ") != c.want {
				t.Errorf("it offers %q, want %q", got, c.want)
			}
		})
	}
}
