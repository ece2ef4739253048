package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// naiveConv goes over every product of a convolution of one image, in float64
// where it sums: visit is given the positions in the image, the weights and the
// output.
func naiveConv(w Window, visit func(in, weight, out int)) {
	height, width := w.Out()
	for y := range height {
		for x := range width {
			for ky := range w.Kernel {
				for kx := range w.Kernel {
					iy, ix := y*w.Stride+ky-w.Padding, x*w.Stride+kx-w.Padding
					if iy < 0 || ix < 0 || iy >= w.Height || ix >= w.Width {
						continue
					}
					for c := range w.Channels {
						for o := range w.Filters {
							visit((iy*w.Width+ix)*w.Channels+c, ((ky*w.Kernel+kx)*w.Channels+c)*w.Filters+o, (y*width+x)*w.Filters+o)
						}
					}
				}
			}
		}
	}
}

func closeTo(t *testing.T, w Window, what string, got []float32, want, scale []float64) {
	t.Helper()
	for i := range got {
		if !(math.Abs(float64(got[i])-want[i]) <= 1e-6*(scale[i]+1)) {
			t.Fatalf("%+v: %s at %d of %d is %g, want %g", w, what, i, len(got), got[i], want[i])
		}
	}
}

// sums is a float64 accumulator of products.
type sums struct{ value, scale []float64 }

func newSums(n int) sums { return sums{make([]float64, n), make([]float64, n)} }

func (s sums) add(i int, x, y float32) {
	s.value[i] += float64(x) * float64(y)
	s.scale[i] += math.Abs(float64(x) * float64(y))
}

func checkConv(t *testing.T, r *rand.Rand, w Window, e Epilogue) {
	t.Helper()
	image, weights, dz := random(r, w.In()), random(r, w.Kernel*w.Kernel*w.Channels*w.Filters), random(r, w.Output())
	padded := random(r, w.Padded())
	w.Pad(padded, image)
	out, dw, dx := random(r, w.Output()), random(r, len(weights)), random(r, w.In())
	if e.Bias != nil {
		e.Bias = random(r, w.Filters)
	}
	forward, byWeight, byInput := newSums(len(out)), newSums(len(dw)), newSums(len(dx))
	for i, v := range dw {
		byWeight.value[i] = float64(v)
	}
	naiveConv(w, func(in, weight, o int) {
		forward.add(o, image[in], weights[weight])
		byWeight.add(weight, image[in], dz[o])
		byInput.add(in, weights[weight], dz[o])
	})
	for i := range out {
		if e.Accumulate {
			forward.value[i] += float64(out[i])
		}
		if e.Bias != nil {
			forward.value[i] += float64(e.Bias[i%w.Filters])
		}
		if e.ReLU {
			forward.value[i] = max(forward.value[i], 0)
		}
	}
	height, _ := w.Out()
	cut := r.IntN(height + 1)
	w.Conv(out, padded, weights, e, cut, height)
	w.Conv(out, padded, weights, e, 0, cut)
	closeTo(t, w, "the output", out, forward.value, forward.scale)

	w.ConvGradWeights(dw, padded, dz)
	closeTo(t, w, "the gradient of the weights", dw, byWeight.value, byWeight.scale)

	turned := random(r, len(weights))
	w.Turn(turned, weights)
	w.ConvGradInput(dx, dz, turned, random(r, w.GradScratch()))
	closeTo(t, w, "the gradient of the input", dx, byInput.value, byInput.scale)
}

func TestConvIsTheConvolution(t *testing.T) {
	windows := []Window{
		{28, 28, 1, 32, 3, 1, 1}, {14, 14, 32, 64, 3, 1, 1}, {1, 1, 1, 1, 1, 1, 0},
		{9, 7, 3, 16, 3, 2, 1}, {15, 15, 16, 16, 5, 1, 2}, {8, 8, 8, 24, 1, 1, 0},
		{7, 11, 5, 33, 3, 3, 0}, {4, 4, 3, 48, 2, 2, 1}, {5, 5, 2, 8, 3, 1, 4},
	}
	eachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(7, 8))
		for _, w := range windows {
			checkConv(t, r, w, Epilogue{Bias: []float32{}, ReLU: true})
		}
		for range 60 {
			checkConv(t, r, randomWindow(r), Epilogue{Accumulate: r.IntN(2) == 0, ReLU: r.IntN(2) == 0})
		}
	})
}

func randomWindow(r *rand.Rand) Window {
	k := 1 + r.IntN(5)
	return Window{
		Height: k + r.IntN(20), Width: k + r.IntN(20), Channels: 1 + r.IntN(20), Filters: 1 + r.IntN(40),
		Kernel: k, Stride: 1 + r.IntN(3), Padding: r.IntN(k + 1),
	}
}

func FuzzConv(f *testing.F) {
	f.Add(uint64(1))
	f.Add(uint64(99))
	f.Fuzz(func(t *testing.T, seed uint64) {
		eachPath(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			checkConv(t, r, randomWindow(r), Epilogue{Bias: []float32{}, Accumulate: r.IntN(2) == 0})
		})
	})
}
