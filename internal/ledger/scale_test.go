//go:build unix

package ledger

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	dg "driftgate"
)

// traffic enters n predictions spread evenly over the days before end, curated
// each half hour, one in fifty labelled.
func traffic(t testing.TB, l *Ledger, n int, days int, end time.Time) {
	t.Helper()
	ctx, rng := t.Context(), rand.New(rand.NewPCG(1, 2))
	step := time.Duration(days) * 24 * time.Hour / time.Duration(n)
	classes := strings.Fields("Trouser Bag Dress Coat Shirt Boot Sandal Sneaker Pullover Top")
	const batch = 1000
	for from := 0; from < n; from += batch {
		var rs []Record
		for i := from; i < min(from+batch, n); i++ {
			s := sample(fmt.Sprintf("%08d.png", i), end.Add(-time.Duration(n-i)*step).Truncate(time.Second), 1-rng.ExpFloat64()/12)
			s.Confidence = max(.2, s.Confidence)
			s.PredictedClass = classes[rng.IntN(len(classes))]
			r := Record{Sample: s, State: Noisy, Placed: true, InProduction: true, Interval: dg.Slot(s.Timestamp, 30*time.Minute).Start}
			r.Stratum, r.SamplingFraction = dg.Random, .05
			if s.Confidence < .7 {
				r.Stratum, r.SamplingFraction = dg.LowConfidence, 1
			}
			if i%50 == 0 {
				r.Selected = true
				r = r.labelled(classes[rng.IntN(len(classes))], dg.HumanLabel, dg.Votes{}, s.Timestamp.Add(time.Hour))
			}
			rs = append(rs, r)
		}
		if err := l.tx(ctx, "traffic", func(tx *sql.Tx) error { return l.save(ctx, tx, rs...) }); err != nil {
			t.Fatal(err)
		}
	}
}

// windowsTo are those of the default configuration.
func windowsTo(end time.Time) (out []dg.Interval) {
	for _, w := range []time.Duration{30 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour} {
		out = append(out, dg.Interval{Start: end.Add(-w), End: end})
	}
	return out
}

// cpu is the processor time that this process has used.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var r syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &r))
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// What a refresh costs must not grow with history: DRIFTGATE_LONG=1 prints it
// for a million predictions.
func TestAMillionPredictions(t *testing.T) {
	if os.Getenv("DRIFTGATE_LONG") != "1" {
		t.Skip("DRIFTGATE_LONG is not 1: a million rows take a minute")
	}
	ctx, l := t.Context(), open(t)
	end := t0.Add(17 * time.Minute)
	took := func(what string, times int, f func()) {
		begin, worked := time.Now(), cpu(t)
		for range times {
			f()
		}
		ms := func(d time.Duration) float64 { return d.Seconds() * 1000 / float64(times) }
		t.Logf("%-32s %10.1f ms of this process, %10.1f ms in all", what, ms(cpu(t)-worked), ms(time.Since(begin)))
	}
	took("1,000,000 rows of 30 days", 1, func() { traffic(t, l, 1_000_000, 30, end) })
	took("windows, nothing settled", 1, func() { get[[]WindowTally](t)(l.Windows(ctx, "v1", windowsTo(end)...)) })
	took("settle all", 1, func() { must(t, l.Settle(ctx)) })
	took("settle, nothing to do", 20, func() { must(t, l.Settle(ctx)) })
	took("windows", 10, func() { get[[]WindowTally](t)(l.Windows(ctx, "v1", windowsTo(end)...)) })
	took("tallies", 10, func() { get[[][]Tally](t)(l.Tallies(ctx, "v1", windowsTo(end)...)) })
	took("slices of 7 days", 10, func() { get[[]SliceTally](t)(l.Slices(ctx, "v1", windowsTo(end)[4])) })
	took("counts of all there is", 3, func() { get[[]dg.StratumCount](t)(l.Counts(ctx, "", dg.Interval{End: end})) })
	took("grid of 30 days by 6 hours", 3, func() {
		get[[]GridTally](t)(l.Grid(ctx, "", dg.Interval{Start: t0.Add(-30 * 24 * time.Hour), End: t0}, 6*time.Hour))
	})
	rng := rand.New(rand.NewPCG(5, 5))
	took("100 labels of any age, settled", 1, func() {
		var ss []dg.Sample
		for range 100 {
			s := sample(fmt.Sprintf("%08d.png", rng.IntN(1_000_000)), t0, .9)
			s.Flagged = true
			ss = append(ss, s)
		}
		must(t, l.Captured(ctx, ss...))
		must(t, l.Settle(ctx))
	})
	var cells int
	must(t, l.read.QueryRowContext(ctx, `SELECT COUNT(*) FROM tallies`).Scan(&cells))
	t.Logf("%d rows of cells", cells)
}
