package muster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Token is what a person proves himself with. Only its hash is kept.
type Token struct {
	ID        int64     `json:"id"`
	Name      string    `json:"name"` // the principal
	Hash      string    `json:"-"`
	CreatedAt time.Time `json:"created_at"`
}

// HashToken returns what is kept of a token.
func HashToken(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Principal is who calls.
type Principal struct{ Name string }

// Tokens keeps the tokens.
type Tokens interface {
	CreateToken(ctx context.Context, t *Token) error
	FindToken(ctx context.Context, hash string) (*Token, error) // CodeUnauthenticated when there is none
	CountTokens(ctx context.Context) (int, error)
}
