package api

import (
	"context"

	"github.com/muster-ml/muster"
)

// registerRetention registers what keeps runs, and what lets them go.
func (a *API) registerRetention() {
	const workspace, run = "/workspaces/{workspace}", "/workspaces/{workspace}/runs/{run}"
	archive := func(archived bool) func(ctx context.Context, in *InRun) (*body[*muster.Run], error) {
		return func(ctx context.Context, in *InRun) (*body[*muster.Run], error) {
			if err := a.Archive.ArchiveRun(ctx, in.Workspace, in.Run, archived, origin(ctx)); err != nil {
				return nil, err
			}
			return ok(a.Runs.FindRun(ctx, in.Workspace, in.Run))
		}
	}
	handle(a, operation{"POST", run + "/archive", "archive-run", "Keep a final run out of lists, and from retention", 200, "runs", muster.RoleContributor}, archive(true))
	handle(a, operation{"POST", run + "/restore", "restore-run", "Take a run back from the archive", 200, "runs", muster.RoleContributor}, archive(false))
	handle(a, operation{"PUT", workspace + "/retention", "set-retention", "Say how long a workspace keeps what its runs left", 200, "workspaces", muster.RoleOwner},
		func(ctx context.Context, in *struct {
			InWorkspace
			Body muster.Keeping
		}) (*one[*muster.Workspace], error) {
			return theWorkspace(a.Archive.SetKeeping(ctx, in.Workspace, in.Body, origin(ctx)))
		})
	handle(a, operation{"GET", workspace + "/retention", "show-retention", "Tell what retention would remove now", 200, "workspaces", muster.RoleReader},
		func(ctx context.Context, in *InWorkspace) (*body[*muster.RetentionReport], error) {
			return ok(a.Retention.Retain(ctx, in.Workspace, true))
		})
	handle(a, operation{"POST", workspace + "/retention", "run-retention", "Remove now what is older than the workspace keeps", 200, "workspaces", muster.RoleOwner},
		func(ctx context.Context, in *InWorkspace) (*body[*muster.RetentionReport], error) {
			return ok(a.Retention.Retain(ctx, in.Workspace, false))
		})
}
