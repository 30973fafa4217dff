package agentapi

import (
	"net/http"
	"slices"
	"time"

	"github.com/muster-ml/muster"
)

// claim gives an instance to the calling allocation, or refuses. While its node is
// made ready the answer is held back.
func (a *API) claim(w http.ResponseWriter, r *http.Request) error {
	alloc, err := a.identify(r)
	if err != nil {
		return err
	}
	var q muster.ClaimRequest
	if err := read(w, r, &q); err != nil {
		return err
	}
	return a.held(r, claimHold, func(over bool) (bool, error) {
		won, err := a.Claims.Claim(r.Context(), alloc, q.BootID, q.Notes)
		if err != nil || won.Waits != "" && !over {
			return false, err
		}
		won.Servers = a.Servers()
		return true, answer(w, won)
	})
}

// held asks try for an answer whenever something may have changed, until it has
// given one. When the time is over, or the server ends, over says that it must.
func (a *API) held(r *http.Request, most time.Duration, try func(over bool) (answered bool, err error)) error {
	hold := time.NewTimer(most)
	defer hold.Stop()
	again := time.NewTicker(recheck)
	defer again.Stop()
	for over := most <= 0; ; {
		changed := a.Changed()
		if answered, err := try(over); answered || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-again.C:
		case <-hold.C:
			over = true
		case <-a.done:
			over = true
		case <-r.Context().Done():
			return r.Context().Err()
		}
	}
}

// report keeps what an instance tells, and holds the answer back while there is
// nothing to say.
func (a *API) report(w http.ResponseWriter, r *http.Request, c *caller) error {
	var q muster.Report
	if err := read(w, r, &q); err != nil {
		return err
	}
	if q.Instance != c.instance.Index || q.Attempt != c.launch.Attempt {
		return muster.Errorf(muster.CodeForbidden, "instance %d of attempt %d belongs to another allocation", q.Instance, q.Attempt)
	}
	if outdated(&q, c.instance) {
		return answer(w, muster.Orders{Servers: a.Servers()})
	}
	hold := time.NewTimer(min(time.Duration(max(q.WaitSeconds, 0))*time.Second, maxHold))
	defer hold.Stop()
	again := time.NewTicker(recheck)
	defer again.Stop()
	for {
		changed := a.Changed()
		orders, err := a.Claims.Report(r.Context(), c.launch.ID, &q)
		if err != nil {
			return err
		}
		orders.Servers = a.Servers()
		if q.WaitSeconds <= 0 || q.Result != nil || worthSaying(&q, orders) {
			return answer(w, orders)
		}
		select {
		case <-changed:
		case <-again.C:
			a.hear(c)
		case <-hold.C:
			return answer(w, orders)
		case <-a.done:
			return answer(w, orders)
		case <-r.Context().Done():
			return r.Context().Err()
		}
		if _, err := a.own(r, &muster.Allocation{ID: c.instance.AllocID, Launch: c.launch.ID}); err != nil {
			return err
		}
	}
}

// outdated reports whether a report is older than what is kept: an agent breaks
// a report off that waits when there is something new to tell, and the server
// may come to the new one first.
func outdated(q *muster.Report, kept *muster.Instance) bool {
	if kept.Result != nil {
		return q.Result == nil
	}
	last := muster.PhaseSetup
	if n := len(q.Phases); n > 0 {
		last = q.Phases[n-1].Phase
	}
	return slices.Index(muster.Phases(), last) < slices.Index(muster.Phases(), kept.Phase)
}

// worthSaying reports whether the orders hold what the agent waits for and has
// not told that it knows.
func worthSaying(q *muster.Report, o *muster.Orders) bool {
	if o.Stop != "" && !q.Stopping {
		return true
	}
	n := len(q.Phases)
	return o.Go && n > 0 && q.Phases[n-1].Phase == muster.PhasePeers
}

// logMetrics keeps a batch of metrics.
func (a *API) logMetrics(w http.ResponseWriter, r *http.Request, c *caller) error {
	var q muster.MetricsReport
	if err := read(w, r, &q); err != nil {
		return err
	}
	if q.Instance != c.instance.Index || q.Attempt != c.launch.Attempt || q.Batch < 0 {
		return muster.Errorf(muster.CodeForbidden, "instance %d of attempt %d belongs to another allocation", q.Instance, q.Attempt)
	}
	at := muster.MetricsBatch{RunID: c.launch.RunID, Attempt: q.Attempt, Instance: q.Instance, Batch: q.Batch}
	if err := a.Metrics.LogMetrics(r.Context(), at, q.Metrics, q.Params); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
