// Package store keeps Muster's rows in SQLite. It is the only room that speaks
// SQL. A Store implements the services of the dictionary; writes go through one
// connection, one after another, and each is durable when it returns.
package store

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/muster-ml/muster"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store is an open database.
type Store struct {
	// Installation names this installation of Muster in everything that Nomad
	// knows of it.
	Installation string

	// Observe is told of each write: its name, how long it took with the wait for
	// the connection, and its error. It is set before the store is used; nil is
	// nobody.
	Observe func(operation string, took time.Duration, err error)

	read, write *sql.DB
	lock        *os.File

	uploads sync.Mutex // whoever sees an upload, or removes it

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when an event was written
}

// Open opens the database in dir and makes or migrates it. One process at a
// time has it: a second one is CodeConflict.
func Open(ctx context.Context, dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, muster.Errorf(muster.CodeConflict, "another server has the data folder %s open", dir).
			WithCure("stop it, or name another folder with --data-dir")
	}
	s := &Store{lock: lock, changed: make(chan struct{})}
	if err := s.open(ctx, filepath.Join(dir, "muster.db")); err != nil {
		s.Close()
		return nil, fmt.Errorf("open store in %s: %w", dir, err)
	}
	return s, nil
}

// open opens both pools, migrates, and reads the installation's id.
func (s *Store) open(ctx context.Context, file string) (err error) {
	pragmas := url.Values{
		"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)", "busy_timeout(10000)"},
		"_txlock": {"immediate"},
	}
	dsn := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(), RawQuery: pragmas.Encode()}).String()
	if s.write, err = sql.Open("sqlite", dsn); err != nil {
		return err
	}
	s.write.SetMaxOpenConns(1)
	pragmas.Set("_txlock", "deferred")
	pragmas.Add("_pragma", "query_only(ON)")
	dsn = (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(), RawQuery: pragmas.Encode()}).String()
	if s.read, err = sql.Open("sqlite", dsn); err != nil {
		return err
	}
	s.read.SetMaxOpenConns(8)
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	g, err := goose.NewProvider(goose.DialectSQLite3, s.write, files)
	if err != nil {
		return err
	}
	if _, err := g.Up(ctx); err != nil {
		return err
	}
	if _, err := s.write.ExecContext(ctx, `INSERT INTO installation (id) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM installation)`, muster.RandomID(3)); err != nil {
		return err
	}
	return s.write.QueryRowContext(ctx, `SELECT id FROM installation`).Scan(&s.Installation)
}

// Close closes the database.
func (s *Store) Close() error {
	var err error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			if e := db.Close(); err == nil {
				err = e
			}
		}
	}
	s.lock.Close()
	return err
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error { return s.read.PingContext(ctx) }

// tx is a write transaction.
type tx struct {
	*sql.Tx
	now    time.Time
	events int // written in it
}

// inTx runs f in a write transaction, commits it, and wakes readers of events.
// What is done is named in what; a name of a thing stands behind a colon, and
// only what is before it is told to Observe.
func (s *Store) inTx(ctx context.Context, what string, f func(t *tx) error) (err error) {
	if s.Observe != nil {
		operation, _, _ := strings.Cut(what, ":")
		began := time.Now()
		defer func() { s.Observe(operation, time.Since(began), err) }()
	}
	raw, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer raw.Rollback()
	t := &tx{Tx: raw, now: time.Now().UTC().Truncate(time.Microsecond)}
	if err := f(t); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := raw.Commit(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if t.events > 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		close(s.changed)
		s.changed = make(chan struct{})
	}
	return nil
}

// exec runs a statement and returns how many rows it changed.
func (t *tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	r, err := t.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// querier is what both a transaction and a pool can do.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// collect reads all rows of a query through scan.
func collect[T any](ctx context.Context, q querier, scan func(row scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// scanner is a row that can be read.
type scanner interface{ Scan(dest ...any) error }

// micros turns a time into what is kept of it; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// timeCol reads a time.
type timeCol struct{ to *time.Time }

// Scan reads microseconds.
func (c timeCol) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("%T is not a time", v)
	}
	*c.to = time.Time{}
	if n != 0 {
		*c.to = time.UnixMicro(n).UTC()
	}
	return nil
}

// jsonCol reads a JSON text; "" leaves the destination as it is.
type jsonCol struct{ to any }

// Scan reads JSON.
func (c jsonCol) Scan(v any) error {
	text, ok := v.(string)
	if !ok {
		return fmt.Errorf("%T is not JSON", v)
	}
	if text == "" {
		return nil
	}
	return json.Unmarshal([]byte(text), c.to)
}

// toJSON writes v as JSON text. What is kept can always be written.
func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("store: %T cannot be JSON: %v", v, err))
	}
	return string(b)
}

// jsonMap writes a map as JSON, {} for nil.
func jsonMap(m map[string]string) string {
	if m == nil {
		return "{}"
	}
	return toJSON(m)
}
