package network

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func BenchmarkStep(b *testing.B) {
	for _, m := range []struct {
		name string
		spec Spec
	}{
		{"mlp", MLP(Flat(784), []int{512, 512}, 10)},
		{"cnn", CNN(Size{28, 28, 1}, CNNOptions{}, 10)},
		{"cnn-norm", CNN(Size{28, 28, 1}, CNNOptions{Convs: 2, BatchNorm: true, Dropout: .4}, 10)},
		{"mobilenet", MobileNet(Size{64, 64, 3}, .5, 10)},
	} {
		for _, batch := range []int{64, 256} {
			b.Run(fmt.Sprintf("%s/batch%d", m.name, batch), func(b *testing.B) {
				rng := rand.New(rand.NewPCG(1, 2))
				l := learner(b, m.spec, batch, NewWeights(m.spec, rng), SGD, OptimiserState{})
				data := batchOf(m.spec, batch, rng)
				for b.Loop() {
					if _, err := l.Step(data, Optimiser{LearningRate: 0.001, Momentum: 0.9}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "samples/s")
			})
		}
	}
}
