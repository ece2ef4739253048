package network

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func BenchmarkStep(b *testing.B) {
	for _, hidden := range [][]int{{128, 64}, {256, 128}} {
		for _, batch := range []int{64, 128} {
			b.Run(fmt.Sprintf("hidden%v/batch%d", hidden, batch), func(b *testing.B) {
				s := MLP(Flat(784), hidden, 10)
				rng := rand.New(rand.NewPCG(1, 2))
				l, err := NewLearner(s, batch, NewWeights(s, rng), nil)
				if err != nil {
					b.Fatal(err)
				}
				labels := make([]int, batch)
				for i := range labels {
					labels[i] = rng.IntN(10)
				}
				for i := range l.Input() {
					l.Input()[i] = rng.Float32()
				}
				for b.Loop() {
					if _, err := l.Step(labels, nil, SGD{LearningRate: 0.01, Momentum: 0.9}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "samples/s")
			})
		}
	}
}
