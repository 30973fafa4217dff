package server

import (
	"context"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/store"
)

// runs tells of the runs as the store has them. While Nomad is away it says of
// each that waits that it waits for Nomad: the rows do not say so.
type runs struct {
	*store.Store
	away func() *muster.WaitReason
}

// FindRun returns the run of that name.
func (r *runs) FindRun(ctx context.Context, workspace, name string) (*muster.Run, error) {
	found, err := r.Store.FindRun(ctx, workspace, name)
	if err == nil {
		r.explain(found)
	}
	return found, err
}

// ListRuns returns a page of runs, and where it ends.
func (r *runs) ListRuns(ctx context.Context, f muster.RunFilter) ([]*muster.Run, *muster.RunPlace, error) {
	all, next, err := r.Store.ListRuns(ctx, f)
	r.explain(all...)
	return all, next, err
}

// ListQueue returns the first of the waiting runs by cluster and position.
func (r *runs) ListQueue(ctx context.Context, cluster string, limit int) ([]*muster.Run, int, error) {
	all, total, err := r.Store.ListQueue(ctx, cluster, limit)
	r.explain(all...)
	return all, total, err
}

// explain makes waiting runs say that Nomad is away, while it is.
func (r *runs) explain(all ...*muster.Run) {
	reason := r.away()
	if reason == nil {
		return
	}
	for _, run := range all {
		if run.State == muster.RunQueued {
			run.WaitReason = reason
		}
	}
}
