package client

import (
	"context"
	"net/http"

	"github.com/muster-ml/muster"
)

// ArchiveRun archives a final run, or takes it back.
func (c *Client) ArchiveRun(ctx context.Context, workspace, name string, archived bool) (*muster.Run, error) {
	verb := "restore"
	if archived {
		verb = "archive"
	}
	return post[*muster.Run](ctx, c, nil, "workspaces", workspace, "runs", name, verb)
}

// SetKeeping says how long a workspace keeps what its runs left.
func (c *Client) SetKeeping(ctx context.Context, workspace string, k muster.Keeping) (w *muster.Workspace, err error) {
	err = c.call(ctx, request{method: http.MethodPut, path: []string{"workspaces", workspace, "retention"}}, k, &w)
	return w, err
}

// Retain removes what is older than a workspace keeps, or only tells of it.
func (c *Client) Retain(ctx context.Context, workspace string, dryRun bool) (*muster.RetentionReport, error) {
	if dryRun {
		return get[*muster.RetentionReport](ctx, c, nil, "workspaces", workspace, "retention")
	}
	return post[*muster.RetentionReport](ctx, c, nil, "workspaces", workspace, "retention")
}
