package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/muster-ml/muster"
)

// deadlines is how often live launches are looked at for limits that pass
// without an event: placing, gang limit, fence, grace time.
const deadlines = 2 * time.Second

// copyPatience is how long a copy of a child that somebody dispatched may take
// to have its claim refused and end, before it is stopped.
const copyPatience = 30 * time.Second

// track turns what was seen of the dispatched launches into their next states,
// and stops what belongs to no launch.
func (k *Controller) track(ctx context.Context, ledger muster.Ledger) (time.Duration, error) {
	seen := k.sight.Load()
	if seen == nil {
		return 0, nil
	}
	live, err := ledger.Launches(ctx, muster.LaunchDispatched)
	if err != nil {
		return 0, err
	}
	children := childrenOf(seen.Sight)
	nodes := map[string]muster.SeenNode{}
	for _, n := range seen.Nodes {
		nodes[n.ID] = n
	}
	var kept map[string]muster.NodeRecord
	var health map[string]muster.NodeHealth
	if len(live) > 0 {
		if kept, err = ledger.ListRecords(ctx); err != nil {
			return 0, err
		}
		if health, err = ledger.ListHealth(ctx); err != nil {
			return 0, err
		}
	}
	var errs []error
	for _, x := range live {
		if !k.mayBeSeen(x.Launch.ID, seen.Sight) {
			k.ring("look")
			continue
		}
		s := &muster.Sighting{Now: time.Now(), Seen: seen.At, Since: k.since, Fence: k.Fence, Nodes: nodes, Kept: kept, Health: health}
		if c := children[childKey{x.Launch.Namespace, x.Launch.ChildID}]; c != nil {
			s.Job, s.Allocs = c.job, c.allocs
		}
		errs = append(errs, k.unplaced(ctx, x, s), k.observe(ctx, ledger, x, s))
	}
	errs = append(errs, k.reconcile(ctx, ledger, seen.Sight))
	if len(live)+len(k.copies) == 0 {
		return 0, errors.Join(errs...)
	}
	return deadlines, errors.Join(errs...)
}

// mayBeSeen reports whether a launch was dispatched before a look. What an
// earlier process dispatched was.
func (k *Controller) mayBeSeen(launch string, s *muster.Sight) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	at, known := k.dispatched[launch]
	if known && !at.Before(s.At) { // both of this process's monotonic clock: one that is set back holds up nothing
		return false
	}
	delete(k.dispatched, launch)
	return true
}

// unplaced asks Nomad why it has not placed a launch in time. Nomad is looked at
// anew before it is judged by that.
func (k *Controller) unplaced(ctx context.Context, x *muster.Execution, s *muster.Sighting) (err error) {
	switch late := x.Launch.DispatchedAt.Add(muster.PlaceLimit); {
	case x.Launch.Stop != "" || !x.Unplaced(s) || !s.Now.After(late):
	case !s.Seen.After(late):
		k.ring("look")
	default:
		s.Why, err = k.Engine.WhyUnplaced(ctx, x.Launch.Namespace, x.Launch.ChildID)
	}
	return err
}

// observe applies what one sighting leads to. Nomad is told to stop a job only
// once the reason is written: see Observe.
func (k *Controller) observe(ctx context.Context, ledger muster.Ledger, x *muster.Execution, s *muster.Sighting) error {
	m := x.Observe(s)
	if m.StopJob {
		if err := k.Engine.StopJob(ctx, x.Launch.Namespace, x.Launch.ChildID, false); err != nil {
			return err
		}
	}
	if m.Empty() {
		return nil
	}
	if err := ledger.Move(ctx, x, m); err != nil {
		return err
	}
	if m.Stop != "" {
		k.ring("track")
	}
	if m.Stop != "" || m.Launch == muster.LaunchOver {
		k.Order()
	}
	if m.Launch == muster.LaunchOver {
		k.ring("purge", "admit")
	}
	if m.Outcome != "" || m.StopJob {
		k.ring("look")
	}
	return nil
}

// childKey names a dispatched job.
type childKey struct{ namespace, id string }

// child is what was seen of one dispatched job.
type child struct {
	job    *muster.SeenJob
	allocs []muster.SeenAlloc
}

// childrenOf sorts jobs and allocations by dispatched job.
func childrenOf(s *muster.Sight) map[childKey]*child {
	all := map[childKey]*child{}
	of := func(namespace, id string) *child {
		key := childKey{namespace, id}
		if all[key] == nil {
			all[key] = &child{}
		}
		return all[key]
	}
	for i := range s.Jobs {
		of(s.Jobs[i].Namespace, s.Jobs[i].ID).job = &s.Jobs[i]
	}
	for _, a := range s.Allocs {
		if a.Ours {
			c := of(a.Namespace, a.JobID)
			c.allocs = append(c.allocs, a)
		}
	}
	return all
}

// reconcile ends the dispatched jobs of this installation that no launch knows
// as its own: a copy that somebody dispatched by hand, or one whose launch was
// given up while it was dispatched. What was seen may be a moment old, so each
// gets some patience.
func (k *Controller) reconcile(ctx context.Context, ledger muster.Ledger, seen *muster.Sight) error {
	if !seen.At.After(k.removed) {
		return nil
	}
	var errs []error
	copies := map[string]time.Time{}
	for i := range seen.Jobs {
		job := &seen.Jobs[i]
		x, err := ledger.FindExecution(ctx, job.Launch)
		if err != nil && muster.CodeOf(err) != muster.CodeNotFound {
			return err
		}
		if x != nil && (x.Launch.State == muster.LaunchReserved || x.Launch.ChildID == job.ID && x.Launch.State != muster.LaunchPurged) {
			continue
		}
		first, known := k.copies[job.ID]
		if !known {
			first = time.Now()
		}
		if time.Since(first) < patience(job, x) {
			copies[job.ID] = first
			continue
		}
		k.Log.Warn("a dispatched job is no launch's own: it is removed", "job", job.ID, "namespace", job.Namespace)
		if err := k.Engine.StopJob(ctx, job.Namespace, job.ID, true); err != nil {
			copies[job.ID] = first
			errs = append(errs, err)
			continue
		}
		k.removed = time.Now()
		k.ring("look")
		if x != nil && x.Launch.ChildID != job.ID {
			errs = append(errs, ledger.Move(ctx, x, &muster.Moves{Notes: []string{fmt.Sprintf("Nomad job %s was a copy that somebody dispatched by hand: it is removed", job.ID)}}))
		}
	}
	k.copies = copies
	return errors.Join(errs...)
}

// patience is how long a job that is no launch's own may stay. A copy of a live
// launch has its claim refused, and ends by itself.
func patience(job *muster.SeenJob, x *muster.Execution) time.Duration {
	switch {
	case x == nil:
		return 0
	case x.Launch.ChildID != job.ID && (job.Status == "dead" || x.Launch.State.Ended()):
		return 0
	}
	return copyPatience
}
