package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/muster-ml/muster"
)

// statSeries are the series of an attempt's instance, in the order of its
// samples' values.
type statSeries struct {
	instance int
	taken    int64
	columns  []statColumn
}

// statColumn is a series: its values stand at its place in every sample.
type statColumn struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
}

// matches reports whether a query's name chooses the series.
func (c statColumn) matches(name string) bool {
	return name == "" || c.Name == name || strings.HasPrefix(c.Name, name+".")
}

// stepOf says that of n samples each step-th is kept.
func stepOf(n int64) (step int64) {
	for step = 1; n/step >= muster.MaxStats; {
		step *= 2
	}
	return step
}

// KeepStats keeps samples of instances.
func (g *ledger) KeepStats(ctx context.Context, samples []muster.StatSample) error {
	return g.lead(ctx, "keep stats", func(t *tx) error {
		for _, s := range samples {
			if err := t.keepSample(ctx, s); err != nil {
				return err
			}
		}
		return nil
	})
}

// keepSample keeps a sample. The one before it was kept as the newest, and goes
// unless its number is one of those that stay.
func (t *tx) keepSample(ctx context.Context, s muster.StatSample) error {
	const ofInstance = `WHERE run_id = ? AND attempt = ? AND instance = ? `
	var known statSeries
	err := t.QueryRowContext(ctx, `SELECT taken, series FROM stat_series `+ofInstance, s.RunID, s.Attempt, s.Instance).Scan(&known.taken, jsonCol{&known.columns})
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	number, values := known.taken, known.place(s.Readings)
	if step := stepOf(number); number > 0 && step > stepOf(number-1) {
		if _, err := t.exec(ctx, `DELETE FROM stat_samples `+ofInstance+`AND number % ? <> 0`, s.RunID, s.Attempt, s.Instance, step); err != nil {
			return err
		}
	} else if number > 0 && (number-1)%step != 0 {
		if _, err := t.exec(ctx, `DELETE FROM stat_samples `+ofInstance+`AND number = ?`, s.RunID, s.Attempt, s.Instance, number-1); err != nil {
			return err
		}
	}
	if _, err := t.exec(ctx, `INSERT INTO stat_samples (run_id, attempt, instance, number, at, readings) VALUES (?, ?, ?, ?, ?, ?)`,
		s.RunID, s.Attempt, s.Instance, number, micros(s.At), toJSON(values)); err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO stat_series (run_id, attempt, instance, taken, series) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET taken = excluded.taken, series = excluded.series`, s.RunID, s.Attempt, s.Instance, number+1, toJSON(known.columns))
	return err
}

// place puts each value where its series stands; new series come last.
func (s *statSeries) place(readings []muster.Reading) []*float64 {
	values := make([]*float64, len(s.columns), len(s.columns)+len(readings))
	for _, r := range readings {
		i := slices.IndexFunc(s.columns, func(c statColumn) bool { return c.Name == r.Name })
		if i < 0 {
			i, s.columns, values = len(s.columns), append(s.columns, statColumn{r.Name, r.Unit}), append(values, nil)
		}
		values[i] = &r.Value
	}
	return values
}

// statRow is a sample as it is kept.
type statRow struct {
	instance int
	at       time.Time
	values   []*float64
}

// ListStats returns a run's statistics by name, instance and time.
func (s *Store) ListStats(ctx context.Context, runID int64, q muster.StatQuery) ([]muster.Stat, error) {
	if q.Attempt == 0 {
		if err := s.read.QueryRowContext(ctx, `SELECT coalesce(max(attempt), 0) FROM stat_series WHERE run_id = ?`, runID).Scan(&q.Attempt); err != nil {
			return nil, fmt.Errorf("list stats: %w", err)
		}
	}
	first, last := q.Instance, q.Instance
	if q.Instance == muster.AllInstances {
		first, last = 0, math.MaxInt32
	}
	series, err := collect(ctx, s.read, func(row scanner) (one statSeries, err error) {
		err = row.Scan(&one.instance, &one.taken, jsonCol{&one.columns})
		return one, err
	}, `SELECT instance, taken, series FROM stat_series WHERE run_id = ?1 AND attempt = ?2 AND instance BETWEEN ?3 AND ?4`, runID, q.Attempt, first, last)
	if err != nil {
		return nil, fmt.Errorf("list stats: %w", err)
	}
	stride := strideOf(series, q.Name)
	if stride == 0 {
		return nil, nil
	}
	rows, err := collect(ctx, s.read, func(row scanner) (one statRow, err error) {
		err = row.Scan(&one.instance, timeCol{&one.at}, jsonCol{&one.values})
		return one, err
	}, `SELECT instance, at, readings FROM stat_series c JOIN stat_samples s USING (run_id, attempt, instance)
		WHERE run_id = ?1 AND attempt = ?2 AND instance BETWEEN ?3 AND ?4 AND (number % ?5 = 0 OR number = taken - 1) ORDER BY instance, number`,
		runID, q.Attempt, first, last, stride)
	if err != nil {
		return nil, fmt.Errorf("list stats: %w", err)
	}
	return statsOf(series, rows, q), nil
}

// statsOf puts names to the values that a query chooses.
func statsOf(series []statSeries, rows []statRow, q muster.StatQuery) (list []muster.Stat) {
	columns := map[int][]statColumn{}
	for _, one := range series {
		columns[one.instance] = one.columns
	}
	for _, row := range rows {
		for i, c := range columns[row.instance] {
			if i < len(row.values) && row.values[i] != nil && c.matches(q.Name) {
				list = append(list, muster.Stat{Name: c.Name, Unit: c.Unit, Attempt: q.Attempt, Instance: row.instance, At: row.at, Value: *row.values[i]})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b muster.Stat) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// strideOf says which samples an answer can hold: those whose number it divides,
// 0 where no series has the name.
func strideOf(all []statSeries, name string) int64 {
	for stride := int64(1); ; stride *= 2 {
		values := int64(0)
		for _, one := range all {
			for _, c := range one.columns {
				if c.matches(name) {
					values += one.taken/max(stride, stepOf(one.taken)) + 1
				}
			}
		}
		if values == 0 {
			return 0
		}
		if values <= muster.MaxStatList || stride > 1<<40 {
			return stride
		}
	}
}

// DropStats forgets the statistics of a run, an instance a transaction: there may
// be very many.
func (s *Store) DropStats(ctx context.Context, runID int64) error {
	type key struct{ attempt, instance int }
	all, err := collect(ctx, s.read, func(row scanner) (k key, err error) {
		err = row.Scan(&k.attempt, &k.instance)
		return k, err
	}, `SELECT attempt, instance FROM stat_series WHERE run_id = ?`, runID)
	if err != nil {
		return fmt.Errorf("drop stats: %w", err)
	}
	for _, k := range all {
		err := s.inTx(ctx, "drop stats", func(t *tx) error {
			for _, table := range []string{"stat_samples", "stat_series"} {
				if _, err := t.exec(ctx, `DELETE FROM `+table+` WHERE run_id = ? AND attempt = ? AND instance = ?`, runID, k.attempt, k.instance); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
