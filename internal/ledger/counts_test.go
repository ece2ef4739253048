package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dg "driftgate"
)

func TestUncuratedCountByTheirTagsAndTheZeroInterval(t *testing.T) {
	ctx, l := t.Context(), open(t)
	low, edge, flagged, corrected, none := sample("low", t0, .699), sample("edge", t0, .69951), sample("f", t0, .9), sample("c", t0, .9), sample("none", t0, math.NaN())
	flagged.Flagged, corrected.CorrectedClass = true, "Bag"
	both := sample("both", t0, .1)
	both.Flagged = true
	must(t, l.Captured(ctx, low, edge, flagged, corrected, none, both, sample("end", t0.Add(time.Hour), .1)))
	want := map[dg.Stratum]int{dg.LowConfidence: 2, dg.Flagged: 1, dg.Corrected: 1, dg.Random: 2}
	for _, c := range get[[]dg.StratumCount](t)(l.Counts(ctx, "v1", dg.Interval{Start: t0, End: t0.Add(time.Hour)})) {
		if c.Predictions != want[c.Stratum] || !c.Interval.IsZero() {
			t.Errorf("%+v, want %d and the zero interval", c, want[c.Stratum])
		}
		delete(want, c.Stratum)
	}
	if len(want) != 0 {
		t.Errorf("no count for %v", want)
	}
	if got := get[[]dg.StratumCount](t)(l.Counts(ctx, "v2", dg.Interval{Start: t0, End: t0.Add(time.Hour)})); len(got) != 0 {
		t.Errorf("counts of another version: %v", got)
	}
}

func TestLateFlags(t *testing.T) {
	pick := func(s dg.Stratum, fraction float64, selected bool) Decision {
		return Decision{ID: "a", Stratum: s, SamplingFraction: fraction, Interval: t0, Selected: selected}
	}
	for _, tt := range []struct {
		name     string
		decision Decision
		late     bool
	}{
		{"an unpicked random one is late", pick(dg.Random, .1, false), true},
		{"a picked random one would count double", pick(dg.Random, .1, true), true},
		{"all were picked: nothing to mend", pick(dg.Random, 1, true), false},
		{"a low one stays low: the first reason wins", pick(dg.LowConfidence, .5, false), false},
		{"flagged in time", pick(dg.Flagged, 1, true), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, l := t.Context(), open(t)
			s := sample("a", t0, .9)
			must(t, l.Captured(ctx, s))
			must(t, l.Decide(ctx, []Decision{tt.decision}))
			must(t, l.Placed(ctx, "a"))
			s.CorrectedClass = "Bag"
			must(t, l.Captured(ctx, s))
			got := get[[]Record](t)(All(l.LateFlags(ctx, t0.Add(time.Second))))
			if (len(got) == 1) != tt.late {
				t.Fatalf("LateFlags = %v, want late %t", got, tt.late)
			}
			if !tt.late {
				return
			}
			must(t, l.Decide(ctx, []Decision{{ID: "a", Stratum: dg.Corrected, SamplingFraction: 1, Interval: t0.Add(time.Hour), Selected: true}}))
			r := get[Record](t)(l.Record(ctx, "a"))
			if r.State != Waiting || r.Stratum != dg.Corrected || !r.Interval.Equal(t0) || r.Placed {
				t.Errorf("after moving: %+v, want waiting, corrected, in its own interval, unplaced", r)
			}
			if again := get[[]Record](t)(All(l.LateFlags(ctx, t0.Add(time.Hour)))); len(again) != 0 {
				t.Error("late twice")
			}
		})
	}
}

func TestAFlagOnALabelledRandomPickMovesItsStratumButNoCounter(t *testing.T) {
	ctx, l := t.Context(), open(t)
	s := sample("a", t0, .9)
	must(t, l.Captured(ctx, s))
	must(t, l.Decide(ctx, []Decision{{ID: "a", Stratum: dg.Random, SamplingFraction: .1, Interval: t0, Selected: true}}))
	must(t, l.Collected(ctx, Answer{ID: "a", Label: "Bag", At: t0.Add(10 * time.Minute)}))
	before := get[[]Outcome](t)(l.OutcomeTotals(ctx))
	s.Flagged = true
	must(t, l.Captured(ctx, s))
	r := get[Record](t)(l.Record(ctx, "a"))
	if r.Stratum != dg.Flagged || r.SamplingFraction != 1 || r.Label != "Bag" || !r.Interval.Equal(t0) {
		t.Errorf("record = %+v", r)
	}
	if after := get[[]Outcome](t)(l.OutcomeTotals(ctx)); !slices.Equal(before, after) || after[0] != (Outcome{"v1", "random", false, 1}) {
		t.Errorf("totals moved from %v to %v", before, after)
	}
	d := get[Delays](t)(l.LabelDelays(ctx))
	if d.Total != 1 || d.Counts[2] != 1 || d.Seconds != 600 || !d.Newest.Equal(t0.Add(10*time.Minute)) {
		t.Errorf("delays = %+v", d)
	}
}

// Nested windows and grid cells are two cuts of the same rows: each must agree
// with one Counts call a window.
func TestTalliesAndGridAgreeWithCounts(t *testing.T) {
	ctx, l := t.Context(), open(t)
	rng := rand.New(rand.NewPCG(7, 7))
	var ss []dg.Sample
	var ds []Decision
	for i := range 500 {
		s := sample(fmt.Sprint(i), t0.Add(time.Duration(rng.IntN(7200))*time.Second), .9)
		s.ModelVersion = fmt.Sprint("v", 1+i%2)
		ss = append(ss, s)
		if rng.IntN(3) > 0 {
			ds = append(ds, Decision{ID: s.ID(), Stratum: dg.Random, SamplingFraction: .5, Interval: dg.Slot(s.Timestamp, 30*time.Minute).Start, Selected: rng.IntN(2) == 0})
		}
	}
	must(t, l.Captured(ctx, ss...))
	must(t, l.Decide(ctx, ds))
	for _, d := range ds[:200] {
		must(t, l.Collected(ctx, Answer{ID: d.ID, Label: []string{"Trouser", "Bag"}[rng.IntN(2)], At: t0.Add(3 * time.Hour)}))
	}
	end := t0.Add(2 * time.Hour)
	var ivs []dg.Interval
	for _, length := range []time.Duration{10 * time.Minute, 2 * time.Hour, time.Hour} {
		ivs = append(ivs, dg.Interval{Start: end.Add(-length), End: end.Add(-length / 5)})
	}
	for _, version := range []string{"", "v1"} {
		tallies := get[[][]Tally](t)(l.Tallies(ctx, version, ivs...))
		for i, iv := range ivs {
			want := get[[]dg.StratumCount](t)(l.Counts(ctx, version, iv))
			var got []dg.StratumCount
			for _, x := range tallies[i] {
				got = append(got, x.StratumCount)
			}
			if len(want) == 0 || !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", iv, got, want)
			}
		}
	}
	sum := map[string]int{}
	for _, g := range get[[]GridTally](t)(l.Grid(ctx, "", dg.Interval{Start: t0, End: end}, 5*time.Minute)) {
		sum[g.ModelVersion] += g.Predictions
		cell := dg.Interval{Start: t0.Add(time.Duration(g.Cell) * 5 * time.Minute), End: t0.Add(time.Duration(g.Cell+1) * 5 * time.Minute)}
		if !cell.Contains(g.LastAt) {
			t.Errorf("cell %d holds %s", g.Cell, g.LastAt)
		}
	}
	if sum["v1"] != 250 || sum["v2"] != 250 {
		t.Errorf("grid holds %v, want 250 each", sum)
	}
}

func TestForeignLabels(t *testing.T) {
	ctx, l := t.Context(), open(t)
	clean := sample("a", t0, .9)
	clean.ModelVersion = ""
	must(t, l.SetForeignLabel(ctx, clean, "Trouser"))
	must(t, l.SetForeignLabel(ctx, clean, "Trouser"))
	iv := dg.Interval{Start: t0, End: t0.Add(1)}
	want := dg.StratumCount{Stratum: dg.Random, Predictions: 1, Labels: 1, Correct: 1,
		Moments: dg.Moments{F: 900, FF: 810_000, LabelF: 900, LabelFF: 810_000, LabelYF: 900_000, LabelYY: 1_000_000}}
	if got := get[[]dg.StratumCount](t)(l.Counts(ctx, "", iv)); len(got) != 1 || got[0] != want {
		t.Errorf("known from clean only: %+v, want %+v", got, want)
	}
	if n := get[[][]Tally](t)(l.Tallies(ctx, "", iv))[0][0].Known; n != 0 {
		t.Errorf("known in production %d, want 0", n)
	}
	moved := clean
	moved.LabelledAt = t0.Add(time.Hour)
	must(t, l.SetForeignLabel(ctx, moved, "Bag"))
	must(t, l.SetForeignLabel(ctx, clean, "Dress"))
	if r := get[Record](t)(l.Record(ctx, "a")); r.Label != "Bag" || r.Correct() {
		t.Errorf("label %q, want Bag: the later one counts", r.Label)
	}
	must(t, l.Captured(ctx, sample("a", t0, .9)))
	if r := get[Record](t)(l.Record(ctx, "a")); r.State != Labelled || !r.InProduction || r.ModelVersion != "v1" {
		t.Errorf("after production showed it: %+v", r)
	}
	must(t, l.Captured(ctx, sample("b", t0, .1)))
	must(t, l.Decide(ctx, []Decision{{ID: "b", Stratum: dg.LowConfidence, SamplingFraction: 1, Interval: t0, Selected: true}}))
	must(t, l.Answer(ctx, Answer{ID: "b", Label: "Bag", At: t0}))
	must(t, l.Move(ctx, Answer{ID: "b", Label: "Bag", At: t0}))
	must(t, l.SetForeignLabel(ctx, sample("b", t0, .1), "Bag"))
	if got := get[[]Answer](t)(l.Answers(ctx, t0)); len(got) != 1 || get[Record](t)(l.Record(ctx, "b")).State != Waiting {
		t.Error("a sample whose answer is being collected must be left to collect")
	}
	for name, s := range map[string]dg.Sample{"bad key": {Key: "x", Timestamp: t0}, "no timestamp": {Key: "class_00/x"}} {
		if err := l.SetForeignLabel(ctx, s, "Bag"); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
		if err := l.Captured(ctx, sample("fine", t0, .5), s); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
	if _, err := l.Record(ctx, "fine"); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("half a batch was entered: %v", err)
	}
}

// Every query must go by an index: a scan of the table grows with all traffic
// there ever was.
func TestEveryQueryGoesByIndex(t *testing.T) {
	onSQLite(t)
	ctx, l := t.Context(), open(t)
	spy := &planner{t: t, l: l}
	iv := dg.Interval{Start: t0, End: t0}
	hours := dg.Interval{Start: t0.Add(-time.Second), End: t0.Add(2*time.Hour + time.Second)}
	for _, q := range []struct {
		name, index string
		run         func() error
	}{
		{"Record", "autoindex_samples", func() error { _, err := l.Record(ctx, "a"); return ignore(err, dg.ErrNotFound) }},
		{"Records", "autoindex_samples", func() error { _, err := l.Records(ctx, "a", "b"); return err }},
		{"Uncurated", "samples_new", func() error { return last(l.Uncurated(ctx, t0)) }},
		{"LateFlags", "samples_late", func() error { return last(l.LateFlags(ctx, t0)) }},
		{"Unplaced", "samples_unplaced", func() error { return last(l.Unplaced(ctx)) }},
		{"Waiting", "samples_waiting", func() error { _, err := l.Waiting(ctx, 5); return err }},
		{"Labelled", "samples_labelled", func() error { return last(l.Labelled(ctx, iv)) }},
		{"Training", "samples_time (at", func() error { return last(l.Training(ctx, iv)) }},
		{"Counts", "SEARCH tallies USING PRIMARY KEY (width=? AND part=? AND cell>? AND cell<?)", func() error { _, err := l.Counts(ctx, "v", hours); return err }},
		{"Counts at the edges", "samples_version (model_version=? AND at", func() error { _, err := l.Counts(ctx, "v", hours); return err }},
		{"Counts at the edges, of all", "samples_time (at", func() error { _, err := l.Counts(ctx, "", hours); return err }},
		{"Counts around what is stale", "SEARCH stale USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)", func() error { _, err := l.Counts(ctx, "v", hours); return err }},
		{"Slices", "SEARCH tallies USING PRIMARY KEY (width=? AND part=? AND cell>? AND cell<?)", func() error { _, err := l.Slices(ctx, "v", hours); return err }},
		{"Grid", "SEARCH tallies USING PRIMARY KEY (width=? AND part=? AND cell>? AND cell<?)", func() error { _, err := l.Grid(ctx, "", dg.Interval{Start: t0, End: hours.End}, time.Hour); return err }},
		{"Figures", "sqlite_autoindex_figures_1 (model=? AND window_end", func() error { return last(l.Figures(ctx, "m", iv)) }},
		{"FeatureCells", "sqlite_autoindex_features_1 (model_version=? AND cell", func() error { _, err := l.FeatureCells(ctx, "v", iv); return err }},
		{"Picks", "samples_picks (model_version=? AND at", func() error { _, err := l.Picks(ctx, "v", iv); return err }},
		{"NextPrediction", "(model_version=? AND at", func() error { _, _, err := l.NextPrediction(ctx, "v", iv); return err }},
		{"Answers", "answers_at", func() error { _, err := l.Answers(ctx, t0); return err }},
		{"Events", "autoindex_events", func() error { _, err := l.Events(ctx, iv); return err }},
		{"AlarmSlots", "autoindex_alarm_slots", func() error { return last(l.AlarmSlots(ctx, "m", iv)) }},
	} {
		spy.explain(q.name, q.index, q.run)
	}
}

// last reads a stream to its end.
func last[T any](all iter.Seq2[T, error]) (err error) {
	for _, err = range all {
	}
	return err
}

func ignore(err, kind error) error {
	if errors.Is(err, kind) {
		return nil
	}
	return err
}

type planner struct {
	t *testing.T
	l *Ledger
}

// explain runs f with a reader that asks for each query's plan.
func (p *planner) explain(name, index string, f func() error) {
	p.t.Helper()
	var plans []string
	real := p.l.read
	defer func() { p.l.read = real }()
	db := sql.OpenDB(explaining{real, func(plan string) { plans = append(plans, plan) }})
	defer db.Close()
	p.l.read = db
	must(p.t, ignore(f(), sql.ErrNoRows)) // where one row is always answered
	if plan := strings.Join(plans, "; "); !strings.Contains(plan, index) {
		p.t.Errorf("%s goes by %q, want %s", name, plan, index)
	}
}

// What one writer and several readers do at once, all of it must come through.
func TestConcurrentUse(t *testing.T) {
	ctx, l := t.Context(), open(t)
	const writers, each = 4, 25
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := l.Captured(ctx, sample(fmt.Sprintf("%d-%d", w, i), t0, .5)); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range each {
				if _, err := l.Counts(ctx, "", dg.Interval{Start: t0, End: t0.Add(1)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := get[[]dg.StratumCount](t)(l.Counts(ctx, "", dg.Interval{Start: t0, End: t0.Add(1)})); len(got) != 1 || got[0].Predictions != writers*each {
		t.Errorf("counts = %v", got)
	}
}

func TestACancelledContextLeavesTheLedgerUsable(t *testing.T) {
	l := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Captured(ctx, sample("a", t0, .5)); !errors.Is(err, context.Canceled) {
		t.Errorf("Captured = %v", err)
	}
	must(t, l.Captured(t.Context(), sample("a", t0, .5)))
}
