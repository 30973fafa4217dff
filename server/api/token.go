package api

import (
	"context"
	"slices"
	"time"

	"github.com/muster-ml/muster"
)

// maxTokenLife is the longest life of a token that expires.
const maxTokenLife = muster.Duration(10 * 365 * 24 * time.Hour)

func (a *API) registerTokens() {
	handle(a, operation{"GET", "/login", "show-login", "How people log in; needs no token", 200, "tokens", anybody},
		func(context.Context, *struct{}) (*body[muster.Login], error) {
			l := muster.Login{}
			if a.Issuer != nil {
				oidc := a.Issuer.Login()
				l.OIDC = &oidc
			}
			return ok(l, nil)
		})
	handle(a, operation{"GET", "/whoami", "whoami", "Who calls, and what he may do", 200, "tokens", muster.RoleReader},
		func(ctx context.Context, _ *struct{}) (*body[*muster.Principal], error) {
			return ok(principal(ctx), nil)
		})
	handle(a, operation{"POST", "/tokens", "create-token", "Make a token; its secret is told this once", 201, "tokens", muster.RoleOwner},
		func(ctx context.Context, in *body[muster.TokenRequest]) (*body[*muster.NewToken], error) {
			return ok(a.createToken(ctx, &in.Body))
		})
	handle(a, operation{"GET", "/tokens", "list-tokens", "List the tokens of the workspaces that one owns", 200, "tokens", muster.RoleOwner},
		func(ctx context.Context, in *InNames) (*names[*muster.Token], error) {
			all, err := a.tokens(ctx)
			return byName(*in, all, tokenName, err)
		})
	handle(a, operation{"DELETE", "/tokens/{token}", "revoke-token", "Revoke a token: it opens nothing from now on", 204, "tokens", muster.RoleOwner},
		func(ctx context.Context, in *struct {
			Token string `path:"token"`
		}) (*struct{}, error) {
			return nil, a.revokeToken(ctx, in.Token)
		})
}

// mayGive refuses whoever may not give a role away: it takes an owner of the
// workspace, who has it himself.
func mayGive(p *muster.Principal, action string, role muster.Role, workspace string) error {
	if !role.Includes(muster.RoleOwner) {
		role = muster.RoleOwner
	}
	return p.May(muster.Access{Action: action, Role: role, Workspace: workspace})
}

// createToken makes a token of the caller's workspace.
func (a *API) createToken(ctx context.Context, q *muster.TokenRequest) (*muster.NewToken, error) {
	by := principal(ctx)
	k := &muster.NewToken{Secret: muster.NewSecret(), Token: muster.Token{Name: q.Name, Role: q.Role, Workspace: q.Workspace, CreatedBy: by.Name}}
	if err := k.Validate(); err != nil {
		return nil, err
	}
	tellWorkspace(ctx, k.Workspace)
	if err := mayGive(by, "create-token", q.Role, q.Workspace); err != nil {
		return nil, err
	}
	if q.ExpiresIn != 0 {
		if q.ExpiresIn < muster.Seconds(1) || q.ExpiresIn > maxTokenLife {
			return nil, muster.Errorf(muster.CodeInvalid, "a token that expires in %g seconds is of no use", time.Duration(q.ExpiresIn).Seconds()).At("expires_in").
				WithCure("use 1 second to 10 years, or leave it out for ever")
		}
		k.ExpiresAt = time.Now().UTC().Add(time.Duration(q.ExpiresIn)).Truncate(time.Second)
	}
	k.Hash = muster.HashToken(k.Secret)
	err := a.Tokens.CreateToken(ctx, &k.Token)
	if e, is := err.(*muster.Error); is && e.Code == muster.CodeConflict && e.Cure == "" {
		return nil, e.WithCure("choose another name, or first muster token revoke %s", k.Name)
	}
	if err != nil {
		return nil, err
	}
	return k, nil
}

// tokens lists what the caller may revoke.
func (a *API) tokens(ctx context.Context) ([]*muster.Token, error) {
	all, err := a.Tokens.ListTokens(ctx)
	return slices.DeleteFunc(all, func(k *muster.Token) bool {
		return mayGive(principal(ctx), "list-tokens", k.Role, k.Workspace) != nil
	}), err
}

// revokeToken forgets a token. One that the caller may not see is as if it were
// not there.
func (a *API) revokeToken(ctx context.Context, name string) error {
	own, err := a.tokens(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(own, func(k *muster.Token) bool { return k.Name == name })
	if i < 0 {
		return muster.Errorf(muster.CodeNotFound, "there is no token %s that you may revoke", name).WithCure("muster token list shows what there is")
	}
	tellWorkspace(ctx, own[i].Workspace)
	return a.Tokens.RevokeToken(ctx, name)
}
