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
	Description    string `json:"description,omitempty" maxLength:"10000" example:"Models that see."`
}

// InWorkspace names a workspace in the path. Huma reads only exported embedded
// types.
type InWorkspace struct {
	Workspace string `path:"workspace"`
}

func (a *API) registerWorkspaces() {
	handle(a, operation{"POST", "/workspaces", "create-workspace", "Make a workspace", 201, "workspaces", muster.RoleAdministrator},
		func(ctx context.Context, in *body[newWorkspace]) (*body[*muster.Workspace], error) {
			w := &muster.Workspace{Name: in.Body.Name, DefaultCluster: in.Body.DefaultCluster, Description: in.Body.Description}
			if err := w.Validate(); err != nil {
				return nil, err
			}
			return ok(w, a.Workspaces.CreateWorkspace(ctx, w))
		})
	handle(a, operation{"GET", "/workspaces", "list-workspaces", "List the workspaces that one may see", 200, "workspaces", muster.RoleReader},
		func(ctx context.Context, in *InNames) (*names[*muster.Workspace], error) {
			all, err := a.Workspaces.ListWorkspaces(ctx)
			seen := slices.DeleteFunc(all, func(w *muster.Workspace) bool { return !principal(ctx).Sees(w.Name) })
			return byName(*in, seen, workspaceName, err)
		})
	handle(a, operation{"GET", "/workspaces/{workspace}", "show-workspace", "Show a workspace", 200, "workspaces", muster.RoleReader},
		func(ctx context.Context, in *InWorkspace) (*one[*muster.Workspace], error) {
			return theWorkspace(a.Workspaces.FindWorkspace(ctx, in.Workspace))
		})
	handle(a, operation{"PATCH", "/workspaces/{workspace}", "update-workspace", "Change a workspace; what is left out stays", 200, "workspaces", muster.RoleOwner},
		func(ctx context.Context, in *struct {
			InWorkspace
			Body muster.WorkspaceChange
		}) (*one[*muster.Workspace], error) {
			return theWorkspace(a.Changes.UpdateWorkspace(ctx, in.Workspace, in.Body, origin(ctx)))
		})
	handle(a, operation{"DELETE", "/workspaces/{workspace}", "delete-workspace", "Take a workspace out of sight, its tokens and registries away, and what its runs left at the next retention", 204, "workspaces", muster.RoleOwner},
		func(ctx context.Context, in *struct {
			InWorkspace
			Confirm string `query:"confirm" required:"true" doc:"The name of the workspace once more."`
		}) (*struct{}, error) {
			if in.Confirm != in.Workspace {
				return nil, muster.Errorf(muster.CodeInvalid, "what is confirmed is %q, and not %q", in.Confirm, in.Workspace).At("confirm").WithCure("send confirm=%s; there is no way back", in.Workspace)
			}
			if err := a.logOut(ctx, in.Workspace); err != nil {
				return nil, err
			}
			defer a.Wake() // Nomad's part of it goes
			return nil, a.Changes.DeleteWorkspace(ctx, in.Workspace, origin(ctx))
		})
	handle(a, operation{"GET", "/workspaces/{workspace}/experiments", "list-experiments", "List the experiments", 200, "experiments", muster.RoleReader},
		func(ctx context.Context, in *struct {
			InWorkspace
			InNames
		}) (*names[*muster.Experiment], error) {
			all, err := a.Experiments.ListExperiments(ctx, in.Workspace)
			return byName(in.InNames, all, experimentName, err)
		})
	a.registerExperiments()
}

// InExperiment names an experiment in the path.
type InExperiment struct {
	InWorkspace
	Experiment string `path:"experiment"`
}

func (a *API) registerExperiments() {
	const experiment = "/workspaces/{workspace}/experiments/{experiment}"
	handle(a, operation{"GET", experiment, "show-experiment", "Show an experiment", 200, "experiments", muster.RoleReader},
		func(ctx context.Context, in *InExperiment) (*one[*muster.Experiment], error) {
			return theExperiment(a.Experiments.FindExperiment(ctx, in.Workspace, in.Experiment))
		})
	handle(a, operation{"PATCH", experiment, "update-experiment", "Change an experiment; what is left out stays", 200, "experiments", muster.RoleContributor},
		func(ctx context.Context, in *struct {
			InExperiment
			Body muster.ExperimentChange
		}) (*one[*muster.Experiment], error) {
			return theExperiment(a.Changes.UpdateExperiment(ctx, in.Workspace, in.Experiment, in.Body, origin(ctx)))
		})
	handle(a, operation{"DELETE", experiment, "delete-experiment", "Forget an experiment that has no runs", 204, "experiments", muster.RoleOwner},
		func(ctx context.Context, in *InExperiment) (*struct{}, error) {
			return nil, a.Changes.DeleteExperiment(ctx, in.Workspace, in.Experiment, origin(ctx))
		})
}

// theWorkspace wraps the answer about a workspace.
func theWorkspace(w *muster.Workspace, err error) (*one[*muster.Workspace], error) {
	if err != nil {
		return nil, err
	}
	return thing(w, w.Version, nil)
}

// theExperiment wraps the answer about an experiment.
func theExperiment(e *muster.Experiment, err error) (*one[*muster.Experiment], error) {
	if err != nil {
		return nil, err
	}
	return thing(e, e.Version, nil)
}
