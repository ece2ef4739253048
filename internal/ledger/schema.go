package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	dg "driftgate"
)

// Schema returns the version of the schema that the ledger has, and the newest
// one that this build knows; after [Open] they are equal.
func (l *Ledger) Schema(ctx context.Context) (version, newest int64, err error) {
	if newest, err = l.dialect.newest(); err == nil {
		version, err = schemaOf(ctx, l.read)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("ledger: schema: %w", err)
	}
	return version, newest, nil
}

func schemaOf(ctx context.Context, db *sql.DB) (version int64, err error) {
	err = db.QueryRowContext(ctx, `SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&version)
	return version, err
}

// newest is the number of the last migration in this build.
func (d dialect) newest() (last int64, err error) {
	files, err := fs.Glob(migrations, "migrations/"+d.name+"/*.sql")
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		number, _, _ := strings.Cut(filepath.Base(f), "_")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("migration %s: want a number and _ in front: %w", f, err)
		}
		last = max(last, n)
	}
	return last, nil
}

// refuseNewer keeps an older build away from a schema that it does not know:
// its statements might run, and mean something else.
func (l *Ledger) refuseNewer(ctx context.Context) error {
	version, newest, err := l.Schema(ctx)
	if err != nil {
		return err
	}
	if version > newest {
		return fmt.Errorf("schema %d was made by a newer driftgate, this one knows up to %d: run the newer binary, or restore a backup made before the upgrade: %w", version, newest, dg.ErrInvalid)
	}
	return nil
}

// Sound has SQLite read the whole file for damage. PostgreSQL has its own means
// and is not asked.
func (l *Ledger) Sound(ctx context.Context) error {
	if l.dialect.name != sqlite.name {
		return nil
	}
	faults, err := collect(ctx, l, "check for damage", func(rows *sql.Rows) (s string, err error) {
		return s, rows.Scan(&s)
	}, `PRAGMA quick_check(10)`)
	if err != nil {
		return err
	}
	if len(faults) != 1 || faults[0] != "ok" {
		return fmt.Errorf("ledger: damaged: %s: restore a backup, or move the file away and run driftgate ledger rebuild", strings.Join(faults, "; "))
	}
	return nil
}

// Backup writes the SQLite ledger at path, as it is at one moment, to a new
// file (0600), and syncs it; whoever writes meanwhile is not held up. The copy
// is compact and has no -wal file beside it. The error is [driftgate.ErrInvalid]
// when the file is there already, or when the ledger is no SQLite file, and
// [driftgate.ErrNotFound] when there is no ledger.
func Backup(ctx context.Context, path, file string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("ledger: back up %s: %w", place(path), err)
		}
	}()
	if isPostgres(path) {
		return fmt.Errorf("PostgreSQL has its own means (pg_dump --schema=...): %w", dg.ErrInvalid)
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: no ledger there", dg.ErrNotFound)
	}
	if _, err := os.Lstat(file); err == nil {
		return fmt.Errorf("%s is there already: want a new file: %w", file, dg.ErrInvalid)
	}
	// SQLite takes an empty file, so the copy never has another mode than 0600.
	temp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, temp.Close(), ignoreGone(os.Remove(temp.Name()))) }()
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	db, err := sql.Open("sqlite", fileURL(abs, "mode=ro"))
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `VACUUM INTO ?`, temp.Name())
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	if err := os.Link(temp.Name(), file); err != nil { // unlike a rename it never replaces
		return err
	}
	return syncDir(filepath.Dir(file))
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
