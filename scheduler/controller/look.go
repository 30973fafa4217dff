package controller

import (
	"context"
	"time"

	"github.com/muster-ml/muster"
)

// settle is how long the look loop lets changes gather before it lists.
const settle = 50 * time.Millisecond

// look lists what there is in Nomad, and makes the others look at it.
func (k *Controller) look(ctx context.Context, _ muster.Ledger) (time.Duration, error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(settle):
	}
	seen, err := k.Engine.Look(ctx)
	if err != nil {
		if last := k.sight.Load(); last != nil && ctx.Err() == nil {
			k.sight.Store(&sight{last.Sight, err})
			k.ring("admit")
		}
		return 0, err
	}
	k.sight.Store(&sight{Sight: seen})
	k.ring("track", "admit", "nodes")
	return 0, nil
}

// watch rings the look loop on Nomad's events. A stream that breaks may have
// dropped some: it rings again when the next one is open.
func (k *Controller) watch(ctx context.Context) {
	for pause := 100 * time.Millisecond; ctx.Err() == nil; {
		began := time.Now()
		err := k.Engine.Watch(ctx, func() { k.ring("look") })
		if time.Since(began) > maxPause {
			pause = 100 * time.Millisecond
		}
		if err != nil && ctx.Err() == nil {
			k.Log.Info("Nomad's events broke off", "error", err, "again_in", pause)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
		k.ring("look")
	}
}
