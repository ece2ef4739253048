package estimate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// simulatedDelay is the median number of blocks to the alarm after a change, one
// stratum of which every prediction is picked, one block a pick.
func simulatedDelay(t *testing.T, d Detector, before, after, blocksPerYear float64, runs int) float64 {
	t.Helper()
	const perSlot = 25
	length := time.Duration(perSlot / blocksPerYear * float64(Year))
	var delays []float64
	for run := range runs {
		r := rand.New(rand.NewPCG(uint64(run), 7))
		var s State
		id := 0
		step := func(errorRate float64) bool {
			picks := make([]Pick, perSlot)
			for i := range picks {
				id++
				picks[i].ID = fmt.Sprint(run, "-", id)
				if r.Float64() < errorRate {
					picks[i].Loss = 1
				}
			}
			next, out, err := d.Step(s, Slot{Start: time.Unix(0, 0), Length: length, Strata: []SlotStratum{{Predictions: perSlot, Picks: picks}}})
			if err != nil {
				t.Fatal(err)
			}
			s = next
			if out.Crossed {
				s = State{}
			}
			return out.Crossed
		}
		for range 120 {
			step(before)
		}
		n := 0
		for !step(after) {
			n++
		}
		delays = append(delays, float64(n*perSlot))
	}
	slices.Sort(delays)
	return delays[len(delays)/2]
}

// TestTheDelayToHopeForIsNotTooGood holds the closed form against the detector.
func TestTheDelayToHopeForIsNotTooGood(t *testing.T) {
	d := Detector{P0: .11, ThresholdYears: 10}
	const perYear = 100 * 365.25
	for _, after := range []float64{.16, .20, .30} {
		want, got := d.DetectionDelay(after, perYear), simulatedDelay(t, d, .10, after, perYear, 60)
		t.Logf("error .10 -> %.2f: closed form %.0f blocks, simulated median %.0f", after, want, got)
		if ratio := got / want; !(ratio > .5 && ratio < 1.05) {
			t.Errorf("error %.2f: simulated median %.0f blocks, closed form %.0f: want between half of it and it", after, got, want)
		}
	}
}

func TestTheDelayToHopeForFallsWithTheDropAndHasNoneAtP0(t *testing.T) {
	d := Detector{P0: .12, ThresholdYears: 10}
	last := math.Inf(1)
	for e := .12; e <= 1; e += .01 {
		now := d.DetectionDelay(e, 36525)
		if now > last || math.IsNaN(now) || now <= 0 {
			t.Fatalf("error %.2f: %g blocks after %g for a smaller drop", e, now, last)
		}
		last = now
	}
	for _, none := range []float64{d.DetectionDelay(.12, 36525), d.DetectionDelay(.05, 36525), d.DetectionDelay(math.NaN(), 36525), d.DetectionDelay(.2, 0), Detector{}.DetectionDelay(.2, 100)} {
		if !math.IsInf(none, 1) {
			t.Errorf("%g blocks where nothing can be hoped for", none)
		}
	}
}
