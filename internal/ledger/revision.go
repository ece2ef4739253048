package ledger

import (
	"context"
	"fmt"
)

// Revision tells two states of the ledger apart. The zero value equals none
// that [Ledger.Revision] returns.
type Revision struct {
	conn  any // SQLite counts for each connection by itself; held, so that no other takes its place in memory
	state string
}

// Revision is where the ledger stands: equal to an earlier one only when
// nothing has been committed since, by any process. It may differ without a
// change, so it says what need not be read again, and no more.
//
// In SQLite it is data_version of a read connection, in PostgreSQL the
// transactions that are done and those that are not.
func (l *Ledger) Revision(ctx context.Context) (Revision, error) {
	fail := func(err error) (Revision, error) { return Revision{}, fmt.Errorf("ledger: revision: %w", err) }
	if l.dialect.name == postgres.name {
		var r Revision
		if err := l.read.QueryRowContext(ctx, `SELECT CAST(txid_current_snapshot() AS TEXT)`).Scan(&r.state); err != nil {
			return fail(err)
		}
		return r, nil
	}
	conn, err := l.read.Conn(ctx)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = conn.Close() }() // back to the pool, which hands out the last one first
	var r Revision
	if err := conn.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&r.state); err != nil {
		return fail(err)
	}
	err = conn.Raw(func(driverConn any) error {
		r.conn = driverConn
		return nil
	})
	if err != nil {
		return fail(err)
	}
	return r, nil
}
