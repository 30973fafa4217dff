package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/muster-ml/muster"
)

// CreateToken keeps a new token.
func (s *Store) CreateToken(ctx context.Context, k *muster.Token) error {
	return s.inTx(ctx, "create token", func(t *tx) error {
		var workspace sql.NullInt64
		if k.Workspace != "" {
			w, err := findWorkspace(ctx, t, k.Workspace)
			if err != nil {
				return err
			}
			workspace = sql.NullInt64{Int64: w.ID, Valid: true}
		}
		k.CreatedAt = t.now
		err := t.QueryRowContext(ctx, `INSERT INTO tokens (name, role, workspace_id, hash, created_by, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id`,
			k.Name, k.Role, workspace, k.Hash, k.CreatedBy, micros(t.now), micros(k.ExpiresAt)).Scan(&k.ID)
		if isDuplicate(err) {
			return muster.Errorf(muster.CodeConflict, "token %s exists already", k.Name).At("name")
		}
		return err
	})
}

const tokenColumns = `SELECT t.id, t.name, t.role, coalesce(w.name, ''), t.hash, t.created_by, t.created_at, t.expires_at, t.last_used_at
	FROM tokens t LEFT JOIN workspaces w ON w.id = t.workspace_id `

func scanToken(row scanner) (*muster.Token, error) {
	k := &muster.Token{}
	return k, row.Scan(&k.ID, &k.Name, &k.Role, &k.Workspace, &k.Hash, &k.CreatedBy, timeCol{&k.CreatedAt}, timeCol{&k.ExpiresAt}, timeCol{&k.LastUsedAt})
}

// FindToken returns the token with this hash.
func (s *Store) FindToken(ctx context.Context, hash string) (*muster.Token, error) {
	k, err := scanToken(s.read.QueryRowContext(ctx, tokenColumns+`WHERE t.hash = ?`, hash))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, muster.Errorf(muster.CodeUnauthenticated, "this token is not known here").
			WithCure("give one that this server made and nobody has revoked, by muster login, --token or MUSTER_TOKEN")
	}
	return k, err
}

// ListTokens returns all tokens by name.
func (s *Store) ListTokens(ctx context.Context) ([]*muster.Token, error) {
	return collect(ctx, s.read, scanToken, tokenColumns+`ORDER BY t.name`)
}

// RevokeToken forgets a token.
func (s *Store) RevokeToken(ctx context.Context, name string) error {
	return s.inTx(ctx, "revoke token", func(t *tx) error {
		var last bool // an administrator's that does not expire
		err := t.QueryRowContext(ctx, `DELETE FROM tokens WHERE name = ? RETURNING role = ? AND expires_at = 0`, name, muster.RoleAdministrator).Scan(&last)
		if errors.Is(err, sql.ErrNoRows) {
			return muster.Errorf(muster.CodeNotFound, "there is no token %s", name).WithCure("muster token list shows what there is")
		}
		if err != nil || !last {
			return err
		}
		var left int
		if err := t.QueryRowContext(ctx, `SELECT count(*) FROM tokens WHERE role = ? AND expires_at = 0`, muster.RoleAdministrator).Scan(&left); err != nil {
			return err
		}
		if left == 0 {
			return muster.Errorf(muster.CodeConflict, "token %s is the last administrator's that does not expire", name).
				WithCure("make another first: muster token create --role administrator NAME")
		}
		return nil
	})
}

// UseToken keeps when a token was used last.
func (s *Store) UseToken(ctx context.Context, id int64, at time.Time) error {
	return s.inTx(ctx, "use token", func(t *tx) error {
		_, err := t.exec(ctx, `UPDATE tokens SET last_used_at = ? WHERE id = ? AND last_used_at < ?`, micros(at), id, micros(at))
		return err
	})
}

// CountTokens returns how many tokens there are.
func (s *Store) CountTokens(ctx context.Context) (n int, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT count(*) FROM tokens`).Scan(&n)
	return n, err
}
