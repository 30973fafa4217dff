package store

import (
	"slices"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// sampled is a sample of a run's first attempt, n seconds after the epoch.
func sampled(run int64, instance, n int, readings ...muster.Reading) muster.StatSample {
	return muster.StatSample{RunID: run, Attempt: 1, Instance: instance, At: time.Unix(int64(n), 0).UTC(), Readings: readings}
}

// valuesOf lists the values of statistics.
func valuesOf(all []muster.Stat) (values []float64) {
	for _, s := range all {
		values = append(values, s.Value)
	}
	return values
}

// TestStats holds that each value comes back under its name, with its unit, also
// where some samples lack it, and that a query chooses.
func TestStats(t *testing.T) {
	s := open(t)
	g := lead(t, s)
	run := submit(t, s, "a", "")
	const gpu = "gpu.sim-V100-0::1.utilization"
	must(t, g.KeepStats(t.Context(), []muster.StatSample{
		sampled(run.ID, 0, 1, muster.Reading{Name: "node_cpu", Unit: "%", Value: 5}),
		sampled(run.ID, 1, 1, muster.Reading{Name: "cpu", Unit: "%", Value: 77}),
		sampled(run.ID, 0, 2, muster.Reading{Name: "cpu", Unit: "%", Value: 12.5}, muster.Reading{Name: gpu, Unit: "%", Value: 0}, muster.Reading{Name: "node_cpu", Unit: "%", Value: 6}),
		sampled(run.ID, 0, 3, muster.Reading{Name: "cpu", Unit: "%", Value: 13}),
	}))
	again := sampled(run.ID, 0, 4, muster.Reading{Name: "cpu", Unit: "%", Value: 99})
	again.Attempt = 2
	for _, c := range []struct {
		q    muster.StatQuery
		want []float64
	}{
		{muster.StatQuery{Attempt: 1, Instance: muster.AllInstances}, []float64{12.5, 13, 77, 0, 5, 6}},
		{muster.StatQuery{Attempt: 1, Instance: 1}, []float64{77}},
		{muster.StatQuery{Attempt: 1, Name: "gpu"}, []float64{0}},
		{muster.StatQuery{Attempt: 1, Name: "node"}, nil},
		{muster.StatQuery{Attempt: 1, Name: "node_cpu"}, []float64{5, 6}},
		{muster.StatQuery{Name: "cpu", Instance: muster.AllInstances}, []float64{12.5, 13, 77}},
		{muster.StatQuery{Attempt: 3}, nil},
	} {
		all, err := s.ListStats(t.Context(), run.ID, c.q)
		if must(t, err); !slices.Equal(valuesOf(all), c.want) {
			t.Errorf("%+v: %+v, want %v", c.q, all, c.want)
		}
	}
	must(t, g.KeepStats(t.Context(), []muster.StatSample{again}))
	all, err := s.ListStats(t.Context(), run.ID, muster.StatQuery{})
	must(t, err)
	if want := (muster.Stat{Name: "cpu", Unit: "%", Attempt: 2, At: again.At, Value: 99}); len(all) != 1 || all[0] != want {
		t.Errorf("the last attempt's are %+v, want %+v", all, want)
	}
	must(t, s.DropStats(t.Context(), run.ID))
	if all, err := s.ListStats(t.Context(), run.ID, muster.StatQuery{Instance: muster.AllInstances}); err != nil || len(all) != 0 {
		t.Errorf("after they were dropped: %+v, %v", all, err)
	}
	if _, err := s.AcquireLease(t.Context(), "test", true); err != nil {
		t.Fatal(err)
	}
	wantCode(t, g.KeepStats(t.Context(), []muster.StatSample{again}), muster.CodeConflict)
}

// TestStatsAreBounded holds that a long run's samples are thinned evenly, with
// the newest always there, and that no answer is too long.
func TestStatsAreBounded(t *testing.T) {
	s := open(t)
	g := lead(t, s)
	run := submit(t, s, "a", "")
	var batch []muster.StatSample
	n := 0
	keep := func(until int) []float64 {
		batch = batch[:0]
		for ; n < until; n++ {
			batch = append(batch, sampled(run.ID, 0, n, muster.Reading{Name: "cpu", Unit: "%", Value: float64(n)}))
		}
		must(t, g.KeepStats(t.Context(), batch))
		all, err := s.ListStats(t.Context(), run.ID, muster.StatQuery{})
		must(t, err)
		return valuesOf(all)
	}
	for _, c := range []struct{ until, kept, step int }{
		{muster.MaxStats, muster.MaxStats, 1}, {muster.MaxStats + 1, muster.MaxStats/2 + 1, 2}, {muster.MaxStats + 2, muster.MaxStats/2 + 2, 2},
		{2*muster.MaxStats - 1, muster.MaxStats, 2}, {2*muster.MaxStats + 1, muster.MaxStats/2 + 1, 4}, {2*muster.MaxStats + 4, muster.MaxStats/2 + 2, 4},
	} {
		got := keep(c.until)
		if len(got) != c.kept || got[len(got)-1] != float64(c.until-1) {
			t.Fatalf("of %d samples %d are kept, the newest is %g", c.until, len(got), got[len(got)-1])
		}
		for i, v := range got[:len(got)-1] {
			if v != float64(i*c.step) {
				t.Fatalf("of %d samples the one at place %d is %g", c.until, i, v)
			}
		}
	}
	wide := make([]muster.Reading, 2*muster.MaxStatList/100)
	for i := range wide {
		wide[i] = muster.Reading{Name: "gpu." + string(rune('0'+i%10)) + time.Duration(i).String(), Value: 1}
	}
	other, batch := submit(t, s, "b", ""), []muster.StatSample{}
	for i := range 100 {
		batch = append(batch, sampled(other.ID, 0, i, wide...))
	}
	must(t, g.KeepStats(t.Context(), batch))
	all, err := s.ListStats(t.Context(), other.ID, muster.StatQuery{})
	must(t, err)
	if last := all[len(all)-1].At; len(all) > muster.MaxStatList || len(all) < muster.MaxStatList/4 || !last.Equal(time.Unix(99, 0)) {
		t.Errorf("the answer has %d values, the last of %s", len(all), last)
	}
}
