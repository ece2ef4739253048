package metrics

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
)

// someInputs are inputs as a ledger could have counted them.
func someInputs(rng *rand.Rand) windowInputs {
	counts := func(intervals int) (out []dg.StratumCount) {
		for _, s := range dg.Strata {
			for i := range intervals {
				c := dg.StratumCount{Stratum: s, Interval: noon.Add(time.Duration(i) * 30 * time.Minute)}
				if rng.IntN(9) == 0 {
					c.Interval = time.Time{}
				}
				for range rng.IntN(20) {
					f, labelled, agree := int64(rng.IntN(1001)), rng.IntN(3) == 0, int64(rng.IntN(4))*1000/3
					c.Predictions++
					c.F, c.FF = c.F+f, c.FF+f*f
					if !labelled {
						continue
					}
					c.Selected++
					c.Labels++
					right := int64(0)
					if agree >= 500 {
						right = 1
						c.Correct++
					}
					c.LabelF, c.LabelFF, c.LabelYF, c.LabelYY = c.LabelF+f, c.LabelFF+f*f, c.LabelYF+f*agree, c.LabelYY+agree*agree
					c.Dissent += agree - 1000*right
				}
				if c.Predictions > 0 {
					out = append(out, c)
				}
			}
		}
		return join(out)
	}
	in := windowInputs{Version: "v", Start: noon, End: noon.Add(time.Duration(1+rng.IntN(5)) * time.Hour), MinLabels: 1 + rng.IntN(40), Counts: counts(4), Earlier: pool(counts(4))}
	for range rng.IntN(4) {
		in.Slices = append(in.Slices, sliceInputs{By: ledger.ByClass, Value: fmt.Sprint("class ", len(in.Slices)), Counts: counts(2)})
	}
	if rng.IntN(3) > 0 {
		in.Known = 10
		in.Newest = noon.Add(time.Duration(rng.IntN(100)) * time.Second)
	}
	if rng.IntN(2) == 0 {
		in.Reference = estimate.Rectifier{Mean: rng.Float64() - .5, SE: rng.Float64() / 10, Labels: 300}
	}
	return in
}

func TestInputsAreStoredToTheLastDigit(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	gaps, partial := 0, 0
	for i := range 300 {
		in := someInputs(rng)
		if i == 0 {
			in = windowInputs{Start: noon, End: noon.Add(time.Hour)}
		}
		b, err := in.encode()
		must(t, err)
		got, err := decodeWindow(b)
		must(t, err)
		x, y := in.figures(), got.figures()
		if !reflect.DeepEqual(x, y) {
			t.Fatalf("case %d:\n%+v\n%+v", i, x, y)
		}
		if _, err := json.Marshal(x); err != nil { // nothing is NaN or infinite
			t.Fatal(err)
		}
		if x.Gap != nil {
			gaps++
		}
		for _, e := range x.Estimates {
			if !(e.Lower <= e.Accuracy && e.Accuracy <= e.Upper && e.Lower >= 0 && e.Upper <= 1) {
				t.Errorf("case %d: %+v", i, e)
			}
			if e.Partial {
				partial++
			}
		}
	}
	if gaps == 0 || gaps > 250 || partial == 0 {
		t.Errorf("%d gaps and %d partial figures: the cases are too alike", gaps, partial)
	}
}

func FuzzDecodeWindow(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 3 {
		b, err := someInputs(rng).encode()
		must(f, err)
		f.Add([]byte(b))
	}
	f.Add([]byte(`{"rules":1,"counts":{"strata":["random","random"],"sums":[[1],null,null,null,null,null,null,null,null,null,null,null]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := decodeWindow(b)
		if err != nil {
			if !errors.Is(err, dg.ErrInvalid) {
				t.Errorf("%v: want invalid", err)
			}
			return
		}
		for _, e := range in.figures().Estimates {
			if math.IsNaN(e.Accuracy + e.Lower + e.Upper + e.StandardError) {
				t.Errorf("%+v", e)
			}
		}
	})
}

// Slices divide the window: every prediction is in one class, and in one band
// when it has a confidence.
func TestSlicesAddUpToTheWindow(t *testing.T) {
	sequential(t)
	w := newWorld(t, Options{MinLabels: 10})
	at := noon.Add(-time.Minute)
	confidences := []float64{.2, .49, .5, .65, .7, .88, .9, .97, .989, .99, 1}
	for i, f := range confidences {
		class := []string{"Coat", "Dress", "Bag"}[i%3]
		w.fill(batch{version: refA, stratum: dg.Random, at: at, interval: noon.Add(-time.Hour), n: 12, m: 6, k: i % 7, class: class, confidence: f},
			batch{version: refA, stratum: dg.Random, at: at, interval: noon.Add(-30 * time.Minute), n: 3, m: 1, k: 1, class: class, confidence: f})
	}
	a, err := w.metrics.AccuracyOf(t.Context(), refA.Short(), time.Hour, noon)
	must(t, err)
	var names []string
	sums := map[string][3]int{}
	for _, s := range a.Slices {
		names = append(names, s.Value)
		n := sums[s.By]
		sums[s.By] = [3]int{n[0] + s.Predictions, n[1] + s.Labels, n[2] + s.Correct}
		if s.Labels >= 10 != (len(s.Estimates) == len(estimate.Names)) {
			t.Errorf("%s with %d labels has %d figures", s.Value, s.Labels, len(s.Estimates))
		}
	}
	correct := 0
	for _, s := range a.Strata {
		correct += s.Correct
	}
	want := [3]int{a.Predictions, a.Labels, correct}
	if sums["class"] != want || sums["confidence"] != want || a.Predictions != 15*len(confidences) {
		t.Errorf("classes %v, bands %v, window %v", sums["class"], sums["confidence"], want)
	}
	if got := fmt.Sprint(names); got != "[Bag Coat Dress 0.00-0.50 0.50-0.70 0.70-0.90 0.90-0.99 0.99-1.00]" {
		t.Errorf("slices %s", got)
	}
	for _, s := range a.Slices {
		if s.Value == "0.50-0.70" && (s.Predictions != 30 || s.Labels != 14) {
			t.Errorf("%+v: .50 lies in it, .70 does not", s)
		}
	}
	if e := a.Slices[2].Estimates[0]; e.Estimator != estimate.NameStratified || e.Partial {
		t.Errorf("a slice's headline %+v", e)
	}
}

func TestFigureBandsAreMadeOfTheLedgers(t *testing.T) {
	for _, edge := range figureBands {
		found := false
		for _, b := range ledger.ConfidenceBands {
			found = found || b == edge
		}
		if !found {
			t.Errorf("%g is no edge of %v: bands cannot be joined to it", edge, ledger.ConfidenceBands)
		}
	}
}

func TestAThousandClassesAreNotAThousandSeries(t *testing.T) {
	var parts []ledger.SliceTally
	for i := range 1000 {
		n := 10 + (i*7)%1000
		parts = append(parts, ledger.SliceTally{By: ledger.ByClass, Value: fmt.Sprintf("%03d", i), Band: -1, Predictions: n,
			Tallies: []ledger.Tally{{StratumCount: dg.StratumCount{Stratum: dg.Random, Predictions: n}}}})
	}
	var in windowInputs
	in.setSlices(parts)
	if len(in.Slices) != maxClasses {
		t.Fatalf("%d slices", len(in.Slices))
	}
	for i, s := range in.Slices {
		if s.Counts[0].Predictions < 910 || (i > 0 && s.Value <= in.Slices[i-1].Value) {
			t.Errorf("%s with %d predictions: want the largest, by name", s.Value, s.Counts[0].Predictions)
		}
	}
}

// What the model believes of itself and what people say must part when the
// world changes under it, and the gap must name the calibration it began with.
func TestTheGapOpensWhenTheWorldChangesUnderTheModel(t *testing.T) {
	sequential(t)
	w := watched(t, func(o *AlarmOptions) { o.ReferenceLabels = 100 })
	hour := func(h, n, k int) {
		at := noon.Add(time.Duration(h) * time.Hour)
		w.fill(batch{version: refA, stratum: dg.Random, at: at.Add(time.Minute), interval: at, n: n + 20, m: n, k: k, confidence: .95})
	}
	hour(0, 100, 90) // .90 against a promised .95: the calibration is five points off
	hour(1, 100, 90)
	w.hour(3)
	w.advance()
	a := w.window(time.Hour)
	if a.Gap != nil || a.Labels != 0 {
		t.Errorf("a window without labels has a gap: %+v", a.Gap)
	}
	w.hour(2)
	a = w.window(time.Hour)
	if a.Gap == nil || !near(a.Gap.Reference, -.05, 1e-9) || !near(a.Gap.Difference, 0, 1e-9) || a.Gap.Significant || a.Gap.Labels != 100 {
		t.Fatalf("no change, gap %+v", a.Gap)
	}
	if e, ok := a.Estimate(estimate.NameExpected); !ok || !near(e.Accuracy, .95, 1e-9) || e.Lower > .9 {
		t.Errorf("expected %+v: its bounds must know that the calibration was off", e)
	}
	hour(3, 100, 75)
	w.hour(4)
	a = w.window(time.Hour)
	if a.Gap == nil || !near(a.Gap.Difference, -.15, 1e-9) || !a.Gap.Significant || a.Gap.Upper >= 0 {
		t.Errorf("fifteen points lost, gap %+v", a.Gap)
	}
	w.metrics.SetChampion(champion(refB, w.now), nil)
	if other, err := w.metrics.AccuracyOf(t.Context(), refA.Short(), time.Hour, w.now); err != nil || other.Gap == nil {
		t.Errorf("the reference is still known of the version that made it: %+v, %v", other.Gap, err)
	}
	w.advance()
	if other, err := w.metrics.AccuracyOf(t.Context(), refA.Short(), time.Hour, w.now); err != nil || other.Gap != nil {
		t.Errorf("the reference of another version: %+v, %v", other.Gap, err)
	}
}
