package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// errFenced says that the agent has reached neither a server nor Nomad for so
// long that another may soon do its work.
var errFenced = errors.New("neither a Muster server nor Nomad has answered for the fence time")

// fence watches whether servers or Nomad can be reached.
type fence struct {
	limit   time.Duration
	reached func() time.Time // when a server last accepted a call
	nomad   func(ctx context.Context) bool
}

// newFence makes the fence of an agent: the margin makes sure that its command
// is dead before anybody takes it for lost.
func newFence(c *config, reached func() time.Time) *fence {
	return &fence{limit: c.fence * 9 / 10, reached: reached, nomad: nomadAnswers(c)}
}

// lacks returns what is to be known where Nomad cannot be asked.
func (f *fence) lacks(c *config) (notes []string) {
	if _, err := os.Stat(c.taskAPI()); err != nil {
		notes = append(notes, fmt.Sprintf("this node has no Nomad Task API socket: a Muster server that is away for %s stops the command", f.limit))
	}
	return notes
}

// watch returns errFenced when the fence time is over, or nil when ctx ends.
// The clock goes on while the machine is suspended. What was seen of servers
// counts from the look before: the look itself may be late.
func (f *fence) watch(ctx context.Context) error {
	period := max(min(f.limit/50, 2*time.Second), 10*time.Millisecond)
	tick := time.NewTicker(period)
	defer tick.Stop()
	last, look, seen := uptime(), uptime(), f.reached()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := uptime()
		if at := f.reached(); !at.Equal(seen) {
			last, seen = max(last, look), at
		}
		if now-last > f.limit/3 {
			asked := uptime()
			if f.askNomad(ctx, f.limit-(now-last)) {
				last = asked
			}
		}
		if look = now; uptime()-last >= f.limit {
			return errFenced
		}
	}
}

// askNomad asks whether Nomad answers, within the time that is left.
func (f *fence) askNomad(ctx context.Context, left time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, max(min(left, 10*time.Second), time.Millisecond))
	defer cancel()
	return f.nomad(ctx)
}

// uptime returns the time since the machine started, suspended or not.
func uptime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(fmt.Sprintf("read the boot clock: %v", err)) // Linux has had it since 2.6.39
	}
	return time.Duration(t.Nano())
}

// nomadAnswers returns a function that asks Nomad's servers, through the Task
// API of this node's client, who leads them. A client that has lost its servers
// gives no such answer.
func nomadAnswers(c *config) func(ctx context.Context) bool {
	socket := c.taskAPI()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	web := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	return func(ctx context.Context) bool {
		token, err := c.Token()
		if err != nil {
			return false
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://nomad/v1/status/leader", nil)
		if err != nil {
			return false
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := web.Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(io.LimitReader(resp.Body, 1024))
		return err == nil && resp.StatusCode == http.StatusOK && strings.Trim(strings.TrimSpace(string(text)), `"`) != ""
	}
}
