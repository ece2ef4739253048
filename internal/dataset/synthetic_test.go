package dataset

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	dg "driftgate"
)

func TestSyntheticIsSeeded(t *testing.T) {
	o := SyntheticOptions{Seed: 11, Train: 60, Test: 30}
	a, b := Synthetic(o), Synthetic(o)
	if a.Fingerprint() != b.Fingerprint() {
		t.Error("the same seed gives another set")
	}
	o.Seed++
	if c := Synthetic(o); c.Fingerprint() == a.Fingerprint() {
		t.Error("another seed gives the same set")
	}
	if r := Validate(a, Rules{MinTrain: 60, MinPerClass: 6}); r.Err() != nil || r.Doubles+r.Leaked > 0 {
		t.Errorf("%+v", r)
	}
}

func TestLargerSyntheticSetsBeginWithTheSmaller(t *testing.T) {
	a := Synthetic(SyntheticOptions{Seed: 11, Train: 25, Test: 10})
	b := Synthetic(SyntheticOptions{Seed: 11, Train: 80, Test: 40})
	if !bytes.HasPrefix(b.Train.Pixels, a.Train.Pixels) || !slices.Equal(a.Train.Labels, b.Train.Labels[:25]) || !bytes.HasPrefix(b.Test.Pixels, a.Test.Pixels) {
		t.Error("the first images differ")
	}
	if bytes.HasPrefix(b.Train.Pixels, b.Test.Pixels[:Side*Side]) {
		t.Error("training and test split begin with the same image")
	}
}

func TestSyntheticClassesAreEvenOrMixedAsAsked(t *testing.T) {
	even := Synthetic(SyntheticOptions{Seed: 1, Train: 70})
	for i := 0; i < 70; i += 10 {
		if got := slices.Sorted(slices.Values(even.Train.Labels[i : i+10])); !slices.Equal(got, []uint16{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
			t.Errorf("images %d to %d: classes %v, want each once", i, i+9, got)
		}
	}
	mix := []float64{0, 1, 0, 0, 0, 0, 0, 0, 3, 0}
	mixed := Synthetic(SyntheticOptions{Seed: 1, Train: 2000, Drift: Drift{Mix: mix}})
	count := [10]int{}
	for _, l := range mixed.Train.Labels {
		count[l]++
	}
	if count[1]+count[8] != 2000 || math.Abs(float64(count[8])-1500) > 100 {
		t.Errorf("classes %v, want a quarter of 1 and three quarters of 8", count)
	}
}

func TestDriftValidateReportsEveryFaultAtOnce(t *testing.T) {
	d := Drift{Rotation: math.NaN(), NewStyles: 1.5, Noise: -1, Mix: []float64{-1, 0}}
	err := d.Validate()
	if !errors.Is(err, dg.ErrInvalid) {
		t.Fatalf("got %v, want ErrInvalid", err)
	}
	for _, want := range []string{"rotation NaN", "new_styles 1.5", "noise -1", "2 weights", "mix weight -1", "at least one weight"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not reported in: %v", want, err)
		}
	}
	if err := (Drift{Rotation: 90, Invert: true, NewStyles: 1, Noise: 0.5, Mix: make([]float64, 10)}).Validate(); err == nil || strings.Contains(err.Error(), "rotation") {
		t.Errorf("got %v, want only the weights refused", err)
	}
	if err := (Drift{}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestDriftApply(t *testing.T) {
	in := []byte{
		1, 2, 3,
		4, 5, 6,
		7, 8, 9,
	}
	for _, tt := range []struct {
		name string
		d    Drift
		want []byte
	}{
		{"none", Drift{}, in},
		{"a quarter turn, clockwise", Drift{Rotation: 90}, []byte{7, 4, 1, 8, 5, 2, 9, 6, 3}},
		{"a half turn", Drift{Rotation: 180}, []byte{9, 8, 7, 6, 5, 4, 3, 2, 1}},
		{"a quarter turn back", Drift{Rotation: -90}, []byte{3, 6, 9, 2, 5, 8, 1, 4, 7}},
		{"a whole turn", Drift{Rotation: 360}, in},
		{"inversion", Drift{Invert: true}, []byte{254, 253, 252, 251, 250, 249, 248, 247, 246}},
		{"turned, then inverted", Drift{Rotation: 90, Invert: true}, []byte{248, 251, 254, 247, 250, 253, 246, 249, 252}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := slices.Clone(in)
			if got := tt.d.Apply(in, 3, 3, nil); !bytes.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if !bytes.Equal(in, before) {
				t.Error("the image itself was changed")
			}
		})
	}
}

func TestDriftApplySlantedAndNoisy(t *testing.T) {
	flat := bytes.Repeat([]byte{120}, 40*40)
	slanted := Drift{Rotation: 45}.Apply(flat, 40, 40, nil)
	if slanted[20*40+20] != 120 || slanted[0] != 0 {
		t.Errorf("centre %d, corner %d; want 120, and black from outside", slanted[20*40+20], slanted[0])
	}
	noisy := Drift{Noise: 0.1}.Apply(flat, 40, 40, rand.New(rand.NewPCG(1, 2)))
	sum, squares := 0.0, 0.0
	for _, v := range noisy {
		d := float64(v) - 120
		sum += d
		squares += d * d
	}
	n := float64(len(noisy))
	if sd := math.Sqrt(squares / n); math.Abs(sum/n) > 2 || sd < 23 || sd > 28 {
		t.Errorf("mean shift %.2f, standard deviation %.2f; want 0 and 25.5", sum/n, sd)
	}
	again := Drift{Noise: 0.1}.Apply(flat, 40, 40, rand.New(rand.NewPCG(1, 2)))
	if !bytes.Equal(noisy, again) {
		t.Error("the same seed gives other noise")
	}
}

func TestEveryGarmentCanBeSeen(t *testing.T) {
	for class, label := range dg.FashionMNIST {
		for _, d := range []Drift{{}, {NewStyles: 1}} {
			seen := map[string]bool{}
			for i := range 100 {
				px := Garment(class, d, rand.New(rand.NewPCG(uint64(i), 3)))
				lit, border := 0, 0
				for k, v := range px {
					if v > 15 {
						lit++
						if x, y := k%Side, k/Side; x == 0 || y == 0 || x == Side-1 || y == Side-1 {
							border++
						}
					}
				}
				if len(px) != Side*Side || lit < 15 || lit > 700 || border > 50 {
					t.Errorf("%s %d, %+v: %d pixels lit, %d of them on the border", label, i, d, lit, border)
				}
				seen[string(px)] = true
			}
			if len(seen) != 100 {
				t.Errorf("%s, %+v: only %d of 100 differ", label, d, len(seen))
			}
		}
	}
}

// TestGarmentsAreWorthLearning proves that the set is neither trivial nor
// hopeless: a linear model stays clearly below a small network, whose errors
// are those of look-alikes; that drift hurts; and that 600 labelled images of
// the drifted kind beside 3,000 old ones make good for most of it.
func TestGarmentsAreWorthLearning(t *testing.T) {
	if testing.Short() {
		t.Skip("trains four small models: some ten seconds")
	}
	const rate, hidden = 0.02, 128
	set := Synthetic(SyntheticOptions{Seed: 1, Train: 6000, Test: 2000})
	train, test := firstOf(set.Train, 6000), firstOf(set.Test, 2000)

	linear := newLearner(Side*Side, 0, 10)
	linear.train(train, 8, rate/2)
	network := newLearner(Side*Side, hidden, 10)
	network.train(train, 8, rate)
	low, high := linear.accuracy(test), network.accuracy(test)
	t.Logf("linear %.3f, network %.3f", low, high)
	if low < 0.70 || low > 0.88 || high < 0.87 || high > 0.95 {
		t.Errorf("linear %.3f, network %.3f; want about .8 and .9", low, high)
	}
	if high-low < 0.04 {
		t.Errorf("the network is %.1f points above the linear model, want at least 4", 100*(high-low))
	}

	for name, d := range map[string]Drift{"rotated": {Rotation: 90}, "inverted": {Invert: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drifted := Synthetic(SyntheticOptions{Seed: 2, Train: 600, Test: 1500, Drift: d})
			labelled, later := firstOf(drifted.Train, 600), firstOf(drifted.Test, 1500)
			before := network.accuracy(later)
			mixed := firstOf(set.Train, 3000)
			for range 3 { // a human label weighs three times
				mixed = mixed.plus(labelled)
			}
			again := newLearner(Side*Side, hidden, 10)
			again.train(mixed, 9, rate)
			after, old := again.accuracy(later), again.accuracy(test)
			t.Logf("before %.3f, after %.3f, on garments as they were %.3f", before, after, old)
			if high-before < 0.25 {
				t.Errorf("accuracy falls by %.1f points, want over 25", 100*(high-before))
			}
			if high-after > 0.12 || high-old > 0.12 {
				t.Errorf("after retraining %.3f, and %.3f on garments as they were; want at most 12 points below %.3f", after, old, high)
			}
		})
	}
}
