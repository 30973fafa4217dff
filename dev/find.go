package dev

import (
	"context"

	"github.com/muster-ml/muster/engines"
)

// Engine returns the path of the engine that Open would start, or the error with
// which it would refuse.
func Engine(ctx context.Context, name string) (string, error) {
	return engines.Find(ctx, name)
}
