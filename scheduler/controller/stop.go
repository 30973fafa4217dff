package controller

import (
	"context"
	"time"

	"github.com/muster-ml/muster"
)

// stop ends the queued runs that somebody wants to end. Those that run are the
// track loop's.
func (k *Controller) stop(ctx context.Context, ledger muster.Ledger) (time.Duration, error) {
	stopped, err := ledger.StopQueued(ctx)
	if stopped > 0 {
		k.ring("admit")
	}
	return 0, err
}
