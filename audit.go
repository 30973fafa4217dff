package muster

import (
	"context"
	"time"
)

// AuditEntry is one numbered row of the account of who did what: a write that
// somebody asked the API for, whether it was done or not. It holds no secret:
// nothing of a request's body but the name of what was made.
type AuditEntry struct {
	Seq       int64     `json:"seq"`
	At        time.Time `json:"at"`
	Actor     string    `json:"actor"`
	Action    string    `json:"action"`              // the operation, such as create-run
	Workspace string    `json:"workspace,omitempty"` // as the caller named it; "" is the platform
	Target    string    `json:"target"`              // the path below /api/v1
	Outcome   string    `json:"outcome"`             // "done", or the code of the error
	RequestID string    `json:"request_id,omitempty"`
}

// AuditDone is the outcome of what was done.
const AuditDone = "done"

// AuditFilter chooses entries.
type AuditFilter struct {
	Workspaces []string // nil is all, and the platform's
	Before     int64    // only those with a lower number; 0 is no bound
	Limit      int
}

// AuditPage is a page of the account, newest first.
type AuditPage struct {
	Entries []*AuditEntry `json:"entries"`
	Next    string        `json:"next,omitempty"` // the cursor of the next page; "" at the end
}

// Audit keeps the account of who did what.
type Audit interface {
	WriteAudit(ctx context.Context, e *AuditEntry) error // fills Seq and At
	ListAudit(ctx context.Context, f AuditFilter) ([]*AuditEntry, error)
}
