//go:build unix

package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// eachPathOf runs a benchmark on every path of this machine. bytes is what one
// call reads and writes, flops what it computes.
func eachPathOf(b *testing.B, name string, bytes, flops int, f func()) {
	for _, p := range Paths() {
		b.Run(fmt.Sprintf("%s/%s", name, p), func(b *testing.B) {
			defer Force(p)()
			b.SetBytes(int64(bytes))
			for b.Loop() {
				f()
			}
			if flops > 0 {
				b.ReportMetric(float64(flops)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			}
		})
	}
}

// BenchmarkElementwise shows how near the kernels that compute little come to a
// plain copy, with data in the second cache and in memory.
func BenchmarkElementwise(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, size := range []struct {
		name string
		n    int
	}{{"cached", 3 << 14}, {"memory", 1 << 24}} {
		n := size.n
		x, y, z, v := random(r, n), random(r, n), random(r, n), make([]float32, n)
		b.Run(size.name+"/copy", func(b *testing.B) {
			b.SetBytes(int64(8 * n))
			for b.Loop() {
				copy(y, x)
			}
		})
		run := func(name string, buffers int, f func()) { eachPathOf(b, size.name+"/"+name, 4*n*buffers, 0, f) }
		run("AddScaled", 3, func() { AddScaled(y, x, 1e-9) })
		run("ReLUGrad", 3, func() { ReLUGrad(z, y, x) })
		run("SumSquares", 1, func() { SumSquares(x) })
		run("SGD", 5, func() { SGD(y, z, x, 1e-6, 0.9, 1e-4, 1) })
		run("Adam", 7, func() { Adam(y, z, v, x, 1e-6, 0.1, 0.01, 1e-8, 1e-4, 1, 1e-6, 1) })
		for _, c := range []int{10, 24, 32, 512} {
			rows := n / c
			a, o, m := random(r, c), random(r, c), random(r, c)
			sum, squares := make([]float64, c), make([]float64, c)
			rowsOf := func(name string, buffers int, f func()) { run(fmt.Sprintf("%s-%d", name, c), buffers, f) }
			rowsOf("AddRows", 1, func() { clear(m); AddRows(m, x, rows, c) })
			rowsOf("Moments", 1, func() { Moments(sum, squares, x, a, rows, c) })
			rowsOf("Affine", 2, func() { Affine(y, x, a, o, rows, c, true) })
			rowsOf("AffineGradSums", 2, func() { AffineGradSums(sum, squares, y, x, m, a, o, rows, c, true) })
			rowsOf("AffineGrad", 3, func() { AffineGrad(z, y, x, a, o, a, o, a, rows, c, true) })
		}
	}
}

func BenchmarkDepthwise(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, w := range []Window{
		{Height: 32, Width: 32, Channels: 16, Kernel: 3, Stride: 1, Padding: 1},
		{Height: 32, Width: 32, Channels: 32, Kernel: 3, Stride: 2, Padding: 1},
		{Height: 16, Width: 16, Channels: 64, Kernel: 3, Stride: 1, Padding: 1},
		{Height: 8, Width: 8, Channels: 128, Kernel: 3, Stride: 1, Padding: 1},
		{Height: 8, Width: 8, Channels: 128, Kernel: 3, Stride: 2, Padding: 1},
		{Height: 4, Width: 4, Channels: 256, Kernel: 3, Stride: 1, Padding: 1},
	} {
		w.Filters = w.Channels
		in, out, dz := random(r, w.Padded()), random(r, w.Output()), random(r, w.Output())
		weights, dw, bias := random(r, 9*w.Channels), random(r, 9*w.Channels), random(r, w.Channels)
		dx, scratch := random(r, w.In()), random(r, w.DepthwiseScratch())
		rows, _ := w.Out()
		name := fmt.Sprintf("%dx%dx%d-stride%d", w.Height, w.Width, w.Channels, w.Stride)
		flops := 18 * w.Output()
		bytes := 4 * (w.In() + w.Output())
		eachPathOf(b, name+"/forward", bytes, flops, func() { w.Depthwise(out, in, weights, Epilogue{Bias: bias, ReLU: true}, 0, rows) })
		eachPathOf(b, name+"/weights", bytes, flops, func() { w.DepthwiseGradWeights(dw, in, dz) })
		eachPathOf(b, name+"/input", bytes, flops, func() { w.DepthwiseGradInput(dx, dz, weights, scratch) })
	}
}

func BenchmarkPoolAndLoss(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	w := Window{Height: 28, Width: 28, Channels: 32, Filters: 32, Kernel: 2, Stride: 2}
	in, out, dx := random(r, w.In()), random(r, w.Output()), random(r, w.In())
	eachPathOf(b, "MaxPool", 4*(w.In()+w.Output()), 0, func() { w.MaxPool(out, in) })
	w.MaxPool(out, in)
	eachPathOf(b, "MaxPoolGrad", 8*(w.In()+w.Output()), 0, func() { w.MaxPoolGrad(dx, out, in, out) })
	for _, n := range []int{10, 1000} {
		logits, target, d := random(r, n), make([]float32, n), make([]float32, n)
		target[n/2] = 1
		eachPathOf(b, fmt.Sprintf("SoftmaxCrossEntropy-%d", n), 0, 0, func() { SoftmaxCrossEntropy(d, logits, target) })
	}
}
