package api

import (
	"context"
	"slices"

	"github.com/muster-ml/muster"
)

// newWorkspace asks for a workspace.
type newWorkspace struct {
	Name           string `json:"name" example:"vision"`
	DefaultCluster string `json:"default_cluster,omitempty" doc:"Where runs go that name no compute." example:"gpu"`
}

// InWorkspace names a workspace in the path. Huma reads only exported embedded
// types.
type InWorkspace struct {
	Workspace string `path:"workspace"`
}

func (a *API) registerWorkspaces() {
	handle(a, operation{"POST", "/workspaces", "create-workspace", "Make a workspace", 201, "workspaces", muster.RoleAdministrator},
		func(ctx context.Context, in *body[newWorkspace]) (*body[*muster.Workspace], error) {
			w := &muster.Workspace{Name: in.Body.Name, DefaultCluster: in.Body.DefaultCluster}
			if err := w.Validate(); err != nil {
				return nil, err
			}
			return ok(w, a.Workspaces.CreateWorkspace(ctx, w))
		})
	handle(a, operation{"GET", "/workspaces", "list-workspaces", "List the workspaces that one may see", 200, "workspaces", muster.RoleReader},
		func(ctx context.Context, _ *struct{}) (*body[[]*muster.Workspace], error) {
			all, err := a.Workspaces.ListWorkspaces(ctx)
			return list(slices.DeleteFunc(all, func(w *muster.Workspace) bool { return !principal(ctx).Sees(w.Name) }), err)
		})
	handle(a, operation{"GET", "/workspaces/{workspace}", "show-workspace", "Show a workspace", 200, "workspaces", muster.RoleReader},
		func(ctx context.Context, in *InWorkspace) (*body[*muster.Workspace], error) {
			return ok(a.Workspaces.FindWorkspace(ctx, in.Workspace))
		})
	handle(a, operation{"GET", "/workspaces/{workspace}/experiments", "list-experiments", "List the experiments", 200, "experiments", muster.RoleReader},
		func(ctx context.Context, in *InWorkspace) (*body[[]*muster.Experiment], error) {
			return list(a.Experiments.ListExperiments(ctx, in.Workspace))
		})
	handle(a, operation{"GET", "/workspaces/{workspace}/experiments/{experiment}", "show-experiment", "Show an experiment", 200, "experiments", muster.RoleReader},
		func(ctx context.Context, in *struct {
			InWorkspace
			Experiment string `path:"experiment"`
		}) (*body[*muster.Experiment], error) {
			return ok(a.Experiments.FindExperiment(ctx, in.Workspace, in.Experiment))
		})
}
