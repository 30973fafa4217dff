package policy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// checkEvery is how often the agent is asked how many policies it handles.
const checkEvery = 3 * time.Second

// web speaks to the agent: no proxy stands between.
var web = &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}

// ask sends the agent a request and returns its answer.
func (a *agent) ask(ctx context.Context, method, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://127.0.0.1:%d%s", a.port, path), nil)
	if err != nil {
		return "", err
	}
	resp, err := web.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask the autoscaler: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("ask the autoscaler: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask the autoscaler: %s %s: %s", method, path, resp.Status)
	}
	return string(b), nil
}

// ready asks once whether the agent works. It answers before it has loaded its
// plugins, and ends where one cannot be; it counts policies after that.
func (a *agent) ready(ctx context.Context) error {
	_, err := a.handled(ctx)
	return err
}

// keepReading makes the agent read its files when they have changed, and when it
// handles fewer policies than there are: one that it could not begin, such as
// that of a target whose cloud was away, it drops without a second try. It may
// count the old ones for a second, so that is looked at twice.
func (a *agent) keepReading(ctx context.Context, policies int) error {
	if !a.reload && time.Since(a.checked) > checkEvery {
		handled, err := a.handled(ctx)
		if err != nil {
			return err
		}
		a.reload = a.short && handled < policies
		a.short = handled < policies
		a.checked = time.Now()
	}
	if !a.reload {
		return nil
	}
	if _, err := a.ask(ctx, http.MethodPut, "/v1/agent/reload"); err != nil {
		return err
	}
	a.reload, a.short, a.checked = false, false, time.Now()
	return nil
}

// handled asks the agent how many policies it handles.
func (a *agent) handled(ctx context.Context) (int, error) {
	text, err := a.ask(ctx, http.MethodGet, "/v1/metrics?format=prometheus")
	if err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "nomad_autoscaler_policy_total_num "); ok {
			n, err := strconv.ParseFloat(value, 64)
			return int(n), err
		}
	}
	return 0, errors.New("the autoscaler has not counted its policies yet")
}
