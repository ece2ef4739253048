package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"
)

// Change is what the buckets' news make of one sample.
type Change struct {
	ID   string
	Old  *Record  // as the news were weighed against it; nil: the ledger did not know the sample
	Next *Record  // nil: the ledger forgets it
	Put  []Object // objects whose news this is, as to be remembered
	Drop []Object // objects confirmed gone
}

// Apply makes changes, in one transaction. A change whose sample is not as Old
// says any more, or whose image is being moved by collect, is left out, and its
// objects are pending: it is to be weighed again. done tells which were made.
//
// A label that goes leaves the counts of every window, and the answer of
// nobody; what [Ledger.OutcomeTotals] has counted stays counted.
func (l *Ledger) Apply(ctx context.Context, changes ...Change) (done []bool, err error) {
	done = make([]bool, len(changes))
	if len(changes) == 0 {
		return done, nil
	}
	err = l.tx(ctx, "apply changes", func(tx *sql.Tx) error {
		now, polled, err := present(ctx, tx, changes)
		if err != nil {
			return err
		}
		var (
			objects, gone []Object
			next, counted []Record
			made          []Change
		)
		taken := map[string]bool{}
		for i, c := range changes {
			old, known := now[c.ID]
			if taken[c.ID] || polled[c.ID] != "" || known != (c.Old != nil) || (known && !old.same(*c.Old)) {
				objects = append(objects, pending(c)...)
				continue
			}
			taken[c.ID] = true
			if c.Next != nil {
				r := c.Next.settled()
				if err := checkSample(r.Sample); err != nil {
					return err
				}
				if c.Next = &r; c.Old == nil || !c.Old.same(r) {
					next = append(next, r)
				}
				if r.State == Labelled && (c.Old == nil || c.Old.State != Labelled) {
					counted = append(counted, r)
				}
			}
			done[i], made = true, append(made, c)
			objects, gone = append(objects, c.Put...), append(gone, c.Drop...)
		}
		if err := l.save(ctx, tx, next...); err != nil {
			return err
		}
		if err := l.countLabels(ctx, tx, counted...); err != nil {
			return err
		}
		for _, c := range made {
			_, answered := polled[c.ID]
			if err := follow(ctx, tx, c, answered); err != nil {
				return fmt.Errorf("sample %s: %w", c.ID, err)
			}
		}
		if err := putObjects(ctx, tx, objects); err != nil {
			return err
		}
		return dropObjects(ctx, tx, gone)
	})
	if err != nil {
		clear(done)
	}
	return done, err
}

// pending are the objects of a change that could not be made.
func pending(c Change) []Object {
	out := make([]Object, len(c.Put))
	for i, o := range c.Put {
		o.Status = ObjectPending
		out[i] = o
	}
	return out
}

// present reads the samples of changes as they are now, and for those that
// people have answered about the label under which collect is moving them, empty
// if it is not.
func present(ctx context.Context, tx *sql.Tx, changes []Change) (records map[string]Record, polled map[string]string, err error) {
	records, polled = map[string]Record{}, map[string]string{}
	ids := make([]string, len(changes))
	for i, c := range changes {
		ids[i] = c.ID
	}
	for some := range chunks(ids) {
		in, args := oneOf(some)
		err := each(ctx, tx, func(rows *sql.Rows) error {
			r, err := scanRecord(rows)
			records[r.ID()] = r
			return err
		}, `SELECT `+recordColumns+` FROM samples WHERE id IN `+in, args...)
		if err != nil {
			return nil, nil, err
		}
		err = each(ctx, tx, func(rows *sql.Rows) error {
			var id, moving string
			err := rows.Scan(&id, &moving)
			polled[id] = moving
			return err
		}, `SELECT sample_id, moving FROM polls WHERE sample_id IN `+in, args...)
		if err != nil {
			return nil, nil, err
		}
	}
	return records, polled, nil
}

// follow does what a change asks for beside its record: what people answered
// goes when the sample does, when a label outranks it, and when nobody is asked
// any more.
func follow(ctx context.Context, tx *sql.Tx, c Change, answered bool) error {
	if err := keepFormerLabel(ctx, tx, c.Old, c.Next); err != nil {
		return err
	}
	if c.Next == nil && c.Old != nil {
		if _, err := tx.ExecContext(ctx, `DELETE FROM samples WHERE id = ?`, c.ID); err != nil {
			return err
		}
	}
	if answered && (c.Next == nil || c.Next.State != Waiting) {
		return dropAnswers(ctx, tx, c.ID)
	}
	return nil
}

// same reports whether two records are the same row.
func (r Record) same(s Record) bool { return r.normal() == s.normal() }

// normal is the record as the ledger gives it back, with a missing confidence
// that equals itself.
func (r Record) normal() Record {
	r.Confidence = float64(tagThousandths(r.Confidence))
	for _, t := range []*time.Time{&r.Timestamp, &r.LabelledAt} {
		*t = fromNanos(tagNanos(*t))
	}
	r.Interval = fromNanos(nanos(r.Interval))
	return r
}

// tagThousandths is a confidence as its tag has it, in thousandths; -1 when it
// is missing.
func tagThousandths(c float64) int {
	if math.IsNaN(c) {
		return -1
	}
	return int(math.Round(c * 1000))
}
