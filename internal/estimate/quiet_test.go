package estimate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	dg "driftgate"
)

// stand-in for one deployment: four slots a day, a quota of random picks, every
// low-confident image, some flagged; traffic goes up and down.
type deployment struct {
	rng    *rand.Rand
	factor float64 // error of the random stratum; four times that in the low one, most in the flagged
	id     int
	pool   []string
}

func newDeployment(rng *rand.Rand, errorRate float64) *deployment {
	d := &deployment{rng: rng, factor: errorRate / (.88 + .11*4 + .01*8)}
	for i := range 4096 { // ids come round: the deal only needs them distinct within a slot
		d.pool = append(d.pool, fmt.Sprintf("%08x", i*2654435761))
	}
	return d
}

func (d *deployment) slot(n int) Slot {
	total := 40 + d.rng.IntN(80)
	s := Slot{Start: newYear.Add(time.Duration(n) * 6 * time.Hour), Length: 6 * time.Hour}
	low, flagged := binomial(d.rng, total, .11), binomial(d.rng, total, .01)
	for i, h := range [][2]int{{total - low - flagged, 5}, {low, low}, {flagged, flagged}} {
		rate := d.factor * []float64{1, 4, 8}[i]
		ps := make([]Pick, min(h[0], h[1]))
		for j := range ps {
			d.id = (d.id + 1) % len(d.pool)
			ps[j] = Pick{ID: d.pool[d.id], Loss: loss(d.rng.Float64() < rate)}
		}
		s.Strata = append(s.Strata, SlotStratum{Predictions: h[0], Picks: ps})
	}
	return s
}

// reference collects labels until there are 300 and returns the bound.
func (d *deployment) reference() (upper float64, slots int) {
	var counts []dg.StratumCount
	labels := 0
	for labels < 300 {
		s := d.slot(slots)
		for i, h := range s.Strata {
			c := dg.StratumCount{Stratum: []dg.Stratum{dg.Random, dg.LowConfidence, dg.Flagged}[i], Interval: s.Start, Predictions: h.Predictions, Labels: len(h.Picks)}
			for _, p := range h.Picks {
				if p.Loss == 0 {
					c.Correct++
				}
			}
			labels += c.Labels
			counts = append(counts, c)
		}
		slots++
	}
	upper, _ = Reference(counts)
	return upper, slots
}

// TestQuietDeployments counts false alarms in deployments whose error never
// changes. With an error of exactly p0, the worst that counts as fine, at most
// y/c of them may alarm within y years; with p0 from the first 300 labels and
// no tolerance, the 2.5% of unlucky references come on top.
func TestQuietDeployments(t *testing.T) {
	const runs, years, threshold = 600, .25, 2.5
	slots := int(years * Year.Hours() / 6)
	limit := func(p float64) float64 { return p + 3*math.Sqrt(p*(1-p)/runs) } // of the count's own chance
	for _, tt := range []struct {
		name      string
		reference bool
		promise   float64
	}{
		{"error exactly p0", false, years / threshold},
		{"p0 from the first 300 labels", true, years/threshold + .025},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rng := source("quiet " + tt.name)
			alarms, mean := 0, 0.0
			for range runs {
				dep := newDeployment(rng, .10)
				p0, first := .10, 0
				if tt.reference {
					p0, first = dep.reference()
				}
				mean += p0 / runs
				d := Detector{P0: p0, ThresholdYears: threshold}
				var s State
				for n := first; n < first+slots; n++ {
					next, r, err := d.Step(s, dep.slot(n))
					if err != nil {
						t.Fatal(err)
					}
					if s = next; r.Crossed {
						alarms++
						break
					}
				}
			}
			rate := float64(alarms) / runs
			t.Logf("%d false alarms in %d quiet deployments of %g years at a threshold of %g years (%.3f; promised at most %.3f); mean p0 %.3f, true error .100",
				alarms, runs, years, threshold, rate, tt.promise, mean)
			if rate > limit(tt.promise) {
				t.Errorf("%.3f of the deployments raised a false alarm, promised at most %.3f", rate, tt.promise)
			}
			if !tt.reference && alarms == 0 {
				t.Error("not one false alarm at exactly p0: this test could not fail")
			}
		})
	}
}
