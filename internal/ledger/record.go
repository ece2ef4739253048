package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"
	"time"

	dg "driftgate"
)

// State says where a sample stands between prediction and label.
type State string

// The states. A sample moves from New to Waiting or Noisy when it is curated,
// from Noisy to Waiting by a late flag, and from anywhere to Labelled.
const (
	New      State = "new"      // in production only
	Waiting  State = "waiting"  // picked for a person; in label-wait once placed
	Noisy    State = "noisy"    // not picked; in noisy under its own key once placed
	Labelled State = "labelled" // in clean and noisy under the human class
)

// States lists every state.
var States = []State{New, Waiting, Noisy, Labelled}

// Record is what the ledger knows of one sample. Sample.Key is its key in
// production, or, while only another bucket shows it, its key there.
type Record struct {
	dg.Sample
	Interval     time.Time // start of its curate interval; zero if not curated by driftgate
	Selected     bool      // picked for a person
	State        State
	Placed       bool   // the copy that the decision asks for has been made
	Label        string // what a person says it is; empty until Labelled
	InProduction bool
}

// Correct reports whether the sample is labelled and the model was right.
func (r Record) Correct() bool { return r.State == Labelled && r.Label == r.PredictedClass }

const recordColumns = `object_key, id, at, predicted_class, confidence, flagged, corrected_class, model_version,
	in_production, state, stratum, sampling_fraction, interval_start, selected, placed, label, label_source, labelled_at,
	votes_agree, votes_of`

type scanner interface{ Scan(dest ...any) error }

func scanRecord(row scanner) (Record, error) {
	var (
		r                        Record
		id, key                  string
		at, interval, labelledAt int64
		confidence               sql.NullFloat64
	)
	err := row.Scan(&key, &id, &at, &r.PredictedClass, &confidence, &r.Flagged, &r.CorrectedClass, &r.ModelVersion,
		&r.InProduction, &r.State, &r.Stratum, &r.SamplingFraction, &interval, &r.Selected, &r.Placed, &r.Label, &r.LabelSource, &labelledAt,
		&r.Votes.Agree, &r.Votes.Of)
	if err != nil {
		return Record{}, err
	}
	r.Key, r.Confidence = key, math.NaN()
	if confidence.Valid {
		r.Confidence = confidence.Float64
	}
	r.Timestamp, r.Interval, r.LabelledAt = fromNanos(at), fromNanos(interval), fromNanos(labelledAt)
	return r, nil
}

func scanRows(rows *sql.Rows) (Record, error) { return scanRecord(rows) }

// query answers with the records that the conditions after WHERE choose.
func (l *Ledger) query(ctx context.Context, doing, where string, args ...any) ([]Record, error) {
	return collect(ctx, l, doing, scanRows, `SELECT `+recordColumns+` FROM samples WHERE `+where, args...)
}

const selectByID = `SELECT ` + recordColumns + ` FROM samples WHERE id = ?`

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func record(ctx context.Context, q querier, id string) (Record, error) {
	return found(q.QueryRowContext(ctx, selectByID, id), id)
}

func found(row *sql.Row, id string) (Record, error) {
	r, err := scanRecord(row)
	if errors.Is(err, sql.ErrNoRows) {
		return Record{}, fmt.Errorf("sample %q: %w", id, dg.ErrNotFound)
	}
	return r, err
}

// Record returns one sample by its id; the error may be
// [driftgate.ErrNotFound].
func (l *Ledger) Record(ctx context.Context, id string) (Record, error) {
	r, err := record(ctx, l.read, id)
	if err != nil {
		return Record{}, fmt.Errorf("ledger: record: %w", err)
	}
	return r, nil
}

// idsPerQuery bounds the parameters of one statement.
const idsPerQuery = 400

// Records returns the samples with these ids, by id; unknown ids are left out.
func (l *Ledger) Records(ctx context.Context, ids ...string) (map[string]Record, error) {
	out := make(map[string]Record, len(ids))
	for len(ids) > 0 {
		n := min(len(ids), idsPerQuery)
		args := make([]any, n)
		for i, id := range ids[:n] {
			args[i] = id
		}
		ids = ids[n:]
		rs, err := l.query(ctx, "records", `id IN (?`+strings.Repeat(`, ?`, n-1)+`)`, args...)
		if err != nil {
			return nil, err
		}
		for _, r := range rs {
			out[r.ID()] = r
		}
	}
	return out, nil
}

// recordsPerPage bounds what is held at once while records are streamed.
const recordsPerPage = 1000

// stream answers with the records of iv that a condition chooses, by timestamp
// and id. No statement is open while the receiver works, so it may change what
// it is given; what changes behind the stream's back may be missing or not.
func (l *Ledger) stream(ctx context.Context, doing, where string, iv dg.Interval) iter.Seq2[Record, error] {
	return pages(recordsPerPage, func(last *Record) ([]Record, error) {
		if last == nil {
			return l.query(ctx, doing, where+` AND at >= ? AND at < ? ORDER BY at, id LIMIT ?`, bound(iv.Start), bound(iv.End), recordsPerPage)
		}
		return l.query(ctx, doing, where+` AND (at, id) > (?, ?) AND at < ? ORDER BY at, id LIMIT ?`,
			tagNanos(last.Timestamp), last.ID(), bound(iv.End), recordsPerPage)
	})
}

// All reads a stream into a list, for who knows that it is short.
func All[T any](stream iter.Seq2[T, error]) ([]T, error) {
	var out []T
	for v, err := range stream {
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// Uncurated streams the samples of production that no decision has been made
// on and whose timestamp is before the given time, by timestamp and id.
func (l *Ledger) Uncurated(ctx context.Context, before time.Time) iter.Seq2[Record, error] {
	return l.stream(ctx, "uncurated", `state = 'new'`, dg.Interval{End: before})
}

// LateFlags streams the samples that were decided on as candidates for the
// random stratum (or by foreign hands, without a stratum) and have been flagged
// or corrected since: those not picked, and those picked with a chance below
// one and not labelled yet. They belong to the flagged or corrected stratum
// now, where everything is picked; see [Ledger.Decide]. By timestamp and id.
func (l *Ledger) LateFlags(ctx context.Context, before time.Time) iter.Seq2[Record, error] {
	return l.stream(ctx, "late flags", `state IN ('waiting', 'noisy') AND (flagged = 1 OR corrected_class <> '')
		AND stratum IN ('', 'random') AND (selected = 0 OR (stratum = 'random' AND sampling_fraction < 1))`,
		dg.Interval{End: before})
}

// isLate is the condition of LateFlags on one record.
func (r Record) isLate() bool {
	return (r.State == Waiting || r.State == Noisy) && (r.Flagged || r.CorrectedClass != "") &&
		(r.Stratum == "" || r.Stratum == dg.Random) &&
		(!r.Selected || (r.Stratum == dg.Random && r.SamplingFraction < 1))
}

// Unplaced streams the decided samples whose copy has not been made, by
// timestamp and id.
func (l *Ledger) Unplaced(ctx context.Context) iter.Seq2[Record, error] {
	return l.stream(ctx, "unplaced", `placed = 0 AND state IN ('waiting', 'noisy')`, dg.Interval{End: time.Unix(0, math.MaxInt64)})
}

// Waiting returns at most limit samples that wait for a person's answer and
// lie in label-wait, oldest first; limit 0 means all.
func (l *Ledger) Waiting(ctx context.Context, limit int) ([]Record, error) {
	if limit <= 0 {
		limit = math.MaxInt
	}
	return l.query(ctx, "waiting", `state = 'waiting' AND placed = 1
		AND NOT EXISTS (SELECT 1 FROM answers WHERE answers.id = samples.id) ORDER BY at, id LIMIT ?`, limit)
}

// Labelled streams the samples of iv (by the prediction's timestamp) that
// people have labelled, by timestamp and id.
func (l *Ledger) Labelled(ctx context.Context, iv dg.Interval) iter.Seq2[Record, error] {
	return l.stream(ctx, "labelled", `state = 'labelled'`, iv)
}

// Training streams the samples of iv that lie in the noisy bucket, with a
// person's label or under the model's own, by timestamp and id.
func (l *Ledger) Training(ctx context.Context, iv dg.Interval) iter.Seq2[Record, error] {
	return l.stream(ctx, "training", `(state = 'labelled' OR (state = 'noisy' AND placed = 1))`, iv)
}
