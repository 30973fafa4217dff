package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/muster-ml/muster"
)

// traceProperty is the property of a run that keeps the trace of whoever
// submitted it, as a W3C traceparent.
const traceProperty = "traceparent"

// tracer makes a trace of each run and sends it by OTLP. Its spans are made of
// rows and events, with ids made of the run's: a server that dies between makes
// the same ones again, and what it had sent before is there once.
type tracer struct {
	endpoint     string // base URL of the receiver
	installation string
	exporter     *otlptrace.Exporter
	log          *slog.Logger

	made     sdktrace.SpanProcessor // sends the spans of requests when there is time
	resource *resource.Resource
}

// newTracer returns a tracer that sends to the OTLP receiver at a base URL.
// Headers, certificates and the like it takes from the OTEL_EXPORTER_OTLP_*
// variables.
func newTracer(ctx context.Context, endpoint, installation string, log *slog.Logger) (*tracer, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, muster.Errorf(muster.CodeInvalid, "%q is not a URL", endpoint).At("otlp-endpoint").WithCure("use http://HOST:4318")
	}
	t := &tracer{endpoint: endpoint, installation: installation, log: log}
	if t.exporter, err = otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.JoinPath("v1/traces").String())); err != nil {
		return nil, fmt.Errorf("open the OTLP exporter: %w", err)
	}
	t.resource, err = resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "muster"),
		attribute.String("service.version", muster.Version), attribute.String("muster.installation", installation)), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("describe this server for traces: %w", err)
	}
	t.made = sdktrace.NewBatchSpanProcessor(t.exporter, sdktrace.WithBatchTimeout(time.Second))
	return t, nil
}

// Close sends what is not sent yet, and closes the exporter.
func (t *tracer) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := errors.Join(t.made.Shutdown(ctx), t.exporter.Shutdown(ctx)); err != nil {
		t.log.Warn("send the last spans", "error", err)
	}
	return nil
}

// span is one span that is to be made.
type span struct {
	id, parent trace.SpanID // no parent is the root
	name       string
	from, to   time.Time
	attributes []attribute.KeyValue
	failure    string // why what it tells of failed; "" where it did not
}

// origin returns the trace of a run: that of its submitter, with the span in
// which he submitted it, or one of the run's own. ok is false where the
// submitter wants none.
func (t *tracer) origin(r *muster.Run) (of trace.SpanContext, ok bool) {
	if given := parseParent(r.Properties[traceProperty]); given.IsValid() {
		return given, given.IsSampled()
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s run %d", t.installation, r.ID))
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID(sum[:16]), TraceFlags: trace.FlagsSampled}), true
}

// spanID returns the id of a run's span.
func (t *tracer) spanID(r *muster.Run, name string, of ...any) trace.SpanID {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s run %d span %s %v", t.installation, r.ID, name, of))
	return trace.SpanID(sum[:8])
}

// parseParent reads a W3C traceparent; what is none is not valid.
func parseParent(text string) trace.SpanContext {
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{traceProperty: text})
	return trace.SpanContextFromContext(ctx)
}

// formatParent writes a W3C traceparent.
func formatParent(c trace.SpanContext) string {
	return fmt.Sprintf("00-%s-%s-%s", c.TraceID(), c.SpanID(), c.TraceFlags())
}

// commandParent returns the context in which the command of an instance works:
// spans that it makes lie below its own.
func (t *tracer) commandParent(r *muster.Run, attempt, instance int) string {
	of, _ := t.origin(r)
	return formatParent(of.WithSpanID(t.spanID(r, string(muster.PhaseCommand), attempt, instance)))
}

// make makes the spans of a run and hands each to p.
func (t *tracer) make(r *muster.Run, spans []span, p sdktrace.SpanProcessor) {
	of, ok := t.origin(r)
	if !ok {
		return
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithIDGenerator(givenIDs{}), sdktrace.WithResource(t.resource), sdktrace.WithSampler(sdktrace.AlwaysSample()), sdktrace.WithSpanProcessor(p))
	maker := provider.Tracer("muster")
	for _, s := range spans {
		ctx := context.WithValue(context.Background(), idKey{}, ids{of.TraceID(), s.id})
		if s.parent.IsValid() {
			ctx = trace.ContextWithRemoteSpanContext(ctx, of.WithSpanID(s.parent))
		}
		_, made := maker.Start(ctx, s.name, trace.WithTimestamp(s.from), trace.WithAttributes(s.attributes...), trace.WithAttributes(
			attribute.String("muster.workspace", r.Workspace), attribute.String("muster.run", r.Name)))
		s.finish(made)
	}
}

// ids are the ids of a span that is to be made.
type ids struct {
	trace trace.TraceID
	span  trace.SpanID
}

type idKey struct{}

// givenIDs gives spans the ids that their context names.
type givenIDs struct{}

// NewIDs returns the ids of a root.
func (givenIDs) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	given := ctx.Value(idKey{}).(ids)
	return given.trace, given.span
}

// NewSpanID returns the id of a child.
func (givenIDs) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	return ctx.Value(idKey{}).(ids).span
}

// gathered keeps the spans that were made, to be sent by whoever made them.
type gathered struct{ spans []sdktrace.ReadOnlySpan }

// OnStart does nothing.
func (*gathered) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd keeps a span.
func (g *gathered) OnEnd(s sdktrace.ReadOnlySpan) { g.spans = append(g.spans, s) }

// Shutdown does nothing.
func (*gathered) Shutdown(context.Context) error { return nil }

// ForceFlush does nothing.
func (*gathered) ForceFlush(context.Context) error { return nil }
