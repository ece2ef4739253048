package serving

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
)

var day = dg.Interval{Start: noon.Add(-12 * time.Hour), End: noon.Add(12 * time.Hour)}

// cells reads the sums of a version back.
func (w *world) cells(version string) map[time.Time]estimate.FeatureSums {
	w.t.Helper()
	found, err := w.ledger.FeatureCells(w.t.Context(), version, day)
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[time.Time]estimate.FeatureSums{}
	for _, c := range found {
		var sums estimate.FeatureSums
		if err := sums.UnmarshalBinary(c.Sums); err != nil {
			w.t.Fatal(err)
		}
		out[c.Cell] = sums
	}
	return out
}

// sumsOf is what testModel named ref adds up to over images of classes.
func sumsOf(ref dg.ModelRef, classes ...int) (sums estimate.FeatureSums) {
	phi := make([]float64, estimate.SketchSize)
	for _, class := range classes {
		sketchOf(ref, 3).Map(testFeatures(class), phi)
		sums.Add(phi)
	}
	return sums
}

func sameSums(a, b estimate.FeatureSums) bool {
	near := func(x, y float64) bool { return math.Abs(x-y) <= 1e-12 }
	return a.N == b.N && slices.EqualFunc(a.Sum, b.Sum, near) && slices.EqualFunc(a.Cross, b.Cross, near)
}

func TestFeaturesAreSummedByVersionAndTenMinutesOfEventTime(t *testing.T) {
	var now atomic.Pointer[time.Time]
	at := func(d time.Duration) { now.Store(new(noon.Truncate(time.Second).Add(d))) }
	at(0)
	w := newWorld(t, Options{Now: func() time.Time { return *now.Load() }, FeatureFlush: time.Hour})
	w.running()
	first, second := dg.ModelRef("sha256:0123456789abcdef"), dg.ModelRef("sha256:fedcba9876543210")
	w.predict(1, "a.png")
	at(9*time.Minute + 59*time.Second)
	w.predict(2, "a.png")
	w.predict(2, "a.png")
	w.install(testModel(second))
	w.predict(4, "a.png")
	at(10 * time.Minute)
	w.predict(5, "a.png")
	w.drain()
	start := noon.Truncate(time.Second)
	if got := w.cells(first.Short()); len(got) != 1 || !sameSums(got[start], sumsOf(first, 1, 2, 2)) {
		t.Errorf("the first model's cells: %v", got)
	}
	got := w.cells(second.Short())
	if len(got) != 2 || !sameSums(got[start], sumsOf(second, 4)) || !sameSums(got[start.Add(FeatureCell)], sumsOf(second, 5)) {
		t.Errorf("the second model's cells: %v", got)
	}
	if a, b := sumsOf(first, 1), sumsOf(second, 1); sameSums(a, b) {
		t.Error("two models share a sketch")
	}
}

func TestFeaturesComeWithinTheFlushIntervalAndWhenACellEnds(t *testing.T) {
	var minutes atomic.Int64
	for _, tt := range []struct {
		name  string
		flush time.Duration
		step  int64 // minutes between two predictions
		want  int   // predictions that the ledger has without being asked
	}{
		{"every flush interval", 10 * time.Millisecond, 0, 2},
		{"at the end of a cell", time.Hour, 10, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			minutes.Store(0)
			w := newWorld(t, Options{FeatureFlush: tt.flush, Now: func() time.Time { return noon.Add(time.Duration(minutes.Load()) * time.Minute) }})
			w.running()
			w.predict(1, "a.png")
			minutes.Add(tt.step)
			w.predict(2, "a.png")
			deadline := time.Now().Add(10 * time.Second)
			for {
				n := 0
				for _, sums := range w.cells("0123456789ab") {
					n += sums.N
				}
				if n == tt.want {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("the ledger has %d predictions, want %d", n, tt.want)
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
}

func TestFeaturesOutliveARestartAndALedgerThatIsAway(t *testing.T) {
	var broken atomic.Bool
	w := newWorldWith(t, Options{FeatureFlush: time.Millisecond}, func(s ObjectStore) ObjectStore { return s },
		func(l Ledger) Ledger { return failingBooks{l, broken.Load} })
	ref, cell := dg.ModelRef("sha256:0123456789abcdef"), dg.Slot(noon, FeatureCell).Start
	stop := w.running()
	w.predict(1, "a.png")
	stop() // hands over what it has
	if got := w.cells(ref.Short()); !sameSums(got[cell], sumsOf(ref, 1)) {
		t.Fatalf("after Run: %v", got)
	}
	broken.Store(true)
	if err := func() error { w.predict(2, "a.png"); return w.features.flush(t.Context()) }(); err == nil {
		t.Fatal("no error from a ledger that is away")
	}
	w.predict(3, "a.png")
	broken.Store(false)
	if err := w.features.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.cells(ref.Short()); !sameSums(got[cell], sumsOf(ref, 1, 2, 3)) {
		t.Errorf("after the outage: %d predictions, want 3", got[cell].N)
	}

	// Sums that nobody can read give way.
	err := w.ledger.PutFeatures(t.Context(), ledger.FeatureCell{ModelVersion: ref.Short(), Cell: cell},
		func([]byte) ([]byte, error) { return []byte("torn"), nil })
	if err != nil {
		t.Fatal(err)
	}
	w.predict(4, "a.png")
	if err := w.features.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.cells(ref.Short()); !sameSums(got[cell], sumsOf(ref, 4)) {
		t.Errorf("after torn sums: %v", got)
	}
}

func TestFeaturesAreBoundedInMemory(t *testing.T) {
	lost := 0
	f := newFeatures(failingBooks{nil, func() bool { return true }}, func(n int) { lost += n })
	sketch := sketchOf("sha256:aaa", 3)
	for i := range 2 * maxFeatureCells {
		for range 3 {
			f.add("aaa", noon.Add(time.Duration(i)*FeatureCell), sketch, testFeatures(i))
		}
		if err := f.flush(t.Context()); err == nil {
			t.Fatal("no error from a ledger that is away")
		}
	}
	if len(f.pending) != maxFeatureCells || lost != 3*maxFeatureCells {
		t.Errorf("%d cells kept, %d predictions lost; want %d and %d", len(f.pending), lost, maxFeatureCells, 3*maxFeatureCells)
	}
	for key := range f.pending {
		if key.cell.Before(noon.Add((maxFeatureCells - 1) * FeatureCell)) {
			t.Errorf("the cell of %s is kept, and a newer one is not", key.cell)
		}
	}
	f.add("aaa", noon, nil, nil) // a model without features
	f.add("aaa", noon, sketch, make([]float32, 2))
	if len(f.pending) != maxFeatureCells {
		t.Error("what is no feature was counted")
	}
}

func TestFeaturesOfConcurrentPredictionsAddUp(t *testing.T) {
	var fail atomic.Int64
	var mu sync.Mutex
	stored := map[string][]byte{}
	f := newFeatures(noBooks{}, func(n int) { t.Errorf("lost %d", n) })
	f.put = func(_ context.Context, c ledger.FeatureCell, merge func([]byte) ([]byte, error)) error {
		if fail.Add(1)%3 == 0 {
			return errors.New("database is locked")
		}
		mu.Lock()
		defer mu.Unlock()
		key := fmt.Sprint(c.ModelVersion, c.Cell)
		if old, ok := stored[key]; ok {
			var err error
			if c.Sums, err = merge(old); err != nil {
				return err
			}
		}
		stored[key] = c.Sums
		return nil
	}
	sketch := sketchOf("sha256:aaa", 3)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 500 {
				f.add("aaa", noon.Add(time.Duration(i%3)*FeatureCell), sketch, testFeatures(i))
				if i%20 == g {
					_ = f.flush(context.Background())
				}
			}
		})
	}
	wg.Wait()
	for f.flush(t.Context()) != nil {
	}
	var all estimate.FeatureSums
	for _, b := range stored {
		var sums estimate.FeatureSums
		if err := sums.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		if err := all.Merge(sums); err != nil {
			t.Fatal(err)
		}
	}
	if all.N != 2000 || len(stored) != 3 {
		t.Errorf("%d predictions in %d cells, want 2000 in 3", all.N, len(stored))
	}
}

// noBooks is a ledger of which nothing is asked.
type noBooks struct{ Ledger }

func (noBooks) PutFeatures(context.Context, ledger.FeatureCell, func([]byte) ([]byte, error)) error {
	return nil
}

func BenchmarkFeatures(b *testing.B) {
	f := newFeatures(noBooks{}, func(int) {})
	sketch, seen := sketchOf("sha256:aaa", 64), make([]float32, 64)
	for i := range seen {
		seen[i] = float32(i)
	}
	b.ReportAllocs()
	for b.Loop() {
		f.add("aaa", noon, sketch, seen)
	}
}
