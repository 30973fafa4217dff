package server

import (
	"cmp"
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/store"
)

// The spans of a run, each below the one that is indented less:
//
//	submit                    the request, while it was answered
//	  run                     until its end
//	    queued                once an attempt
//	    attempt
//	      launch              until Nomad has its job
//	      instance            from its claim, once for each
//	        inputs, command … its phases
const (
	spanSubmit   = "submit"
	spanRun      = "run"
	spanQueued   = "queued"
	spanAttempt  = "attempt"
	spanLaunch   = "launch"
	spanInstance = "instance"
)

// finish ends a span as it ended.
func (s *span) finish(made trace.Span) {
	if s.failure != "" {
		made.SetStatus(codes.Error, s.failure)
	}
	made.End(trace.WithTimestamp(s.to))
}

// below returns a span of a run below another.
func (t *tracer) below(r *muster.Run, parent trace.SpanID, name string, from, to time.Time, of ...any) span {
	return span{id: t.spanID(r, name, of...), parent: parent, name: name, from: from, to: to}
}

// spansOf returns the spans that an event tells the end of: those of the queue
// when a run is admitted, those of an attempt at its end, the run's own at its.
func (t *tracer) spansOf(ctx context.Context, kept *store.Store, e *muster.Event) (*muster.Run, []span, error) {
	final := e.Kind == muster.EventState && e.To.Final()
	if !final && e.Kind != muster.EventAttempt && (e.Kind != muster.EventState || e.To != muster.RunAdmitted) {
		return nil, nil, nil
	}
	r, err := kept.FindRunByID(ctx, e.RunID)
	if err != nil {
		return nil, nil, err
	}
	attempts, err := kept.ListAttempts(ctx, e.RunID)
	if err != nil {
		return nil, nil, err
	}
	root := t.spanID(r, spanRun)
	switch {
	case final:
		return r, t.spansOfEnd(r, e, attempts), nil
	case e.Attempt < 1 || e.Attempt > len(attempts):
		return r, nil, nil
	case e.Kind == muster.EventAttempt:
		spans, err := t.spansOfAttempt(ctx, kept, r, attempts[e.Attempt-1], e.At)
		return r, spans, err
	}
	queued := t.below(r, root, spanQueued, queuedAt(r, attempts, e.Attempt), attempts[e.Attempt-1].AdmittedAt, e.Attempt)
	queued.attributes = []attribute.KeyValue{attribute.Int("muster.attempt", e.Attempt), attribute.String("muster.cluster", attempts[e.Attempt-1].Cluster)}
	return r, []span{queued}, nil
}

// spansOfEnd returns the span of a run that has ended, and that of its wait if
// it ended in the queue.
func (t *tracer) spansOfEnd(r *muster.Run, e *muster.Event, attempts []*muster.Attempt) []span {
	run := span{id: t.spanID(r, spanRun), parent: t.spanID(r, spanSubmit), name: spanRun, from: r.CreatedAt, to: e.At, attributes: []attribute.KeyValue{
		attribute.String("muster.experiment", r.Experiment), attribute.String("muster.cluster", r.Cluster), attribute.String("muster.state", string(e.To)), attribute.Int("muster.attempts", len(attempts))}}
	if e.To == muster.RunFailed {
		run.failure = e.Message
	}
	if e.From != muster.RunQueued {
		return []span{run}
	}
	return []span{run, t.below(r, run.id, spanQueued, queuedAt(r, attempts, len(attempts)+1), e.At, len(attempts)+1)}
}

// spansOfAttempt returns the spans of an attempt that has ended.
func (t *tracer) spansOfAttempt(ctx context.Context, kept *store.Store, r *muster.Run, a *muster.Attempt, end time.Time) ([]span, error) {
	whole := t.below(r, t.spanID(r, spanRun), spanAttempt, a.AdmittedAt, end, a.Number)
	whole.attributes = []attribute.KeyValue{attribute.Int("muster.attempt", a.Number), attribute.String("muster.cluster", a.Cluster), attribute.String("muster.outcome", string(a.Outcome))}
	if a.Outcome != muster.OutcomeSucceeded && a.Outcome != muster.OutcomeCancelled {
		whole.failure = cmp.Or(a.Reason, string(a.Outcome))
	}
	spans := []span{whole}
	if a.DispatchedAt.IsZero() {
		return spans, nil
	}
	spans = append(spans, t.below(r, whole.id, spanLaunch, a.AdmittedAt, a.DispatchedAt, a.Number))
	phases, err := kept.InstancePhases(ctx, a.LaunchID)
	if err != nil {
		return nil, err
	}
	for i, in := range a.Instances {
		if !in.ClaimedAt.IsZero() && i < len(phases) {
			spans = append(spans, t.spansOfInstance(r, a, in, phases[i], end)...)
		}
	}
	return spans, nil
}

// spansOfInstance returns the span of an instance, with those of its phases. They
// are as its node's clock tells them.
func (t *tracer) spansOfInstance(r *muster.Run, a *muster.Attempt, in muster.Instance, phases []muster.PhaseChange, end time.Time) []span {
	last := end
	if n := len(phases); n > 0 && phases[n-1].Phase == muster.PhaseDone {
		last = phases[n-1].At
	}
	whole := t.below(r, t.spanID(r, spanAttempt, a.Number), spanInstance, in.ClaimedAt, last, a.Number, in.Index)
	whole.attributes = []attribute.KeyValue{attribute.Int("muster.instance", in.Index), attribute.String("muster.node", in.NodeName), attribute.String("nomad.alloc", in.AllocID)}
	spans := []span{whole}
	for i, p := range phases {
		if p.Phase == muster.PhaseDone {
			continue
		}
		to := last
		if i+1 < len(phases) {
			to = phases[i+1].At
		}
		phase := t.below(r, whole.id, string(p.Phase), p.At, to, a.Number, in.Index)
		if p.Phase == muster.PhaseCommand && in.Result != nil {
			phase.attributes = []attribute.KeyValue{attribute.Int("process.exit.code", in.Result.ExitCode)}
			if in.Result.ExitCode != 0 {
				phase.failure = cmp.Or(in.Result.Failure, "the command failed")
			}
		}
		spans = append(spans, phase)
	}
	return spans
}
