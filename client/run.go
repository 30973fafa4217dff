package client

import (
	"context"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/muster-ml/muster"
)

// CreateRun submits a run. It is safe against a server that goes away in the
// middle: the request is sent again, and carried out once.
func (c *Client) CreateRun(ctx context.Context, workspace string, r *muster.RunRequest) (*muster.Run, error) {
	return postOnce[*muster.Run](ctx, c, r, "workspaces", workspace, "runs")
}

// Run returns a run with what it did and left.
func (c *Client) Run(ctx context.Context, workspace, name string) (*muster.RunView, error) {
	return get[*muster.RunView](ctx, c, nil, "workspaces", workspace, "runs", name)
}

// CreateRuns submits several runs: all of them, or none.
func (c *Client) CreateRuns(ctx context.Context, workspace string, all []muster.RunRequest) ([]*muster.Run, error) {
	made, err := postOnce[*muster.BulkAnswer](ctx, c, muster.BulkRequest{Runs: all}, "workspaces", workspace, "runs:bulk")
	if err != nil {
		return nil, err
	}
	return made.Runs, nil
}

// RunQuery chooses a page of runs; what is empty chooses all.
type RunQuery struct {
	Experiment   string
	Parent       string
	States       []muster.RunState
	Name         string   // the beginning of it
	Tags         []string // KEY=VALUE, all of these
	Cluster      string
	CreatedAfter time.Time
	EndedAfter   time.Time
	Archived     muster.Archived
	Sort         muster.RunSort
	Limit        int    // of a page; 0 is the server's choice
	Cursor       string // RunPage.Next of the page before
}

// values puts the question into a query.
func (q RunQuery) values() url.Values {
	v := values("experiment", q.Experiment, "parent", q.Parent, "name", q.Name, "cluster", q.Cluster, "archived", string(q.Archived), "sort", string(q.Sort), "cursor", q.Cursor)
	if len(q.States) > 0 {
		words := make([]string, len(q.States))
		for i, s := range q.States {
			words[i] = string(s)
		}
		v.Set("state", strings.Join(words, ","))
	}
	for _, tag := range q.Tags {
		v.Add("tag", tag)
	}
	for name, t := range map[string]time.Time{"created_after": q.CreatedAfter, "ended_after": q.EndedAfter} {
		if !t.IsZero() {
			v.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return v
}

// Runs returns a page of runs.
func (c *Client) Runs(ctx context.Context, workspace string, q RunQuery) (*muster.RunPage, error) {
	return get[*muster.RunPage](ctx, c, q.values(), "workspaces", workspace, "runs")
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

// Metrics returns what a run logged, by name, step and time.
func (c *Client) Metrics(ctx context.Context, workspace, run string, q muster.MetricQuery) ([]muster.Metric, error) {
	return get[[]muster.Metric](ctx, c, values("name", q.Name, "attempt", strconv.Itoa(q.Attempt)), "workspaces", workspace, "runs", run, "metrics")
}

// Stats returns what a run, its nodes and its devices used, by name, instance and
// time.
func (c *Client) Stats(ctx context.Context, workspace, run string, q muster.StatQuery) ([]muster.Stat, error) {
	instance := "all"
	if q.Instance != muster.AllInstances {
		instance = strconv.Itoa(q.Instance)
	}
	return get[[]muster.Stat](ctx, c, values("name", q.Name, "attempt", strconv.Itoa(q.Attempt), "instance", instance), "workspaces", workspace, "runs", run, "stats")
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

// FilesRemoved returns when retention removed the files of a run; zero where it
// has some, or never had any.
func (c *Client) FilesRemoved(ctx context.Context, workspace, run string) (time.Time, error) {
	page, err := get[*muster.ArtifactPage](ctx, c, values("limit", "1"), "workspaces", workspace, "runs", run, "artifacts")
	if err != nil {
		return time.Time{}, err
	}
	return page.RemovedAt, nil
}

// LogQuery chooses a run's logs.
type LogQuery struct {
	Workspace, Run string
	Stream         muster.Stream // "" is both, where both can be had
	Attempt        int           // 0 is the last, and those that follow
	Instance       int
	All            bool      // every instance; they come together, by time
	Tail           int       // only so many lines, the last of all; 0 is all
	Since          time.Time // only lines that were written then or later
	Once           bool      // end with what is there
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
	if q.All {
		pairs = append(pairs, "instance", "all")
	}
	if q.Tail > 0 {
		pairs = append(pairs, "tail", strconv.Itoa(q.Tail))
	}
	if !q.Since.IsZero() {
		pairs = append(pairs, "since", q.Since.Format(time.RFC3339Nano))
	}
	if q.Once {
		pairs = append(pairs, "follow", "false")
	}
	return pairs
}
