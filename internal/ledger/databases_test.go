package ledger

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"driftgate/internal/ledger/postgrestest"
)

// database is the one that the tests run on: all of them run on every one.
var database = databases[0]

var databases = []struct {
	name string
	dsn  func(t testing.TB) string
}{
	{"sqlite", func(t testing.TB) string { return filepath.Join(t.TempDir(), "ledger ?#%20.db") }},
	{"postgres", postgrestest.DSN},
}

func TestMain(m *testing.M) {
	failed := 0
	for _, database = range databases {
		if database.name == "postgres" && !postgrestest.Available() {
			fmt.Println("no PostgreSQL server is installed: tested on SQLite only")
			continue
		}
		fmt.Println("tests on", database.name)
		if code := m.Run(); code != 0 {
			fmt.Println("failed on", database.name)
			failed = code
		}
	}
	os.Exit(failed)
}

// onSQLite skips what asks for SQLite's own ways.
func onSQLite(t *testing.T) {
	t.Helper()
	if database.name != "sqlite" {
		t.Skip("asks for SQLite's own ways")
	}
}
