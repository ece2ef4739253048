package trainer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	dg "driftgate"
	"driftgate/internal/dataset"
)

func TestBalanceEvensOutTheClasses(t *testing.T) {
	uneven := func() *material {
		m := &material{base: dataset.Set{Classes: dg.Classes{"a", "b", "c"}}}
		for i := range 110 {
			label := 0
			if i >= 80 {
				label = 1
			}
			if i >= 108 {
				label = 2
			}
			m.train.add([]byte{0}, label, 1, fmt.Sprint(i), baseSource)
		}
		return m
	}
	for _, by := range []string{ByWeights, BySamples} {
		for how, want := range map[string][]float64{Equal: {1. / 3, 1. / 3, 1. / 3}, Sqrt: {0.571, 0.338, 0.090}, None: {0.727, 0.255, 0.018}} {
			t.Run(how+" by "+by, func(t *testing.T) {
				m := uneven()
				o := DefaultOptions()
				o.Balance, o.BalanceBy = how, by
				m.draws = m.balance(o)
				var mass [3]float64
				order := epochOrder(nil, &m.train, m.draws, rand.New(rand.NewPCG(1, 1)))
				for _, i := range order {
					mass[m.train.labels[i]] += float64(m.train.weights[i])
				}
				total := mass[0] + mass[1] + mass[2]
				for c := range want {
					if math.Abs(mass[c]/total-want[c]) > 0.01 || math.Abs(m.account.Sampling.After[c]-want[c]) > 0.01 {
						t.Errorf("class %d has %.3f of the weight, the account says %.3f, want %.3f", c, mass[c]/total, m.account.Sampling.After[c], want[c])
					}
				}
				a := m.account.Sampling
				if (a.Repeated > 0) != (by == BySamples && how != None) || math.Abs(a.Before[0]-0.727) > 0.001 {
					t.Errorf("account %+v", a)
				}
			})
		}
	}
	// A class with one sample is not repeated for ever.
	m := &material{base: dataset.Set{Classes: dg.Classes{"a", "b"}}}
	for i := range 1001 {
		m.train.add([]byte{0}, min(1, i/1000), 1, fmt.Sprint(i), baseSource)
	}
	if draws := m.balance(Options{Sampling: Sampling{Balance: Equal, BalanceBy: BySamples}}); draws[1] != 20 {
		t.Errorf("draws %v, want 20 of the lonely one", draws)
	}
}

func TestReplayEvenly(t *testing.T) {
	for _, tt := range []struct {
		sizes []int
		want  int
		out   []int
	}{
		{[]int{60, 30, 10}, 30, []int{10, 10, 10}}, {[]int{60, 30, 10}, 60, []int{25, 25, 10}}, {[]int{60, 30, 10}, 100, []int{60, 30, 10}},
		{[]int{5, 0, 5}, 5, []int{3, 0, 2}}, {[]int{5, 5}, 0, []int{0, 0}},
	} {
		if got := evenly(tt.sizes, tt.want); !slices.Equal(got, tt.out) {
			t.Errorf("%d of %v: %v, want %v", tt.want, tt.sizes, got, tt.out)
		}
	}
}

func TestClassWeightsMultiplyWhatBalanceLeft(t *testing.T) {
	m := &material{base: dataset.Set{Classes: dg.Classes{"a", "b", "c"}}}
	for i := range 40 {
		m.train.add([]byte{0}, i%4%3, 1, fmt.Sprint(i), baseSource) // a twice as often
	}
	m.valid.add([]byte{0}, 1, 2, "v", baseSource)
	m.draws = m.balance(Options{Sampling: Sampling{Balance: Equal}})
	m.weighClasses(map[string]float64{"b": 4})
	mass := normalised(classWeights(&m.train, 3))
	for c, want := range []float64{1. / 6, 4. / 6, 1. / 6} {
		if math.Abs(mass[c]-want) > 1e-6 || math.Abs(m.account.Sampling.After[c]-want) > 1e-6 {
			t.Errorf("class %d has %.3f of the weight, the account says %.3f, want %.3f", c, mass[c], m.account.Sampling.After[c], want)
		}
	}
	if w := m.valid.weights[0]; w < 4*2 {
		t.Errorf("a validation sample weighs %g: judged otherwise than trained", w)
	}
}
