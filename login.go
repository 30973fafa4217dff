package muster

import "context"

// Login tells a client how people log in, besides by tokens.
type Login struct {
	OIDC *OIDCLogin `json:"oidc,omitempty"` // nil where the server believes no issuer
}

// OIDCLogin is what a client needs to log a person in at an OpenID Connect
// issuer.
type OIDCLogin struct {
	Issuer   string   `json:"issuer"`
	ClientID string   `json:"client_id"`
	Scopes   []string `json:"scopes"`
}

// Issuer knows people by what an OpenID Connect issuer says of them.
type Issuer interface {
	// Identify returns whom a token of the issuer names. One that is expired,
	// forged or meant for somebody else is CodeUnauthenticated; one that cannot
	// be checked because the issuer is away is CodeUnreachable.
	Identify(ctx context.Context, token string) (*Principal, error)
	Login() OIDCLogin
}
