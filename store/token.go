package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/muster-ml/muster"
)

// CreateToken keeps a new token.
func (s *Store) CreateToken(ctx context.Context, k *muster.Token) error {
	return s.inTx(ctx, "create token", func(t *tx) error {
		k.CreatedAt = t.now
		err := t.QueryRowContext(ctx, `INSERT INTO tokens (name, hash, created_at) VALUES (?, ?, ?) RETURNING id`, k.Name, k.Hash, micros(t.now)).Scan(&k.ID)
		if isDuplicate(err) {
			return muster.Errorf(muster.CodeConflict, "token %s exists already", k.Name).At("name")
		}
		return err
	})
}

// FindToken returns the token with this hash.
func (s *Store) FindToken(ctx context.Context, hash string) (*muster.Token, error) {
	k := &muster.Token{}
	err := s.read.QueryRowContext(ctx, `SELECT id, name, hash, created_at FROM tokens WHERE hash = ?`, hash).
		Scan(&k.ID, &k.Name, &k.Hash, timeCol{&k.CreatedAt})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, muster.Errorf(muster.CodeUnauthenticated, "this token is not known here").
			WithCure("give the one that this server made, by --token or MUSTER_TOKEN")
	}
	return k, err
}

// CountTokens returns how many tokens there are.
func (s *Store) CountTokens(ctx context.Context) (n int, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT count(*) FROM tokens`).Scan(&n)
	return n, err
}
