package cli

import (
	"testing"

	"github.com/muster-ml/muster"
)

// TestRetentionWords says of what goes why it does, though all else is kept.
func TestRetentionWords(t *testing.T) {
	for want, r := range map[string]*muster.RetentionReport{
		"1.0 KiB of 1 run and 0 uploads would go: 1 run of these was deleted; of others files are kept for ever, logs for ever\n": {DryRun: true, Bytes: 1024, Runs: []muster.Removal{{Run: "r", Deleted: true}}},
		"0 B of 2 runs and 1 upload removed: 2 runs of these were deleted; of others files are kept for ever, logs for ever\n":    {Uploads: 1, Runs: []muster.Removal{{Run: "r", Deleted: true}, {Run: "s", Deleted: true}}},
		"0 B of 0 runs and 0 uploads would go: files are kept 14d, logs for ever\n":                                               {DryRun: true, Keeping: muster.Keeping{Artifacts: muster.Duration(14 * day)}},
	} {
		table := &table{}
		drawRetention(table, r)
		if got := table.blocks[len(table.blocks)-1].line + "\n"; got != want {
			t.Errorf("got  %swant %s", got, want)
		}
	}
}
