package network

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestDecayShrinksWeightsAndLeavesBiasesAndNorms(t *testing.T) {
	for _, kind := range []string{SGD, Adam} {
		s := smallNorm
		w := moved(s, rand.New(rand.NewPCG(1, 1)))
		l := learner(t, s, 2, w, kind, OptimiserState{})
		b := batchOf(s, 2, rand.New(rand.NewPCG(2, 2)))
		plain := learner(t, s, 2, w, kind, OptimiserState{})
		const rate, decay = .1, .5
		if _, err := plain.Step(b, Optimiser{Kind: kind, LearningRate: rate}); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Step(b, Optimiser{Kind: kind, LearningRate: rate, WeightDecay: decay}); err != nil {
			t.Fatal(err)
		}
		without := plain.Weights()
		for i, got := range l.Weights() {
			for j, v := range got.Data {
				want := float64(without[i].Data[j])
				if len(got.Shape) > 1 {
					want -= rate * decay * float64(w[i].Data[j])
				}
				if math.Abs(float64(v)-want) > 1e-6 {
					t.Fatalf("%s: %s[%d] is %v, want %v", kind, got.Name, j, v, want)
				}
			}
		}
	}
}

func TestLongGradientsAreCutToMaxNorm(t *testing.T) {
	w := NewWeights(smallMLP, rand.New(rand.NewPCG(2, 2)))
	b := batchOf(smallMLP, 4, rand.New(rand.NewPCG(4, 4)))
	moved := func(maxNorm float64) (length float64) {
		l := learner(t, smallMLP, 4, w, SGD, OptimiserState{})
		if _, err := l.Step(b, Optimiser{LearningRate: 1, MaxNorm: maxNorm}); err != nil {
			t.Fatal(err)
		}
		for i, after := range l.Weights() {
			for j, v := range after.Data {
				length += math.Pow(float64(v-w[i].Data[j]), 2)
			}
		}
		return math.Sqrt(length)
	}
	free := moved(0)
	for _, limit := range []float64{free / 3, free / 50} {
		if got := moved(limit); math.Abs(got/limit-1) > 1e-3 {
			t.Errorf("max norm %g: the weights moved by %g", limit, got)
		}
	}
	if got := moved(2 * free); math.Abs(got-free) > 1e-9 {
		t.Errorf("a gradient of length %g was changed to %g by a limit of %g", free, got, 2*free)
	}
}
