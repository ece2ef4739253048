package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"time"

	dg "driftgate"
)

// Counts over samples are kept in cells of event time (table tallies), because
// a window of 7 days is asked for at every refresh and changes by what the last
// seconds brought. Triggers on samples mark the minute of each change in stale;
// settling counts those minutes anew and, from them, the wider cells around.
// Reading never relies on it: what is stale in the state that a reader sees is
// counted from samples.
//
// Cells are no wider than an hour: a curate interval seldom spans more, and
// tallies are kept by curate interval, so wider cells would have as many rows.

// minute is the grain of the marks.
const minute = int64(time.Minute)

// widths are the cells kept of a part, ascending; each divides the next, and
// the minute divides all. Parts of a minute would be as many as its samples.
func (by slice) widths() []int64 {
	if by == whole {
		return []int64{minute, int64(time.Hour)}
	}
	return []int64{10 * minute, int64(time.Hour)}
}

var parts = []slice{whole, byClass, byBand}

// Cells are kept from the year 1970 to nearly the end of what fits; the few
// samples that claim another time are counted one by one.
const (
	firstCell = 0
	endOfCell = math.MaxInt64 / int64(time.Hour) * int64(time.Hour)
)

// stretch is a piece of event time, [from, to) in Unix nanoseconds, that is
// summed up from cells of one width, or from samples when width is 0.
type stretch struct{ width, from, to int64 }

// cut divides [from, to) into stretches of the widest cells that fit and hold
// no stale minute. widths are ascending, stale too. What it returns covers
// [from, to) exactly once, in order.
func cut(from, to int64, widths, stale []int64) []stretch {
	var out []stretch
	add := func(width, a, b int64) {
		if a >= b {
			return
		}
		if n := len(out); n > 0 && out[n-1].width == width && out[n-1].to == a {
			out[n-1].to = b
			return
		}
		out = append(out, stretch{width, a, b})
	}
	var walk func(a, b int64, level int)
	walk = func(a, b int64, level int) {
		if level < 0 || a >= b {
			add(0, a, b)
			return
		}
		w := widths[level]
		first, last := ceilTo(a, w), b-b%w
		if first >= last {
			walk(a, b, level-1)
			return
		}
		walk(a, first, level-1)
		i, _ := slices.BinarySearch(stale, first)
		for at := first; at < last; {
			hole := last // the next cell with a stale minute
			if i < len(stale) && stale[i] < last {
				hole = stale[i] - stale[i]%w
			}
			add(w, at, hole)
			if at = hole; at < last {
				walk(at, at+w, level-1)
				at += w
				for i < len(stale) && stale[i] < at {
					i++
				}
			}
		}
		walk(last, b, level-1)
	}
	a, b := max(from, firstCell), min(to, endOfCell)
	if a >= b {
		add(0, from, to)
		return out
	}
	add(0, from, a)
	walk(a, b, len(widths)-1)
	add(0, b, to)
	return out
}

// ceilTo rounds at, which is not below 0, up to a multiple of w.
func ceilTo(at, w int64) int64 {
	if rest := at % w; rest != 0 {
		return at - rest + w
	}
	return at
}

// maxStale is how many stale minutes a reader goes around; with more of them
// it counts the samples.
const maxStale = 32

// cutInterval divides iv for a reader that sees what tx sees.
func cutInterval(ctx context.Context, tx *sql.Tx, iv dg.Interval, widths []int64) ([]stretch, error) {
	from, to := bound(iv.Start), bound(iv.End)
	if from >= to {
		return nil, nil
	}
	if to-max(from, firstCell) < widths[0] {
		return []stretch{{0, from, to}}, nil
	}
	var stale []int64
	err := each(ctx, tx, func(rows *sql.Rows) error {
		var at int64
		err := rows.Scan(&at)
		stale = append(stale, at)
		return err
	}, `SELECT DISTINCT cell FROM stale WHERE cell > ? AND cell < ? ORDER BY cell LIMIT ?`, max(from, firstCell)-minute, to, maxStale+1)
	if err != nil {
		return nil, err
	}
	if len(stale) > maxStale {
		return []stretch{{0, from, to}}, nil
	}
	return cut(from, to, widths, stale), nil
}

// Bounds of one transaction that settles: minutes, and those that a reader
// leaves alone, since going around them costs less than a write.
const (
	minutesPerBatch = 240
	minutesLeft     = 4
)

// Settle counts everything anew that has changed, in several short
// transactions. Readers are right without it, but the more is left unsettled
// the more they have to count themselves; they settle a little as they go.
func (l *Ledger) Settle(ctx context.Context) error {
	for {
		n, err := l.countStale(ctx, 0)
		if err != nil {
			return fmt.Errorf("ledger: settle: %w", err)
		}
		if n == 0 {
			return nil
		}
		if err := l.tx(ctx, "settle", func(tx *sql.Tx) error { return settle(ctx, tx) }); err != nil {
			return err
		}
	}
}

// settleSome settles one batch for a reader, unless there is little to do or
// somebody else is writing. That it fails is no harm to the reader, and who
// writes will hear of it.
func (l *Ledger) settleSome(ctx context.Context) {
	if n, err := l.countStale(ctx, minutesLeft); err != nil || n <= minutesLeft {
		return
	}
	wait, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	conn, err := l.write.Conn(wait)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	tx, err := conn.BeginTx(ctx, &sql.TxOptions{Isolation: l.dialect.writing})
	if err != nil {
		return
	}
	if mine, err := l.tryTurn(ctx, tx); err != nil || !mine || settle(ctx, tx) != nil {
		_ = rollback(tx)
		return
	}
	_ = tx.Commit()
}

// countStale counts marks, up to one more than most.
func (l *Ledger) countStale(ctx context.Context, most int) (n int, err error) {
	err = l.read.QueryRowContext(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM stale LIMIT ?) AS found`, most+1).Scan(&n)
	return n, err
}

// settle counts the newest stale minutes anew. It takes their marks first: what
// is written behind its back marks again.
func settle(ctx context.Context, tx *sql.Tx) error {
	var minutes []int64
	err := each(ctx, tx, func(rows *sql.Rows) error {
		var at int64
		err := rows.Scan(&at)
		minutes = append(minutes, at)
		return err
	}, `DELETE FROM stale WHERE cell IN (SELECT DISTINCT cell FROM stale ORDER BY cell DESC LIMIT ?) RETURNING cell`, minutesPerBatch)
	if err != nil {
		return err
	}
	minutes = slices.DeleteFunc(minutes, func(at int64) bool { return at < firstCell || at >= endOfCell })
	for _, by := range parts {
		finer := int64(0)
		for _, width := range by.widths() {
			for _, run := range runs(minutes, width) {
				if err := countAnew(ctx, tx, by, finer, run); err != nil {
					return fmt.Errorf("cells of %s: %w", time.Duration(width), err)
				}
			}
			finer = width
		}
	}
	return nil
}

// runs returns the cells that hold the given times, adjacent ones joined.
func runs(times []int64, width int64) []stretch {
	cells := make([]int64, len(times))
	for i, at := range times {
		cells[i] = at - at%width
	}
	slices.Sort(cells)
	var out []stretch
	for _, c := range slices.Compact(cells) {
		if n := len(out); n > 0 && out[n-1].to == c {
			out[n-1].to += width
			continue
		}
		out = append(out, stretch{width, c, c + width})
	}
	return out
}

// countAnew makes the cells of a run anew, from samples or, when finer is not
// 0, from the cells of that width.
func countAnew(ctx context.Context, tx *sql.Tx, by slice, finer int64, run stretch) error {
	type key struct {
		cell    int64
		version string
	}
	found := map[key]sums{}
	from := stretch{finer, run.from, run.to}
	err := from.each(ctx, tx, by, "", fmt.Sprintf(`t - t %% %d`, run.width), func(at int64, version string, c cell) {
		k := key{at, version}
		if found[k] == nil {
			found[k] = sums{}
		}
		found[k].add(c)
	})
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM tallies WHERE width = ? AND part = ? AND cell >= ? AND cell < ?`,
		run.width, string(by), run.from, run.to)
	if err != nil {
		return err
	}
	for k, s := range found {
		_, err := tx.ExecContext(ctx, `INSERT INTO tallies (width, part, cell, model_version, sums) VALUES (?, ?, ?, ?, ?)`,
			run.width, string(by), k.cell, k.version, packCells(s))
		if err != nil {
			return err
		}
	}
	return nil
}

// tryTurn is turn without waiting; mine is false when another process writes.
func (l *Ledger) tryTurn(ctx context.Context, tx *sql.Tx) (mine bool, err error) {
	if l.dialect.tryLock == "" {
		return true, nil
	}
	err = tx.QueryRowContext(ctx, l.dialect.tryLock).Scan(&mine)
	return mine, err
}
