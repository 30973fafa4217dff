package muster

import (
	"context"
	"time"
)

// Workspace is the tenant: it owns everything but clusters, and is one Nomad
// namespace.
type Workspace struct {
	ID             int64     `json:"-"`
	Version        int64     `json:"-"` // rises with each change
	Name           string    `json:"name"`
	Namespace      string    `json:"namespace"` // the Nomad namespace, ws-<installation>-<slug>-<hash>
	Description    string    `json:"description,omitempty"`
	DefaultCluster string    `json:"default_cluster"` // where a run goes whose file names no compute
	CreatedAt      time.Time `json:"created_at"`
	Keeping
}

// Validate refuses a workspace that cannot be kept.
func (w *Workspace) Validate() error { return CheckName("workspace", w.Name) }

// Workspaces keeps the workspaces. A missing one is CodeNotFound, a name that
// is taken CodeConflict, a default cluster that does not exist CodeNotFound.
type Workspaces interface {
	CreateWorkspace(ctx context.Context, w *Workspace) error // fills ID, Namespace and CreatedAt
	FindWorkspace(ctx context.Context, name string) (*Workspace, error)
	ListWorkspaces(ctx context.Context) ([]*Workspace, error) // by name
}

// Experiment is a named group of runs to compare, made on first use.
type Experiment struct {
	ID          int64     `json:"id,string"` // stable, for tracking clients
	Version     int64     `json:"-"`         // rises with each change
	Description string    `json:"description,omitempty"`
	Workspace   string    `json:"workspace"`
	Name        string    `json:"name"`
	Runs        int       `json:"runs"` // how many runs it has
	CreatedAt   time.Time `json:"created_at"`
}

// Experiments keeps the experiments.
type Experiments interface {
	FindExperiment(ctx context.Context, workspace, name string) (*Experiment, error)
	ListExperiments(ctx context.Context, workspace string) ([]*Experiment, error) // by name
}
