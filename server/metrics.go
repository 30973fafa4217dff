package server

import (
	"context"
	"errors"
	"io"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/muster-ml/muster"
)

// Buckets of histograms, in seconds: calls that somebody waits for, and spans of
// a run's life.
var (
	callBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	lifeBuckets = []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 7 * 24 * 3600}
)

// metrics are the numbers that are counted as things happen; what can be read
// when it is asked for is collector's. docs/monitoring.md tells of each. No label
// is a run's name, nor anything else of which there is no end.
type metrics struct {
	registry *prometheus.Registry

	submitted, admitted, started, finished, attempts *prometheus.CounterVec
	admission, launch, duration                      *prometheus.HistogramVec

	decision prometheus.Histogram
	turns    calls // of the controller's loops

	nomad, consul, store calls

	requests *prometheus.CounterVec
	answers  *prometheus.HistogramVec
	streams  prometheus.Gauge
	bytes    *prometheus.CounterVec
}

// calls are calls of one kind, by operation.
type calls struct {
	took   *prometheus.HistogramVec
	failed *prometheus.CounterVec
}

// observe counts one call. What the caller got wrong, or gave up, is no failure
// of who was called.
func (c calls) observe(operation string, took time.Duration, err error) {
	c.took.WithLabelValues(operation).Observe(took.Seconds())
	failed := c.failed.WithLabelValues(operation) // it is there from the first call on, so that the first failure is an increase
	if err != nil && !errors.Is(err, context.Canceled) && (muster.CodeOf(err) == muster.CodeInternal || muster.CodeOf(err) == muster.CodeUnreachable) {
		failed.Inc()
	}
}

// newMetrics returns all numbers at 0.
func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.submitted = m.counter("muster_runs_submitted_total", "Runs that were submitted.", "workspace")
	m.admitted = m.counter("muster_runs_admitted_total", "Runs that were admitted, each attempt.", "cluster")
	m.started = m.counter("muster_runs_started_total", "Runs whose command began, each attempt.", "cluster")
	m.finished = m.counter("muster_runs_finished_total", "Runs that ended, by their state and the outcome of their last attempt.", "workspace", "state", "outcome")
	m.attempts = m.counter("muster_attempts_finished_total", "Attempts that ended.", "cluster", "outcome")
	m.admission = m.histogram("muster_run_admission_seconds", "From queued to admitted, each attempt.", lifeBuckets, "cluster")
	m.launch = m.histogram("muster_run_launch_seconds", "From admitted to the command's begin, each attempt.", lifeBuckets, "cluster")
	m.duration = m.histogram("muster_run_duration_seconds", "From the first command's begin to the run's end.", lifeBuckets, "cluster", "state")
	m.turns = m.calls("muster_loop", "turns of the controller's loops", "loop")
	m.nomad = m.calls("muster_nomad_request", "calls to Nomad", "operation")
	m.consul = m.calls("muster_consul_request", "calls to Consul", "operation")
	m.store = m.calls("muster_store_write", "write transactions of the store", "operation")
	m.requests = m.counter("muster_http_requests_total", "Requests that were answered.", "route", "method", "status")
	m.answers = m.histogram("muster_http_request_seconds", "Until an answer began.", callBuckets, "route", "method")
	m.bytes = m.counter("muster_artifact_bytes_total", "Bytes of artifacts, logs and uploads to (in) and from (out) where they are kept.", "direction")
	m.decision = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "muster_decision_seconds", Help: "How long a decision about all waiting runs took.", Buckets: callBuckets})
	m.streams = prometheus.NewGauge(prometheus.GaugeOpts{Name: "muster_sse_clients", Help: "Streams of events and logs that are open."})
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "muster_build_info", Help: "1, with what this server is."}, []string{"version", "go_version"})
	build.WithLabelValues(muster.Version, runtime.Version()).Set(1)
	m.registry.MustRegister(m.decision, m.streams, build)
	for _, direction := range []string{"in", "out"} {
		m.bytes.WithLabelValues(direction)
	}
	return m
}

func (m *metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *metrics) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	m.registry.MustRegister(h)
	return h
}

func (m *metrics) calls(prefix, what, label string) calls {
	return calls{m.histogram(prefix+"_seconds", "How long "+what+" took.", callBuckets, label),
		m.counter(prefix+"_errors_total", "How many "+what+" failed.", label)}
}

// meteredBlobs counts the bytes that are kept and read.
type meteredBlobs struct {
	muster.Blobs
	in, out prometheus.Counter
}

// Put stores what r holds.
func (b *meteredBlobs) Put(ctx context.Context, key, want string, r io.Reader) (int64, string, error) {
	size, sum, err := b.Blobs.Put(ctx, key, want, r)
	b.in.Add(float64(size))
	return size, sum, err
}

// Open returns the bytes from offset on.
func (b *meteredBlobs) Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	r, err := b.Blobs.Open(ctx, key, offset)
	if err != nil {
		return nil, err
	}
	return &meteredReader{r, b.out}, nil
}

// meteredReader counts what is read.
type meteredReader struct {
	io.ReadCloser
	out prometheus.Counter
}

// Read reads on.
func (r *meteredReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.out.Add(float64(n))
	return n, err
}
