package node

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/host"
)

// reading is what a look at the server's clock told.
type reading struct {
	behind time.Duration // how much the node's clock is behind the server's; below zero it is ahead
	doubt  time.Duration
}

// check makes the checks, one after the other, and returns what is wrong by the
// first that is not well.
func (a *agent) check(ctx context.Context, o *muster.NodeOrders) (failure string) {
	if _, err := host.FindAccount(o.Readying.User); err != nil {
		return "runs cannot be started: " + err.Error()
	}
	h := &o.Readying.Health
	if failure = a.checkDisk(h.DiskMiB); failure != "" {
		return failure
	}
	if failure = a.checkClock(ctx, time.Duration(h.Clock)); failure != "" {
		return failure
	}
	if h.Engine {
		if err := pingEngine(ctx); err != nil {
			return "container engine: " + err.Error()
		}
	}
	for _, c := range h.Checks {
		if failure = a.checkOwn(ctx, o, c); failure != "" {
			return fmt.Sprintf("check %s: %s", c.Name, failure)
		}
	}
	return ""
}

// checkDisk looks what is free where runs work.
func (a *agent) checkDisk(want int64) (failure string) {
	var s unix.Statfs_t
	if err := unix.Statfs(a.dir, &s); err != nil {
		return "disk: " + err.Error()
	}
	if free := int64(s.Bavail) * s.Bsize >> 20; free < want {
		return fmt.Sprintf("disk: %d MiB are free where runs work, and %d are wanted", free, want)
	}
	return ""
}

// checkClock compares the node's clock with the server's. Without a server
// nothing is known that was not known before.
func (a *agent) checkClock(ctx context.Context, limit time.Duration) (failure string) {
	a.ask(ctx)
	r := a.clock.Load()
	if r == nil || r.behind.Abs()-r.doubt <= limit {
		return ""
	}
	where := "behind"
	if r.behind < 0 {
		where = "ahead of"
	}
	return fmt.Sprintf("clock: it is %s %s the server's, and %s are allowed", short(r.behind.Abs().Round(time.Second)), where, short(limit))
}

// engineTime is how long a container engine may take to answer.
const engineTime = 5 * time.Second

// pingEngine asks the node's container engine whether it works.
func pingEngine(ctx context.Context) error {
	network, address := "unix", "/var/run/docker.sock"
	if where := os.Getenv("DOCKER_HOST"); where != "" {
		network, address, _ = strings.Cut(where, "://")
	}
	web := &http.Client{Timeout: engineTime, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/_ping", nil)
	if err != nil {
		return err
	}
	resp, err := web.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", address, resp.Status)
	}
	return nil
}

// checkOwn makes a check of the cluster's own, as the user whose rights runs
// have.
func (a *agent) checkOwn(ctx context.Context, o *muster.NodeOrders, c muster.Check) (failure string) {
	account, err := host.FindAccount(o.Readying.User)
	if err != nil {
		return err.Error()
	}
	said := &lastLine{}
	e := a.execute(ctx, command{name: "check", text: c.Command, account: account, limit: time.Duration(c.Timeout)}, said)
	switch {
	case e.well():
		return ""
	case e.late:
		return "it took longer than " + short(time.Duration(c.Timeout))
	case said.String() != "":
		return fmt.Sprintf("%s: %s", e, said)
	}
	return e.String()
}
