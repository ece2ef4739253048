package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"path"
	"strings"
	"time"

	dg "driftgate"
)

// ObjectStatus says what is left to do about an object that a listing showed.
type ObjectStatus string

// The statuses of an object.
const (
	ObjectEntered    ObjectStatus = ""           // the ledger has what the object says
	ObjectPending    ObjectStatus = "pending"    // the object has news for its sample
	ObjectVanished   ObjectStatus = "vanished"   // not listed any more, not yet confirmed
	ObjectIncomplete ObjectStatus = "incomplete" // no timestamp yet
	ObjectMalformed  ObjectStatus = "malformed"  // its key or a tag can't be read
	ObjectClassless  ObjectStatus = "classless"  // lies in a class directory whose label is not known
)

// Object is what the ledger remembers of one object of the production or the
// clean bucket, so that the next listing tells what is new, changed and gone.
type Object struct {
	Bucket   string
	Key      string
	ETag     string
	Modified time.Time
	Tags     string // digest of the tags as read last; empty: never read
	Status   ObjectStatus
}

// ID is the identity of the object's sample: the file name of its key.
func (o Object) ID() string { return path.Base(o.Key) }

const objectColumns = `bucket, object_key, id, etag, modified, tags, status`

func scanObject(rows *sql.Rows) (o Object, err error) {
	var id string
	var modified int64
	err = rows.Scan(&o.Bucket, &o.Key, &id, &o.ETag, &modified, &o.Tags, &o.Status)
	o.Modified = fromNanos(modified)
	return o, err
}

func (o Object) args() []any {
	return []any{o.Bucket, o.Key, o.ID(), o.ETag, nanos(o.Modified), o.Tags, string(o.Status)}
}

// ObjectsAfter returns at most limit objects of a bucket whose keys come after
// the given one, in the order of their bytes: the order of listings.
func (l *Ledger) ObjectsAfter(ctx context.Context, bucket, after string, limit int) ([]Object, error) {
	return collect(ctx, l, "objects", scanObject, `SELECT `+objectColumns+` FROM objects
		WHERE bucket = ? AND object_key > ? ORDER BY object_key LIMIT ?`, bucket, after, limit)
}

// ObjectsOf returns the objects of the given samples by id, each sample's by
// bucket and key.
func (l *Ledger) ObjectsOf(ctx context.Context, ids ...string) (map[string][]Object, error) {
	out := make(map[string][]Object, len(ids))
	for some := range chunks(ids) {
		in, args := oneOf(some)
		found, err := collect(ctx, l, "objects of samples", scanObject, `SELECT `+objectColumns+` FROM objects
			WHERE id IN `+in+` ORDER BY id, bucket, object_key`, args...)
		if err != nil {
			return nil, err
		}
		for _, o := range found {
			out[o.ID()] = append(out[o.ID()], o)
		}
	}
	return out, nil
}

// OpenObjects returns at most limit ids, after the given one and in order, of
// samples that have an object pending or vanished.
func (l *Ledger) OpenObjects(ctx context.Context, after string, limit int) ([]string, error) {
	return collect(ctx, l, "open objects", func(rows *sql.Rows) (id string, err error) {
		err = rows.Scan(&id)
		return id, err
	}, `SELECT DISTINCT id FROM objects WHERE status IN ('pending', 'vanished') AND id > ? ORDER BY id LIMIT ?`, after, limit)
}

// Unlisted returns at most limit samples after the given id, by id, that ought
// to lie in production, or to be labelled in clean, and of which neither
// bucket's listing has shown such an object: removed before it was ever listed,
// or entered since.
func (l *Ledger) Unlisted(ctx context.Context, production, clean, after string, limit int) ([]Record, error) {
	const listed = `SELECT 1 FROM objects WHERE objects.id = samples.id AND objects.bucket = ?`
	return l.query(ctx, "unlisted", `id > ? AND ((in_production = 1 AND NOT EXISTS (`+listed+`))
		OR (state = 'labelled' AND NOT EXISTS (`+listed+`))) ORDER BY id LIMIT ?`, after, production, clean, limit)
}

// PutObjects remembers objects, in one transaction.
func (l *Ledger) PutObjects(ctx context.Context, objects ...Object) error {
	if len(objects) == 0 {
		return nil
	}
	return l.tx(ctx, "put objects", func(tx *sql.Tx) error { return putObjects(ctx, tx, objects) })
}

// rowsPerInsert bounds the parameters of one insert.
const rowsPerInsert = 100

func putObjects(ctx context.Context, tx *sql.Tx, objects []Object) error {
	const end = ` ON CONFLICT (bucket, object_key) DO UPDATE SET etag = excluded.etag,
		modified = excluded.modified, tags = excluded.tags, status = excluded.status`
	return insertRows(ctx, tx, `INSERT INTO objects (`+objectColumns+`) VALUES `, end, objects, Object.args)
}

// insertRows inserts many rows a statement; begin ends with VALUES.
func insertRows[T any](ctx context.Context, tx *sql.Tx, begin, end string, rows []T, args func(T) []any) error {
	for len(rows) > 0 {
		n := min(len(rows), rowsPerInsert)
		var all []any
		for _, r := range rows[:n] {
			all = append(all, args(r)...)
		}
		row := `(?` + strings.Repeat(", ?", len(all)/n-1) + `)`
		if _, err := tx.ExecContext(ctx, begin+row+strings.Repeat(", "+row, n-1)+end, all...); err != nil {
			return fmt.Errorf("insert %d rows: %w", n, err)
		}
		rows = rows[n:]
	}
	return nil
}

// unreadTags makes the tags of a sample's objects unread: the service has
// edited them, so the ledger knows more than the digest does.
func unreadTags(ctx context.Context, tx *sql.Tx, id string) error {
	_, err := tx.ExecContext(ctx, `UPDATE objects SET tags = '' WHERE id = ? AND tags <> ''`, id)
	return err
}

func dropObjects(ctx context.Context, tx *sql.Tx, objects []Object) error {
	for _, o := range objects {
		if _, err := tx.ExecContext(ctx, `DELETE FROM objects WHERE bucket = ? AND object_key = ?`, o.Bucket, o.Key); err != nil {
			return fmt.Errorf("forget object %s/%s: %w", o.Bucket, o.Key, err)
		}
	}
	return nil
}

// ClassDirectories returns one sample for each pair of class directory and
// predicted class in production, with no more than its key's directory and that
// class: how to learn what a directory stands for.
func (l *Ledger) ClassDirectories(ctx context.Context) ([]dg.Sample, error) {
	return collect(ctx, l, "class directories", func(rows *sql.Rows) (s dg.Sample, err error) {
		var digits string
		err = rows.Scan(&digits, &s.PredictedClass)
		s.Key = "class_" + strings.TrimSuffix(digits, "/") + "/x"
		return s, err
	}, `SELECT DISTINCT substr(object_key, 7, 3), predicted_class FROM samples WHERE in_production = 1`)
}

// Placements counts the samples by where they lie.
type Placements struct {
	Production int // in the production bucket
	Labelled   int // in the clean bucket
}

// Placements returns how many samples lie where.
func (l *Ledger) Placements(ctx context.Context) (p Placements, err error) {
	err = l.read.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM samples WHERE in_production = 1),
		(SELECT COUNT(*) FROM samples WHERE state = 'labelled')`).Scan(&p.Production, &p.Labelled)
	if err != nil {
		return p, fmt.Errorf("ledger: placements: %w", err)
	}
	return p, nil
}
