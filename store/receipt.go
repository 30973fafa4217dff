package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/muster-ml/muster"
)

// FindReceipt returns what is kept of a request, nil for nothing.
func (s *Store) FindReceipt(ctx context.Context, principal, key string) (*muster.Receipt, error) {
	r := &muster.Receipt{Principal: principal, Key: key, Kept: true}
	err := s.read.QueryRowContext(ctx, `SELECT request, status, body FROM receipts WHERE principal = ? AND key = ? AND at > ?`,
		principal, key, micros(time.Now().Add(-muster.ReceiptLife))).Scan(&r.Request, &r.Status, &r.Body)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return r, err
}

// KeepReceipt keeps what came of a request.
func (s *Store) KeepReceipt(ctx context.Context, r *muster.Receipt) error {
	return s.inTx(ctx, "keep receipt", func(t *tx) error { return t.keepReceipt(ctx, r) })
}

func (t *tx) keepReceipt(ctx context.Context, r *muster.Receipt) error {
	if _, err := t.exec(ctx, `DELETE FROM receipts WHERE at <= ?`, micros(t.now.Add(-muster.ReceiptLife))); err != nil {
		return err
	}
	_, err := t.exec(ctx, `INSERT INTO receipts (principal, key, request, status, body, at) VALUES (?, ?, ?, ?, ?, ?)`,
		r.Principal, r.Key, r.Request, r.Status, r.Body, micros(t.now))
	if isDuplicate(err) {
		return muster.Errorf(muster.CodeConflict, "another request with idempotency key %s is done already", r.Key).WithCure("send it again for its answer")
	}
	return err
}

// answer writes the receipt of a request in the transaction of what it did:
// with it there is an answer to give again, whatever becomes of the server.
func (t *tx) answer(ctx context.Context, r *muster.Receipt, status int, answer any) error {
	if r == nil {
		return nil
	}
	var text bytes.Buffer
	out := json.NewEncoder(&text)
	out.SetEscapeHTML(false)
	if err := out.Encode(answer); err != nil {
		return fmt.Errorf("write a receipt: %w", err)
	}
	r.Status, r.Body, r.Kept = status, text.String(), true
	return t.keepReceipt(ctx, r)
}
