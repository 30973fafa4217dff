package ship

import (
	"context"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// MaxBatch is how many metrics and parameters a batch holds at most.
const MaxBatch = 1000

// Metrics sends what a run logs in numbered batches.
type Metrics struct {
	Agent    *client.Agent
	Attempt  int
	Instance int
	next     int64
}

// Send sends one batch until it is kept or refused. A batch that is refused is
// given up, and the next one takes its number.
func (m *Metrics) Send(ctx context.Context, metrics []muster.Metric, params []muster.Parameter) error {
	report := &muster.MetricsReport{Attempt: m.Attempt, Instance: m.Instance, Batch: m.next, Metrics: metrics, Params: params}
	err := Retry(ctx, func(ctx context.Context) error {
		try, cancel := context.WithTimeout(ctx, chunkTime)
		defer cancel()
		return m.Agent.LogMetrics(try, report)
	})
	if err == nil {
		m.next++
	}
	return err
}
