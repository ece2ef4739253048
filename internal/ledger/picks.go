package ledger

import (
	"context"
	"database/sql"
	"time"

	dg "driftgate"
)

// Pick is one sample that was picked for a person.
type Pick struct {
	ID       string
	Stratum  dg.Stratum
	Interval time.Time
	Labelled bool
	Correct  bool // the label is what the model said; false without a label
	// Agreement is the share of people who agree with the model, 0 to 1: 0 or 1
	// where one person answered, 0 without a label.
	Agreement float64
}

// Picks returns the samples of iv that were picked for a person, labelled or
// not yet, and those labelled by foreign hands, by id. version "" means every
// one.
func (l *Ledger) Picks(ctx context.Context, version string, iv dg.Interval) ([]Pick, error) {
	where, args := span(version, iv)
	return collect(ctx, l, "picks", func(rows *sql.Rows) (p Pick, err error) {
		var interval int64
		var outcome, thousandths int
		err = rows.Scan(&p.ID, &p.Stratum, &interval, &outcome, &thousandths)
		p.Agreement = float64(thousandths) / 1000
		p.Interval, p.Labelled, p.Correct = fromNanos(interval), outcome > 0, outcome == 1
		return p, err
	}, `SELECT id, reason, interval_start, outcome, agreement FROM samples WHERE (selected = 1 OR outcome > 0) AND `+counted+` AND `+where+` ORDER BY id`, args...)
}
