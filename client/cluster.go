package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/muster-ml/muster"
)

// CreateWorkspace makes a workspace; only its name and default cluster count.
func (c *Client) CreateWorkspace(ctx context.Context, w *muster.Workspace) (*muster.Workspace, error) {
	question := map[string]string{"name": w.Name}
	if w.DefaultCluster != "" {
		question["default_cluster"] = w.DefaultCluster
	}
	return post[*muster.Workspace](ctx, c, question, "workspaces")
}

// Workspaces lists the workspaces by name.
func (c *Client) Workspaces(ctx context.Context) ([]*muster.Workspace, error) {
	return get[[]*muster.Workspace](ctx, c, nil, "workspaces")
}

// Workspace returns one workspace.
func (c *Client) Workspace(ctx context.Context, name string) (*muster.Workspace, error) {
	return get[*muster.Workspace](ctx, c, nil, "workspaces", name)
}

// Experiments lists the experiments of a workspace by name.
func (c *Client) Experiments(ctx context.Context, workspace string) ([]*muster.Experiment, error) {
	return get[[]*muster.Experiment](ctx, c, nil, "workspaces", workspace, "experiments")
}

// Experiment returns one experiment.
func (c *Client) Experiment(ctx context.Context, workspace, name string) (*muster.Experiment, error) {
	return get[*muster.Experiment](ctx, c, nil, "workspaces", workspace, "experiments", name)
}

// CreateCluster makes a cluster; only its name, node pool and tier count.
func (c *Client) CreateCluster(ctx context.Context, k *muster.Cluster) (*muster.Cluster, error) {
	question := map[string]string{"name": k.Name, "node_pool": k.NodePool}
	if k.Tier != "" {
		question["tier"] = string(k.Tier)
	}
	return post[*muster.Cluster](ctx, c, question, "clusters")
}

// Clusters lists the clusters by name.
func (c *Client) Clusters(ctx context.Context) ([]*muster.Cluster, error) {
	return get[[]*muster.Cluster](ctx, c, nil, "clusters")
}

// Cluster returns one cluster.
func (c *Client) Cluster(ctx context.Context, name string) (*muster.Cluster, error) {
	return get[*muster.Cluster](ctx, c, nil, "clusters", name)
}

// Nodes lists the nodes of a cluster, or of all for "".
func (c *Client) Nodes(ctx context.Context, cluster string) ([]*muster.Node, error) {
	return get[[]*muster.Node](ctx, c, values("cluster", cluster), "nodes")
}

// Node returns the node of that id, beginning of an id, or name.
func (c *Client) Node(ctx context.Context, name string) (*muster.Node, error) {
	return get[*muster.Node](ctx, c, nil, "nodes", name)
}

// Queue lists the first waiting runs of a cluster, or of all for "", by cluster
// and position, and says how many wait in all.
func (c *Client) Queue(ctx context.Context, cluster string) (runs []*muster.Run, total int, err error) {
	resp, err := c.send(ctx, request{method: http.MethodGet, path: []string{"queue"}, query: values("cluster", cluster)})
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&runs); err != nil {
		return nil, 0, fmt.Errorf("read the queue: %w", err)
	}
	total, err = strconv.Atoi(resp.Header.Get(muster.TotalHeader))
	if err != nil {
		return nil, 0, fmt.Errorf("read the queue's length: %w", err)
	}
	return runs, total, nil
}
