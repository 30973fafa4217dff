package client

import (
	"context"
	"net/http"
	"strconv"

	"github.com/muster-ml/muster"
)

// Whoami returns who calls, and what he may do.
func (c *Client) Whoami(ctx context.Context) (*muster.Principal, error) {
	return get[*muster.Principal](ctx, c, nil, "whoami")
}

// Login returns how people log in at the server. It needs no token.
func (c *Client) Login(ctx context.Context) (*muster.Login, error) {
	return get[*muster.Login](ctx, c, nil, "login")
}

// CreateToken makes a token. Its secret is told this once.
func (c *Client) CreateToken(ctx context.Context, q *muster.TokenRequest) (*muster.NewToken, error) {
	return post[*muster.NewToken](ctx, c, q, "tokens")
}

// Tokens lists the tokens that the caller may revoke, by name.
func (c *Client) Tokens(ctx context.Context) ([]*muster.Token, error) {
	return get[[]*muster.Token](ctx, c, nil, "tokens")
}

// RevokeToken revokes a token: it opens nothing from now on.
func (c *Client) RevokeToken(ctx context.Context, name string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: []string{"tokens", name}}, nil, nil)
}

// auditPage is how many entries one call asks for.
const auditPage = 500

// Audit returns who did what, newest first, at most limit entries; workspace ""
// is all that the caller may read, and limit 0 is no limit.
func (c *Client) Audit(ctx context.Context, workspace string, limit int) ([]*muster.AuditEntry, error) {
	all, cursor := []*muster.AuditEntry{}, ""
	for {
		n := auditPage
		if limit > 0 {
			n = min(n, limit-len(all))
		}
		page, err := get[*muster.AuditPage](ctx, c, values("workspace", workspace, "limit", strconv.Itoa(n), "cursor", cursor), "audit")
		if err != nil {
			return nil, err
		}
		all = append(all, page.Entries...)
		if cursor = page.Next; cursor == "" || limit > 0 && len(all) >= limit {
			return all, nil
		}
	}
}
