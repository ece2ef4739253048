package ledger

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"
	"unicode/utf8"

	dg "driftgate"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver
)

// The SQL of this package is written once: in words that SQLite and PostgreSQL
// both know, with SQLite's placeholders. What differs is here and in the
// migrations.
type dialect struct {
	name       string // of the folder in migrations
	goose      goose.Dialect
	isolation  sql.IsolationLevel // of a transaction that reads one state
	writing    sql.IsolationLevel // of one that writes: each statement sees what was committed before its turn came
	lock       string             // statement by which a write transaction waits its turn; empty: its begin does
	tryLock    string             // the same without waiting: answers whether it may write
	migrateAs  string             // statement by which a connection waits for its turn to migrate; empty: none is needed
	migrateEnd string             // its undoing
	tables     string             // counts the tables that tell of migrations
}

var (
	sqlite = dialect{
		name: "sqlite", goose: goose.DialectSQLite3,
		tables: `SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'goose_db_version'`,
	}
	postgres = dialect{
		name: "postgres", goose: goose.DialectPostgres, isolation: sql.LevelRepeatableRead, writing: sql.LevelReadCommitted,
		// One writer at a time, whatever the number of processes, as in SQLite: a
		// step that reads and then writes needs no other lock.
		lock:       `SELECT pg_advisory_xact_lock(hashtextextended('driftgate write ' || current_schema(), 0))`,
		tryLock:    `SELECT pg_try_advisory_xact_lock(hashtextextended('driftgate write ' || current_schema(), 0))`,
		migrateAs:  `SELECT pg_advisory_lock(hashtextextended('driftgate migrate ' || current_schema(), 0))`,
		migrateEnd: `SELECT pg_advisory_unlock(hashtextextended('driftgate migrate ' || current_schema(), 0))`,
		tables:     `SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = 'goose_db_version'`,
	}
)

// isPostgres tells a URL from a path.
func isPostgres(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

// place names a database in errors: the path, or the URL without what is
// secret in it.
func place(dsn string) string {
	if !isPostgres(dsn) {
		return dsn
	}
	u, err := url.Parse(dsn)
	if err != nil || strings.Contains(pastServer(dsn), "@") { // where the password ends is anybody's guess
		return "PostgreSQL"
	}
	return fmt.Sprintf("PostgreSQL at %s%s", u.Host, u.Path)
}

// pastServer is what follows the server's name in a URL: path, query, fragment.
// With an @ in it, a sign in the password was not percent-encoded, most likely.
func pastServer(dsn string) string {
	_, rest, _ := strings.Cut(dsn, "://")
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		return rest[i:]
	}
	return ""
}

// connect opens the pools, and one to migrate by, which may be that of the
// writer; it does not reach for the server yet.
func (l *Ledger) connect(dsn string) (migrating *sql.DB, err error) {
	if isPostgres(dsn) {
		config, err := pgx.ParseConfig(dsn)
		past, _, _ := strings.Cut(pastServer(dsn), "?")
		if err != nil || strings.Contains(past, "@") { // the text of this error, or the next one's, may hold the password
			return nil, fmt.Errorf("not a PostgreSQL URL: want postgres://USER:PASSWORD@HOST:5432/DATABASE, signs in the password percent-encoded: %w", dg.ErrInvalid)
		}
		l.dialect = postgres
		plain := stdlib.GetConnector(*config)
		l.write, l.read = sql.OpenDB(questioned{plain}), sql.OpenDB(questioned{plain})
		return sql.OpenDB(plain), nil
	}
	l.dialect = sqlite
	abs, err := filepath.Abs(dsn)
	if err != nil {
		return nil, err
	}
	if l.write, err = sql.Open("sqlite", fileURL(abs, "_txlock=immediate")); err != nil {
		return nil, err
	}
	if l.read, err = sql.Open("sqlite", fileURL(abs, "_pragma=query_only(1)")); err != nil {
		return nil, errors.Join(err, l.write.Close())
	}
	return l.write, nil
}

func fileURL(abs, extra string) string {
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(abs)}
	return fmt.Sprintf("%s?_pragma=busy_timeout(%d)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&%s",
		u.String(), busyTimeout.Milliseconds(), extra)
}

// migrate brings the schema to the newest version; two processes take turns.
func (d dialect) migrate(ctx context.Context, db *sql.DB) (err error) {
	sub, err := fs.Sub(migrations, "migrations/"+d.name)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(d.goose, db, sub)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	if d.migrateAs != "" {
		turn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = turn.Close() }()
		if _, err := turn.ExecContext(ctx, d.migrateAs); err != nil {
			return fmt.Errorf("wait to migrate: %w", err)
		}
		defer func() {
			_, undone := turn.ExecContext(context.WithoutCancel(ctx), d.migrateEnd)
			err = errors.Join(err, undone)
		}()
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// questioned is PostgreSQL's driver for statements with SQLite's placeholders
// and for flags, which are 0 and 1 in both databases.
type questioned struct{ driver.Connector }

func (q questioned) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := q.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*stdlib.Conn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("driver %T: want pgx", c), c.Close())
	}
	return questionedConn{conn}, nil
}

type questionedConn struct{ *stdlib.Conn }

func (c questionedConn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

func (c questionedConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	return c.Conn.PrepareContext(ctx, numbered(query))
}

func (c questionedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.Conn.ExecContext(ctx, numbered(query), args)
}

func (c questionedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.Conn.QueryContext(ctx, numbered(query), args)
}

// CheckNamedValue makes numbers of flags, and plain strings of named ones. Text
// that PostgreSQL cannot hold is [driftgate.ErrInvalid], not the server's fault.
func (c questionedConn) CheckNamedValue(v *driver.NamedValue) error {
	value, err := driver.DefaultParameterConverter.ConvertValue(v.Value)
	if err != nil {
		return err
	}
	if flag, ok := value.(bool); ok {
		value = int64(0)
		if flag {
			value = int64(1)
		}
	}
	if text, ok := value.(string); ok && (!utf8.ValidString(text) || strings.Contains(text, "\x00")) {
		return fmt.Errorf("text %q: want UTF-8 without zero bytes: %w", text, dg.ErrInvalid)
	}
	v.Value = value
	return nil
}

// numbered turns the placeholders ? and ?3 into $1, $2, ... and $3. Quoted text
// stays as it is.
func numbered(query string) string {
	if !strings.Contains(query, "?") {
		return query
	}
	var b strings.Builder
	b.Grow(len(query) + 16)
	n, quoted := 0, false
	for i := range len(query) {
		c := query[i]
		if c == '\'' {
			quoted = !quoted
		}
		if c != '?' || quoted {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('$')
		if i+1 < len(query) && query[i+1] >= '0' && query[i+1] <= '9' {
			continue // the number follows
		}
		n++
		fmt.Fprint(&b, n)
	}
	return b.String()
}
