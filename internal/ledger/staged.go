package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
)

// Place is one of the buckets that show where a sample stands.
type Place int

// The places, in the order in which a rebuild reads them.
const (
	InProduction Place = iota
	InClean
	InWaiting
	InNoisy
)

// Staged is an object that a rebuild has read.
type Staged struct {
	Place
	Object
	Content map[string]string // its tags; nil if they can't be read as a sample
}

const stagedColumns = `id, place, bucket, object_key, etag, modified, tags, status, content`

// Unstage forgets what an earlier rebuild has staged and not finished.
func (l *Ledger) Unstage(ctx context.Context) error {
	return l.tx(ctx, "unstage", func(tx *sql.Tx) error { return unstage(ctx, tx) })
}

func unstage(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM staged_objects`)
	return err
}

// Stage keeps objects for a rebuild, in one transaction; nobody sees them but
// [Ledger.Staged] and [Ledger.Rebuild].
func (l *Ledger) Stage(ctx context.Context, objects ...Staged) error {
	if len(objects) == 0 {
		return nil
	}
	return l.tx(ctx, "stage", func(tx *sql.Tx) error {
		const end = ` ON CONFLICT (id, place, object_key) DO UPDATE SET etag = excluded.etag,
			modified = excluded.modified, tags = excluded.tags, status = excluded.status, content = excluded.content`
		return insertRows(ctx, tx, `INSERT INTO staged_objects (`+stagedColumns+`) VALUES `, end, objects, Staged.args)
	})
}

func (s Staged) args() []any {
	content := ""
	if s.Content != nil {
		b, _ := json.Marshal(s.Content) // a map of strings always can be
		content = string(b)
	}
	return []any{s.ID(), int(s.Place), s.Bucket, s.Key, s.ETag, nanos(s.Modified), s.Tags, string(s.Status), content}
}

func scanStaged(rows *sql.Rows) (s Staged, err error) {
	var id, content string
	var modified int64
	err = rows.Scan(&id, &s.Place, &s.Bucket, &s.Key, &s.ETag, &modified, &s.Tags, &s.Status, &content)
	s.Modified = fromNanos(modified)
	if err == nil && content != "" {
		err = json.Unmarshal([]byte(content), &s.Content)
	}
	return s, err
}

const stagedPage = 1000

// Staged yields what was staged, one sample after the other: all its objects,
// by place and key. It stops after the first error.
func (l *Ledger) Staged(ctx context.Context) iter.Seq2[[]Staged, error] {
	return func(yield func([]Staged, error) bool) {
		var group []Staged
		after := Staged{Place: -1}
		for {
			page, err := collect(ctx, l, "staged", scanStaged, `SELECT `+stagedColumns+` FROM staged_objects
				WHERE (id, place, object_key) > (?, ?, ?) ORDER BY id, place, object_key LIMIT ?`,
				after.stagedID(), int(after.Place), after.Key, stagedPage)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, s := range page {
				if len(group) > 0 && group[0].ID() != s.ID() {
					if !yield(group, nil) {
						return
					}
					group = nil
				}
				group = append(group, s)
			}
			if len(page) < stagedPage {
				break
			}
			after = page[len(page)-1]
		}
		if len(group) > 0 {
			yield(group, nil)
		}
	}
}

// stagedID is the id to read on from: the empty one before the first.
func (s Staged) stagedID() string {
	if s.Key == "" {
		return ""
	}
	return s.ID()
}

// Rebuild empties the samples part and fills it with records, and makes what
// was staged of production and clean the objects known, in one transaction: all
// or nothing. Answers not yet collected are kept for the samples that still
// wait; runs, alarms, figures and settings stay as they are. Captured and
// decided samples that records does not show are forgotten, so nothing else
// should be at work. The first error of records ends it.
func (l *Ledger) Rebuild(ctx context.Context, records iter.Seq2[Record, error]) error {
	return l.tx(ctx, "rebuild", func(tx *sql.Tx) error {
		for _, table := range []string{"samples", "label_totals", "objects"} {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+table); err != nil {
				return err
			}
		}
		if err := l.fill(ctx, tx, records); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO objects (`+objectColumns+`) SELECT `+objectColumns+` FROM staged_objects
			WHERE place IN (0, 1)`)
		if err != nil {
			return fmt.Errorf("objects: %w", err)
		}
		if err := unstage(ctx, tx); err != nil {
			return err
		}
		return dropStrayAnswers(ctx, tx)
	})
}

// recordsPerSave is how many records are written at once.
const recordsPerSave = 500

// fill enters records, and counts their labels.
func (l *Ledger) fill(ctx context.Context, tx *sql.Tx, records iter.Seq2[Record, error]) error {
	batch := make([]Record, 0, recordsPerSave)
	flush := func() error {
		if err := l.save(ctx, tx, batch...); err != nil {
			return err
		}
		labelled := slices.DeleteFunc(slices.Clone(batch), func(r Record) bool { return r.State != Labelled })
		if err := l.countLabels(ctx, tx, labelled...); err != nil {
			return err
		}
		batch = batch[:0]
		return nil
	}
	for r, err := range records {
		if err != nil {
			return err
		}
		if err := checkSample(r.Sample); err != nil {
			return err
		}
		if batch = append(batch, r.settled()); len(batch) == recordsPerSave {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}
