package store

import (
	"context"
	"strings"

	"github.com/muster-ml/muster"
)

// WriteAudit keeps an entry.
func (s *Store) WriteAudit(ctx context.Context, e *muster.AuditEntry) error {
	return s.inTx(ctx, "write audit", func(t *tx) error {
		e.At = t.now
		return t.QueryRowContext(ctx, `INSERT INTO audit (at, actor, action, workspace, target, outcome, request_id) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING seq`,
			micros(e.At), e.Actor, e.Action, e.Workspace, e.Target, e.Outcome, e.RequestID).Scan(&e.Seq)
	})
}

// ListAudit returns entries, newest first.
func (s *Store) ListAudit(ctx context.Context, f muster.AuditFilter) ([]*muster.AuditEntry, error) {
	query, args := `SELECT seq, at, actor, action, workspace, target, outcome, request_id FROM audit WHERE (? = 0 OR seq < ?)`, []any{f.Before, f.Before}
	if f.Workspaces != nil {
		if len(f.Workspaces) == 0 {
			return nil, nil
		}
		query += ` AND workspace IN (?` + strings.Repeat(`, ?`, len(f.Workspaces)-1) + `)`
		for _, w := range f.Workspaces {
			args = append(args, w)
		}
	}
	return collect(ctx, s.read, func(row scanner) (*muster.AuditEntry, error) {
		e := &muster.AuditEntry{}
		return e, row.Scan(&e.Seq, timeCol{&e.At}, &e.Actor, &e.Action, &e.Workspace, &e.Target, &e.Outcome, &e.RequestID)
	}, query+` ORDER BY seq DESC LIMIT ?`, append(args, f.Limit)...)
}
