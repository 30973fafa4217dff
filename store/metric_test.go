package store

import (
	"slices"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// TestMetricsOfTheLastAttempt holds that a run that is tried again has one value
// a step, its last attempt's, and that an earlier one's can be asked for.
func TestMetricsOfTheLastAttempt(t *testing.T) {
	s := open(t)
	g := lead(t, s)
	x := start(t, s, g, submit(t, s, "a", ""))
	log := func(attempt int, batch, step int64, value float64) {
		must(t, s.LogMetrics(t.Context(), muster.MetricsBatch{RunID: x.Run.ID, Attempt: attempt, Batch: batch},
			[]muster.Metric{{Name: "loss", Value: value, Step: step, Time: time.UnixMicro(int64(1000*attempt) + step)}}, nil))
	}
	log(1, 0, 1, 10)
	log(1, 1, 2, 20)
	log(1, 2, 3, 30)
	must(t, g.Move(t.Context(), x, &muster.Moves{Launch: muster.LaunchOver, Outcome: muster.OutcomeLost, Losses: 1, Runs: []muster.RunMove{{To: muster.RunQueued, Reason: "lost"}}}))
	x = start(t, s, g, state(t, s, "a"))
	log(2, 0, 2, 22) // it resumed from a checkpoint
	for attempt, want := range map[int][]float64{0: {10, 22, 30}, 1: {10, 20, 30}, 2: {22}} {
		all, err := s.ListMetrics(t.Context(), x.Run.ID, muster.MetricQuery{Attempt: attempt})
		must(t, err)
		var got []float64
		for _, m := range all {
			got = append(got, m.Value)
		}
		if !slices.Equal(got, want) {
			t.Errorf("attempt %d: %v, want %v", attempt, got, want)
		}
	}
	if latest, err := s.LatestMetrics(t.Context(), []int64{x.Run.ID}); err != nil || latest[x.Run.ID]["loss"] != 22 {
		t.Errorf("the latest is %v, %v", latest, err)
	}
}
