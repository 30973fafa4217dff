package controller

import (
	"context"
	"errors"
	"time"

	"github.com/muster-ml/muster"
)

// purge makes Nomad forget the jobs of launches that are over, and the namespaces
// of workspaces that are deleted.
func (k *Controller) purge(ctx context.Context, ledger muster.Ledger) (time.Duration, error) {
	over, err := ledger.Launches(ctx, muster.LaunchOver)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, x := range over {
		if err := k.Engine.StopJob(ctx, x.Launch.Namespace, x.Launch.ChildID, true); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, ledger.Move(ctx, x, &muster.Moves{Launch: muster.LaunchPurged}))
	}
	forsaken, err := ledger.Forsaken(ctx)
	errs = append(errs, err)
	for _, namespace := range forsaken {
		err := k.Engine.DropNamespace(ctx, namespace)
		if err == nil {
			err = ledger.Dropped(ctx, namespace)
		}
		errs = append(errs, err)
	}
	return 0, errors.Join(errs...)
}
