package ledger

import (
	"cmp"
	"database/sql"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dg "driftgate"
)

func TestCutCoversAnIntervalOnceByWholeCellsWithoutStaleMinutes(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for range 20_000 {
		widths := parts[rng.IntN(len(parts))].widths()
		base := rng.Int64N(100) * int64(time.Hour)
		if rng.IntN(20) == 0 {
			base = endOfCell - int64(time.Hour)
		}
		from := base - int64(time.Hour) + rng.Int64N(4*int64(time.Hour))
		to := from + rng.Int64N(5*int64(time.Hour))
		if rng.IntN(3) == 0 {
			from, to = from-from%minute, to-to%minute
		}
		var stale []int64
		for range rng.IntN(6) {
			at := max(from, 0) + rng.Int64N(5*int64(time.Hour))
			stale = append(stale, at-at%minute)
		}
		slices.Sort(stale)
		stale = slices.Compact(stale)
		at, raw := from, int64(0)
		for _, s := range cut(from, to, widths, stale) {
			if s.from != at || s.to <= s.from {
				t.Fatalf("%d to %d: stretch %+v follows %d", from, to, s, at)
			}
			at = s.to
			if s.width == 0 {
				raw += s.to - s.from
				continue
			}
			if !slices.Contains(widths, s.width) || s.from%s.width != 0 || s.to%s.width != 0 || s.from < firstCell || s.to > endOfCell {
				t.Fatalf("stretch %+v of widths %v", s, widths)
			}
			if slices.ContainsFunc(stale, func(m int64) bool { return m >= s.from && m < s.to }) {
				t.Fatalf("stretch %+v holds a stale minute of %v", s, stale)
			}
		}
		if from < to && at != to {
			t.Fatalf("%d to %d: covered to %d", from, to, at)
		}
		if most := int64(len(stale)+2) * widths[0]; raw > most && from >= firstCell && to <= endOfCell {
			t.Fatalf("%d of %d are counted from samples, want at most %d", raw, to-from, most)
		}
	}
}

// truth counts samples by reading every row.
type truth struct {
	t    *testing.T
	rows []truthRow
}

type truthRow struct {
	at, interval, labelledAt   int64
	version, reason, class     string
	confidence                 sql.NullFloat64
	produced, picked, labelled bool
	correct                    bool
	agreement                  int64
}

func newTruth(t *testing.T, l *Ledger) truth {
	t.Helper()
	return truth{t, get[[]truthRow](t)(collect(t.Context(), l, "truth", func(rows *sql.Rows) (r truthRow, err error) {
		var outcome int
		err = rows.Scan(&r.at, &r.interval, &r.labelledAt, &r.version, &r.reason, &r.class, &r.confidence, &r.produced, &r.picked, &outcome, &r.agreement)
		r.labelled, r.correct = outcome > 0, outcome == 1
		return r, err
	}, `SELECT at, interval_start, labelled_at, model_version, reason, predicted_class, confidence, in_production, selected, outcome, agreement FROM samples`))}
}

// tally is the tallies of the rows that belong.
func (tr truth) tally(belongs func(r truthRow) bool) []Tally {
	found := map[stratumKey]Tally{}
	for _, r := range tr.rows {
		if !(r.produced || r.labelled) || !belongs(r) {
			continue
		}
		u := Tally{StratumCount: dg.StratumCount{Stratum: dg.Stratum(r.reason), Interval: fromNanos(r.interval), Predictions: 1}}
		f := int64(math.Round(r.confidence.Float64 * 1000))
		if !r.confidence.Valid {
			u.Unscored = 1
		}
		u.F, u.FF = f, f*f
		if r.produced {
			u.Known = 1
		}
		if r.picked {
			u.Selected = 1
		}
		if r.labelled {
			u.Labels, u.LabelF, u.LabelFF, u.NewestLabel = 1, f, f*f, fromNanos(r.labelledAt)
			u.LabelYF, u.LabelYY, u.Dissent = r.agreement*f, r.agreement*r.agreement, r.agreement
		}
		if r.correct {
			u.Correct, u.Dissent = 1, u.Dissent-1000
		}
		k := stratumKey{r.reason, r.interval}
		old, ok := found[k]
		if ok {
			u.Add(old)
		}
		found[k] = u
	}
	return slices.SortedFunc(maps.Values(found), func(a, b Tally) int {
		return cmp.Or(strings.Compare(string(a.Stratum), string(b.Stratum)), a.Interval.Compare(b.Interval))
	})
}

func (tr truth) check(l *Ledger, rng *rand.Rand, version string, iv dg.Interval) {
	t, ctx := tr.t, tr.t.Context()
	t.Helper()
	inside := func(r truthRow) bool {
		return r.at >= bound(iv.Start) && r.at < bound(iv.End) && (version == "" || r.version == version)
	}
	if got, want := get[[][]Tally](t)(l.Tallies(ctx, version, iv))[0], tr.tally(inside); !reflect.DeepEqual(got, want) {
		t.Fatalf("tallies of %q in %s:\n got %+v\nwant %+v", version, iv, got, want)
	}
	before := dg.Interval{Start: iv.Start.Add(-iv.Length()), End: iv.Start}
	w := get[[]WindowTally](t)(l.Windows(ctx, version, iv))[0]
	if want := (WindowTally{tr.tally(inside), get[[][]Tally](t)(l.Tallies(ctx, version, before))[0], get[[]SliceTally](t)(l.Slices(ctx, version, iv))}); !reflect.DeepEqual(w, want) {
		t.Fatalf("window of %q in %s:\n got %+v\nwant %+v", version, iv, w, want)
	}
	seen := 0
	for _, s := range get[[]SliceTally](t)(l.Slices(ctx, version, iv)) {
		want := tr.tally(func(r truthRow) bool {
			if s.By == ByClass {
				return inside(r) && r.class == s.Value
			}
			return inside(r) && r.confidence.Valid && BandOf(r.confidence.Float64) == s.Band
		})
		if !reflect.DeepEqual(s.Tallies, want) {
			t.Fatalf("slice %s %s of %q in %s:\n got %+v\nwant %+v", s.By, s.Value, version, iv, s.Tallies, want)
		}
		seen += s.Predictions
	}
	want := 0
	for _, u := range tr.tally(inside) {
		want += 2*u.Predictions - u.Unscored
	}
	if seen != want {
		t.Fatalf("slices of %q in %s hold %d predictions, want %d", version, iv, seen, want)
	}
	if iv.Start.IsZero() {
		return
	}
	step := []time.Duration{time.Minute, 7 * time.Minute, time.Hour, 90 * time.Minute, 11*time.Minute + 3}[rng.IntN(5)]
	for _, g := range get[[]GridTally](t)(l.Grid(ctx, version, iv, step)) {
		cell := dg.Interval{Start: iv.Start.Add(time.Duration(g.Cell) * step), End: iv.Start.Add(time.Duration(g.Cell+1) * step)}
		want := tr.tally(func(r truthRow) bool {
			return inside(r) && cell.Contains(fromNanos(r.at)) && r.version == g.ModelVersion && r.reason == string(g.Stratum) && r.interval == nanos(g.Interval)
		})
		if len(want) != 1 || !reflect.DeepEqual(g.Tally, want[0]) || !cell.Contains(g.LastAt) {
			t.Fatalf("grid of %s in %s: %+v, want %+v", step, iv, g, want)
		}
		seen -= g.Predictions
	}
}

// change does one random thing to samples within some hours.
func change(t *testing.T, l *Ledger, rng *rand.Rand) {
	t.Helper()
	ctx := t.Context()
	name := func() string { return fmt.Sprintf("s%03d", rng.IntN(400)) }
	some := func(f func(id string)) {
		for range 1 + rng.IntN(10) {
			f(name())
		}
	}
	switch rng.IntN(6) {
	case 0, 1:
		var ss []dg.Sample
		some(func(id string) {
			s := sample(id, t0.Add(time.Duration(rng.IntN(5*3600))*time.Second), float64(rng.IntN(1001))/1000)
			s.PredictedClass = []string{"Trouser", "Bag"}[rng.IntN(2)]
			s.ModelVersion = []string{"v1", "v2"}[rng.IntN(2)]
			s.Flagged = rng.IntN(5) == 0
			if rng.IntN(9) == 0 {
				s.Confidence = math.NaN()
			}
			if rng.IntN(200) == 0 {
				s.Timestamp = []time.Time{time.Unix(-5, 0), time.Unix(0, math.MinInt64+1e9), time.Unix(0, math.MaxInt64-1e9)}[rng.IntN(3)]
			}
			ss = append(ss, s)
		})
		must(t, l.Captured(ctx, ss...))
	case 2:
		some(func(id string) {
			must(t, ignore(ignore(l.Decide(ctx, []Decision{{ID: id, Stratum: dg.Strata[rng.IntN(4)], SamplingFraction: .5,
				Interval: t0.Add(time.Duration(rng.IntN(10)) * 30 * time.Minute), Selected: rng.IntN(2) == 0}}), dg.ErrNotFound), dg.ErrConflict))
		})
	case 3:
		some(func(id string) {
			must(t, ignore(ignore(l.Collected(ctx, Answer{ID: id, Label: []string{"Trouser", "Bag"}[rng.IntN(2)],
				At: t0.Add(time.Duration(rng.IntN(9)) * time.Hour)}), dg.ErrNotFound), dg.ErrConflict))
		})
	case 4:
		must(t, l.tx(ctx, "some go", func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `DELETE FROM samples WHERE id = ? OR id = ?`, name(), name())
			return err
		}))
	case 5:
		must(t, l.tx(ctx, "some vanish or move", func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE samples SET in_production = 0 WHERE id = ? OR id = ?`, name(), name())
			if err == nil && rng.IntN(3) == 0 {
				_, err = tx.ExecContext(ctx, `UPDATE samples SET at = at + 3600000000000 WHERE id = ? AND at < 4000000000000000000`, name())
			}
			return err
		}))
	}
}

func randomInterval(rng *rand.Rand) dg.Interval {
	grain := []time.Duration{1, time.Second, time.Minute, 10 * time.Minute, time.Hour}[rng.IntN(5)]
	at := func() time.Time {
		return t0.Add(-time.Hour + time.Duration(rng.Int64N(int64(7*time.Hour)))).Truncate(grain)
	}
	iv := dg.Interval{Start: at(), End: at()}
	if iv.End.Before(iv.Start) {
		iv.Start, iv.End = iv.End, iv.Start
	}
	if rng.IntN(20) == 0 {
		iv = dg.Interval{End: time.Unix(0, math.MaxInt64)}
	}
	return iv
}

func TestTalliesEqualACountOfEverySampleWhateverHasBeenSettled(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			l, rng := open(t), rand.New(rand.NewPCG(seed, 9))
			for range 60 {
				for range 1 + rng.IntN(4) {
					change(t, l, rng)
				}
				switch rng.IntN(4) {
				case 0:
					must(t, l.Settle(t.Context()))
				case 1:
					must(t, l.tx(t.Context(), "settle one batch", func(tx *sql.Tx) error { return settle(t.Context(), tx) }))
				}
				tr := newTruth(t, l)
				for range 2 {
					tr.check(l, rng, []string{"", "v1", "v2"}[rng.IntN(3)], randomInterval(rng))
				}
			}
			must(t, l.Settle(t.Context()))
			if n := get[int](t)(l.countStale(t.Context(), 0)); n != 0 {
				t.Errorf("%d minutes are stale after settling", n)
			}
		})
	}
}

// Two processes on one database: each marks what it writes and settles what it
// finds, and nothing may be lost between them.
func TestNoChangeIsLostBetweenTwoThatSettle(t *testing.T) {
	dsn := database.dsn(t)
	var ledgers []*Ledger
	for range 2 {
		l, err := Open(t.Context(), dsn)
		must(t, err)
		defer l.Close()
		ledgers = append(ledgers, l)
	}
	var wg sync.WaitGroup
	for i, l := range ledgers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 4))
			for range 60 {
				change(t, l, rng)
				if rng.IntN(3) == 0 {
					must(t, l.Settle(t.Context()))
				}
			}
		})
		wg.Go(func() {
			for range 60 {
				get[[][]Tally](t)(l.Tallies(t.Context(), "", dg.Interval{Start: t0, End: t0.Add(5 * time.Hour)}))
			}
		})
	}
	wg.Wait()
	must(t, ledgers[0].Settle(t.Context()))
	rng := rand.New(rand.NewPCG(1, 1))
	tr := newTruth(t, ledgers[1])
	for range 20 {
		tr.check(ledgers[1], rng, "", randomInterval(rng))
	}
}

func TestASettledWindowIsNotCountedFromItsSamples(t *testing.T) {
	ctx, l := t.Context(), open(t)
	var ss []dg.Sample
	for i := range 200 {
		ss = append(ss, sample(fmt.Sprint(i), t0.Add(time.Duration(i)*time.Minute), .9))
	}
	must(t, l.Captured(ctx, ss...))
	must(t, l.Settle(ctx))
	var cells int
	must(t, l.read.QueryRowContext(ctx, `SELECT COUNT(*) FROM tallies`).Scan(&cells))
	if want := 200 + 4 + 2*(20+4); cells != want { // one version
		t.Errorf("%d cells, want %d: minutes and hours, and twice ten minutes and hours", cells, want)
	}
	hours, minutes := dg.Interval{Start: t0, End: t0.Add(3 * time.Hour)}, dg.Interval{Start: t0.Add(time.Minute), End: t0.Add(3 * time.Minute)}
	edges := dg.Interval{Start: t0.Add(time.Minute + 1), End: t0.Add(2*time.Minute + 1)} // parts of two minutes
	for _, step := range []struct {
		without int64 // the cells of this width are taken away
		iv      dg.Interval
		want    int
	}{
		{0, hours, 180}, {0, minutes, 2}, {0, edges, 1},
		{int64(time.Hour), hours, 0}, {int64(time.Hour), minutes, 2}, {int64(time.Hour), edges, 1},
		{minute, minutes, 0}, {minute, edges, 1},
	} {
		must(t, l.tx(ctx, "take away", func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `DELETE FROM tallies WHERE part = '' AND width = ?`, step.without)
			return err
		}))
		got := 0
		for _, c := range get[[]dg.StratumCount](t)(l.Counts(ctx, "v1", step.iv)) {
			got += c.Predictions
		}
		if got != step.want {
			t.Errorf("%s without cells of %s: %d predictions, want %d", step.iv, time.Duration(step.without), got, step.want)
		}
	}
}
