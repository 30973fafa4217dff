package muster

import "context"

// WorkspaceChange changes a workspace: what is left out stays.
type WorkspaceChange struct {
	DefaultCluster *string `json:"default_cluster,omitempty" doc:"Where runs go that name no compute; \"\" is nowhere." example:"gpu"`
	Description    *string `json:"description,omitempty" maxLength:"10000" example:"Models that see."`
}

// ExperimentChange changes an experiment: what is left out stays.
type ExperimentChange struct {
	Description *string `json:"description,omitempty" maxLength:"10000" example:"Is a deeper tree better?"`
}

// RunChange changes what people say of a run: what is left out stays.
type RunChange struct {
	DisplayName *string           `json:"display_name,omitempty" maxLength:"200" example:"The good one"`
	Description *string           `json:"description,omitempty" maxLength:"10000"`
	Tags        map[string]string `json:"tags,omitempty" doc:"All of its tags; {} takes them away."`
}

// Changes changes what is kept, on behalf of people. A thing that has another
// version than by demands is CodePrecondition.
type Changes interface {
	// UpdateWorkspace refuses a default cluster that does not exist as
	// CodeNotFound.
	UpdateWorkspace(ctx context.Context, name string, c WorkspaceChange, by Origin) (*Workspace, error)
	UpdateExperiment(ctx context.Context, workspace, name string, c ExperimentChange, by Origin) (*Experiment, error)
	UpdateRun(ctx context.Context, workspace, name string, c RunChange, by Origin) (*Run, error)

	// DeleteRun takes a run out of sight; its name stays taken. One that is not
	// final is CodeConflict.
	DeleteRun(ctx context.Context, workspace, name string, by Origin) error
	// DeleteExperiment forgets an experiment. One with runs is CodeConflict.
	DeleteExperiment(ctx context.Context, workspace, name string, by Origin) error
	// DeleteWorkspace takes a workspace out of sight, and its tokens and
	// registries away; its name stays taken. One with runs that are not final
	// is CodeConflict.
	DeleteWorkspace(ctx context.Context, name string, by Origin) error
}
