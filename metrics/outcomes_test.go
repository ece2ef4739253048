package metrics

import (
	"fmt"
	"strings"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
)

// Each thing that happens to predictions and labels has one outcome in the
// figures.
func TestEveryEventHasItsOutcome(t *testing.T) {
	sequential(t)
	at := noon.Add(-30 * time.Minute)
	random := func(n, m, k int) batch {
		return batch{version: refA, stratum: dg.Random, at: at, interval: at, n: n, m: m, k: k}
	}
	for _, tt := range []struct {
		name  string
		check func(w *world)
	}{
		{"a window over a promotion counts the new champion's predictions only", func(w *world) {
			old := random(100, 50, 25)
			old.version, old.at = refB, at.Add(-10*time.Minute)
			w.fill(old, random(100, 40, 36))
			w.figure(36, 40, 100, .9)
			a, err := w.metrics.AccuracyOf(w.t.Context(), refB.Short(), time.Hour, noon)
			must(w.t, err)
			if a.Labels != 50 || a.Predictions != 100 {
				w.t.Errorf("the version before keeps its own: %+v", a)
			}
		}},
		{"an empty stratum weighs nothing", func(w *world) {
			w.fill(random(100, 40, 36), batch{version: refA, stratum: dg.Flagged, at: at, interval: at, n: 10, m: 10, k: 4})
			a := w.figure(40, 50, 110, (.9*100+.4*10)/110)
			if len(a.Strata) != 2 || a.Note != "" {
				w.t.Errorf("strata %+v, note %q", a.Strata, a.Note)
			}
		}},
		{"a stratum without labels makes the figure partial and its bounds wider", func(w *world) {
			w.fill(random(100, 40, 36))
			narrow := w.figure(36, 40, 100, .9).Estimates[0]
			w.fill(batch{version: refA, stratum: dg.Corrected, at: at, interval: at, n: 100})
			wide := w.figure(36, 40, 200, .9).Estimates[0]
			if narrow.Partial || !wide.Partial || wide.Upper-wide.Lower < .5 {
				w.t.Errorf("%+v, then %+v", narrow, wide)
			}
		}},
		{"all right still has a lower bound", func(w *world) {
			w.fill(random(1000, 40, 40))
			if e := w.figure(40, 40, 1000, 1).Estimates[0]; e.Upper != 1 || e.Lower < .88 || e.Lower > .93 {
				w.t.Errorf("%+v", e)
			}
		}},
		{"all wrong still has an upper bound", func(w *world) {
			w.fill(random(1000, 40, 0))
			if e := w.figure(0, 40, 1000, 0).Estimates[0]; e.Lower != 0 || e.Upper < .07 || e.Upper > .12 {
				w.t.Errorf("%+v", e)
			}
		}},
		{"a census is certain", func(w *world) {
			w.fill(random(40, 40, 30))
			if e := w.figure(30, 40, 40, .75).Estimates[0]; e.Lower != .75 || e.Upper != .75 {
				w.t.Errorf("%+v", e)
			}
		}},
		{"a withdrawn label leaves the window, and no counter shrinks", func(w *world) {
			w.fill(random(100, 40, 36))
			w.withdraw("000001.png")
			w.figure(35, 39, 100, 35./39)
			if n := w.outcomes(); n != 40 {
				w.t.Errorf("%d labels were ever given, want 40", n)
			}
			must(w.t, w.ledger.Collected(w.t.Context(), ledger.Answer{ID: "000001.png", Label: "Coat", At: noon}))
			w.figure(35, 40, 100, 35./40)
			if n := w.outcomes(); n != 41 {
				w.t.Errorf("%d labels were ever given, want 41", n)
			}
		}},
		{"a duplicate label counts once, and the first stays", func(w *world) {
			w.fill(random(100, 40, 36))
			s := dg.Sample{Key: "class_03/000001.png", PredictedClass: "Dress", Confidence: .9, Timestamp: at, ModelVersion: refA.Short(), LabelledAt: noon}
			for range 2 {
				must(w.t, w.ledger.SetForeignLabels(w.t.Context(), ledger.ForeignLabel{Sample: s, Label: "Dress"}))
				must(w.t, w.ledger.Collected(w.t.Context(), ledger.Answer{ID: "000001.png", Label: "Dress", At: noon}))
			}
			w.figure(36, 40, 100, .9)
			if n := w.outcomes(); n != 40 {
				w.t.Errorf("%d labels were ever given, want 40", n)
			}
		}},
		{"a label for an unknown image is a labelled prediction of its own, and the note says so", func(w *world) {
			w.fill(random(100, 40, 36))
			s := dg.Sample{Key: "class_03/stranger.png", PredictedClass: "Dress", Confidence: .9, Timestamp: at, ModelVersion: refA.Short(), Stratum: dg.Random, LabelledAt: noon}
			must(w.t, w.ledger.SetForeignLabels(w.t.Context(), ledger.ForeignLabel{Sample: s, Label: "Coat"}))
			a := w.snapshot().Windows[0]
			if a.Predictions != 101 || a.Labels != 41 || !strings.Contains(a.Note, "1 labelled predictions are not in production") {
				w.t.Errorf("%+v", a)
			}
			if d := w.snapshot().Drift; d.ReferencePredictions != 100 { // the stranger is no fair sample of them
				w.t.Errorf("drift %+v", d)
			}
		}},
		{"a flag after the label moves the image to the flagged stratum, and it counts for the random one no more", func(w *world) {
			w.fill(random(100, 40, 36))
			s := dg.Sample{Key: "class_03/000001.png", PredictedClass: "Dress", Confidence: .9, Timestamp: at, ModelVersion: refA.Short(), Flagged: true}
			must(w.t, w.ledger.Captured(w.t.Context(), s))
			if a := w.figure(36, 40, 100, (99*35./39+1)/100); len(a.Strata) != 2 || a.Strata[0].Stratum != dg.Flagged || a.Strata[0].Labels != 1 {
				w.t.Errorf("strata %+v", a.Strata)
			}
		}},
		{"a prediction edited by hand stays what it was", func(w *world) {
			w.fill(random(100, 40, 36))
			s := dg.Sample{Key: "class_03/000001.png", PredictedClass: "Coat", Confidence: .1, Timestamp: at.Add(-24 * time.Hour), ModelVersion: refB.Short()}
			must(w.t, w.ledger.Captured(w.t.Context(), s))
			w.figure(36, 40, 100, .9)
		}},
		{"a late label revises its window", func(w *world) {
			b := random(100, 40, 36)
			b.picked = 41
			w.fill(b)
			w.now = noon.Add(20 * time.Minute)
			w.figure(36, 40, 100, .9)
			must(w.t, w.ledger.Collected(w.t.Context(), ledger.Answer{ID: "000041.png", Label: "Dress", At: w.now}))
			if a := w.figure(37, 41, 100, 37./41); !a.NewestLabelAt.Equal(w.now) {
				w.t.Errorf("newest label %s", a.NewestLabelAt)
			}
		}},
		{"people who disagree count by their shares", func(w *world) {
			b := random(100, 39, 36)
			b.picked = 40
			w.fill(b)
			must(w.t, w.ledger.Collected(w.t.Context(), ledger.Answer{ID: "000040.png", Label: "Coat", At: noon, Votes: dg.Votes{Agree: 1, Of: 3}}))
			w.figure(36, 40, 100, (36+.333)/40)
		}},
		{"a prediction of the future waits for its time", func(w *world) {
			ahead := random(10, 0, 0)
			ahead.at = noon.Add(90 * time.Minute)
			w.fill(random(100, 40, 36), ahead)
			w.figure(36, 40, 100, .9)
			w.now = noon.Add(2 * time.Hour)
			if a := w.window(time.Hour); a.Predictions != 10 {
				t.Errorf("two hours later %+v", a)
			}
		}},
		{"a clock that steps back shows the windows of its time again", func(w *world) {
			w.fill(random(100, 40, 36))
			w.now = noon.Add(3 * time.Hour)
			if a := w.window(time.Hour); a.Predictions != 0 {
				t.Errorf("three hours later %+v", a)
			}
			w.now = noon
			w.figure(36, 40, 100, .9)
			if r, err := w.metrics.Replay(w.t.Context(), dg.Interval{}); err != nil || r.Windows == 0 {
				t.Errorf("replay %+v, %v", r, err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, Options{Windows: []time.Duration{time.Hour, 6 * time.Hour}})
			w.metrics.SetChampion(champion(refA, at.Add(-time.Minute)), nil)
			tt.check(w)
		})
	}
}

// figure demands counts and headline of the shortest window, and that its
// slices agree.
func (w *world) figure(correct, labels, predictions int, accuracy float64) dg.Accuracy {
	w.t.Helper()
	a := w.snapshot().Windows[0]
	k := 0
	for _, s := range a.Strata {
		k += s.Correct
	}
	e, ok := a.Estimate(estimate.NameStratified)
	if !ok || k != correct || a.Labels != labels || a.Predictions != predictions || !near(e.Accuracy, accuracy, 1e-9) || e.Lower > e.Accuracy || e.Upper < e.Accuracy {
		w.t.Errorf("%d right of %d labels of %d predictions, %+v; want %d of %d of %d, %g", k, a.Labels, a.Predictions, e, correct, labels, predictions, accuracy)
	}
	sum := [3]int{}
	for _, s := range a.Slices {
		if s.By == ledger.ByClass {
			sum = [3]int{sum[0] + s.Correct, sum[1] + s.Labels, sum[2] + s.Predictions}
		}
	}
	if want := [3]int{correct, labels, predictions}; sum != want {
		w.t.Errorf("slices add up to %v, want %v", sum, want)
	}
	return a
}

// withdraw takes a label back, as the catalog does when its image is gone from
// the clean bucket.
func (w *world) withdraw(id string) {
	w.t.Helper()
	old, err := w.ledger.Record(w.t.Context(), id)
	must(w.t, err)
	next := old
	next.State, next.Placed, next.Label, next.LabelSource, next.LabelledAt, next.Votes = ledger.Waiting, false, "", "", time.Time{}, dg.Votes{}
	done, err := w.ledger.Apply(w.t.Context(), ledger.Change{ID: id, Old: &old, Next: &next})
	must(w.t, err)
	if fmt.Sprint(done) != "[true]" {
		w.t.Fatalf("withdraw %s: %v", id, done)
	}
}

// outcomes is how many labels were ever counted.
func (w *world) outcomes() (n int) {
	w.t.Helper()
	for _, o := range w.snapshot().Outcomes {
		n += o.Count
	}
	return n
}

// A label that comes and goes after its slot was closed changes the windows,
// and neither the slot nor the alarm.
func TestClosedSlotsStayWhatTheyWere(t *testing.T) {
	sequential(t)
	w := watched(t)
	w.hours(refA, 0, 5, 4)
	w.hour(8)
	w.advance()
	before := w.status()
	old, err := ledger.All(w.ledger.AlarmSlots(t.Context(), "garments", dg.Interval{}))
	must(t, err)
	for i := range 30 {
		w.withdraw(fmt.Sprintf("%06d.png", 60*4+i+1))
	}
	w.now = noon.Add(5 * time.Hour)
	if a := w.window(time.Hour); a.Labels != 10 {
		t.Errorf("the window has %d labels, want 10", a.Labels)
	}
	w.hour(9)
	w.advance()
	w.hour(7) // the clock steps back
	w.advance()
	now, err := ledger.All(w.ledger.AlarmSlots(t.Context(), "garments", dg.Interval{}))
	must(t, err)
	if fmt.Sprint(now) != fmt.Sprint(old) || w.status() != before || len(old) != 5 {
		t.Errorf("%d slots, were %d; %+v, was %+v", len(now), len(old), w.status(), before)
	}
	if r, err := w.metrics.Replay(t.Context(), dg.Interval{Start: noon.Add(3*time.Hour + 1), End: noon.Add(5 * time.Hour)}); err != nil || r.Slots != 1 {
		t.Errorf("replay of one slot %+v, %v", r, err)
	}
}
