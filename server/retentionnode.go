package server

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/muster-ml/muster"
)

// nodeLogsFor is how long the log of a set-up is kept that is not its node's last,
// or whose node is gone.
const nodeLogsFor = 7 * 24 * time.Hour

// nodeLogs removes the logs of set-ups that nobody can ask for any more.
func (r *retention) nodeLogs(ctx context.Context) error {
	health, err := r.store.ListHealth(ctx)
	if err != nil {
		return fmt.Errorf("old logs of nodes: %w", err)
	}
	old := func(b muster.Blob) bool {
		part := strings.SplitN(b.Key, "/", 4) // nodes/ID/LOG/OFFSET
		return r.now().Sub(b.At) > nodeLogsFor && (len(part) < 4 || health[part[1]].Log != part[2])
	}
	if _, _, err := r.bucket.Purge(ctx, muster.NodeLogsPrefix, old, false); err != nil {
		return fmt.Errorf("old logs of nodes: %w", err)
	}
	return nil
}
