package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	dg "driftgate"
)

// Event is something that a chart marks and an audit asks for: an alarm, a
// promotion, a rollback, a challenger that is tried.
type Event struct {
	At           time.Time
	Kind         string // one of those below, alarm_firing, alarm_resolved, reference, drift_begin
	Model        string
	ModelVersion string
	Text         string          // why, for people
	Who          string          // ByGate, ByRollout or ByPerson; empty: driftgate itself
	Evidence     json.RawMessage // what it was decided on; empty when there is nothing but the text
}

// The kinds of events that tell how models came to serve.
const (
	EventPromotion   = "promotion"
	EventRollback    = "rollback"
	EventExposure    = "exposure"     // a challenger is tried on production, or on more of it
	EventExposureEnd = "exposure_end" // it is tried no more
	EventRejection   = "rejection"    // the gate said no, or could not tell
)

// Who moves models.
const (
	ByGate    = "gate"
	ByRollout = "rollout"
	ByPerson  = "person"
)

// AddEvent keeps an event; the same time, kind, model and version once more
// changes nothing.
func (l *Ledger) AddEvent(ctx context.Context, e Event) error {
	return l.tx(ctx, "add event "+e.Kind, func(tx *sql.Tx) error { return addEvents(ctx, tx, e) })
}

func addEvents(ctx context.Context, tx *sql.Tx, events ...Event) error {
	for _, e := range events {
		if e.Kind == "" || e.At.IsZero() {
			return fmt.Errorf("event %q at %s: want kind and time: %w", e.Kind, e.At, dg.ErrInvalid)
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO events (at, kind, model, model_version, text, who, evidence) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO NOTHING`, nanos(e.At), e.Kind, e.Model, e.ModelVersion, e.Text, e.Who, string(e.Evidence))
		if err != nil {
			return err
		}
	}
	return nil
}

func scanEvent(rows *sql.Rows) (e Event, err error) {
	var at int64
	var evidence string
	err = rows.Scan(&at, &e.Kind, &e.Model, &e.ModelVersion, &e.Text, &e.Who, &evidence)
	if e.At = fromNanos(at); evidence != "" {
		e.Evidence = json.RawMessage(evidence)
	}
	return e, err
}

// Moves returns the newest limit events that tell how models came to serve, or
// did not, newest first.
func (l *Ledger) Moves(ctx context.Context, limit int) ([]Event, error) {
	return collect(ctx, l, "moves", scanEvent, `SELECT at, kind, model, model_version, text, who, evidence FROM events
		WHERE kind IN (?, ?, ?, ?, ?) ORDER BY at DESC, kind, model, model_version LIMIT ?`,
		EventPromotion, EventRollback, EventExposure, EventExposureEnd, EventRejection, limit)
}

// Events returns the events of iv, oldest first.
func (l *Ledger) Events(ctx context.Context, iv dg.Interval) ([]Event, error) {
	return collect(ctx, l, "events", scanEvent, `SELECT at, kind, model, model_version, text, who, evidence FROM events WHERE at >= ? AND at < ? ORDER BY at, kind, model, model_version`,
		bound(iv.Start), bound(iv.End))
}

// Alarm is the drift alarm's memory of one model: what the next slot starts
// from. The ledger does not read Memory.
type Alarm struct {
	Model        string
	ModelVersion string
	Started      time.Time // when this version became champion
	ClosedUntil  time.Time // end of the newest closed slot; Started when there is none
	Memory       json.RawMessage
}

// Alarm returns the alarm's memory of a model; the error may be
// [driftgate.ErrNotFound].
func (l *Ledger) Alarm(ctx context.Context, model string) (Alarm, error) {
	a := Alarm{Model: model}
	var started, until int64
	var memory string
	err := l.read.QueryRowContext(ctx, `SELECT model_version, started, closed_until, memory FROM alarms WHERE model = ?`, model).
		Scan(&a.ModelVersion, &started, &until, &memory)
	if errors.Is(err, sql.ErrNoRows) {
		return a, fmt.Errorf("ledger: alarm of %s: %w", model, dg.ErrNotFound)
	}
	if err != nil {
		return a, fmt.Errorf("ledger: alarm of %s: %w", model, err)
	}
	a.Started, a.ClosedUntil, a.Memory = fromNanos(started), fromNanos(until), json.RawMessage(memory)
	return a, nil
}

// StartAlarm gives a model's alarm a new memory, for a new champion, together
// with events, in one transaction. Closed slots of earlier champions stay.
func (l *Ledger) StartAlarm(ctx context.Context, a Alarm, events ...Event) error {
	return l.tx(ctx, "start alarm of "+a.Model, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO alarms (model, model_version, started, closed_until, memory) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (model) DO UPDATE SET model_version = excluded.model_version, started = excluded.started,
			closed_until = excluded.closed_until, memory = excluded.memory`,
			a.Model, a.ModelVersion, nanos(a.Started), nanos(a.ClosedUntil), string(a.Memory))
		if err != nil {
			return err
		}
		return addEvents(ctx, tx, events...)
	})
}

// AlarmSlot is one closed slot: what went in, what came out, and the memory
// after it.
type AlarmSlot struct {
	Model        string
	ModelVersion string
	Started      time.Time // when this version became champion
	Slot         dg.Interval
	ClosedAt     time.Time
	Inputs       json.RawMessage
	Outcome      json.RawMessage
	Memory       json.RawMessage
}

// CloseSlot keeps a closed slot, moves the alarm's memory on, and adds events,
// in one transaction, so that a crash neither skips a slot nor takes it twice.
// The error is [driftgate.ErrConflict] when the slot begins before the newest
// closed one ends, or another champion has taken over.
func (l *Ledger) CloseSlot(ctx context.Context, s AlarmSlot, events ...Event) error {
	return l.tx(ctx, "close slot "+s.Slot.String(), func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `UPDATE alarms SET closed_until = ?, memory = ?
			WHERE model = ? AND model_version = ? AND started = ? AND closed_until <= ?`,
			nanos(s.Slot.End), string(s.Memory), s.Model, s.ModelVersion, nanos(s.Started), nanos(s.Slot.Start))
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		if n != 1 {
			return fmt.Errorf("closed already, or another champion than %s: %w", s.ModelVersion, dg.ErrConflict)
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO alarm_slots (model, model_version, started, slot_start, slot_end, closed_at, inputs, outcome, memory)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`, s.Model, s.ModelVersion, nanos(s.Started), nanos(s.Slot.Start), nanos(s.Slot.End),
			nanos(s.ClosedAt), string(s.Inputs), string(s.Outcome), string(s.Memory))
		if err != nil {
			return err
		}
		return addEvents(ctx, tx, events...)
	})
}

// slotsPerPage bounds what is held at once while slots are streamed.
const slotsPerPage = 100

// AlarmSlots streams the closed slots of a model that end within iv, by the
// time at which their champion took over, its version, and the slot; a zero
// End is no bound.
func (l *Ledger) AlarmSlots(ctx context.Context, model string, iv dg.Interval) iter.Seq2[AlarmSlot, error] {
	end := bound(iv.End)
	if iv.End.IsZero() {
		end = math.MaxInt64
	}
	scan := func(rows *sql.Rows) (s AlarmSlot, err error) {
		var started, start, end, closed int64
		var inputs, outcome, memory string
		err = rows.Scan(&s.Model, &s.ModelVersion, &started, &start, &end, &closed, &inputs, &outcome, &memory)
		s.Started, s.Slot, s.ClosedAt = fromNanos(started), dg.Interval{Start: fromNanos(start), End: fromNanos(end)}, fromNanos(closed)
		s.Inputs, s.Outcome, s.Memory = json.RawMessage(inputs), json.RawMessage(outcome), json.RawMessage(memory)
		return s, err
	}
	const columns = `SELECT model, model_version, started, slot_start, slot_end, closed_at, inputs, outcome, memory FROM alarm_slots
		WHERE model = ? AND slot_end >= ? AND slot_end < ? `
	const order = `ORDER BY started, model_version, slot_start LIMIT ?`
	return pages(slotsPerPage, func(last *AlarmSlot) ([]AlarmSlot, error) {
		if last == nil {
			return collect(ctx, l, "alarm slots of "+model, scan, columns+order, model, bound(iv.Start), end, slotsPerPage)
		}
		return collect(ctx, l, "alarm slots of "+model, scan, columns+`AND (started, model_version, slot_start) > (?, ?, ?) `+order,
			model, bound(iv.Start), end, nanos(last.Started), last.ModelVersion, nanos(last.Slot.Start), slotsPerPage)
	})
}

// NextPrediction returns the time of the first prediction of a version within
// iv; ok is false when there is none.
func (l *Ledger) NextPrediction(ctx context.Context, version string, iv dg.Interval) (at time.Time, ok bool, err error) {
	where, args := span(version, iv)
	var ns sql.NullInt64
	if err := l.read.QueryRowContext(ctx, `SELECT MIN(at) FROM samples WHERE `+where, args...).Scan(&ns); err != nil {
		return time.Time{}, false, fmt.Errorf("ledger: next prediction: %w", err)
	}
	return fromNanos(ns.Int64), ns.Valid, nil
}
