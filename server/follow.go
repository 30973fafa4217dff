package server

import (
	"context"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/store"
)

// Times of a follower: how often it looks unasked, and how long it waits after an
// error.
const (
	followTick  = time.Minute
	followPause = 5 * time.Second
)

// follow hands the events after a number to f, a page at a time, until ctx ends.
// A page on which f fails is handed to it again.
func (s *Server) follow(ctx context.Context, after int64, f func(ctx context.Context, page []*muster.Event) error) {
	for ctx.Err() == nil {
		changed := s.store.EventsChanged()
		page, err := s.store.ListEvents(ctx, muster.EventFilter{After: after})
		if err == nil && len(page) > 0 {
			if err = f(ctx, page); err == nil {
				after = page[len(page)-1].Seq
				continue
			}
		}
		pause := followTick
		if err != nil {
			pause, changed = followPause, nil
			if ctx.Err() == nil {
				s.Log.Warn("follow the events", "after", after, "error", err, "again_in", pause)
			}
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(pause):
		}
	}
}

// count counts what events tell of runs. An event that cannot be understood is
// not counted, and not twice.
func (s *Server) count(ctx context.Context, page []*muster.Event) error {
	for _, e := range page {
		if err := s.metrics.count(ctx, s.store, e); err != nil && ctx.Err() == nil {
			s.Log.Warn("count an event", "event", e.Seq, "error", err)
		}
	}
	return nil
}

// count counts one event.
func (m *metrics) count(ctx context.Context, kept *store.Store, e *muster.Event) error {
	switch {
	case e.Kind == muster.EventState && e.From == "":
		m.submitted.WithLabelValues(e.Workspace).Inc()
		return nil
	case e.Kind != muster.EventState && e.Kind != muster.EventAttempt, e.Kind == muster.EventState && e.To == muster.RunQueued:
		return nil
	}
	r, err := kept.FindRunByID(ctx, e.RunID)
	if err != nil {
		return err
	}
	attempts, err := kept.ListAttempts(ctx, e.RunID)
	if err != nil {
		return err
	}
	if e.To.Final() && e.Kind == muster.EventState {
		m.countEnd(r, e, attempts)
		return nil
	}
	if e.Attempt < 1 || e.Attempt > len(attempts) {
		return nil
	}
	a := attempts[e.Attempt-1]
	switch {
	case e.Kind == muster.EventAttempt:
		m.attempts.WithLabelValues(a.Cluster, string(a.Outcome)).Inc()
	case e.To == muster.RunAdmitted:
		m.admitted.WithLabelValues(a.Cluster).Inc()
		m.admission.WithLabelValues(a.Cluster).Observe(a.AdmittedAt.Sub(queuedAt(r, attempts, e.Attempt)).Seconds())
	case e.To == muster.RunRunning:
		m.started.WithLabelValues(a.Cluster).Inc()
		m.launch.WithLabelValues(a.Cluster).Observe(a.StartedAt.Sub(a.AdmittedAt).Seconds())
	}
	return nil
}

// countEnd counts the end of a run.
func (m *metrics) countEnd(r *muster.Run, e *muster.Event, attempts []*muster.Attempt) {
	outcome := "none" // it never began
	if len(attempts) > 0 {
		outcome = string(attempts[len(attempts)-1].Outcome)
	}
	m.finished.WithLabelValues(e.Workspace, string(e.To), outcome).Inc()
	if !r.StartedAt.IsZero() {
		m.duration.WithLabelValues(r.Cluster, string(e.To)).Observe(e.At.Sub(r.StartedAt).Seconds())
	}
}

// queuedAt returns since when a run waited for an attempt: the first for that of
// its submission, the others from the end of the one before.
func queuedAt(r *muster.Run, attempts []*muster.Attempt, number int) time.Time {
	if number > 1 && !attempts[number-2].EndedAt.IsZero() {
		return attempts[number-2].EndedAt
	}
	return r.QueuedAt
}
