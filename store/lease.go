package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/muster-ml/muster"
)

// AcquireLease takes the lease where it is free, expired or the holder's own.
func (s *Store) AcquireLease(ctx context.Context, holder string, fresh bool) (*muster.Lease, error) {
	l := &muster.Lease{}
	err := s.inTx(ctx, "acquire lease", func(t *tx) error {
		until := micros(t.now.Add(muster.LeaseLength))
		if _, err := t.exec(ctx, `INSERT INTO lease (one, holder, term, until) VALUES (1, ?, 1, ?)
			ON CONFLICT DO UPDATE SET
				term = CASE WHEN holder = excluded.holder AND NOT ? THEN term ELSE term + 1 END,
				holder = excluded.holder, until = excluded.until
			WHERE holder = excluded.holder OR until < ?`, holder, until, fresh, micros(t.now)); err != nil {
			return err
		}
		return t.QueryRowContext(ctx, `SELECT holder, term, until FROM lease`).Scan(&l.Holder, &l.Term, timeCol{&l.Until})
	})
	return l, err
}

// Lead returns the ledger of a term.
func (s *Store) Lead(term int64) muster.Ledger { return &ledger{s, term} }

// ledger is the leader's side of the store.
type ledger struct {
	*Store
	term int64
}

// lead runs f in a transaction in which the term is proven to be the current
// one.
func (g *ledger) lead(ctx context.Context, what string, f func(t *tx) error) error {
	return g.inTx(ctx, what, func(t *tx) error {
		var term int64
		if err := t.QueryRowContext(ctx, `SELECT term FROM lease`).Scan(&term); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if term != g.term {
			return muster.ErrNotLeader
		}
		return f(t)
	})
}
