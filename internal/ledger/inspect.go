package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	dg "driftgate"
)

// Inspect tells the version of a ledger's schema and the newest one that this
// build knows, without migrating and without making a ledger: where there is
// none, the error is [driftgate.ErrNotFound].
func Inspect(ctx context.Context, dsn string) (version, newest int64, err error) {
	fail := func(err error) (int64, int64, error) {
		return 0, 0, fmt.Errorf("ledger: inspect %s: %w", place(dsn), err)
	}
	if !isPostgres(dsn) {
		if _, err := os.Stat(dsn); errors.Is(err, fs.ErrNotExist) {
			return fail(fmt.Errorf("%w: no such file", dg.ErrNotFound))
		} else if err != nil {
			return fail(err)
		}
	}
	l := &Ledger{}
	migrating, err := l.connect(dsn)
	if err != nil {
		return fail(err)
	}
	defer func() {
		err = errors.Join(err, l.Close())
		if migrating != l.write {
			err = errors.Join(err, migrating.Close())
		}
	}()
	if newest, err = l.dialect.newest(); err != nil {
		return fail(err)
	}
	var tables int
	if err := l.read.QueryRowContext(ctx, l.dialect.tables).Scan(&tables); err != nil {
		return fail(err)
	}
	if tables == 0 {
		return fail(fmt.Errorf("%w: an empty database", dg.ErrNotFound))
	}
	if version, err = schemaOf(ctx, l.read); err != nil {
		return fail(err)
	}
	return version, newest, nil
}
