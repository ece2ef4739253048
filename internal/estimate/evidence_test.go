package estimate

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
)

func TestEvidenceIsTheMixtureOfEProcesses(t *testing.T) {
	rng := source("evidence")
	wrong, errors := make([]bool, 500), make([]float64, 500)
	for i := range wrong {
		if wrong[i] = rng.Float64() < .15; wrong[i] {
			errors[i] = 1
		}
	}
	want := mixtureEProcess(wrong, .1)
	var e Evidence
	near(t, "before the first block", e.E(), 1, 0)
	for i := 0; i < len(errors); {
		n := min(len(errors)-i, rng.IntN(7))
		e = e.Add(errors[i:i+n], .1)
		if i += n; i > 0 {
			near(t, "e-value", e.E(), want[i-1], 1e-9*want[i-1])
		}
	}
	low, high := ConfidenceSequence(e.Errors, 500, .05, sequenceBlocks)
	lower, upper := e.Sequence()
	if e.Blocks != 500 || lower != 1-high || upper != 1-low {
		t.Errorf("%d blocks, accuracy %g to %g, error %g to %g", e.Blocks, lower, upper, low, high)
	}
}

func TestEvidenceKeepsWhatItWasGiven(t *testing.T) {
	a := Evidence{}.Add([]float64{.2, .1}, .1)
	before := a.E()
	b := a.Add([]float64{1, 1}, .1)
	if a.E() != before || a.Blocks != 2 || b.Blocks != 4 || !(b.E() > before) {
		t.Errorf("%+v, then %+v", a, b)
	}
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	var c Evidence
	if err := json.Unmarshal(text, &c); err != nil || !reflect.DeepEqual(b, c) {
		t.Errorf("%s comes back as %+v: %v", text, c, err)
	}
	var none Evidence
	if l, u := none.Sequence(); l != 0 || u != 1 {
		t.Errorf("nothing seen: %g to %g", l, u)
	}
}

func TestEvidenceStaysFinite(t *testing.T) {
	all, none := make([]float64, 1000), make([]float64, 1000)
	for i := range all {
		all[i] = 1
	}
	var e, f Evidence
	for range 30 {
		e, f = e.Add(all, .01), f.Add(none, .99)
	}
	for _, x := range []Evidence{e, f} {
		l, u := x.Sequence()
		if v := x.E(); math.IsInf(v, 0) || math.IsNaN(v) || v < 0 || !(l >= 0 && l <= u && u <= 1) {
			t.Errorf("e-value %g, accuracy %g to %g", v, l, u)
		}
		if _, err := json.Marshal(x); err != nil {
			t.Error(err)
		}
	}
}

// TestEvidenceHoldsForShares looks after every slot at blocks that are neither
// right nor wrong: shares of people, and weighted means. At an error of exactly
// p0 both promises are for the whole run at once.
func TestEvidenceHoldsForShares(t *testing.T) {
	runs := 300
	if long {
		runs = 20000
	}
	for _, tt := range []struct {
		name string
		draw func(r float64) float64 // mean .1 for a uniform r
	}{
		{"right or wrong", func(r float64) float64 {
			if r < .1 {
				return 1
			}
			return 0
		}},
		{"thirds", func(r float64) float64 {
			switch {
			case r < .04:
				return 1
			case r < .10:
				return 2. / 3
			case r < .16:
				return 1. / 3
			}
			return 0
		}},
		{"anything up to a fifth", func(r float64) float64 { return r / 5 }},
	} {
		rng := source("shares " + tt.name)
		var left, fooled int
		for range runs {
			var e Evidence
			out, high := false, false
			for n := range 120 {
				slot := make([]float64, 5)
				for i := range slot {
					slot[i] = tt.draw(rng.Float64())
				}
				e = e.Add(slot, .1)
				high = high || e.E() >= 20
				if long || n%6 == 5 { // the sequence takes bisection
					l, u := e.Sequence()
					out = out || l > .9 || u < .9
				}
			}
			if out {
				left++
			}
			if high {
				fooled++
			}
		}
		a, b := float64(left)/float64(runs), float64(fooled)/float64(runs)
		t.Logf("%s: the sequence left the truth in %.4f, the e-value reached 20 in %.4f of %d runs", tt.name, a, b, runs)
		if limit := .05 + 3*math.Sqrt(.05*.95/float64(runs)); a > limit || b > limit {
			t.Errorf("%s: %.4f and %.4f, promised at most .05", tt.name, a, b)
		}
	}
}

func TestLossesOfSeveralPeopleWeighLess(t *testing.T) {
	slot := Slot{Strata: []SlotStratum{
		{Predictions: 80, Picks: []Pick{{ID: "a", Loss: 1. / 3}, {ID: "b"}}},
		{Predictions: 20, Picks: []Pick{{ID: "c", Loss: 1}, {ID: "d", Loss: .5}}},
	}}
	var mean float64
	errors := slot.Errors()
	for _, x := range errors {
		mean += x / float64(len(errors))
	}
	if len(errors) != 2 {
		t.Fatalf("%d blocks, want 2", len(errors))
	}
	near(t, "mean T", mean, .8*(1./6)+.2*.75, 1e-12)
}
