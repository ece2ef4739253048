package estimate

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	dg "driftgate"
)

var newYear = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func loss(wrong bool) float64 {
	if wrong {
		return 1
	}
	return 0
}

// picks makes n picks named by prefix, the first wrong of them wrong.
func picks(prefix string, n, wrong int) []Pick {
	out := make([]Pick, n)
	for i := range out {
		out[i] = Pick{ID: fmt.Sprintf("%s%d", prefix, i), Loss: loss(i < wrong)}
	}
	return out
}

func TestSlotsDealIntoBlocks(t *testing.T) {
	for _, tt := range []struct {
		name   string
		strata []SlotStratum
		blocks int
		mean   float64 // of T, when all strata deal out evenly
	}{
		{"no predictions, no blocks", nil, 0, 0},
		{"nothing picked, no blocks", []SlotStratum{{Predictions: 100}}, 0, 0},
		{"one stratum, a block a pick", []SlotStratum{{Predictions: 100, Picks: picks("r", 5, 1)}}, 5, .2},
		{"the scarcest stratum sets the number", []SlotStratum{{Predictions: 90, Picks: picks("r", 5, 1)}, {Predictions: 10, Picks: picks("l", 10, 5)}}, 5, .9*.2 + .1*.5},
		{"strata picked completely join", []SlotStratum{{Predictions: 80, Picks: picks("r", 5, 0)}, {Predictions: 19, Picks: picks("l", 19, 8)}, {Predictions: 1, Picks: picks("c", 1, 1)}}, 5, .2 * .45},
		{"unpicked strata count as correct but keep their weight", []SlotStratum{{Predictions: 50, Picks: picks("r", 5, 5)}, {Predictions: 50}}, 5, .5},
		{"more picks than predictions are a census", []SlotStratum{{Predictions: 2, Picks: picks("r", 4, 2)}}, 4, .5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ts := Slot{Strata: tt.strata}.Errors()
			if len(ts) != tt.blocks {
				t.Fatalf("%d blocks, want %d", len(ts), tt.blocks)
			}
			var mean float64
			for _, x := range ts {
				mean += x / float64(len(ts))
			}
			if tt.blocks > 0 {
				near(t, "mean T", mean, tt.mean, 1e-12)
			}
		})
	}
	t.Run("the order of arrival does not matter", func(t *testing.T) {
		p := picks("r", 20, 7)
		a := Slot{Strata: []SlotStratum{{Predictions: 100, Picks: p}, {Predictions: 50, Picks: picks("l", 6, 2)}}}.Errors()
		q := slices.Clone(p)
		slices.Reverse(q)
		b := Slot{Strata: []SlotStratum{{Predictions: 100, Picks: q}, {Predictions: 50, Picks: picks("l", 6, 2)}}}.Errors()
		if !slices.Equal(a, b) {
			t.Errorf("%v, reversed %v", a, b)
		}
	})
}

// TestDealIsPinned keeps the digits of stored slots: they must replay to the
// same blocks for as long as there are any.
func TestDealIsPinned(t *testing.T) {
	slot := Slot{Strata: []SlotStratum{
		{Predictions: 94, Picks: picks("random-", 5, 2)}, {Predictions: 91, Picks: picks("later-", 7, 1)},
		{Predictions: 11, Picks: picks("low-", 11, 4)}, {Predictions: 1, Picks: picks("flagged-", 1, 1)},
	}}
	got := fmt.Sprintf("%x", slot.Errors())
	if want := "[0x1.4cab88725af6fp-05 0x1.74f44df833facp-01 0x1.f3014cab88726p-06 0x0p+00 0x1.03e602995710ep-01]"; got != want {
		t.Errorf("blocks %s, were %s when slots were first stored", got, want)
	}
}

// TestDetectorIsFair enumerates every outcome of a slot whose error is exactly
// p0: the expected evidence must grow by exactly the slot's length, whatever
// evidence there was, so the promise of years is kept to the letter.
func TestDetectorIsFair(t *testing.T) {
	const p0 = .11
	// 80% random at r, 20% low-confident at 3r, picked completely.
	r := p0 / (.8 + .2*3)
	d := Detector{P0: p0, ThresholdYears: 10}
	slot := Slot{Start: newYear, Length: Year / 100, Strata: []SlotStratum{{Predictions: 24, Picks: picks("r", 3, 0)}, {Predictions: 6, Picks: picks("l", 6, 0)}}}
	before := State{M: []float64{0, 1, 2, 3, .5, .25}, Walk: make([]float64, 6), Since: make([]time.Time, 6)}
	mean := make([]float64, len(deltas))
	for outcome := range 1 << 9 {
		chance := 1.0
		for h, rate := range []float64{r, 3 * r} {
			s := &slot.Strata[h]
			s.Picks = slices.Clone(s.Picks)
			for i := range s.Picks {
				s.Picks[i].Loss = float64(outcome >> (3*h + i) & 1)
				if s.Picks[i].Loss == 1 {
					chance *= rate
				} else {
					chance *= 1 - rate
				}
			}
		}
		after, result, err := d.Step(before, slot)
		if err != nil {
			t.Fatal(err)
		}
		if result.Blocks != 3 {
			t.Fatalf("%d blocks, want 3", result.Blocks)
		}
		for j, m := range after.M {
			if m < 0 {
				t.Fatalf("component %d fell to %g", j, m)
			}
			mean[j] += chance * m
		}
	}
	for j, m := range mean {
		near(t, fmt.Sprintf("component %d", j), m, before.M[j]+.01, 1e-12)
	}
}

func TestDetectorStep(t *testing.T) {
	d := Detector{P0: .1, ThresholdYears: 1}
	slot := Slot{Start: newYear, Length: 24 * time.Hour, Strata: []SlotStratum{{Predictions: 50, Picks: picks("r", 1, 1)}}}
	t.Run("one wrong pick by hand", func(t *testing.T) {
		s, r, err := d.Step(State{}, slot)
		if err != nil {
			t.Fatal(err)
		}
		w := 1 / 365.25
		var want float64
		for _, lambda := range []float64{.01 / .09, .02 / .09, .04 / .09, .08 / .09, .16 / .09, .32 / .09} {
			want += w * (1 + lambda*.9) / 6
		}
		near(t, "evidence", r.Evidence, want, 1e-15)
		if !r.Onset.Equal(newYear) || s.Slots != 1 {
			t.Errorf("onset %s after %d slots", r.Onset, s.Slots)
		}
	})
	t.Run("the biggest bet stays below 1/p0", func(t *testing.T) {
		for _, p0 := range []float64{.001, .1, .5, .9, .999} {
			for _, lambda := range (Detector{P0: p0}).lambdas() {
				if !(lambda > 0 && lambda*p0 <= .95+1e-12) {
					t.Errorf("p0 %g: lambda %g", p0, lambda)
				}
			}
		}
	})
	t.Run("an empty slot changes nothing", func(t *testing.T) {
		before, _, _ := d.Step(State{}, slot)
		after, r, err := d.Step(before, Slot{Start: newYear, Length: time.Hour, Strata: []SlotStratum{{Predictions: 7}}})
		if err != nil || r.Blocks != 0 || !slices.Equal(before.M, after.M) || after.Slots != before.Slots {
			t.Errorf("%+v, %+v, %v", after, r, err)
		}
	})
	t.Run("the given state is left alone", func(t *testing.T) {
		before, _, _ := d.Step(State{}, slot)
		m := slices.Clone(before.M)
		if _, _, err := d.Step(before, slot); err != nil || !slices.Equal(m, before.M) {
			t.Errorf("state changed from %v to %v (%v)", m, before.M, err)
		}
	})
	t.Run("a state survives JSON", func(t *testing.T) {
		a, _, _ := d.Step(State{}, slot)
		text, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var b State
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatal(err)
		}
		x, rx, _ := d.Step(a, slot)
		y, ry, _ := d.Step(b, slot)
		if !slices.Equal(x.M, y.M) || !rx.Onset.Equal(ry.Onset) {
			t.Errorf("after JSON %v, without %v", y, x)
		}
	})
	t.Run("evidence never overflows", func(t *testing.T) {
		var s State
		all := Slot{Start: newYear, Length: Year, Strata: []SlotStratum{{Predictions: 200, Picks: picks("r", 200, 200)}}}
		for range 20 {
			s, _, _ = d.Step(s, all)
		}
		if _, err := json.Marshal(s); err != nil || math.IsInf(s.Evidence(), 0) {
			t.Errorf("evidence %g: %v", s.Evidence(), err)
		}
	})
	for name, f := range map[string]func() error{
		"p0 of 0":             func() error { _, _, err := Detector{ThresholdYears: 1}.Step(State{}, slot); return err },
		"p0 of NaN":           func() error { _, _, err := Detector{P0: math.NaN(), ThresholdYears: 1}.Step(State{}, slot); return err },
		"no threshold":        func() error { _, _, err := Detector{P0: .1}.Step(State{}, slot); return err },
		"a slot of no length": func() error { _, _, err := d.Step(State{}, Slot{}); return err },
		"another grid":        func() error { _, _, err := d.Step(State{M: []float64{1}}, slot); return err },
	} {
		if err := f(); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%s: error %v, want ErrInvalid", name, err)
		}
	}
}

func TestOnsetNamesTheStart(t *testing.T) {
	rng := source("onset")
	d := Detector{P0: .12, ThresholdYears: 10}
	var early, late, n int
	for range 200 {
		const change = 60
		var s State
		for day := range 200 {
			rate := .10
			if day >= change {
				rate = .25
			}
			slot := Slot{Start: newYear.AddDate(0, 0, day), Length: 24 * time.Hour, Strata: []SlotStratum{{Predictions: 500, Picks: picks(fmt.Sprint(day, "-"), 40, binomial(rng, 40, rate))}}}
			next, r, err := d.Step(s, slot)
			if err != nil {
				t.Fatal(err)
			}
			if s = next; r.Crossed {
				n++
				if off := int(r.Onset.Sub(newYear).Hours()/24) - change; off < -7 {
					early++
				} else if off > 7 {
					late++
				}
				break
			}
		}
	}
	t.Logf("%d alarms of 200: onset more than a week early %d times, late %d times", n, early, late)
	if n < 195 || early+late > n/10 {
		t.Errorf("%d alarms, onset more than a week early %d times, late %d times: want nearly all, nearly right", n, early, late)
	}
}

// TestDetectionDelay logs what a deployment may hope for: 100 labels a day,
// p0 = .11, error .10 before the drop.
func TestDetectionDelay(t *testing.T) {
	runs := 60
	if long {
		runs = 1000
	}
	for _, tt := range []struct{ drop, atMost float64 }{{.03, 60}, {.05, 20}, {.10, 5}, {.20, 2}} {
		rng := source(fmt.Sprint("delay ", tt.drop))
		d := Detector{P0: .11, ThresholdYears: 10}
		var delays []float64
		for range runs {
			var s State
			for n := range 24 * 400 {
				rate := .10
				if n >= 24*30 {
					rate += tt.drop
				}
				// Hourly slots of four labels, everything labelled.
				slot := Slot{Start: newYear.Add(time.Duration(n) * time.Hour), Length: time.Hour, Strata: []SlotStratum{{Predictions: 4, Picks: picks("p", 4, binomial(rng, 4, rate))}}}
				next, r, err := d.Step(s, slot)
				if err != nil {
					t.Fatal(err)
				}
				if s = next; r.Crossed {
					if n >= 24*30 {
						delays = append(delays, float64(n-24*30)/24)
					}
					break
				}
			}
		}
		slices.Sort(delays)
		median := delays[len(delays)/2]
		t.Logf("drop of %.0f points: median delay %.1f days over %d runs", 100*tt.drop, median, len(delays))
		if median > tt.atMost {
			t.Errorf("drop of %.0f points: median delay %.1f days, want at most %g", 100*tt.drop, median, tt.atMost)
		}
	}
}

func FuzzDetector(f *testing.F) {
	f.Add(uint64(1), uint8(3), .1)
	f.Add(uint64(7), uint8(200), .9)
	f.Fuzz(func(t *testing.T, seed uint64, slots uint8, p0 float64) {
		d := Detector{P0: p0, ThresholdYears: 1}
		if d.Validate() != nil {
			return
		}
		rng := rand.New(rand.NewPCG(seed, 1))
		var s State
		for n := range slots {
			slot := Slot{Start: newYear.Add(time.Duration(n) * time.Hour), Length: time.Duration(1 + rng.Int64N(int64(Year)))}
			for range rng.IntN(5) {
				k := rng.IntN(12)
				slot.Strata = append(slot.Strata, SlotStratum{Predictions: rng.IntN(30), Picks: picks(fmt.Sprint(rng.Uint64()), k, rng.IntN(k+1))})
			}
			next, r, err := d.Step(s, slot)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range r.Errors {
				if !(x >= 0 && x <= 1+1e-12) {
					t.Fatalf("T = %g of %+v", x, slot)
				}
			}
			for j := range next.M {
				if !(next.M[j] >= 0 && next.M[j] <= maxEvidence) || next.Walk[j] < 0 || math.IsNaN(next.Walk[j]) {
					t.Fatalf("state %+v", next)
				}
			}
			s = next
		}
	})
}
