package muster

import (
	"context"
	"time"
)

// IdempotencyKeyHeader names a request, so that it may be sent again without
// being carried out again; ReplayedHeader says that an answer is that of before.
const (
	IdempotencyKeyHeader = "Idempotency-Key"
	ReplayedHeader       = "Idempotent-Replayed"
)

// ReceiptLife is how long the answer to a request with an idempotency key is
// kept.
const ReceiptLife = 24 * time.Hour

// Receipt is what is kept of a request that was carried out and carried an
// idempotency key.
type Receipt struct {
	Principal string // whose key it is
	Key       string
	Request   string // the SHA-256 of the request
	Status    int    // the answer's
	Body      string // the answer; "" where it holds a secret
	Kept      bool   // it was written with what the request did
}

// Receipts keeps the receipts.
type Receipts interface {
	FindReceipt(ctx context.Context, principal, key string) (*Receipt, error) // nil where there is none, or one that is too old
	// KeepReceipt keeps a receipt, and forgets those that are too old. A key
	// that is taken is CodeConflict.
	KeepReceipt(ctx context.Context, r *Receipt) error
}
