package estimate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// differ makes n picks named by prefix, the first up of them 1, the next down -1.
func differ(prefix string, n, up, down int) []DifferencePick {
	out := make([]DifferencePick, n)
	for i := range out {
		out[i].ID = fmt.Sprint(prefix, i)
		switch {
		case i < up:
			out[i].Difference = 1
		case i < up+down:
			out[i].Difference = -1
		}
	}
	return out
}

func TestDifferencesDealIntoBlocks(t *testing.T) {
	for _, tt := range []struct {
		name   string
		strata []DifferenceStratum
		blocks int
		mean   float64
		open   float64
	}{
		{"nothing at all", nil, 0, 0, 1},
		{"predictions without a label", []DifferenceStratum{{Group: "r", Predictions: 100}}, 0, 0, 1},
		{"labels drawn alike are a block each", []DifferenceStratum{{Group: "r", Predictions: 100, Picks: differ("r", 20, 5, 1)}}, 20, .2, 0},
		{"a lone corrected image does not make one block of all", []DifferenceStratum{{Group: "r", Predictions: 990, Picks: differ("r", 60, 6, 0)}, {Group: "c", Predictions: 1, Picks: differ("c", 1, 0, 1)}}, 60, .99*.1*1000/991 - 1./991, 0},
		{"hard ones weigh little, and do not cost blocks", []DifferenceStratum{{Group: "r", Predictions: 900, Picks: differ("r", 30, 3, 0)}, {Group: "l", Predictions: 100, Picks: differ("l", 100, 0, 30)}}, 33, .9*.1 - .1*.3, 0},
		{"an interval without a label joins its reason", []DifferenceStratum{{Group: "r", Predictions: 500, Fraction: .02, Picks: differ("r", 10, 1, 0)}, {Group: "r", Predictions: 500, Fraction: .03}}, 10, .1, 0},
		{"it joins the nearest fraction", []DifferenceStratum{{Group: "r", Predictions: 100, Fraction: .9, Picks: differ("a", 90, 0, 0)}, {Group: "r", Predictions: 450, Fraction: .02, Picks: differ("b", 9, 9, 0)}, {Group: "r", Predictions: 450, Fraction: .03}}, 10, .9, 0},
		{"a small reason without a label counts as no difference", []DifferenceStratum{{Group: "r", Predictions: 960, Picks: differ("r", 19, 19, 0)}, {Group: "l", Predictions: 40}}, 19, .96, .04},
		{"a large one leaves the slot open", []DifferenceStratum{{Group: "r", Predictions: 800, Picks: differ("r", 20, 5, 0)}, {Group: "l", Predictions: 200}}, 0, 0, .2},
		{"more picks than predictions are a census", []DifferenceStratum{{Group: "r", Predictions: 2, Picks: differ("r", 4, 2, 0)}}, 4, .5, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			blocks, open := DealDifferences(tt.strata)
			if len(blocks) != tt.blocks {
				t.Fatalf("%d blocks, want %d", len(blocks), tt.blocks)
			}
			near(t, "open", open, tt.open, 1e-12)
			var mean float64
			for _, d := range blocks {
				mean += d / float64(len(blocks))
			}
			near(t, "mean", mean, tt.mean, 1e-12)
		})
	}
}

// TestDifferencesDealIsPinned keeps the digits of stored slots, which must
// replay to the same blocks.
func TestDifferencesDealIsPinned(t *testing.T) {
	blocks, _ := DealDifferences([]DifferenceStratum{
		{Group: "random", Predictions: 94, Picks: differ("random-", 5, 2, 1)}, {Group: "low", Predictions: 11, Picks: differ("low-", 11, 4, 1)},
	})
	if got, want := fmt.Sprintf("%x", blocks), "[0x0p+00 0x1.ca5ca5ca5ca5ep-01 0x1.8618618618619p-05 -0x1.ca5ca5ca5ca5ep-01 0x1.fb1fb1fb1fb22p-01]"; got != want {
		t.Errorf("blocks %s, were %s when slots were first stored", got, want)
	}
}

func FuzzDealDifferences(f *testing.F) {
	f.Add(uint64(1), uint8(3))
	f.Add(uint64(7), uint8(40))
	f.Fuzz(func(t *testing.T, seed uint64, n uint8) {
		rng := rand.New(rand.NewPCG(seed, 4))
		var strata []DifferenceStratum
		var total, want float64
		for i := range n {
			h := DifferenceStratum{Group: fmt.Sprint(rng.IntN(3)), Predictions: rng.IntN(500), Fraction: rng.Float64()}
			h.Picks = differ(fmt.Sprint(i, "-"), 1+rng.IntN(1<<rng.IntN(7)), 0, 0)
			var sum float64
			for j := range h.Picks {
				h.Picks[j].Difference = float64(rng.IntN(3) - 1)
				sum += h.Picks[j].Difference
			}
			w := float64(max(h.Predictions, len(h.Picks)))
			total += w
			want += w * sum / float64(len(h.Picks))
			strata = append(strata, h)
		}
		blocks, open := DealDifferences(strata)
		if n == 0 {
			return
		}
		var mean float64
		for _, d := range blocks {
			mean += d / float64(len(blocks))
			if math.Abs(d) > MaxBlock {
				t.Fatalf("block %g", d)
			}
		}
		if open != 0 || len(blocks) == 0 || math.Abs(mean-want/total) > 1e-9 {
			t.Fatalf("open %g, %d blocks, mean %g, want %g", open, len(blocks), mean, want/total)
		}
		for i := range strata {
			slices.Reverse(strata[i].Picks)
		}
		slices.Reverse(strata)
		if again, _ := DealDifferences(strata); len(again) != len(blocks) || again[0] != blocks[0] {
			t.Fatalf("another order deals otherwise: %v, %v", blocks, again)
		}
	})
}
