package metrics

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
)

// drifting is a world whose champion needs a hundred predictions for its
// reference, and looks each hour at the last two.
func drifting(t *testing.T) *world {
	w := newWorld(t, Options{Drift: DriftOptions{ReferencePredictions: 100, Every: time.Hour, Window: 2 * time.Hour, MinPredictions: 50}})
	w.metrics.SetChampion(champion(refA, noon.Add(10*time.Minute)), dg.Classes{"Dress", "Coat"})
	return w
}

// predict enters predictions of one hour: n of them, coats of them coats.
func (w *world) predict(h, n, coats int, confidence float64) {
	w.t.Helper()
	at := noon.Add(time.Duration(h)*time.Hour + 30*time.Minute)
	w.fill(batch{version: refA, stratum: dg.Random, at: at, interval: at, n: n - coats, confidence: confidence},
		batch{version: refA, stratum: dg.Random, at: at, interval: at, n: coats, class: "Coat", confidence: confidence})
}

func TestInputsAreComparedWithTheChampionsFirstWholeHours(t *testing.T) {
	sequential(t)
	w := drifting(t)
	w.fill(batch{version: refA, stratum: dg.Random, at: noon, interval: noon, n: 500, class: "Coat"}, // before its promotion
		batch{version: refB, stratum: dg.Random, at: noon.Add(time.Hour), interval: noon, n: 500, class: "Coat"}) // of another
	w.predict(0, 60, 30, .95)
	w.now = noon.Add(59 * time.Minute)
	if d := w.snapshot().Drift; d.ReferencePredictions != 0 || d.Complete || d.ReferenceNeeded != 100 || d.Window != "2h" || !d.End.IsZero() {
		t.Errorf("no hour is whole yet: %+v", d)
	}
	w.hour(1)
	if d := w.snapshot().Drift; d.ReferencePredictions != 60 || d.Complete {
		t.Errorf("one hour: %+v", d)
	}
	w.predict(1, 70, 35, .95)
	w.predict(2, 80, 40, .95)
	w.predict(3, 90, 45, .95)
	w.now = noon.Add(3*time.Hour + 5*time.Minute) // all hours at once: the reference still ends with the second
	d := w.snapshot().Drift
	if !d.Complete || d.ReferencePredictions != 130 || !d.Start.Equal(noon.Add(2*time.Hour)) || !d.End.Equal(noon.Add(3*time.Hour)) {
		t.Fatalf("reference %+v, want the 130 predictions of two hours, and a first look at the third", d)
	}
	level := estimate.Level(time.Hour, estimate.Year)
	want, err := estimate.MixDrift([]int{40, 40}, []int{65, 65}, level)
	must(t, err)
	if got := d.Tests[TestClassMix]; got != want || got.Exceeded() || got.Reference != 130 || got.Predictions != 80 {
		t.Errorf("class mix %+v, want %+v", got, want)
	}
	if got, ok := d.Tests[TestConfidence]; !ok || got.Score != 0 || got.Threshold <= 0 {
		t.Errorf("confidence %+v", got)
	}
	if _, ok := d.Tests[TestFeatures]; ok {
		t.Error("features were compared, and there were none")
	}
	w.predict(4, 100, 98, .55) // another world
	w.hour(5)
	d = w.snapshot().Drift
	mix, conf := d.Tests[TestClassMix], d.Tests[TestConfidence]
	if !mix.Exceeded() || mix.Predictions != 190 || !conf.Exceeded() || conf.PValue > level {
		t.Errorf("after the change %+v", d)
	}
	got := gather(t, w.metrics)
	if v := got[`driftgate_input_drift_score{model="garments",test="class_mix"}`]; v != mix.Score {
		t.Errorf("exported %g, want %g", v, mix.Score)
	}
}

// One look each hop is what the thresholds are made for.
func TestAHopIsLookedAtOnce(t *testing.T) {
	sequential(t)
	w := drifting(t)
	w.predict(0, 120, 60, .95)
	w.predict(1, 60, 30, .95)
	w.hour(2)
	first := w.snapshot().Drift
	if len(first.Tests) == 0 {
		t.Fatal("no look")
	}
	w.predict(1, 500, 500, .95) // captured late
	w.now = w.now.Add(30 * time.Minute)
	check := func(when string) {
		t.Helper()
		d := w.snapshot().Drift
		if d.Tests[TestClassMix] != first.Tests[TestClassMix] || !d.End.Equal(first.End) || !d.Complete || d.ReferencePredictions != 120 {
			t.Errorf("%s: %+v, first look %+v", when, d, first)
		}
	}
	check("late predictions")
	w.restart(w.metrics.serving().Champion)
	check("after a restart")
	w.hour(1)
	check("the clock stepped back")
	w.hour(3)
	if d := w.snapshot().Drift; d.Tests[TestClassMix].Predictions != 560 || !d.Tests[TestClassMix].Exceeded() {
		t.Errorf("the next hop sees them: %+v", d)
	}
}

func TestTooFewPredictionsGiveNoScoreAndAreTriedAgain(t *testing.T) {
	sequential(t)
	w := drifting(t)
	w.predict(0, 120, 60, .95)
	w.predict(1, 49, 20, .95)
	w.hour(2)
	if d := w.snapshot().Drift; len(d.Tests) != 0 || !d.Complete || !d.End.Equal(w.now) {
		t.Errorf("49 predictions: %+v", d)
	}
	w.predict(1, 1, 0, .95)
	if d := w.snapshot().Drift; d.Tests[TestClassMix].Predictions != 50 {
		t.Errorf("50 predictions: %+v", d)
	}
	w.hour(9)
	if d := w.snapshot().Drift; len(d.Tests) != 0 {
		t.Errorf("an old score in an hour without predictions: %+v", d)
	}
}

func TestAnotherChampionMakesItsOwnReference(t *testing.T) {
	sequential(t)
	w := drifting(t)
	w.predict(0, 120, 60, .95)
	w.predict(1, 60, 30, .95)
	w.hour(2)
	w.snapshot()
	w.metrics.SetChampion(champion(refB, noon.Add(2*time.Hour)), nil)
	if d := w.snapshot().Drift; d.Complete || d.ReferencePredictions != 0 || len(d.Tests) != 0 || !d.End.IsZero() {
		t.Errorf("another version: %+v", d)
	}
	w.metrics.SetChampion(champion(refA, noon.Add(2*time.Hour)), nil) // the same again, by rollback
	w.predict(2, 110, 0, .95)
	w.hour(3)
	if d := w.snapshot().Drift; !d.Complete || d.ReferencePredictions != 110 {
		t.Errorf("promoted anew: %+v", d)
	}
	w.metrics.SetChampion(dg.Champion{}, nil)
	if d := w.snapshot().Drift; d.Complete || len(d.Tests) != 0 {
		t.Errorf("without a champion: %+v", d)
	}
}

func TestFeaturesAreComparedByTheirSums(t *testing.T) {
	sequential(t)
	w := drifting(t)
	sketch := estimate.NewSketch(8, 7)
	rng := rand.New(rand.NewPCG(3, 4))
	put := func(h int, shift float32) {
		t.Helper()
		w.predict(h, 120, 60, .95)
		var sums estimate.FeatureSums
		phi, x := make([]float64, estimate.SketchSize), make([]float32, 8)
		for range 120 {
			for i := range x {
				x[i] = float32(rng.NormFloat64()) + 1
			}
			x[0] += shift
			sketch.Map(x, phi)
			sums.Add(phi)
		}
		b, err := sums.MarshalBinary()
		must(t, err)
		must(t, w.ledger.PutFeatures(t.Context(), ledger.FeatureCell{ModelVersion: refA.Short(), Cell: noon.Add(time.Duration(h) * time.Hour), Sums: b},
			func([]byte) ([]byte, error) { t.Error("a cell twice"); return nil, nil }))
	}
	put(0, 0)
	put(1, 0)
	w.hour(2)
	d := w.snapshot().Drift.Tests[TestFeatures]
	if d.Predictions != 120 || d.Reference != 120 || d.Exceeded() || d.Score <= 0 {
		t.Errorf("the same inputs: %+v", d)
	}
	put(4, 6)
	w.hour(5)
	d = w.snapshot().Drift.Tests[TestFeatures]
	if d.Predictions != 120 || !d.Exceeded() {
		t.Errorf("other inputs: %+v", d)
	}
	must(t, w.ledger.PutFeatures(t.Context(), ledger.FeatureCell{ModelVersion: refA.Short(), Cell: noon.Add(5 * time.Hour), Sums: []byte("not sums")}, nil))
	w.predict(5, 60, 30, .95)
	w.hour(6)
	if d := w.snapshot().Drift; d.Tests[TestFeatures].Predictions != 120 || d.Tests[TestClassMix].Predictions != 180 {
		t.Errorf("a broken cell: %+v", d)
	}
}

// A drift reference that cannot be read costs a new one, not the figures.
func TestABrokenReferenceIsMadeAnew(t *testing.T) {
	sequential(t)
	for _, body := range []string{`"text"`, `{"model_version":"aaaaaaaaaaaa","started":"2026-03-01T12:10:00Z","reference":{"bands":[1,2]}}`} {
		w := drifting(t)
		must(t, w.ledger.SetDriftReference(t.Context(), "garments", json.RawMessage(body)))
		w.predict(0, 120, 60, .95)
		w.hour(1)
		if d := w.snapshot().Drift; !d.Complete || d.ReferencePredictions != 120 {
			t.Errorf("%s: %+v", body, d)
		}
	}
}
