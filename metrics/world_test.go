package metrics

import (
	"cmp"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	refA = dg.ModelRef("sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
	refB = dg.ModelRef("sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a ledger, metrics over it, and a clock.
type world struct {
	t       testing.TB
	ledger  *ledger.Ledger
	metrics *Metrics
	now     time.Time
	n       int
}

func newWorld(t testing.TB, o Options) *world {
	t.Helper()
	l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"))
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return worldOn(t, l, o)
}

func worldOn(t testing.TB, l *ledger.Ledger, o Options) *world {
	w := &world{t: t, ledger: l, now: noon}
	o.Model, o.Now = "garments", func() time.Time { return w.now }
	w.metrics = New(o, l)
	return w
}

// batch is predictions of one stratum and curate interval.
type batch struct {
	version  dg.ModelRef
	stratum  dg.Stratum
	at       time.Time // of the predictions
	interval time.Time
	n, m, k  int // predictions, picked and labelled, right
	picked   int // more than m: picked, not labelled

	class      string  // predicted; Dress
	confidence float64 // .9
}

// fill enters batches as they stand after capture, curate and collect.
func (w *world) fill(bs ...batch) {
	w.t.Helper()
	var changes []ledger.Change
	for _, b := range bs {
		picked := max(b.m, b.picked)
		for i := range b.n {
			w.n++
			r := ledger.Record{InProduction: true, Placed: true, State: ledger.Noisy, Interval: b.interval, Selected: i < picked,
				Sample: dg.Sample{Key: fmt.Sprintf("class_03/%06d.png", w.n), PredictedClass: cmp.Or(b.class, "Dress"), Confidence: cmp.Or(b.confidence, .9),
					Timestamp: b.at, ModelVersion: b.version.Short(), Stratum: b.stratum, SamplingFraction: math.Max(1e-9, float64(picked)/float64(b.n))}}
			switch {
			case i < b.m:
				r.State, r.Label, r.LabelSource, r.LabelledAt = ledger.Labelled, r.PredictedClass, dg.HumanLabel, b.at.Add(10*time.Minute)
				if i >= b.k {
					r.Label = map[bool]string{true: "Coat", false: "Dress"}[r.PredictedClass != "Coat"]
				}
			case i < picked:
				r.State = ledger.Waiting
			}
			changes = append(changes, ledger.Change{ID: r.ID(), Next: &r})
		}
	}
	done, err := w.ledger.Apply(w.t.Context(), changes...)
	must(w.t, err)
	if slices.Contains(done, false) {
		w.t.Fatal("not all samples were entered")
	}
}

func worked(version dg.ModelRef) []batch {
	at := noon.Add(-time.Hour)
	return []batch{
		{version: version, stratum: dg.Random, at: at, interval: at, n: 9000, m: 300, k: 279},
		{version: version, stratum: dg.LowConfidence, at: at, interval: at, n: 800, m: 200, k: 120},
		{version: version, stratum: dg.Flagged, at: at, interval: at, n: 200, m: 100, k: 30},
	}
}

// sequential leaves a test out of -short, which the race detector runs with:
// SQLite is twenty times slower under it, and here one thing comes after the
// other.
func sequential(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("one thing after the other: nothing for the race detector")
	}
}

// snapshot refreshes.
func (w *world) snapshot() Snapshot {
	w.t.Helper()
	s, err := w.metrics.Refresh(w.t.Context())
	must(w.t, err)
	return s
}

// window is the state of one window of the newest snapshot.
func (w *world) window(d time.Duration) dg.Accuracy {
	w.t.Helper()
	a, ok := w.snapshot().Window(d)
	if !ok {
		w.t.Fatalf("no window %s", d)
	}
	return a
}

// restart is a new process on the same ledger.
func (w *world) restart(c dg.Champion) {
	w.metrics = New(w.metrics.o, w.ledger)
	w.metrics.SetChampion(c, nil)
}

func champion(ref dg.ModelRef, at time.Time) dg.Champion {
	return dg.Champion{Model: "garments", Version: ref, Generation: 1, PromotedAt: at}
}

func near(x, y, tolerance float64) bool { return math.Abs(x-y) <= tolerance }
