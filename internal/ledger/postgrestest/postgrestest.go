// Package postgrestest starts a PostgreSQL server for tests, one for the test
// binary, and gives each test a schema of its own. Where no server is
// installed the tests that need one are skipped and say so.
package postgrestest

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver
)

// errNone says that no server is installed here.
var errNone = errors.New("no postgres and initdb on PATH or in /usr/lib/postgresql/*/bin")

// patience is how long a server may take to start.
const patience = time.Minute

// Available reports whether a server is installed here.
func Available() bool {
	_, err := binaries()
	return err == nil
}

// DSN returns the URL of a new, empty schema of the test's own, which is
// dropped when the test ends. It skips the test where no server is installed.
func DSN(t testing.TB) string {
	t.Helper()
	dir, err := server()
	if errors.Is(err, errNone) {
		t.Skipf("%v: PostgreSQL is not tested here", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	schema := fmt.Sprintf("t%d", schemas.Add(1))
	do(t, dir, `CREATE SCHEMA `+schema)
	t.Cleanup(func() { do(t, dir, `DROP SCHEMA `+schema+` CASCADE`) })
	return address(dir, schema)
}

var schemas atomic.Int64

func do(t testing.TB, dir, statement string) {
	t.Helper()
	db, err := sql.Open("pgx", address(dir, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(context.Background(), statement); err != nil {
		t.Fatal(err)
	}
}

func address(dir, schema string) string {
	q := url.Values{"host": {dir}}
	if schema != "" {
		q.Set("search_path", schema)
	}
	return (&url.URL{Scheme: "postgres", User: url.User("postgres"), Host: "", Path: "/postgres", RawQuery: q.Encode()}).String()
}

// binaries returns the folder of initdb and postgres, of the newest version
// where there are several.
func binaries() (string, error) {
	dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	slices.SortFunc(dirs, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(b, a)) }) // 16, 15, 9.6
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	for _, dir := range dirs {
		_, noServer := os.Stat(filepath.Join(dir, "postgres"))
		_, noInit := os.Stat(filepath.Join(dir, "initdb"))
		if noServer == nil && noInit == nil {
			return dir, nil
		}
	}
	return "", errNone
}

// server starts the server once and returns the folder of its socket.
var server = sync.OnceValues(func() (string, error) {
	bin, err := binaries()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "driftgate-postgres-")
	if err != nil {
		return "", err
	}
	if err := start(bin, dir); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		return "", fmt.Errorf("postgrestest: start a server of %s: %w\n%s", bin, errors.Join(err, os.RemoveAll(dir)), log)
	}
	return dir, nil
})

// attended runs the server until its own standard input ends, which is when
// this process does, however it ends; then it removes the server's folder.
const attended = `("$0/initdb" -D "$1/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$1/log" 2>&1 &&
exec "$0/postgres" -D "$1/data" -k "$1" -c listen_addresses= -c fsync=off -c synchronous_commit=off -c full_page_writes=off \
	-c max_connections=100 -c autovacuum=off >>"$1/log" 2>&1 </dev/null) &
server=$!
read -r _
kill -QUIT $server
wait $server
rm -rf "$1"`

func start(bin, dir string) error {
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	cmd := exec.Command("sh", "-c", attended, bin, dir)
	cmd.Stdin, cmd.Dir = in, dir
	if err := asOwner(cmd, dir); err != nil {
		return errors.Join(err, out.Close())
	}
	if err := cmd.Start(); err != nil {
		return errors.Join(err, out.Close())
	}
	go func() { // the server outlives this process by a moment
		_ = cmd.Wait()
		_ = out.Close() // not before: its end is the server's
	}()
	db, err := sql.Open("pgx", address(dir, ""))
	if err != nil {
		return errors.Join(err, out.Close())
	}
	defer func() { _ = db.Close() }()
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if err = db.PingContext(context.Background()); err == nil {
			return nil
		}
		if time.Since(begin) > patience {
			return errors.Join(fmt.Errorf("not there after %s: %w", patience, err), out.Close())
		}
	}
}
