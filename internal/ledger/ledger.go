// Package ledger is the SQL index of what the object store holds: every
// sample, where it stands between prediction and label, and the counts that
// the statistics are made of.
//
// It can be rebuilt from the buckets, so it is never the only copy of
// anything but run history (the alarm's and published figures included) and of
// answers not yet collected. Every method may
// be repeated: a step that ran half, or twice, does no harm. A sample is in
// one state at a time, a label is never lost, and news from the production
// bucket never undoes a decision.
//
// One connection writes, a few read; a write is durable when its method
// returns. Times that come from tags have whole seconds, as tags have.
package ledger

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"math"
	"time"

	dg "driftgate"
)

//go:embed migrations/*/*.sql
var migrations embed.FS

const (
	readers     = 4
	busyTimeout = 10 * time.Second // for another process; within this one writers queue
)

// DefaultThreshold is the confidence below which a sample that nobody has
// curated counts as [driftgate.LowConfidence].
const DefaultThreshold = 0.7

// Ledger is an open index. It is safe for concurrent use.
type Ledger struct {
	write     *sql.DB // one connection, transactions take the write lock at once
	read      *sql.DB
	threshold float64
	dialect   dialect
}

// An Option changes what [Open] opens.
type Option func(*Ledger)

// WithThreshold sets the confidence, 0 to 1, below which uncurated samples
// count as low confidence: the curate pipeline's threshold.
func WithThreshold(t float64) Option { return func(l *Ledger) { l.threshold = t } }

// Open opens a ledger and migrates it to the newest schema. dsn is a URL,
// postgres://user:password@host:5432/database (a search_path parameter names
// another schema than the user's own), or the path of an SQLite file, which is
// created when there is none. The error is [driftgate.ErrInvalid] when dsn or
// an option can be no such thing; it never holds the password.
func Open(ctx context.Context, dsn string, options ...Option) (*Ledger, error) {
	l := &Ledger{threshold: DefaultThreshold}
	for _, o := range options {
		o(l)
	}
	fail := func(err error) (*Ledger, error) { return nil, fmt.Errorf("ledger: open %s: %w", place(dsn), err) }
	if !(l.threshold >= 0 && l.threshold <= 1) {
		return fail(fmt.Errorf("threshold %g: want 0 to 1: %w", l.threshold, dg.ErrInvalid))
	}
	migrating, err := l.connect(dsn)
	if err != nil {
		return fail(err)
	}
	l.write.SetMaxOpenConns(1)
	l.read.SetMaxOpenConns(readers)
	l.read.SetMaxIdleConns(readers)
	err = l.dialect.migrate(ctx, migrating)
	if migrating != l.write {
		err = errors.Join(err, migrating.Close())
	}
	if err == nil {
		err = l.refuseNewer(ctx)
	}
	if err != nil {
		return fail(errors.Join(err, l.write.Close(), l.read.Close()))
	}
	return l, nil
}

// Close waits for running statements and closes the file.
func (l *Ledger) Close() error {
	if err := errors.Join(l.read.Close(), l.write.Close()); err != nil {
		return fmt.Errorf("ledger: close: %w", err)
	}
	return nil
}

// tx runs f in one write transaction: committed when f returns nil, else
// rolled back. doing names it in errors, "save run x". f must use the given
// transaction only: there is one write connection.
func (l *Ledger) tx(ctx context.Context, doing string, f func(tx *sql.Tx) error) error {
	tx, err := l.write.BeginTx(ctx, &sql.TxOptions{Isolation: l.dialect.writing})
	if err != nil {
		return fmt.Errorf("ledger: %s: %w", doing, err)
	}
	if err := l.turn(ctx, tx); err != nil {
		return fmt.Errorf("ledger: %s: wait to write: %w", doing, errors.Join(err, rollback(tx)))
	}
	if err := f(tx); err != nil {
		return fmt.Errorf("ledger: %s: %w", doing, errors.Join(err, rollback(tx)))
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("ledger: %s: %w", doing, err)
	}
	return nil
}

// turn waits until no other process writes.
func (l *Ledger) turn(ctx context.Context, tx *sql.Tx) error {
	if l.dialect.lock == "" {
		return nil
	}
	_, err := tx.ExecContext(ctx, l.dialect.lock)
	return err
}

func rollback(tx *sql.Tx) error {
	if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
		return err
	}
	return nil
}

// snapshot runs f in a transaction that sees the ledger as it is at one moment
// and writes nothing.
func (l *Ledger) snapshot(ctx context.Context, doing string, f func(tx *sql.Tx) error) error {
	tx, err := l.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: l.dialect.isolation})
	if err != nil {
		return fmt.Errorf("ledger: %s: %w", doing, err)
	}
	if err := errors.Join(f(tx), rollback(tx)); err != nil {
		return fmt.Errorf("ledger: %s: %w", doing, err)
	}
	return nil
}

// each runs a query and calls scan on every row.
func each(ctx context.Context, tx *sql.Tx, scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// collect runs a query on a read connection and scans every row.
func collect[T any](ctx context.Context, l *Ledger, doing string, scan func(*sql.Rows) (T, error), query string, args ...any) ([]T, error) {
	fail := func(err error) ([]T, error) { return nil, fmt.Errorf("ledger: %s: %w", doing, err) }
	rows, err := l.read.QueryContext(ctx, query, args...)
	if err != nil {
		return fail(err)
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return fail(err)
		}
		out = append(out, v)
	}
	if err := rows.Err(); err != nil {
		return fail(err)
	}
	return out, nil
}

// Setting returns a value kept by [Ledger.SetSetting]; ok is false when there
// is none.
func (l *Ledger) Setting(ctx context.Context, key string) (value string, ok bool, err error) {
	err = l.read.QueryRowContext(ctx, `SELECT value FROM settings WHERE name = ?`, key).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("ledger: setting %s: %w", key, err)
	}
	return value, true, nil
}

// SetSetting keeps a small value under a name.
func (l *Ledger) SetSetting(ctx context.Context, key, value string) error {
	return l.tx(ctx, "set setting "+key, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO settings (name, value) VALUES (?, ?)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value`, key, value)
		return err
	})
}

// nanos stores a time: Unix nanoseconds, 0 for the zero time, the ends of
// what fits (the years 1677 and 2262) for what lies beyond.
func nanos(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// bound stores one end of an interval; unlike nanos it has no zero.
func bound(t time.Time) int64 {
	if t.IsZero() {
		return math.MinInt64
	}
	return nanos(t)
}

// fromNanos is the inverse of nanos.
func fromNanos(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// tagNanos stores a time as its tag would: floored to the second.
func tagNanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return nanos(time.Unix(t.Unix(), 0))
}
