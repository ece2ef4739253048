package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// recordsOf returns the samples with these ids as tx sees them, by id.
func recordsOf(ctx context.Context, tx *sql.Tx, ids []string) (map[string]Record, error) {
	out := make(map[string]Record, len(ids))
	for some := range slices.Chunk(ids, idsPerQuery) {
		args := make([]any, len(some))
		for i, id := range some {
			args[i] = id
		}
		err := each(ctx, tx, func(rows *sql.Rows) error {
			r, err := scanRecord(rows)
			out[r.ID()] = r
			return err
		}, `SELECT `+recordColumns+` FROM samples WHERE id IN (?`+strings.Repeat(", ?", len(some)-1)+`)`, args...)
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// columns are those of a record's row, by the order of row.
var columns = strings.Split(strings.Join(strings.Fields(recordColumns), " ")+", reason, outcome, agreement", ", ")

// row is a record as a row of samples.
func (l *Ledger) row(r Record) []any {
	outcome := 0
	switch {
	case r.Correct():
		outcome = 1
	case r.State == Labelled:
		outcome = 2
	}
	return []any{r.Key, r.ID(), tagNanos(r.Timestamp), r.PredictedClass, confidence(r.Confidence),
		r.Flagged, r.CorrectedClass, r.ModelVersion, r.InProduction, string(r.State), string(r.Stratum), r.SamplingFraction,
		nanos(r.Interval), r.Selected, r.Placed, r.Label, string(r.LabelSource), tagNanos(r.LabelledAt),
		r.Votes.Agree, r.Votes.Of, string(reasonOf(r.Sample, l.threshold)), outcome, r.agreement()}
}

// upsert is the statement that writes every column of n records.
func upsert(n int) string {
	var sets []string
	for _, c := range columns {
		if c != "id" {
			sets = append(sets, c+" = excluded."+c)
		}
	}
	row := `(?` + strings.Repeat(", ?", len(columns)-1) + `)`
	return `INSERT INTO samples (` + strings.Join(columns, ", ") + `) VALUES ` + row + strings.Repeat(", "+row, n-1) +
		` ON CONFLICT (id) DO UPDATE SET ` + strings.Join(sets, ", ")
}

// upserts are statements for so many records: few kinds, which the database
// soon knows by heart, and the large ones first.
var upserts = []struct {
	n         int
	statement string
}{{64, upsert(64)}, {8, upsert(8)}, {1, upsert(1)}}

// save writes records in the order given; of several with one id, the last.
func (l *Ledger) save(ctx context.Context, tx *sql.Tx, rs ...Record) error {
	rs = newest(rs)
	args := make([]any, 0, upserts[0].n*len(columns))
	for _, put := range upserts {
		for ; len(rs) >= put.n; rs = rs[put.n:] {
			args = args[:0]
			for _, r := range rs[:put.n] {
				args = append(args, l.row(r)...)
			}
			if _, err := tx.ExecContext(ctx, put.statement, args...); err != nil {
				return fmt.Errorf("%d samples from %s on: %w", put.n, rs[0].ID(), err)
			}
		}
	}
	return nil
}

// newest leaves the last of each id: one statement must not write a row twice.
func newest(rs []Record) []Record {
	last := make(map[string]int, len(rs))
	for i, r := range rs {
		last[r.ID()] = i
	}
	if len(last) == len(rs) {
		return rs
	}
	out := make([]Record, 0, len(last))
	for i, r := range rs {
		if last[r.ID()] == i {
			out = append(out, r)
		}
	}
	return out
}
