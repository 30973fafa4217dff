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

// CreateCluster makes a cluster; what is told of its nodes does not count.
func (c *Client) CreateCluster(ctx context.Context, k *muster.ClusterRequest) (*muster.Cluster, error) {
	return post[*muster.Cluster](ctx, c, k, "clusters")
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

// Scaling returns what an elastic cluster shall have. While the server does not
// know it is an error, and never a number.
func (c *Client) Scaling(ctx context.Context, cluster string) (*muster.Scaling, error) {
	return get[*muster.Scaling](ctx, c, nil, "clusters", cluster, "scaling")
}

// ReportMachines tells what a provider says of a cluster's machines.
func (c *Client) ReportMachines(ctx context.Context, cluster string, r muster.MachineReport) error {
	return c.call(ctx, request{method: http.MethodPut, path: []string{"clusters", cluster, "machines"}}, r, nil)
}

// Sizes lists the catalogue by name.
func (c *Client) Sizes(ctx context.Context) ([]muster.NodeSize, error) {
	return get[[]muster.NodeSize](ctx, c, nil, "sizes")
}

// UpdateCluster changes a cluster.
func (c *Client) UpdateCluster(ctx context.Context, name string, change muster.ClusterChange) (*muster.Cluster, error) {
	return patch[*muster.Cluster](ctx, c, change, "clusters", name)
}

// EvictNodes rehearses a loss.
func (c *Client) EvictNodes(ctx context.Context, name string, q muster.EvictionRequest) (*muster.EvictionAnswer, error) {
	return post[*muster.EvictionAnswer](ctx, c, q, "clusters", name, "evictions")
}

// DeleteCluster deletes a cluster. The nodes of an elastic one leave first.
func (c *Client) DeleteCluster(ctx context.Context, name string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: []string{"clusters", name}, query: values("confirm", name)}, nil, nil)
}

// ClusterEvents returns the first page of a cluster's events with a number above
// after.
func (c *Client) ClusterEvents(ctx context.Context, name string, after int64) ([]*muster.Event, error) {
	return get[[]*muster.Event](ctx, c, values("after", strconv.FormatInt(after, 10)), "clusters", name, "events")
}

// ChangeNode takes a node out of service, or into service again.
func (c *Client) ChangeNode(ctx context.Context, name string, change muster.NodeChange) (n *muster.Node, err error) {
	err = c.call(ctx, request{method: http.MethodPatch, path: []string{"nodes", name}}, change, &n)
	return n, err
}

// NodeLog returns what the last set-up of a node wrote.
func (c *Client) NodeLog(ctx context.Context, name string) (*muster.NodeLog, error) {
	return get[*muster.NodeLog](ctx, c, nil, "nodes", name, "log")
}

// ClusterSecrets lists the names of a cluster's secrets.
func (c *Client) ClusterSecrets(ctx context.Context, cluster string) ([]muster.ClusterSecret, error) {
	return get[[]muster.ClusterSecret](ctx, c, nil, "clusters", cluster, "secrets")
}

// PutClusterSecret sets a secret of a cluster.
func (c *Client) PutClusterSecret(ctx context.Context, cluster, name, value string) error {
	return c.call(ctx, request{method: http.MethodPut, path: []string{"clusters", cluster, "secrets", name}}, map[string]string{"value": value}, nil)
}

// DeleteClusterSecret removes one.
func (c *Client) DeleteClusterSecret(ctx context.Context, cluster, name string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: []string{"clusters", cluster, "secrets", name}}, nil, nil)
}
