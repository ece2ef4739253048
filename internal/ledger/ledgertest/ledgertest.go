// Package ledgertest opens empty ledgers for tests: on SQLite always, and on
// PostgreSQL where a server is installed.
package ledgertest

import (
	"path/filepath"
	"testing"

	"driftgate/internal/ledger"
	"driftgate/internal/ledger/postgrestest"
)

// Each runs f once a database, as a subtest, each with a ledger of its own.
func Each(t *testing.T, f func(t *testing.T, l *ledger.Ledger)) {
	EachDSN(t, func(t *testing.T, dsn string) { f(t, Open(t, dsn)) })
}

// EachDSN is [Each] for tests that open the ledger themselves.
func EachDSN(t *testing.T, f func(t *testing.T, dsn string)) {
	t.Run("sqlite", func(t *testing.T) { f(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { f(t, Postgres(t)) })
}

// SQLite returns the path of a new ledger.
func SQLite(t testing.TB) (dsn string) { return filepath.Join(t.TempDir(), "ledger.db") }

// Postgres returns the URL of a new, empty schema; it skips the test where no
// server is installed.
func Postgres(t testing.TB) (dsn string) {
	t.Helper()
	return postgrestest.DSN(t)
}

// Open opens a ledger that is closed when the test ends.
func Open(t testing.TB, dsn string, options ...ledger.Option) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(t.Context(), dsn, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}
