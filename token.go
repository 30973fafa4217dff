package muster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"
)

// TokenPrefix begins the secret of every token, so that one that was lost in a
// file or a log is found by its looks.
const TokenPrefix = "muster_"

// Token is what a person or a program proves himself with. Only the hash of its
// secret is kept.
type Token struct {
	ID         int64     `json:"-"`
	Name       string    `json:"name"` // the principal
	Role       Role      `json:"role"`
	Workspace  string    `json:"workspace,omitempty"` // where it has the role; "" for an administrator alone
	Hash       string    `json:"-"`
	CreatedBy  string    `json:"created_by,omitempty"` // "" for the first one, which the server makes
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at,omitzero"`
	LastUsedAt time.Time `json:"last_used_at,omitzero"` // to the minute
}

// TokenRequest asks for a token.
type TokenRequest struct {
	Name      string   `json:"name" example:"nightly"`
	Role      Role     `json:"role" enum:"reader,contributor,owner,administrator"`
	Workspace string   `json:"workspace,omitempty" doc:"Where it has the role; an administrator has it everywhere."`
	ExpiresIn Duration `json:"expires_in,omitempty" doc:"Seconds until it stops working; never when left out."`
}

// NewToken is a token with its secret, which is told this once.
type NewToken struct {
	Token
	Secret string `json:"secret" doc:"Send it as bearer token. It is not kept and cannot be shown again."`
}

// TokenUseStep is how exactly the last use of a token is kept.
const TokenUseStep = time.Minute

// NewSecret makes the secret of a token.
func NewSecret() string { return TokenPrefix + RandomID(20) }

// HashToken returns what is kept of a token.
func HashToken(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// actors are the names under which Muster's own parts write events.
var actors = []string{"scheduler", "agent", "nomad", "server"}

// Validate refuses a token that cannot be kept.
func (t *Token) Validate() error {
	if err := CheckName("token", t.Name); err != nil {
		return err
	}
	if slices.Contains(actors, t.Name) {
		return Errorf(CodeInvalid, "%s is the name of a part of Muster", t.Name).At("name").WithCure("choose another, so that events tell who did it")
	}
	grant := Grant{Role: t.Role, Workspace: t.Workspace}
	if err := grant.Validate(); err != nil {
		return err
	}
	if t.Workspace == "" && t.Role != RoleAdministrator {
		return Errorf(CodeInvalid, "a token with role %s needs a workspace", t.Role).At("workspace").WithCure("name the workspace in which it has the role")
	}
	return nil
}

// Principal returns who calls with the token.
func (t *Token) Principal() *Principal {
	return &Principal{Name: t.Name, Grants: []Grant{{Role: t.Role, Workspace: t.Workspace}}, ExpiresAt: t.ExpiresAt}
}

// Tokens keeps the tokens.
type Tokens interface {
	// CreateToken keeps a new token. A name that is taken is CodeConflict, a
	// workspace that does not exist CodeNotFound.
	CreateToken(ctx context.Context, t *Token) error
	FindToken(ctx context.Context, hash string) (*Token, error) // CodeUnauthenticated when there is none
	ListTokens(ctx context.Context) ([]*Token, error)           // by name
	// RevokeToken forgets a token: it opens nothing from now on. The last
	// administrator that does not expire is CodeConflict: nobody could make
	// another.
	RevokeToken(ctx context.Context, name string) error
	// UseToken keeps when a token was used last.
	UseToken(ctx context.Context, id int64, at time.Time) error
	CountTokens(ctx context.Context) (int, error)
}
