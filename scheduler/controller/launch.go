package controller

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/muster-ml/muster"
)

// dispatchers is how many dispatches are under way at once.
const dispatchers = 16

// launch makes reserved launches exist in Nomad. The dispatch carries a token
// made of the launch: a server that dies before it has written the answer asks
// again and gets the same child.
func (k *Controller) launch(ctx context.Context, ledger muster.Ledger) (time.Duration, error) {
	reserved, err := ledger.Launches(ctx, muster.LaunchReserved)
	if err != nil || len(reserved) == 0 {
		return 0, err
	}
	if err := k.closeGone(ctx, ledger); err != nil {
		return 0, err
	}
	var g errgroup.Group
	g.SetLimit(dispatchers)
	for _, x := range reserved {
		g.Go(func() error { return k.dispatch(ctx, ledger, x) })
	}
	defer k.ring("look", "track")
	return 0, g.Wait()
}

// closeGone keeps Nomad from placing anything on a node whose machine does not
// exist any more: it lists that as ready until its heartbeat is missed.
func (k *Controller) closeGone(ctx context.Context, ledger muster.Ledger) error {
	seen := k.sight.Load()
	kept, err := ledger.ListRecords(ctx)
	if err != nil || seen == nil {
		return err
	}
	for _, n := range seen.Nodes {
		if n.Eligible && kept[n.ID].Fate != muster.FateHere {
			if err := k.setEligible(ctx, n.ID, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// dispatch launches one execution, or gives it up.
func (k *Controller) dispatch(ctx context.Context, ledger muster.Ledger, x *muster.Execution) error {
	if x.Run.Stop != "" {
		defer k.ring("admit")
		return ledger.Move(ctx, x, &muster.Moves{Launch: muster.LaunchPurged, Outcome: muster.OutcomeCancelled, Reason: "cancelled before it was launched",
			Runs: []muster.RunMove{{To: muster.RunCancelled, Reason: "cancelled before it was launched"}}})
	}
	job, child, err := k.Engine.Dispatch(ctx, x.Launch)
	if e, ok := errors.AsType[*muster.Error](err); ok && e.Code == muster.CodeRefused {
		return ledger.Move(ctx, x, &muster.Moves{Launch: muster.LaunchPurged, Outcome: muster.OutcomeWithdrawn, Reason: e.Message,
			Runs: []muster.RunMove{{To: muster.RunQueued, Reason: e.Message}}, Losses: 1, NotBefore: time.Now().Add(muster.BackOff(x.Run.Losses + 1))})
	}
	if err != nil {
		return err
	}
	k.mu.Lock()
	k.dispatched[x.Launch.ID] = time.Now()
	k.mu.Unlock()
	return ledger.Move(ctx, x, &muster.Moves{Launch: muster.LaunchDispatched, JobID: job, ChildID: child,
		Runs: []muster.RunMove{{To: muster.RunStarting, Reason: "dispatched as Nomad job " + child}}})
}
