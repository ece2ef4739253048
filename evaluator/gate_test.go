package evaluator

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	dg "driftgate"
	"driftgate/internal/estimate"
)

// world is one simulated clean bucket: 3,000 predictions of a champion that is
// right in nine of ten, of which curate labels every low-confident and flagged
// one, most of them the champion's own errors, and 150 of the others.
func world(rng *rand.Rand, challenger float64) (pairs []Pair, population []dg.StratumCount) {
	const (
		predictions, random = 3000, 150
		champion            = .9
		lowWrong, lowRight  = .4, .04 // chance of a low confidence, by whether the champion errs
		flag                = .1      // chance that a user flags an error
		correlated          = .5      // share of images on which the challenger's fate hangs on the champion's
	)
	type image struct{ champion, challenger bool }
	strata := map[dg.Stratum][]image{}
	for range predictions {
		var im image
		im.champion = rng.Float64() < champion
		switch {
		case rng.Float64() >= correlated:
			im.challenger = rng.Float64() < challenger
		case challenger <= champion:
			im.challenger = im.champion && rng.Float64() < challenger/champion
		default:
			im.challenger = im.champion || rng.Float64() < (challenger-champion)/(1-champion)
		}
		low := lowWrong
		if im.champion {
			low = lowRight
		}
		switch {
		case rng.Float64() < low:
			strata[dg.LowConfidence] = append(strata[dg.LowConfidence], im)
		case !im.champion && rng.Float64() < flag:
			strata[dg.Flagged] = append(strata[dg.Flagged], im)
		default:
			strata[dg.Random] = append(strata[dg.Random], im)
		}
	}
	answer := func(right bool) string {
		if right {
			return "Bag"
		}
		return "Coat"
	}
	for _, stratum := range dg.Strata {
		images := strata[stratum]
		picked := images
		if stratum == dg.Random {
			rng.Shuffle(len(images), func(i, j int) { images[i], images[j] = images[j], images[i] })
			picked = images[:random]
		}
		for i, im := range picked {
			pairs = append(pairs, Pair{ID: fmt.Sprint(stratum, i), Stratum: stratum, Interval: noon, Label: "Bag", Champion: answer(im.champion), Challenger: answer(im.challenger)})
		}
		population = append(population, dg.StratumCount{Stratum: stratum, Interval: noon, Predictions: len(images), Selected: len(picked), Labels: len(picked)})
	}
	return pairs, population
}

// TestGateAgainstSelectionBias is why the gate weighs: on the same clean
// buckets plain McNemar promotes a challenger that is three points worse.
func TestGateAgainstSelectionBias(t *testing.T) {
	worse, equal, never := 300, 500, 0.
	if long {
		// No interval at 95% is never wrong: measured over 40,000 runs it was
		// wrong this way in 4 of 10,000, so 300 runs show none in nine seeds of
		// ten.
		worse, equal, never = 20000, 20000, .001
	}
	for _, tt := range []struct {
		name         string
		challenger   float64
		runs         int
		promoted     [2]float64 // share of runs promoted, from and to
		plainAtLeast float64    // share that plain McNemar over all labels promotes
	}{
		{"three points worse is never promoted, though McNemar would", .87, worse, [2]float64{0, never}, .99},
		// Promised at most .05; three standard errors are this count's own chance.
		{"an equal one is promoted in at most 5%", .90, equal, [2]float64{0, .05 + 3*math.Sqrt(.05*.95/float64(equal))}, .5},
		{"five points better has a chance", .95, 100, [2]float64{.3, 1}, .99},
		{"nine points better is promoted", .99, 100, [2]float64{.95, 1}, .99},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(20260102, uint64(1000*tt.challenger)))
			var verdicts [4]int
			plain := 0
			for range tt.runs {
				pairs, population := world(rng, tt.challenger)
				c := heldout(Gate{}, pairs, population)
				verdicts[c.Verdict]++
				if c.OnlyChallenger > c.OnlyChampion && estimate.McNemar(c.OnlyChampion, c.OnlyChallenger) < .05 {
					plain++
				}
			}
			share := func(n int) float64 { return float64(n) / float64(tt.runs) }
			t.Logf("%d runs: promote %.4f, reject %.4f, inconclusive %.4f; plain McNemar promotes %.4f", tt.runs,
				share(verdicts[dg.Promote]), share(verdicts[dg.Reject]), share(verdicts[dg.Inconclusive]), share(plain))
			if p := share(verdicts[dg.Promote]); p < tt.promoted[0] || p > tt.promoted[1] {
				t.Errorf("promoted in %.4f of the runs, want %.4f to %.4f", p, tt.promoted[0], tt.promoted[1])
			}
			if share(plain) < tt.plainAtLeast {
				t.Errorf("plain McNemar promotes in %.4f of the runs, expected at least %.2f: the world is not the one that this test is about", share(plain), tt.plainAtLeast)
			}
		})
	}
}
