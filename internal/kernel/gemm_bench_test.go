package kernel

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// peak is what the threads do together with nothing but multiply-adds on the best
// path, the best of some tries, GFLOP/s.
func peak() float64 {
	defer Force(Paths()[0])()
	const flops = 20e6
	var best float64
	for range 50 {
		began := time.Now()
		Parallel(Threads(), func(int) { Peak(flops) })
		best = max(best, float64(Threads())*flops/time.Since(began).Seconds()/1e9)
	}
	return best
}

// share runs f, that does so many floating-point operations, and reports the
// best run beside the peak: the mean would tell of the machine's other work.
func share(b *testing.B, flops int, f func()) {
	defer Busy()()
	top, best := peak(), time.Hour
	for b.Loop() {
		began := time.Now()
		f()
		best = min(best, time.Since(began))
	}
	rate := float64(flops) / best.Seconds() / 1e9
	b.ReportMetric(rate, "GFLOP/s")
	b.ReportMetric(100*rate/top, "%peak")
}

// BenchmarkGemm is the products of an MLP's training (forward, gradient of the
// input, of the weights), of pointwise convolutions, and of one sample.
func BenchmarkGemm(b *testing.B) {
	type product struct {
		name   string
		s      shape
		aT, bT bool
	}
	products := []product{{"square", shape{512, 512, 512}, false, false}, {"row", shape{1, 512, 784}, false, false}}
	layer := func(name string, m, in, out int) {
		products = append(products,
			product{name + "/forward", shape{m, out, in}, false, false},
			product{name + "/input", shape{m, in, out}, false, true},
			product{name + "/weights", shape{in, out, m}, true, false})
	}
	for _, m := range []int{64, 128} {
		layer("dense", m, 784, 512)
		layer("dense", m, 512, 512)
		layer("dense", m, 512, 10)
	}
	for _, channels := range []int{24, 64, 128, 256, 512} {
		layer("pointwise", 64*16*16, channels, channels)
	}
	for _, p := range products {
		for _, path := range Paths() {
			b.Run(fmt.Sprintf("%s/%dx%dx%d/%s", p.name, p.s.m, p.s.n, p.s.k, path), func(b *testing.B) {
				defer Force(path)()
				x, y, c := make([]float32, p.s.m*p.s.k), make([]float32, p.s.k*p.s.n), make([]float32, p.s.m*p.s.n)
				a, w := Operand{x, p.s.k, p.aT}, Operand{y, p.s.n, p.bT}
				if p.aT {
					a.Stride = p.s.m
				}
				if p.bT {
					w.Stride = p.s.k
				}
				share(b, 2*p.s.m*p.s.n*p.s.k, func() { Gemm(p.s.m, p.s.n, p.s.k, a, w, c, p.s.n, Epilogue{}) })
			})
		}
	}
}

// BenchmarkConv is one image on one thread: the benchmark network's layers.
func BenchmarkConv(b *testing.B) {
	for _, w := range []Window{{28, 28, 1, 32, 3, 1, 1}, {14, 14, 32, 64, 3, 1, 1}, {32, 32, 3, 32, 3, 2, 1}, {7, 7, 64, 128, 3, 1, 1}} {
		for _, path := range Paths() {
			in, out := make([]float32, w.Padded()), make([]float32, w.Output())
			weights, bias := make([]float32, w.Kernel*w.Kernel*w.Channels*w.Filters), make([]float32, w.Filters)
			dx, scratch := make([]float32, w.In()), make([]float32, w.GradScratch())
			height, _ := w.Out()
			for _, f := range []struct {
				name string
				run  func()
			}{
				{"forward", func() { w.Conv(out, in, weights, Epilogue{Bias: bias, ReLU: true}, 0, height) }},
				{"weights", func() { w.ConvGradWeights(weights, in, out) }},
				{"input", func() { w.ConvGradInput(dx, out, weights, scratch) }},
			} {
				b.Run(fmt.Sprintf("%dx%dx%d-%d/%s/%s", w.Height, w.Width, w.Channels, w.Filters, f.name, path), func(b *testing.B) {
					defer Force(path)()
					defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
					share(b, 2*w.Output()*w.Kernel*w.Kernel*w.Channels, f.run)
				})
			}
		}
	}
}
