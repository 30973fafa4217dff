// Package oidc is all that is said to an OpenID Connect issuer and heard from
// it: the server checks the tokens that people bring, the CLI gets them.
package oidc

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/muster-ml/muster"
)

// patience is how long one answer of the issuer may take.
const patience = 10 * time.Second

// withClient returns a context in which the libraries wait for the issuer no
// longer than patience.
func withClient(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, &http.Client{Timeout: patience})
}

// discover asks the issuer for its addresses and keys.
func discover(ctx context.Context, issuer string) (*oidc.Provider, error) {
	p, err := oidc.NewProvider(withClient(ctx), issuer)
	if err != nil {
		return nil, away(issuer, err)
	}
	return p, nil
}

// away says that the issuer does not answer as one does.
func away(issuer string, err error) error {
	return muster.Errorf(muster.CodeUnreachable, "the OpenID issuer %s does not answer (%v)", issuer, err).
		WithCure("try again; muster's own tokens work meanwhile")
}

// isAway reports whether the check of a token failed because the issuer's keys
// could not be fetched, and not because of the token. The library says it in
// words alone.
func isAway(err error) bool { return strings.Contains(err.Error(), "fetching keys") }
