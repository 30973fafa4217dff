package client

import (
	"context"
	"net/http"

	"github.com/muster-ml/muster"
)

// Registries lists the registries at which a workspace logs in, by host.
func (c *Client) Registries(ctx context.Context, workspace string) ([]*muster.Registry, error) {
	return get[[]*muster.Registry](ctx, c, nil, "workspaces", workspace, "registries")
}

// PutRegistry makes a workspace log in at a registry.
func (c *Client) PutRegistry(ctx context.Context, workspace, host, username, password string) (r *muster.Registry, err error) {
	question := map[string]string{"username": username, "password": password}
	err = c.call(ctx, request{method: http.MethodPut, path: []string{"workspaces", workspace, "registries", host}}, question, &r)
	return r, err
}

// DeleteRegistry makes a workspace log out at a registry.
func (c *Client) DeleteRegistry(ctx context.Context, workspace, host string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: []string{"workspaces", workspace, "registries", host}}, nil, nil)
}

// Policies returns what rights the installation needs in Nomad and Consul.
func (c *Client) Policies(ctx context.Context) (*muster.Policies, error) {
	return get[*muster.Policies](ctx, c, nil, "policies")
}
