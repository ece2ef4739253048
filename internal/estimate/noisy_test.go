package estimate

import (
	"errors"
	"math"
	"slices"
	"testing"

	dg "driftgate"
)

func TestConfidentLearning(t *testing.T) {
	t.Run("several confident classes go to the likeliest, none to none", func(t *testing.T) {
		n, err := ConfidentLearning([]int{0, 1, 0, 1}, [][]float64{{.5, .5, 0}, {.45, .4, .15}, {.5, .4, .1}, {.1, .3, .6}})
		if err != nil {
			t.Fatal(err)
		}
		// t = .5, .35: sample 0 is confident of both and equally, so of the
		// first; sample 1 of 1 only; sample 3 of none, as nothing is known of 2.
		if !slices.Equal(n.Joint[0], []int{2, 0, 0}) || !slices.Equal(n.Joint[1], []int{0, 1, 0}) || n.Suspects != nil || n.Thresholds[2] != 0 {
			t.Errorf("%+v", n)
		}
	})
	t.Run("flipped labels are found", func(t *testing.T) {
		rng := source("flipped")
		var labels, flipped []int
		var p [][]float64
		for i := range 600 {
			truth, row := rng.IntN(3), []float64{.1, .1, .1}
			row[truth] = .8
			for j := range row {
				row[j] += rng.Float64() / 10
			}
			label := truth
			if i%10 == 0 {
				label = (truth + 1) % 3
				flipped = append(flipped, i)
			}
			labels, p = append(labels, label), append(p, normal(row))
		}
		n, err := ConfidentLearning(labels, p)
		innocent := slices.ContainsFunc(n.Suspects, func(i int) bool { return !slices.Contains(flipped, i) })
		if err != nil || innocent || len(n.Suspects) < 55 {
			t.Errorf("suspects %v, want nearly all of %v and no other: %v", n.Suspects, flipped, err)
		}
	})
	for name, tt := range map[string]struct {
		labels []int
		p      [][]float64
		want   error
	}{
		"nothing":         {nil, nil, dg.ErrTooFewSamples},
		"a row missing":   {[]int{0, 1}, [][]float64{{1, 0}}, dg.ErrInvalid},
		"a ragged row":    {[]int{0, 1}, [][]float64{{1, 0}, {1}}, dg.ErrInvalid},
		"a label outside": {[]int{2}, [][]float64{{1, 0}}, dg.ErrInvalid},
		"no probability":  {[]int{0}, [][]float64{{math.NaN(), 0}}, dg.ErrInvalid},
	} {
		if n, err := ConfidentLearning(tt.labels, tt.p); !errors.Is(err, tt.want) {
			t.Errorf("%s: %+v, %v, want %v", name, n, err, tt.want)
		}
	}
}

// normal scales a row to sum to 1.
func normal(row []float64) []float64 {
	var sum float64
	for _, x := range row {
		sum += x
	}
	for i := range row {
		row[i] /= sum
	}
	return row
}

func TestBurnRefusesNonsense(t *testing.T) {
	for _, c := range [][3]float64{{0, .9, .5}, {1, 90, .5}, {1, 1, .5}, {1, .9, 0}, {math.NaN(), .9, .5}} {
		if rate, err := BurnErrorRate(c[0], c[1], c[2]); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%v: %g, %v, want ErrInvalid", c, rate, err)
		}
	}
	if BurnFactor(.02, 0, day) != 0 {
		t.Error("no window should give no factor")
	}
}
