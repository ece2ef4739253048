package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	dg "driftgate"
)

// Quorum says how many distinct people are asked about one sample. The zero
// value means one.
type Quorum struct {
	People int // answers that a sample needs; 1 to 9
	Most   int // while two classes have the most answers one more person is asked, up to so many; at least People
}

func (q Quorum) bounds() (people, most int) {
	people = max(1, q.People)
	return people, max(people, q.Most)
}

// decided is the condition on a poll that nobody more is to be asked.
func (q Quorum) decided() (condition string, args []any) {
	people, most := q.bounds()
	return `((answers >= ? AND leaders = 1) OR answers >= ? OR moving <> '')`, []any{people, most}
}

// Asked is a sample that people are asked about.
type Asked struct {
	Record
	Answers int // given so far
	Wanted  int // people still to be asked, as far as is known now
}

// Asking returns at most limit samples that lie in label-wait, need another
// person's answer, and have none of the given annotator, oldest first.
func (l *Ledger) Asking(ctx context.Context, annotator string, q Quorum, limit int) ([]Asked, error) {
	people, most := q.bounds()
	scan := func(rows *sql.Rows) (a Asked, err error) {
		a.Record, err = scanRecord(rowAnd{rows, []any{&a.Answers}})
		a.Wanted = max(1, people-a.Answers)
		return a, err
	}
	return collect(ctx, l, "asking", scan, `SELECT `+recordColumns+`, COALESCE(answers, 0)
		FROM samples LEFT JOIN polls ON sample_id = id
		WHERE state = 'waiting' AND placed = 1
		AND (sample_id IS NULL OR (moving = '' AND answers < ? AND (answers < ? OR leaders > 1)))
		AND NOT EXISTS (SELECT 1 FROM answers AS given WHERE given.id = samples.id AND given.annotator = ?)
		ORDER BY samples.at, id LIMIT ?`, most, people, annotator, limit)
}

// rowAnd scans more columns behind those of a record.
type rowAnd struct {
	scanner
	more []any
}

func (r rowAnd) Scan(dest ...any) error { return r.scanner.Scan(append(dest, r.more...)...) }

// Poll is a sample about which enough people have answered.
type Poll struct {
	ID     string
	Newest time.Time // when the newest answer was given
}

// Decided returns at most limit samples about which enough people have
// answered, the newest of them at the given time or before, and that are not
// being collected; those behind after, by time and id.
func (l *Ledger) Decided(ctx context.Context, q Quorum, givenBefore time.Time, after Poll, limit int) ([]Poll, error) {
	decided, args := q.decided()
	scan := func(rows *sql.Rows) (p Poll, err error) {
		var newest int64
		err = rows.Scan(&p.ID, &newest)
		p.Newest = fromNanos(newest)
		return p, err
	}
	from := bound(after.Newest)
	return collect(ctx, l, "decided", scan, `SELECT sample_id, newest FROM polls WHERE moving = '' AND `+decided+`
		AND newest <= ? AND (newest > ? OR (newest = ? AND sample_id > ?)) ORDER BY newest, sample_id LIMIT ?`,
		append(args, bound(givenBefore), from, from, after.ID, limit)...)
}

// Move records that the images of these samples are about to be moved under
// a's label, with its source, votes and time: their answers can't change from
// here on, and no foreign label takes their place, until [Ledger.Collected] or
// [Ledger.Unmove]. One transaction; the same once more changes nothing. The
// error is [driftgate.ErrConflict] for a sample that is labelled or moving
// already, [driftgate.ErrNotFound] for one without answers.
func (l *Ledger) Move(ctx context.Context, labels ...Answer) error {
	if len(labels) == 0 {
		return nil
	}
	return l.tx(ctx, "move", func(tx *sql.Tx) error {
		for _, a := range labels {
			if a.Label == "" {
				return fmt.Errorf("sample %q: no label: %w", a.ID, dg.ErrInvalid)
			}
			res, err := tx.ExecContext(ctx, `UPDATE polls SET moving = ?, source = ?, agree = ?, people = ?, given = ?
				WHERE sample_id = ? AND (moving = '' OR moving = ?)`,
				a.Label, string(a.Source), a.Votes.Agree, a.Votes.Of, nanos(a.At), a.ID, a.Label)
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); err != nil {
				return err
			} else if n == 1 {
				continue
			}
			if r, err := asked(ctx, tx, a.ID); err != nil {
				return fmt.Errorf("sample %q: %w", r.ID(), err)
			}
			return fmt.Errorf("sample %q: no answers: %w", a.ID, dg.ErrNotFound)
		}
		return nil
	})
}

// Unmove records that these samples are not moved after all: their answers
// may change again.
func (l *Ledger) Unmove(ctx context.Context, ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	return l.tx(ctx, "unmove", func(tx *sql.Tx) error {
		for part := range chunks(ids) {
			in, args := oneOf(part)
			_, err := tx.ExecContext(ctx, `UPDATE polls SET moving = '', source = '', agree = 0, people = 0, given = 0 WHERE sample_id IN `+in, args...)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Moving returns the labels whose images are being moved, by id: at a start,
// those at which an earlier process was cut off.
func (l *Ledger) Moving(ctx context.Context) ([]Answer, error) {
	scan := func(rows *sql.Rows) (a Answer, err error) {
		var given int64
		err = rows.Scan(&a.ID, &a.Label, &a.Source, &a.Votes.Agree, &a.Votes.Of, &given)
		a.At = fromNanos(given)
		return a, err
	}
	return collect(ctx, l, "moving", scan, `SELECT sample_id, moving, source, agree, people, given FROM polls WHERE moving <> '' ORDER BY sample_id`)
}

// FormerLabels returns, by id, the labels of these samples that were taken back
// or changed after collect had copied the image under them to noisy.
func (l *Ledger) FormerLabels(ctx context.Context, ids ...string) (map[string][]string, error) {
	out := map[string][]string{}
	for part := range chunks(ids) {
		in, args := oneOf(part)
		_, err := collect(ctx, l, "former labels", func(rows *sql.Rows) (struct{}, error) {
			var id, label string
			err := rows.Scan(&id, &label)
			out[id] = append(out[id], label)
			return struct{}{}, err
		}, `SELECT sample_id, label FROM former_labels WHERE sample_id IN `+in+` ORDER BY sample_id, label`, args...)
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// keepFormerLabel remembers the label that old had, when next has it no more.
func keepFormerLabel(ctx context.Context, tx *sql.Tx, old, next *Record) error {
	switch {
	case old == nil || old.State != Labelled:
		return nil
	case next == nil:
		return dropFormerLabels(ctx, tx, old.ID())
	case next.Label == old.Label:
		return nil
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO former_labels (sample_id, label) VALUES (?, ?) ON CONFLICT (sample_id, label) DO NOTHING`, old.ID(), old.Label)
	return err
}

func dropFormerLabels(ctx context.Context, tx *sql.Tx, id string) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM former_labels WHERE sample_id = ?`, id)
	return err
}

// isMoving reports whether collect is moving the image of a sample.
func isMoving(ctx context.Context, tx *sql.Tx, id string) (moving bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM polls WHERE sample_id = ? AND moving <> '')`, id).Scan(&moving)
	return moving, err
}

// chunks splits ids so that one statement takes each part.
func chunks(ids []string) iter.Seq[[]string] { return slices.Chunk(ids, idsPerQuery) }

// oneOf is the right side of IN for these ids, and its parameters.
func oneOf(ids []string) (in string, args []any) {
	for _, id := range ids {
		args = append(args, id)
	}
	return `(?` + strings.Repeat(`, ?`, len(ids)-1) + `)`, args
}
