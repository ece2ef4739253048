package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"time"

	dg "driftgate"
)

// Watch names a comparison of two models on production: a challenger that is
// tried, or a fresh champion, against what it replaces.
type Watch struct {
	Model   string
	Subject dg.ModelRef // that is watched
	Against dg.ModelRef // that it is compared with
	Began   time.Time
}

// WatchSlot is a slot of event time that a watch has closed, for ever.
type WatchSlot struct {
	Slot     dg.Interval
	ClosedAt time.Time
	Pairs    int // labelled samples that both answered
	// Differences has one number for each block of the slot: the subject's
	// weighted error minus the other's (estimate.DealDifferences).
	Differences []float64
}

// CloseWatchSlot keeps a closed slot, together with events, in one transaction.
// A slot closes once, and slots never overlap, or labels would count twice: one
// that begins before the newest closed slot ends is [dg.ErrConflict].
func (l *Ledger) CloseWatchSlot(ctx context.Context, w Watch, s WatchSlot, events ...Event) error {
	for _, d := range s.Differences {
		if !(math.Abs(d) <= 2) { // also refuses NaN
			return fmt.Errorf("ledger: close slot %s of the watch on %s: difference %v: want -2 to 2: %w", s.Slot, w.Subject.Short(), d, dg.ErrInvalid)
		}
	}
	if w.Model == "" || w.Subject == "" || w.Against == "" || s.Slot.Start.IsZero() || !s.Slot.Start.Before(s.Slot.End) {
		return fmt.Errorf("ledger: close slot %s of the watch on %q against %q of model %q: want all of them: %w", s.Slot, w.Subject, w.Against, w.Model, dg.ErrInvalid)
	}
	differences, err := json.Marshal(s.Differences)
	if err != nil {
		return fmt.Errorf("ledger: close watch slot: %w", err)
	}
	return l.tx(ctx, "close slot of the watch on "+w.Subject.Short(), func(tx *sql.Tx) error {
		var closed sql.NullInt64
		err := tx.QueryRowContext(ctx, `SELECT MAX(slot_end) FROM watch_slots WHERE model = ? AND subject = ? AND against = ? AND began = ?`,
			w.Model, string(w.Subject), string(w.Against), nanos(w.Began)).Scan(&closed)
		if err != nil {
			return err
		}
		if closed.Valid && nanos(s.Slot.Start) < closed.Int64 {
			return fmt.Errorf("slot %s: closed until %s already: %w", s.Slot, fromNanos(closed.Int64).Format(dg.TimeFormat), dg.ErrConflict)
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO watch_slots (model, subject, against, began, slot_start, slot_end, closed_at, pairs, differences)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			w.Model, string(w.Subject), string(w.Against), nanos(w.Began), nanos(s.Slot.Start), nanos(s.Slot.End), nanos(s.ClosedAt), s.Pairs, string(differences))
		if err != nil {
			return err
		}
		return addEvents(ctx, tx, events...)
	})
}

// WatchSlots returns the closed slots of a watch, oldest first.
func (l *Ledger) WatchSlots(ctx context.Context, w Watch) ([]WatchSlot, error) {
	return collect(ctx, l, "slots of a watch", func(rows *sql.Rows) (s WatchSlot, err error) {
		var start, end, closed int64
		var differences string
		if err = rows.Scan(&start, &end, &closed, &s.Pairs, &differences); err != nil {
			return s, err
		}
		s.Slot, s.ClosedAt = dg.Interval{Start: fromNanos(start), End: fromNanos(end)}, fromNanos(closed)
		if err = json.Unmarshal([]byte(differences), &s.Differences); err != nil {
			err = fmt.Errorf("differences of %s: %w: %w", s.Slot, dg.ErrInvalid, err)
		}
		return s, err
	}, `SELECT slot_start, slot_end, closed_at, pairs, differences FROM watch_slots
		WHERE model = ? AND subject = ? AND against = ? AND began = ? ORDER BY slot_start`,
		w.Model, string(w.Subject), string(w.Against), nanos(w.Began))
}
