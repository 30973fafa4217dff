package store

import (
	"context"
	"strings"

	"github.com/muster-ml/muster"
)

// LogMetrics keeps a batch once.
func (s *Store) LogMetrics(ctx context.Context, at muster.MetricsBatch, metrics []muster.Metric, params []muster.Parameter) error {
	return s.inTx(ctx, "log metrics", func(t *tx) error {
		if err := t.fence(ctx, at.RunID, at.Attempt); err != nil {
			return err
		}
		n, err := t.exec(ctx, `INSERT INTO metric_batches (run_id, attempt, instance, batch) VALUES (?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET batch = excluded.batch WHERE excluded.batch > batch`, at.RunID, at.Attempt, at.Instance, at.Batch)
		if err != nil || n == 0 {
			return err
		}
		for _, m := range metrics {
			row := []any{at.RunID, m.Name, m.Step, micros(m.Time), m.Value}
			if _, err := t.exec(ctx, `INSERT OR REPLACE INTO metrics (run_id, name, step, at, value) VALUES (?, ?, ?, ?, ?)`, row...); err != nil {
				return err
			}
			if _, err := t.exec(ctx, `INSERT INTO latest_metrics (run_id, name, step, at, value) VALUES (?, ?, ?, ?, ?)
				ON CONFLICT DO UPDATE SET step = excluded.step, at = excluded.at, value = excluded.value
				WHERE (excluded.step, excluded.at) >= (step, at)`, row...); err != nil {
				return err
			}
		}
		for _, p := range params {
			if _, err := t.exec(ctx, `INSERT OR REPLACE INTO parameters (run_id, name, value) VALUES (?, ?, ?)`, at.RunID, p.Name, p.Value); err != nil {
				return err
			}
		}
		return nil
	})
}

// ListMetrics returns a run's metrics by name, step and time.
func (s *Store) ListMetrics(ctx context.Context, runID int64, name string) ([]muster.Metric, error) {
	return collect(ctx, s.read, func(row scanner) (m muster.Metric, err error) {
		err = row.Scan(&m.Name, &m.Step, timeCol{&m.Time}, &m.Value)
		return m, err
	}, `SELECT name, step, at, value FROM metrics WHERE run_id = ? AND (? = '' OR name = ?) ORDER BY name, step, at`, runID, name, name)
}

// LatestMetrics returns the last value of each metric of each run.
func (s *Store) LatestMetrics(ctx context.Context, runIDs []int64) (map[int64]map[string]float64, error) {
	return byRun[float64](ctx, s.read, `SELECT run_id, name, value FROM latest_metrics WHERE run_id IN `, runIDs)
}

// ListParameters returns the parameters of each run.
func (s *Store) ListParameters(ctx context.Context, runIDs []int64) (map[int64]map[string]string, error) {
	return byRun[string](ctx, s.read, `SELECT run_id, name, value FROM parameters WHERE run_id IN `, runIDs)
}

// byRun reads values by run and name.
func byRun[V any](ctx context.Context, q querier, query string, runIDs []int64) (map[int64]map[string]V, error) {
	type cell struct {
		run   int64
		name  string
		value V
	}
	all := map[int64]map[string]V{}
	if len(runIDs) == 0 {
		return all, nil
	}
	args := make([]any, len(runIDs))
	for i, id := range runIDs {
		args[i], all[id] = id, map[string]V{}
	}
	cells, err := collect(ctx, q, func(row scanner) (c cell, err error) {
		err = row.Scan(&c.run, &c.name, &c.value)
		return c, err
	}, query+`(?`+strings.Repeat(", ?", len(runIDs)-1)+`)`, args...)
	for _, c := range cells {
		all[c.run][c.name] = c.value
	}
	return all, err
}
