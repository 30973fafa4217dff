package api_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/server/api"
)

// slowly is a store that takes longer to write than a body may take to come by
// the library that reads it.
type slowly struct{ muster.Runs }

func (s slowly) CreateRun(ctx context.Context, r *muster.Run, by muster.Origin) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(6 * time.Second):
		return s.Runs.CreateRun(ctx, r, by)
	}
}

// TestSlowCreate holds that a request is carried out however long the store takes.
func TestSlowCreate(t *testing.T) {
	d := open(t, func(s *api.Services) { s.Runs = slowly{s.Runs} })
	var both sync.WaitGroup
	for _, header := range [][]string{nil, {muster.IdempotencyKeyHeader, "k"}} {
		both.Go(func() {
			if resp, text := d.call("POST", "/api/v1/workspaces/w/runs", `{"spec":{"command":"a"}}`, header...); resp.StatusCode != 201 {
				t.Errorf("with header %q: %d %s", header, resp.StatusCode, text)
			}
		})
	}
	both.Wait()
}
