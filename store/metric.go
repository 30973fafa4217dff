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
			row := []any{at.RunID, m.Name, m.Step, micros(m.Time), m.Value, at.Attempt}
			if _, err := t.exec(ctx, `INSERT OR REPLACE INTO metrics (run_id, name, step, at, value, attempt) VALUES (?, ?, ?, ?, ?, ?)`, row...); err != nil {
				return err
			}
			if _, err := t.exec(ctx, `INSERT INTO latest_metrics (run_id, name, step, at, value, attempt) VALUES (?, ?, ?, ?, ?, ?)
				ON CONFLICT DO UPDATE SET step = excluded.step, at = excluded.at, value = excluded.value, attempt = excluded.attempt
				WHERE (excluded.attempt, excluded.step, excluded.at) >= (attempt, step, at)`, row...); err != nil {
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

// ListMetrics returns a run's metrics by name, step and time: of the steps that
// several attempts have logged the last one's, or those of one attempt alone.
func (s *Store) ListMetrics(ctx context.Context, runID int64, q muster.MetricQuery) ([]muster.Metric, error) {
	query, args := `SELECT name, step, at, value, attempt FROM metrics m WHERE run_id = ? AND (? = '' OR name = ?) `, []any{runID, q.Name, q.Name}
	if q.Attempt > 0 {
		query, args = query+`AND attempt = ? `, append(args, q.Attempt)
	} else {
		query += `AND attempt = (SELECT max(attempt) FROM metrics l WHERE l.run_id = m.run_id AND l.name = m.name AND l.step = m.step) `
	}
	return collect(ctx, s.read, func(row scanner) (m muster.Metric, err error) {
		err = row.Scan(&m.Name, &m.Step, timeCol{&m.Time}, &m.Value, &m.Attempt)
		return m, err
	}, query+`ORDER BY name, step, at`, args...)
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
