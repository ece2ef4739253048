package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"time"

	dg "driftgate"
)

// Prediction is what a version answered offline on one sample.
type Prediction struct {
	ID         string
	Class      int     // position in the version's class list
	Confidence float64 // 0 to 1
}

// SuiteImage is what is known of an image of a suite, whatever the version.
type SuiteImage struct {
	ID            string
	Brightness    float64 // mean grey, 0 to 1
	Width, Height int     // pixels
}

// predictionsPerPage bounds what is held at once while predictions are
// streamed.
const predictionsPerPage = 5000

// SavePredictions keeps a version's predictions on a suite, in one transaction;
// later ones of the same sample replace earlier ones. The error is
// [driftgate.ErrInvalid] without a version, suite or id, for a class below 0
// and for a confidence that is none.
func (l *Ledger) SavePredictions(ctx context.Context, version dg.ModelRef, suite string, at time.Time, ps []Prediction) error {
	doing := fmt.Sprintf("save predictions of %s on %s", version.Short(), suite)
	if version == "" || suite == "" {
		return fmt.Errorf("ledger: %s: want a version and a suite: %w", doing, dg.ErrInvalid)
	}
	for _, p := range ps {
		if p.ID == "" || p.Class < 0 || !(p.Confidence >= 0 && p.Confidence <= 1) { // also refuses NaN
			return fmt.Errorf("ledger: %s: %+v: want an id, a class from 0 on, a confidence of 0 to 1: %w", doing, p, dg.ErrInvalid)
		}
	}
	if len(ps) == 0 {
		return nil
	}
	return l.tx(ctx, doing, func(tx *sql.Tx) error {
		set, err := predictionSet(ctx, tx, version, suite, at)
		if err != nil {
			return err
		}
		err = insertRows(ctx, tx, `INSERT INTO model_predictions (set_number, sample_id, class, confidence) VALUES `,
			` ON CONFLICT (set_number, sample_id) DO UPDATE SET class = excluded.class, confidence = excluded.confidence`,
			lastOfEach(ps, func(p Prediction) string { return p.ID }), func(p Prediction) []any { return []any{set, p.ID, p.Class, p.Confidence} })
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE prediction_sets SET written_at = ?,
			predictions = (SELECT COUNT(*) FROM model_predictions WHERE set_number = ?) WHERE number = ?`, nanos(at), set, set)
		return err
	})
}

// predictionSet finds the number of a set, or gives it one.
func predictionSet(ctx context.Context, tx *sql.Tx, version dg.ModelRef, suite string, at time.Time) (number int64, err error) {
	err = tx.QueryRowContext(ctx, `SELECT number FROM prediction_sets WHERE model_version = ? AND suite = ?`, string(version), suite).Scan(&number)
	if !errors.Is(err, sql.ErrNoRows) {
		return number, err
	}
	// One writer at a time: nobody takes the number meanwhile.
	if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(number), 0) + 1 FROM prediction_sets`).Scan(&number); err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO prediction_sets (model_version, suite, number, written_at) VALUES (?, ?, ?, ?)`, string(version), suite, number, nanos(at))
	return number, err
}

// lastOfEach keeps the last of those with one key: a statement must not meet a
// row twice.
func lastOfEach[T any](all []T, key func(T) string) []T {
	at := make(map[string]int, len(all))
	out := make([]T, 0, len(all))
	for _, v := range all {
		if i, ok := at[key(v)]; ok {
			out[i] = v
			continue
		}
		at[key(v)] = len(out)
		out = append(out, v)
	}
	return out
}

// Predictions streams what a version answered on a suite, by id. A version that
// was never judged there has none.
func (l *Ledger) Predictions(ctx context.Context, version dg.ModelRef, suite string) iter.Seq2[Prediction, error] {
	scan := func(rows *sql.Rows) (p Prediction, err error) { return p, rows.Scan(&p.ID, &p.Class, &p.Confidence) }
	doing := fmt.Sprintf("predictions of %s on %s", version.Short(), suite)
	return pages(predictionsPerPage, func(last *Prediction) ([]Prediction, error) {
		after := ""
		if last != nil {
			after = last.ID
		}
		return collect(ctx, l, doing, scan, `SELECT sample_id, class, confidence FROM model_predictions
			WHERE set_number = (SELECT number FROM prediction_sets WHERE model_version = ? AND suite = ?) AND sample_id > ? ORDER BY sample_id LIMIT ?`,
			string(version), suite, after, predictionsPerPage)
	})
}

// SaveSuiteImages keeps what is known of a suite's images, in one transaction.
// The error is [driftgate.ErrInvalid] without a suite or an id, and for figures
// that no image has.
func (l *Ledger) SaveSuiteImages(ctx context.Context, suite string, images []SuiteImage) error {
	for _, i := range images {
		if suite == "" || i.ID == "" || i.Width < 1 || i.Height < 1 || !(i.Brightness >= 0 && i.Brightness <= 1) {
			return fmt.Errorf("ledger: save images of %q: %+v: want a suite, an id, a size, a brightness of 0 to 1: %w", suite, i, dg.ErrInvalid)
		}
	}
	if len(images) == 0 {
		return nil
	}
	return l.tx(ctx, "save images of "+suite, func(tx *sql.Tx) error {
		return insertRows(ctx, tx, `INSERT INTO suite_images (suite, sample_id, brightness, width, height) VALUES `,
			` ON CONFLICT (suite, sample_id) DO UPDATE SET brightness = excluded.brightness, width = excluded.width, height = excluded.height`,
			lastOfEach(images, func(i SuiteImage) string { return i.ID }), func(i SuiteImage) []any { return []any{suite, i.ID, i.Brightness, i.Width, i.Height} })
	})
}

// SuiteImages streams what is known of a suite's images, by id.
func (l *Ledger) SuiteImages(ctx context.Context, suite string) iter.Seq2[SuiteImage, error] {
	scan := func(rows *sql.Rows) (i SuiteImage, err error) {
		return i, rows.Scan(&i.ID, &i.Brightness, &i.Width, &i.Height)
	}
	return pages(predictionsPerPage, func(last *SuiteImage) ([]SuiteImage, error) {
		after := ""
		if last != nil {
			after = last.ID
		}
		return collect(ctx, l, "images of "+suite, scan, `SELECT sample_id, brightness, width, height FROM suite_images
			WHERE suite = ? AND sample_id > ? ORDER BY sample_id LIMIT ?`, suite, after, predictionsPerPage)
	})
}

// ForgetPredictions forgets every version's answers to the samples, and what is
// known of their images: another image has taken their place.
func (l *Ledger) ForgetPredictions(ctx context.Context, ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	return l.tx(ctx, "forget predictions", func(tx *sql.Tx) error {
		var sets []int64
		err := each(ctx, tx, func(rows *sql.Rows) error {
			var number int64
			err := rows.Scan(&number)
			sets = append(sets, number)
			return err
		}, `SELECT number FROM prediction_sets ORDER BY number`)
		if err != nil {
			return err
		}
		for _, id := range ids {
			for _, number := range sets {
				r, err := tx.ExecContext(ctx, `DELETE FROM model_predictions WHERE set_number = ? AND sample_id = ?`, number, id)
				if err != nil {
					return err
				}
				if n, err := r.RowsAffected(); err != nil || n == 0 {
					continue
				}
				if _, err := tx.ExecContext(ctx, `UPDATE prediction_sets SET predictions = predictions - 1 WHERE number = ?`, number); err != nil {
					return err
				}
			}
			if _, err := tx.ExecContext(ctx, `DELETE FROM suite_images WHERE sample_id = ?`, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// PrunePredictions forgets the sets written longest ago until at most the given
// number of predictions is left, and what is known of images of suites on which
// no set is left.
func (l *Ledger) PrunePredictions(ctx context.Context, most int64) error {
	return l.tx(ctx, "prune predictions", func(tx *sql.Tx) error {
		var total int64
		if err := tx.QueryRowContext(ctx, `SELECT COALESCE(SUM(predictions), 0) FROM prediction_sets`).Scan(&total); err != nil || total <= most {
			return err
		}
		var old []int64
		err := each(ctx, tx, func(rows *sql.Rows) error {
			var number, n int64
			err := rows.Scan(&number, &n)
			if err == nil && total > most {
				old, total = append(old, number), total-n
			}
			return err
		}, `SELECT number, predictions FROM prediction_sets ORDER BY written_at, number`)
		if err != nil {
			return err
		}
		for _, number := range old {
			for _, statement := range []string{`DELETE FROM model_predictions WHERE set_number = ?`, `DELETE FROM prediction_sets WHERE number = ?`} {
				if _, err := tx.ExecContext(ctx, statement, number); err != nil {
					return err
				}
			}
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM suite_images WHERE suite NOT IN (SELECT suite FROM prediction_sets)`)
		return err
	})
}
