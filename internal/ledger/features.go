package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	dg "driftgate"
)

// FeatureCell is sums over the features of a version's predictions within one
// cell of event time. The ledger does not read Sums.
type FeatureCell struct {
	ModelVersion string
	Cell         time.Time // start
	Sums         []byte
}

// PutFeatures keeps a cell. When there is one already, merge is given its sums
// and answers with those to keep, in one transaction; merge must not use the
// ledger. Without a version or a time the error is [driftgate.ErrInvalid]; an
// error of merge is wrapped.
func (l *Ledger) PutFeatures(ctx context.Context, c FeatureCell, merge func(old []byte) ([]byte, error)) error {
	doing := fmt.Sprintf("put features of %s at %s", c.ModelVersion, c.Cell.UTC().Format(time.RFC3339))
	if c.ModelVersion == "" || c.Cell.IsZero() {
		return fmt.Errorf("ledger: %s: want both: %w", doing, dg.ErrInvalid)
	}
	return l.tx(ctx, doing, func(tx *sql.Tx) error {
		var old []byte
		err := tx.QueryRowContext(ctx, `SELECT sums FROM features WHERE model_version = ? AND cell = ?`, c.ModelVersion, nanos(c.Cell)).Scan(&old)
		switch {
		case errors.Is(err, sql.ErrNoRows):
		case err != nil:
			return err
		default:
			if c.Sums, err = merge(old); err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO features (model_version, cell, sums) VALUES (?, ?, ?)
			ON CONFLICT (model_version, cell) DO UPDATE SET sums = excluded.sums`, c.ModelVersion, nanos(c.Cell), c.Sums)
		return err
	})
}

// FeatureCells returns the cells of a version that begin within iv, oldest
// first.
func (l *Ledger) FeatureCells(ctx context.Context, version string, iv dg.Interval) ([]FeatureCell, error) {
	return collect(ctx, l, "feature cells", func(rows *sql.Rows) (c FeatureCell, err error) {
		var at int64
		err = rows.Scan(&c.ModelVersion, &at, &c.Sums)
		c.Cell = fromNanos(at)
		return c, err
	}, `SELECT model_version, cell, sums FROM features WHERE model_version = ? AND cell >= ? AND cell < ? ORDER BY cell`,
		version, bound(iv.Start), bound(iv.End))
}

// PruneFeatures forgets the cells that begin before the given time.
func (l *Ledger) PruneFeatures(ctx context.Context, before time.Time) error {
	return l.tx(ctx, "prune features", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM features WHERE cell < ?`, bound(before))
		return err
	})
}
