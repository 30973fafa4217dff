// Package ship brings what a run leaves to the servers: logs through a spool on
// disk, metrics in numbered batches, artifacts. Nothing is lost or doubled when
// servers die and come back.
package ship

import (
	"context"
	"errors"
	"time"

	"github.com/muster-ml/muster/client"
)

// The pauses between tries.
const (
	firstPause = 200 * time.Millisecond
	lastPause  = 5 * time.Second
)

// Retry calls f until it succeeds, ends in an error that no later try cures, or
// ctx ends. Then the error holds both the cause of ctx and what f said last.
func Retry(ctx context.Context, f func(ctx context.Context) error) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := f(ctx)
		if !client.Temporary(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(pause):
		}
	}
}

// Pause waits, or less when ctx ends.
func Pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
