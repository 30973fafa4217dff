package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/muster-ml/muster"
)

// CreateRun submits a run.
func (c *Client) CreateRun(ctx context.Context, workspace string, r *muster.RunRequest) (*muster.Run, error) {
	return post[*muster.Run](ctx, c, r, "workspaces", workspace, "runs")
}

// Run returns a run with what it did and left.
func (c *Client) Run(ctx context.Context, workspace, name string) (*muster.RunView, error) {
	return get[*muster.RunView](ctx, c, nil, "workspaces", workspace, "runs", name)
}

// RunQuery chooses a page of runs.
type RunQuery struct {
	Experiment string
	Parent     string
	States     []muster.RunState
	Limit      int    // of a page; 0 is the server's choice
	Cursor     string // RunPage.Next of the page before
}

// Runs returns a page of runs, newest first.
func (c *Client) Runs(ctx context.Context, workspace string, q RunQuery) (*muster.RunPage, error) {
	query := values("experiment", q.Experiment, "parent", q.Parent, "cursor", q.Cursor)
	for _, s := range q.States {
		query.Add("state", string(s))
	}
	if q.Limit > 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	return get[*muster.RunPage](ctx, c, query, "workspaces", workspace, "runs")
}

// AllRuns returns the runs of all pages, at most limit; 0 is no limit.
func (c *Client) AllRuns(ctx context.Context, workspace string, q RunQuery, limit int) ([]*muster.RunView, error) {
	var all []*muster.RunView
	for {
		q.Limit = 200
		if limit > 0 {
			q.Limit = min(q.Limit, limit-len(all))
		}
		page, err := c.Runs(ctx, workspace, q)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Runs...)
		if page.Next == "" || limit > 0 && len(all) >= limit {
			return all, nil
		}
		q.Cursor = page.Next
	}
}

// CancelRun asks that a run and all below it end.
func (c *Client) CancelRun(ctx context.Context, workspace, name string) (*muster.Run, error) {
	return post[*muster.Run](ctx, c, nil, "workspaces", workspace, "runs", name, "cancel")
}

// Metrics returns what a run logged, by name, step and time; metric "" is all.
func (c *Client) Metrics(ctx context.Context, workspace, run, metric string) ([]muster.Metric, error) {
	return get[[]muster.Metric](ctx, c, values("name", metric), "workspaces", workspace, "runs", run, "metrics")
}

// Artifacts lists the files that a run left and q chooses, by path; a limit of 0
// is all of them.
func (c *Client) Artifacts(ctx context.Context, workspace, run string, q muster.ArtifactQuery) ([]*muster.Artifact, error) {
	all := []*muster.Artifact{}
	for {
		query := values("prefix", q.Prefix, "cursor", q.After, "limit", "5000")
		if q.Folders {
			query.Set("folders", "true")
		}
		page, err := get[*muster.ArtifactPage](ctx, c, query, "workspaces", workspace, "runs", run, "artifacts")
		if err != nil {
			return nil, err
		}
		all = append(all, page.Artifacts...)
		if q.Limit > 0 && len(all) >= q.Limit {
			return all[:q.Limit], nil
		}
		if q.After = page.Next; q.After == "" {
			return all, nil
		}
	}
}

// LogQuery chooses a run's logs.
type LogQuery struct {
	Workspace, Run string
	Stream         muster.Stream // "" is both, where both can be had
	Attempt        int           // 0 is the last, and those that follow
	Instance       int
}

// query returns what both routes take.
func (q LogQuery) query() (pairs []string) {
	pairs = []string{"stream", string(q.Stream)}
	if q.Attempt > 0 {
		pairs = append(pairs, "attempt", strconv.Itoa(q.Attempt))
	}
	if q.Instance > 0 {
		pairs = append(pairs, "instance", strconv.Itoa(q.Instance))
	}
	return pairs
}

// WriteLog writes one stream of an attempt, as far as it is there.
func (c *Client) WriteLog(ctx context.Context, q LogQuery, to io.Writer) error {
	resp, err := c.send(ctx, request{method: http.MethodGet, query: values(q.query()[2:]...),
		path: []string{"workspaces", q.Workspace, "runs", q.Run, "logs", string(q.Stream)}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(to, resp.Body); err != nil {
		return fmt.Errorf("read the log of %s: %w", q.Run, err)
	}
	return nil
}
