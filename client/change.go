package client

import (
	"context"
	"net/http"

	"github.com/muster-ml/muster"
)

// UpdateWorkspace changes a workspace.
func (c *Client) UpdateWorkspace(ctx context.Context, name string, change muster.WorkspaceChange) (*muster.Workspace, error) {
	return patch[*muster.Workspace](ctx, c, change, "workspaces", name)
}

// UpdateExperiment changes an experiment.
func (c *Client) UpdateExperiment(ctx context.Context, workspace, name string, change muster.ExperimentChange) (*muster.Experiment, error) {
	return patch[*muster.Experiment](ctx, c, change, "workspaces", workspace, "experiments", name)
}

// UpdateRun changes what people say of a run.
func (c *Client) UpdateRun(ctx context.Context, workspace, name string, change muster.RunChange) (*muster.RunView, error) {
	return patch[*muster.RunView](ctx, c, change, "workspaces", workspace, "runs", name)
}

// DeleteWorkspace takes a workspace out of sight. There is no way back.
func (c *Client) DeleteWorkspace(ctx context.Context, name string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: []string{"workspaces", name}, query: values("confirm", name)}, nil, nil)
}

// DeleteExperiment forgets an experiment without runs.
func (c *Client) DeleteExperiment(ctx context.Context, workspace, name string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: []string{"workspaces", workspace, "experiments", name}}, nil, nil)
}

// DeleteRun takes a final run out of sight. There is no way back.
func (c *Client) DeleteRun(ctx context.Context, workspace, name string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: []string{"workspaces", workspace, "runs", name}}, nil, nil)
}

// patch sends a change and reads what it made of the thing.
func patch[T any](ctx context.Context, c *Client, change any, path ...string) (answer T, err error) {
	err = c.call(ctx, request{method: http.MethodPatch, path: path}, change, &answer)
	return answer, err
}
