//go:build unix

package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// windows are pools of every kind: those with fast kernels, of odd sizes too,
// and others.
func eachPool(t *testing.T, check func(t *testing.T, m *memory, r *rand.Rand, w Window)) {
	eachPath(t, func(t *testing.T) {
		r, m := rand.New(rand.NewPCG(21, 22)), newMemory(t)
		for _, c := range []int{1, 3, 7, 8, 9, 16, 17, 24, 32, 33, 40, 64, 70} {
			for range 6 {
				w := Window{Height: 2 + r.IntN(7), Width: 2 + r.IntN(7), Channels: c, Filters: c, Kernel: 2, Stride: 2}
				if r.IntN(4) == 0 {
					w.Kernel, w.Stride = 1+r.IntN(2), 1+r.IntN(3)
				}
				check(t, m, r, w)
				m.check()
			}
		}
	})
}

// few are values with many equals among them, some NaN when asked.
func (m *memory) few(r *rand.Rand, n int, nan bool) []float32 {
	x := m.dirty(n)
	for i := range x {
		if x[i] = float32(r.IntN(5) - 2); nan && r.IntN(12) == 0 {
			x[i] = float32(math.NaN())
		}
	}
	return x
}

// naivePool is the pooled image and, for each output, the input it came from:
// -1 when it is NaN.
func naivePool(w Window, in []float32) (out []float64, from []int) {
	height, width := w.Out()
	for i := range height * width * w.Channels {
		y, x, c := i/w.Channels/width, i/w.Channels%width, i%w.Channels
		top, best := math.Inf(-1), -1
		for t := range w.Kernel * w.Kernel {
			at := ((y*w.Stride+t/w.Kernel)*w.Width+x*w.Stride+t%w.Kernel)*w.Channels + c
			v := float64(in[at])
			if math.IsNaN(v) {
				top, best = v, -1
				break
			}
			if v > top {
				top, best = v, at
			}
		}
		out, from = append(out, top), append(from, best)
	}
	return out, from
}

func TestMaxPoolTakesTheLargestAndNaNWins(t *testing.T) {
	eachPool(t, func(t *testing.T, m *memory, r *rand.Rand, w Window) {
		for _, nan := range []bool{false, true} {
			in, out := m.few(r, w.In(), nan), m.dirty(w.Output())
			want, _ := naivePool(w, in)
			w.MaxPool(out, in)
			for i, v := range want {
				if got := float64(out[i]); got != v && !(math.IsNaN(got) && math.IsNaN(v)) {
					t.Fatalf("%+v: value %d is %g, want %g", w, i, got, v)
				}
			}
		}
	})
}

func TestMaxPoolGradGoesToTheFirstLargest(t *testing.T) {
	eachPool(t, func(t *testing.T, m *memory, r *rand.Rand, w Window) {
		for _, nan := range []bool{false, true} {
			in, out, dout := m.few(r, w.In(), nan), m.dirty(w.Output()), m.random(r, w.Output())
			_, from := naivePool(w, in)
			w.MaxPool(out, in)
			want, dx := make([]float64, w.In()), m.dirty(w.In())
			for i, at := range from {
				if at >= 0 {
					want[at] += float64(dout[i])
				}
			}
			w.MaxPoolGrad(dx, dout, in, out)
			expect(t, fmt.Sprintf("%+v", w), dx, want, nil, 1e-6)
		}
	})
}

func TestMeanRowsIsTheMeanOfEachColumn(t *testing.T) {
	eachTable(t, func(t *testing.T, m *memory, r *rand.Rand, rows, c int) {
		in, out := m.random(r, rows*c), m.dirty(c)
		want, size := make([]float64, c), make([]float64, c)
		for i, v := range in {
			want[i%c] += float64(v) / float64(rows)
			size[i%c] += math.Abs(float64(v)) / float64(rows)
		}
		MeanRows(out, in, rows, c)
		expect(t, fmt.Sprintf("%d x %d", rows, c), out, want, size, 4e-7)
	})
}
