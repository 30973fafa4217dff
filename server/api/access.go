package api

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/muster-ml/muster"
)

// anybody is the role of a route that needs no token.
const anybody muster.Role = ""

// recheck is how often it is looked whether the caller of a request that takes
// long may still go on.
const recheck = 5 * time.Second

// guard stands before a route: it finds out who calls, refuses whoever may not,
// ends the request when the caller loses the right to it, and writes down who
// asked for a change.
func (a *API) guard(o operation) func(huma.Context, func(huma.Context)) {
	return func(c huma.Context, next func(huma.Context)) {
		if o.role == anybody {
			next(c)
			return
		}
		authorization := c.Header("Authorization")
		p, err := a.prove(c, authorization)
		if err != nil {
			a.refuse(c, err)
			return
		}
		c = huma.WithValue(c, principalKey{}, p)
		leave, err := a.limited(c, o, p)
		if err != nil {
			a.refuse(c, err)
			return
		}
		defer leave()
		if a.Called != nil {
			a.Called(c.Context(), p.Name)
		}
		if o.writes() {
			c = huma.WithValue(c, accountKey{}, &account{})
			defer a.writeDown(c, o)
		}
		want := muster.Access{Action: o.id, Role: o.role, Workspace: c.Param("workspace")}
		err = p.May(want)
		if err == nil {
			err = a.confine(c.Context(), p, o, want.Workspace, c.Param("run"))
		}
		if err != nil {
			a.refuse(c, err)
			return
		}
		ctx, end := whileAllowed(c.Context(), func(ctx context.Context) error {
			p, err := a.identify(ctx, authorization)
			if err != nil {
				return err
			}
			return p.May(want)
		})
		defer end()
		next(huma.WithContext(c, ctx))
	}
}

// identify finds out who calls by an Authorization header.
func (a *API) identify(ctx context.Context, authorization string) (*muster.Principal, error) {
	secret, ok := strings.CutPrefix(authorization, "Bearer ")
	if !ok || secret == "" {
		return nil, muster.Errorf(muster.CodeUnauthenticated, "this call needs a token").
			WithCure("send it as \"Authorization: Bearer TOKEN\"; the CLI takes it from muster login, --token or MUSTER_TOKEN")
	}
	if a.RunOf != nil && isWorkloadIdentity(secret) {
		return a.RunOf(ctx, secret)
	}
	if a.Issuer != nil && strings.Count(secret, ".") == 2 { // a JWT; our own secrets have no dot
		return a.Issuer.Identify(ctx, secret)
	}
	token, err := a.Tokens.FindToken(ctx, muster.HashToken(secret))
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	if !token.ExpiresAt.IsZero() && !now.Before(token.ExpiresAt) {
		return nil, muster.Errorf(muster.CodeUnauthenticated, "token %s expired at %s", token.Name, token.ExpiresAt.Format(time.RFC3339)).
			WithCure("ask for a new one")
	}
	if minute := now.Truncate(muster.TokenUseStep); minute.After(token.LastUsedAt) {
		if err := a.Tokens.UseToken(ctx, token.ID, minute); err != nil && ctx.Err() == nil {
			a.Logger.Warn("keep when a token was used", "token", token.Name, "error", err)
		}
	}
	return token.Principal(), nil
}

// whileAllowed returns a context that ends when check refuses the caller. What
// merely cannot be found out just now refuses nobody.
func whileAllowed(ctx context.Context, check func(context.Context) error) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var again func()
	again = func() {
		err := check(ctx)
		if code := muster.CodeOf(err); code == muster.CodeUnauthenticated || code == muster.CodeForbidden {
			cancel(err)
		}
		if ctx.Err() == nil {
			time.AfterFunc(recheck, again)
		}
	}
	first := time.AfterFunc(recheck, again)
	return ctx, func() {
		first.Stop()
		cancel(nil)
	}
}

// principal returns who made the request of ctx.
func principal(ctx context.Context) *muster.Principal {
	p, _ := ctx.Value(principalKey{}).(*muster.Principal)
	if p == nil {
		return &muster.Principal{}
	}
	return p
}

// veil hides from a list of waiting runs what the caller may not see: of runs of
// other workspaces it leaves their place and why they wait.
func veil(p *muster.Principal, queue []*muster.Run) {
	for i, r := range queue {
		if p.Sees(r.Workspace) {
			continue
		}
		hidden := &muster.Run{Kind: r.Kind, Cluster: r.Cluster, State: r.State, Position: r.Position, CreatedAt: r.CreatedAt, QueuedAt: r.QueuedAt}
		hidden.Spec.Priority = r.Spec.Priority
		hidden.WaitReason = r.WaitReason
		queue[i] = hidden
	}
	for _, r := range queue {
		r.WaitReason = veiledReason(p, r.WaitReason)
	}
}

// veiledReason hides the run that goes first where the caller may not see it.
func veiledReason(p *muster.Principal, w *muster.WaitReason) *muster.WaitReason {
	if w == nil || w.Ahead == "" || p.Sees(workspaceOf(w.Ahead)) {
		return w
	}
	seen := *w
	seen.Ahead = ""
	return &seen
}

// workspaceOf returns the workspace of WORKSPACE/RUN.
func workspaceOf(run string) string {
	workspace, _, _ := strings.Cut(run, "/")
	return workspace
}

// veiled hides the names of runs on a node that the caller may not see.
func veiled(p *muster.Principal, n *muster.Node) *muster.Node {
	seen := *n
	seen.Runs = slices.DeleteFunc(slices.Clone(n.Runs), func(run string) bool {
		return !p.Sees(workspaceOf(run))
	})
	return &seen
}
