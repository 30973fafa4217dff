package api

import "github.com/danielgtaylor/huma/v2"

// exampleNames are what the examples of the document call things, by parameter.
var exampleNames = map[string]any{
	"workspace": "vision", "experiment": "iris", "run": "try-1", "parent": "try-1", "cluster": "gpu", "node": "node-1", "token": "nightly",
	"host": "registry.example:5000", "path": "outputs/model.pt", "stream": "stdout", "confirm": "vision", "secret": "PIP_TOKEN", "offset": 0, "size": 1048576,
	"sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "name": "try-",
}

// exampleBodies are the bodies of the document's examples, by operation.
var exampleBodies = map[string]any{
	"create-token":       map[string]any{"name": "nightly", "role": "contributor", "workspace": "vision", "expires_in": 7776000},
	"create-cluster":     map[string]any{"name": "gpu", "provider": "local", "size": "local.gpu", "tier": "low_priority", "min": 0, "max": 4},
	"update-cluster":     map[string]any{"max": 8},
	"change-node":        map[string]any{"excluded": "its fan is loud"},
	"put-cluster-secret": map[string]any{"value": "a secret"},
	"evict-nodes":        map[string]any{"nodes": 1, "notice_seconds": 30},
	"put-machines":       map[string]any{"machines": []any{map[string]any{"name": "gpu-3f2a1c", "state": "running", "since": "2026-01-31T12:00:00Z"}}},
	"create-workspace":   map[string]any{"name": "vision", "default_cluster": "gpu"},
	"update-workspace":   map[string]any{"description": "Models that see."},
	"update-experiment":  map[string]any{"description": "Is a deeper tree better?"},
	"update-run":         map[string]any{"display_name": "The good one", "tags": map[string]any{"team": "vision"}},
	"set-retention":      map[string]any{"keep_artifacts": 7776000, "keep_logs": 1209600},
	"put-registry":       map[string]any{"username": "ci", "password": "a secret"},
	"create-run":         map[string]any{"experiment": "iris", "spec": map[string]any{"command": "python train.py"}},
	"create-runs": map[string]any{"runs": []any{
		map[string]any{"experiment": "iris", "spec": map[string]any{"command": "python train.py --depth 3"}},
		map[string]any{"experiment": "iris", "spec": map[string]any{"command": "python train.py --depth 5"}}}},
}

// exemplify puts examples to what an operation takes.
func exemplify(o *huma.Operation) {
	for _, p := range o.Parameters {
		if p.Example == nil && (p.In == "path" || p.In == "query") {
			p.Example = exampleNames[p.Name]
		}
	}
	if o.RequestBody == nil || o.RequestBody.Content["application/json"] == nil {
		return
	}
	if body, ok := exampleBodies[o.OperationID]; ok {
		o.RequestBody.Content["application/json"].Example = body
	}
}
