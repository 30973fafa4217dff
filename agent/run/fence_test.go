package run

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestFenceMargin looks that the agent gives up before anybody takes it for
// lost.
func TestFenceMargin(t *testing.T) {
	for _, fence := range []time.Duration{time.Second, defaultFence, time.Hour} {
		if f := newFence(&config{fence: fence}, nil); f.limit > fence*95/100 {
			t.Errorf("of a fence time of %s it lets %s pass", fence, f.limit)
		}
	}
}

// TestFenceAsksNomad looks that Nomad is asked before the agent gives up, and
// that it does not while Nomad answers.
func TestFenceAsksNomad(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked, leads := 0, true
	f := &fence{limit: time.Second, reached: func() time.Time { return time.Time{} }, nomad: func(context.Context) bool {
		if asked++; asked == 3 {
			leads = false
		}
		return leads
	}}
	if err := f.watch(ctx); !errors.Is(err, errFenced) || asked < 3 {
		t.Errorf("asked %d times: %v", asked, err)
	}
	asked, leads = 0, true
	f.nomad = func(context.Context) bool {
		if asked++; asked == 3 {
			cancel()
		}
		return true
	}
	if err := f.watch(ctx); err != nil {
		t.Errorf("while Nomad answers: %v", err)
	}
}
