//go:build unix

package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// depthwiseCase is a random case with what float64 says about it.
type depthwiseCase struct {
	w                   Window
	e                   Epilogue
	in, weights, dz, dw []float32
}

func randomDepthwise(m *memory, r *rand.Rand, w Window) depthwiseCase {
	d := depthwiseCase{w: w, e: Epilogue{ReLU: r.IntN(2) == 0, Accumulate: r.IntN(8) == 0}}
	if r.IntN(2) == 0 {
		d.e.Bias = m.random(r, w.Channels)
	}
	d.in, d.weights = m.random(r, w.In()), m.random(r, w.Kernel*w.Kernel*w.Channels)
	d.dz, d.dw = m.random(r, w.Output()), m.random(r, len(d.weights))
	return d
}

// each calls f for all products: of an input with a weight for an output.
func (d depthwiseCase) each(f func(in, weight, out int)) {
	w := d.w
	height, width := w.Out()
	for out := range height * width * w.Channels {
		y, x, c := out/w.Channels/width, out/w.Channels%width, out%w.Channels
		for t := range w.Kernel * w.Kernel {
			iy, ix := y*w.Stride+t/w.Kernel-w.Padding, x*w.Stride+t%w.Kernel-w.Padding
			if iy >= 0 && ix >= 0 && iy < w.Height && ix < w.Width {
				f((iy*w.Width+ix)*w.Channels+c, t*w.Channels+c, out)
			}
		}
	}
}

func (d depthwiseCase) check(t *testing.T, m *memory, r *rand.Rand) {
	t.Helper()
	w := d.w
	height, width := w.Out()
	what := fmt.Sprintf("%+v bias %v relu %v accumulate %v", w, d.e.Bias != nil, d.e.ReLU, d.e.Accumulate)
	padded := m.dirty(w.Padded())
	w.Pad(padded, d.in)

	y0 := r.IntN(height)
	y1 := y0 + 1 + r.IntN(height-y0)
	out := m.random(r, w.Output())
	want, size := wide(out), make([]float64, len(out))
	written := func(i int) bool { return i >= y0*width*w.Channels && i < y1*width*w.Channels }
	for i := range want {
		if written(i) && !d.e.Accumulate {
			want[i] = 0
		}
		if written(i) && d.e.Bias != nil {
			want[i] += float64(d.e.Bias[i%w.Channels])
		}
		size[i] = 1
	}
	wantW, sizeW := wide(d.dw), make([]float64, len(d.dw))
	wantX, sizeX := make([]float64, w.In()), make([]float64, w.In())
	d.each(func(in, weight, o int) {
		x, k, g := float64(d.in[in]), float64(d.weights[weight]), float64(d.dz[o])
		if written(o) {
			want[o] += x * k
			size[o] += math.Abs(x * k)
		}
		wantW[weight] += x * g
		sizeW[weight] += math.Abs(x * g)
		wantX[in] += k * g
		sizeX[in] += math.Abs(k * g)
	})
	for i := range want {
		if written(i) && d.e.ReLU {
			want[i] = max(want[i], 0)
		}
	}
	w.Depthwise(out, padded, d.weights, d.e, y0, y1)
	expect(t, fmt.Sprintf("%s rows %d to %d", what, y0, y1), out, want, size, 1e-6)

	dx, scratch := m.dirty(w.In()), m.dirty(w.DepthwiseScratch())
	w.DepthwiseGradWeights(d.dw, padded, d.dz)
	expect(t, what+", gradient of the weights", d.dw, wantW, sizeW, 1e-6)
	w.DepthwiseGradInput(dx, d.dz, d.weights, scratch)
	expect(t, what+", gradient of the input", dx, wantX, sizeX, 1e-6)
}

func TestDepthwiseAndItsGradients(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		r, m := rand.New(rand.NewPCG(31, 32)), newMemory(t)
		for _, c := range []int{1, 3, 7, 8, 9, 15, 16, 17, 24, 32, 33, 40, 64, 72} {
			for _, stride := range []int{1, 2} {
				for _, padding := range []int{0, 1, 1, 1, 2, 3} {
					w := Window{Height: 3 + r.IntN(10), Width: 3 + r.IntN(12), Channels: c, Filters: c, Kernel: 3, Stride: stride, Padding: padding}
					randomDepthwise(m, r, w).check(t, m, r)
					m.check()
				}
			}
		}
	})
}

func TestDepthwiseOfOtherWindows(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		r, m := rand.New(rand.NewPCG(33, 34)), newMemory(t)
		for range 150 {
			k := 1 + r.IntN(5)
			c := 1 + r.IntN(20)
			w := Window{Height: k + r.IntN(6), Width: k + r.IntN(6), Channels: c, Filters: c, Kernel: k, Stride: 1 + r.IntN(3), Padding: r.IntN(4)}
			randomDepthwise(m, r, w).check(t, m, r)
			m.check()
		}
		// The smallest images that a window with padding fits on.
		for _, side := range [][2]int{{1, 1}, {1, 5}, {5, 1}, {2, 2}, {2, 1}} {
			for _, stride := range []int{1, 2} {
				w := Window{Height: side[0], Width: side[1], Channels: 19, Filters: 19, Kernel: 3, Stride: stride, Padding: 1}
				randomDepthwise(m, r, w).check(t, m, r)
				m.check()
			}
		}
	})
}

// The work on an image may be split by rows: the bits stay.
func TestDepthwiseOfARowHasTheSameBitsAmongOthers(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		r, m := rand.New(rand.NewPCG(35, 36)), newMemory(t)
		for _, c := range []int{8, 19, 64} {
			for _, stride := range []int{1, 2} {
				w := Window{Height: 23, Width: 21, Channels: c, Filters: c, Kernel: 3, Stride: stride, Padding: 1}
				padded, weights := m.random(r, w.Padded()), m.random(r, 9*c)
				all, rows := m.dirty(w.Output()), m.dirty(w.Output())
				height, _ := w.Out()
				w.Depthwise(all, padded, weights, Epilogue{ReLU: true}, 0, height)
				for y := range height {
					w.Depthwise(rows, padded, weights, Epilogue{ReLU: true}, y, y+1)
				}
				for i, v := range rows {
					if math.Float32bits(v) != math.Float32bits(all[i]) {
						t.Fatalf("%+v: value %d is %g row by row and %g at once", w, i, v, all[i])
					}
				}
				m.check()
			}
		}
	})
}

func TestDepthwiseAnswersNaNToNaN(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		for _, stride := range []int{1, 2} {
			w := Window{Height: 6, Width: 6, Channels: 19, Filters: 19, Kernel: 3, Stride: stride, Padding: 1}
			padded, weights, out := make([]float32, w.Padded()), make([]float32, 9*19), make([]float32, w.Output())
			for i := range padded {
				padded[i] = float32(math.NaN())
			}
			height, _ := w.Out()
			w.Depthwise(out, padded, weights, Epilogue{ReLU: true}, 0, height)
			for i, v := range out {
				if v == v {
					t.Fatalf("stride %d: value %d of NaN is %g, want NaN", stride, i, v)
				}
			}
		}
	})
}

func FuzzDepthwise(f *testing.F) {
	f.Add(uint64(1), uint8(7), uint8(9), uint8(16), uint8(3), uint8(1), uint8(1))
	f.Add(uint64(2), uint8(8), uint8(5), uint8(33), uint8(3), uint8(2), uint8(1))
	f.Fuzz(func(t *testing.T, seed uint64, height, width, c, kernel, stride, padding uint8) {
		w := Window{Height: 1 + int(height%16), Width: 1 + int(width%16), Channels: 1 + int(c%70), Kernel: 1 + int(kernel%5), Stride: 1 + int(stride%3), Padding: int(padding % 4)}
		w.Filters = w.Channels
		if h, x := w.Out(); h < 1 || x < 1 || w.Height+2*w.Padding < w.Kernel || w.Width+2*w.Padding < w.Kernel {
			return
		}
		eachPath(t, func(t *testing.T) {
			r, m := rand.New(rand.NewPCG(seed, 0)), newMemory(t)
			randomDepthwise(m, r, w).check(t, m, r)
		})
	})
}
