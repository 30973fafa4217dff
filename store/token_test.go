package store

import (
	"database/sql"
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/muster-ml/muster"
)

// TestTokensOfBefore migrates a database whose tokens have no roles yet.
func TestTokensOfBefore(t *testing.T) {
	dir := t.TempDir()
	db, err := sql.Open("sqlite", filepath.Join(dir, "muster.db"))
	must(t, err)
	files, err := fs.Sub(migrations, "migrations")
	must(t, err)
	g, err := goose.NewProvider(goose.DialectSQLite3, db, files)
	must(t, err)
	_, err = g.UpTo(t.Context(), 1)
	must(t, err)
	_, err = db.ExecContext(t.Context(), `INSERT INTO tokens (name, hash, created_at) VALUES ('admin', 'h', 7)`)
	must(t, err)
	must(t, db.Close())
	s, err := Open(t.Context(), dir)
	must(t, err)
	defer s.Close()
	k, err := s.FindToken(t.Context(), "h")
	must(t, err)
	if k.Name != "admin" || k.Role != muster.RoleAdministrator || k.Workspace != "" || k.CreatedAt != time.UnixMicro(7).UTC() || !k.ExpiresAt.IsZero() {
		t.Errorf("token %+v", k)
	}
}

// TestTokens keeps, finds, uses and revokes tokens.
func TestTokens(t *testing.T) {
	s, ctx := open(t), t.Context()
	create := func(k muster.Token) error { return s.CreateToken(ctx, &k) }
	ends := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	must(t, create(muster.Token{Name: "admin", Role: muster.RoleAdministrator, Hash: "a"}))
	must(t, create(muster.Token{Name: "ci", Role: muster.RoleReader, Workspace: "w", Hash: "b", CreatedBy: "admin", ExpiresAt: ends}))
	must(t, create(muster.Token{Name: "brief", Role: muster.RoleAdministrator, Hash: "c", ExpiresAt: ends}))
	wantCode(t, create(muster.Token{Name: "ci", Role: muster.RoleAdministrator, Hash: "d"}), muster.CodeConflict)
	wantCode(t, create(muster.Token{Name: "x", Role: muster.RoleReader, Workspace: "none", Hash: "d"}), muster.CodeNotFound)
	wantCode(t, create(muster.Token{Name: "x", Role: muster.RoleReader, Hash: "d"}), muster.CodeInternal) // what the API should have refused
	k, err := s.FindToken(ctx, "b")
	must(t, err)
	if k.Workspace != "w" || k.CreatedBy != "admin" || k.ExpiresAt != ends || !k.LastUsedAt.IsZero() {
		t.Errorf("token %+v", k)
	}
	minute := time.Now().UTC().Truncate(time.Minute)
	must(t, s.UseToken(ctx, k.ID, minute))
	must(t, s.UseToken(ctx, k.ID, minute.Add(-time.Hour)))
	if k, err = s.FindToken(ctx, "b"); err != nil || k.LastUsedAt != minute {
		t.Errorf("last used %v, %v", k, err)
	}
	must(t, s.RevokeToken(ctx, "ci"))
	wantCode(t, s.RevokeToken(ctx, "ci"), muster.CodeNotFound)
	_, err = s.FindToken(ctx, "b")
	wantCode(t, err, muster.CodeUnauthenticated)
	wantCode(t, s.RevokeToken(ctx, "admin"), muster.CodeConflict) // brief ends by itself
	all, err := s.ListTokens(ctx)
	if err != nil || len(all) != 2 || all[0].Name != "admin" || all[1].Name != "brief" {
		t.Errorf("tokens %v, %v", all, err)
	}
}
