package cli

import (
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// TestSurvived counts the evictions that a run outlived, and the work that was
// done again after them.
func TestSurvived(t *testing.T) {
	begin := time.Now()
	attempt := func(o muster.Outcome) *muster.Attempt {
		return &muster.Attempt{Outcome: o, StartedAt: begin, EndedAt: begin.Add(time.Minute)}
	}
	evicted, going := attempt(muster.OutcomeEvicted), &muster.Attempt{StartedAt: begin}
	for name, want := range map[string]struct {
		state    muster.RunState
		attempts []*muster.Attempt
		n        int
		again    time.Duration
	}{
		"ended well":              {muster.RunSucceeded, []*muster.Attempt{evicted, evicted, attempt(muster.OutcomeSucceeded)}, 2, 2 * time.Minute},
		"ended by the second one": {muster.RunFailed, []*muster.Attempt{evicted, evicted}, 1, time.Minute},
		"ended by the first one":  {muster.RunFailed, []*muster.Attempt{evicted}, 0, 0},
		"waits after one":         {muster.RunQueued, []*muster.Attempt{evicted}, 1, 0},
		"goes on":                 {muster.RunRunning, []*muster.Attempt{evicted, going}, 1, time.Minute},
	} {
		v := &muster.RunView{Run: muster.Run{State: want.state}, Attempts: want.attempts}
		if n, again := survived(v); n != want.n || again != want.again {
			t.Errorf("%s: %d, %s", name, n, again)
		}
	}
}
