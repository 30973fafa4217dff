package dev

import (
	"context"
	"io"

	"github.com/muster-ml/muster/engines"
)

// BuildEngines builds, from the tool modules below a folder, the engines that
// are neither on PATH nor built yet. No names stand for all.
func BuildEngines(ctx context.Context, tools string, names []string, out io.Writer) error {
	if len(names) == 0 {
		for _, p := range engines.Programs {
			names = append(names, p.Name)
		}
	}
	return engines.Build(ctx, tools, names, out)
}
