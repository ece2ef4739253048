package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	dg "driftgate"
)

// Decision is curate's answer on one sample.
type Decision struct {
	ID               string
	Stratum          dg.Stratum
	SamplingFraction float64   // chance of being picked within stratum and interval, over 0 to 1
	Interval         time.Time // start of the curate interval
	Selected         bool      // picked for a person
}

// Decide records decisions in one transaction, all or none: a picked sample
// waits, any other is noisy, and neither is placed yet.
//
// A sample that is decided on already keeps its decision: the same once more
// changes nothing, another is [driftgate.ErrConflict]. Only the samples of
// [Ledger.LateFlags] may move, to the flagged or corrected stratum and picked;
// they keep the interval they were in. A label outranks every decision: for a
// labelled sample the decision is dropped without error. The error may also be
// [driftgate.ErrNotFound] or [driftgate.ErrInvalid].
func (l *Ledger) Decide(ctx context.Context, ds []Decision) error {
	if len(ds) == 0 {
		return nil
	}
	return l.tx(ctx, "decide", func(tx *sql.Tx) error {
		ids := make([]string, len(ds))
		for i, d := range ds {
			ids[i] = d.ID
		}
		records, err := recordsOf(ctx, tx, ids)
		if err != nil {
			return err
		}
		var next []Record
		for _, d := range ds {
			old, ok := records[d.ID]
			if !ok {
				return fmt.Errorf("sample %q: %w", d.ID, dg.ErrNotFound)
			}
			r, err := decided(old, d)
			if err != nil {
				return err
			}
			if !r.same(old) {
				next = append(next, r)
				records[d.ID] = r
			}
		}
		return l.save(ctx, tx, next...)
	})
}

// decided is the record after a decision.
func decided(r Record, d Decision) (Record, error) {
	if !isStratum(d.Stratum) || !(d.SamplingFraction > 0 && d.SamplingFraction <= 1) {
		return r, fmt.Errorf("decision on %s: stratum %q, sampling fraction %g: want one of %v, and over 0 to 1: %w",
			d.ID, d.Stratum, d.SamplingFraction, dg.Strata, dg.ErrInvalid)
	}
	switch {
	case r.State == Labelled:
		return r, nil
	case r.State == New:
		r.Interval = d.Interval
	case r.Stratum == d.Stratum && r.Selected == d.Selected:
		return r, nil
	case r.isLate() && d.Selected && (d.Stratum == dg.Flagged || d.Stratum == dg.Corrected):
		// moves, and stays in its interval
	default:
		return r, fmt.Errorf("decision on %s: %s, selected %t, stands: %s, selected %t comes too late: %w",
			d.ID, r.Stratum, r.Selected, d.Stratum, d.Selected, dg.ErrConflict)
	}
	r.Stratum, r.SamplingFraction, r.Selected, r.Placed = d.Stratum, d.SamplingFraction, d.Selected, false
	r.State = Noisy
	if d.Selected {
		r.State = Waiting
	}
	return r, nil
}

func isStratum(s dg.Stratum) bool {
	for _, known := range dg.Strata {
		if s == known {
			return true
		}
	}
	return false
}

// Placed records that the copies which the decisions on these samples ask for
// have been made. Unknown and labelled ids are passed over.
func (l *Ledger) Placed(ctx context.Context, ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	return l.tx(ctx, "placed", func(tx *sql.Tx) error {
		for some := range slices.Chunk(ids, idsPerQuery) {
			args := make([]any, len(some))
			for i, id := range some {
				args[i] = id
			}
			_, err := tx.ExecContext(ctx, `UPDATE samples SET placed = 1 WHERE placed = 0 AND state IN ('waiting', 'noisy')
				AND id IN (?`+strings.Repeat(", ?", len(some)-1)+`)`, args...)
			if err != nil {
				return err
			}
		}
		return nil
	})
}
