package network

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"driftgate/internal/kernel"
)

// benched are the networks whose speed is watched.
var benched = []struct {
	name string
	spec Spec
}{
	{"mlp", MLP(Size{28, 28, 1}, []int{512, 512}, 10)},
	{"cnn", CNN(Size{28, 28, 1}, CNNOptions{}, 10)},
	{"mobilenet", MobileNet(Size{32, 32, 3}, 0.5, 10)},
}

func BenchmarkInfer(b *testing.B) {
	for _, path := range kernel.Paths() {
		for _, net := range benched {
			rng := rand.New(rand.NewPCG(1, 2))
			w := NewWeights(net.spec, rng)
			for _, n := range []int{1, 8, 64, 128} {
				b.Run(fmt.Sprintf("%v/%s/%d", path, net.name, n), func(b *testing.B) {
					defer kernel.Force(path)()
					p := newPlan(net.spec, w)
					in, out := samples{x: normal(n*p.inputs, rng)}, make([]float32, n*p.classes)
					b.ReportAllocs()
					for b.Loop() {
						p.run(in, n, out, nil)
					}
					b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "samples/s")
					b.ReportMetric(2e-9*float64(p.work)*float64(b.N*n)/b.Elapsed().Seconds(), "GFLOP/s")
				})
			}
		}
	}
}
