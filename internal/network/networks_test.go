package network

import (
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"driftgate/internal/kernel"
)

// defined computes a network as its layers are defined, one after the other,
// in float64: no folding, no fusing, no packing. It returns the logits and what
// the last layer sees.
func defined(s Spec, w Weights, x []float32) (logits, features []float64) {
	h := make([]float64, len(x))
	for i, v := range x {
		h[i] = float64(v)
	}
	for _, st := range s.Stages() {
		features = h
		h = definedLayer(st, w, h)
		if st.ReLU {
			for i, v := range h {
				h[i] = max(v, 0)
			}
		}
	}
	return h, features
}

func definedLayer(st Stage, w Weights, x []float64) []float64 {
	out := make([]float64, st.Out.Values())
	tensor := func(i int) []float32 { return w[st.Tensors[i]].Data }
	at := func(y, x0, c int) float64 { // zero outside the image
		if y < 0 || y >= st.In.Height || x0 < 0 || x0 >= st.In.Width {
			return 0
		}
		return x[(y*st.In.Width+x0)*st.In.Channels+c]
	}
	each := func(f func(y, x0, o int) float64) {
		for y := range st.Out.Height {
			for x0 := range st.Out.Width {
				for o := range st.Out.Channels {
					v := f(y, x0, o)
					if st.Bias {
						v += float64(tensor(1)[o])
					}
					out[(y*st.Out.Width+x0)*st.Out.Channels+o] = v
				}
			}
		}
	}
	k, stride, pad := st.Kernel, st.Stride, st.Padding
	switch st.Kind {
	case Dense:
		each(func(_, _, o int) (sum float64) {
			for i, v := range x {
				sum += v * float64(tensor(0)[o*len(x)+i])
			}
			return sum
		})
	case Conv:
		each(func(y, x0, o int) (sum float64) {
			for c := range st.In.Channels {
				for t := range k * k {
					sum += at(y*stride-pad+t/k, x0*stride-pad+t%k, c) * float64(tensor(0)[(o*st.In.Channels+c)*k*k+t])
				}
			}
			return sum
		})
	case Depthwise:
		each(func(y, x0, o int) (sum float64) {
			for t := range k * k {
				sum += at(y*stride-pad+t/k, x0*stride-pad+t%k, o) * float64(tensor(0)[o*k*k+t])
			}
			return sum
		})
	case MaxPool:
		each(func(y, x0, o int) float64 {
			top := math.Inf(-1)
			for t := range k * k {
				top = max(top, at(y*stride+t/k, x0*stride+t%k, o))
			}
			return top
		})
	case MeanPool:
		pixels := st.In.Height * st.In.Width
		for i, v := range x {
			out[i%st.In.Channels] += v / float64(pixels)
		}
	case BatchNorm:
		for i, v := range x {
			c := i % st.In.Channels
			deviation := math.Sqrt(float64(tensor(3)[c]) + Epsilon)
			out[i] = (v-float64(tensor(2)[c]))/deviation*float64(tensor(0)[c]) + float64(tensor(1)[c])
		}
	case Dropout:
		copy(out, x)
	}
	return out
}

// trained are weights as training might leave them: no tensor is what it began as.
func trained(s Spec, rng *rand.Rand) Weights {
	w := NewWeights(s, rng)
	for _, st := range s.Stages() {
		for k, i := range st.Tensors {
			for j, v := range w[i].Data {
				switch {
				case st.Kind == BatchNorm && k == 3:
					w[i].Data[j] = 0.3 + rng.Float32()
				case st.Kind == BatchNorm && k == 0:
					w[i].Data[j] = 0.5 + rng.Float32() - v*0.1
				case k > 0:
					w[i].Data[j] = float32(rng.NormFloat64() * 0.3)
				}
			}
		}
	}
	return w
}

// ending is a network of the given layers, with the last one that it must have.
func ending(in Size, layers ...Layer) Spec {
	return Spec{Architecture: "test", Input: in, Classes: 5, Layers: append(layers, Layer{Kind: Dense, Units: 5, Bias: true})}
}

// networks reach every kind of layer, every way in which layers are joined, and
// shapes that are no multiple of anything.
func networks() map[string]Spec {
	conv := func(units, kernel, stride, padding int) Layer {
		return Layer{Kind: Conv, Units: units, Kernel: kernel, Stride: stride, Padding: padding, Bias: true, ReLU: true}
	}
	bare := func(l Layer) Layer { l.Bias, l.ReLU = false, false; return l }
	pool := func(kernel, stride int) Layer { return Layer{Kind: MaxPool, Kernel: kernel, Stride: stride} }
	depthwise := Layer{Kind: Depthwise, Kernel: 3, Stride: 1, Padding: 1}
	norm, normed := Layer{Kind: BatchNorm}, Layer{Kind: BatchNorm, ReLU: true}
	hidden := Layer{Kind: Dense, Units: 33, Bias: true, ReLU: true}
	drop := Layer{Kind: Dropout, Rate: 0.5}
	strided := depthwise
	strided.Stride, strided.ReLU, strided.Bias = 2, true, true
	return map[string]Spec{
		"linear":                         ending(Size{3, 5, 1}),
		"mlp":                            MLP(Flat(37), []int{65, 19}, 3),
		"mlp at full size":               MLP(Size{28, 28, 1}, []int{128, 64}, 10),
		"dense without bias":             ending(Flat(9), Layer{Kind: Dense, Units: 7, ReLU: true}),
		"dense, norm":                    ending(Flat(9), Layer{Kind: Dense, Units: 7}, normed, drop),
		"norm first":                     ending(Size{4, 3, 3}, norm, hidden),
		"norm after relu stays":          ending(Size{6, 6, 2}, conv(5, 3, 1, 1), norm),
		"norm after norm":                ending(Size{6, 6, 2}, bare(conv(5, 3, 1, 1)), norm, drop, normed),
		"norm between relu and pool":     ending(Size{6, 6, 2}, conv(5, 3, 1, 1), norm, pool(2, 2)),
		"conv":                           ending(Size{7, 5, 3}, conv(4, 3, 1, 1)),
		"conv without padding":           ending(Size{7, 5, 3}, conv(4, 3, 1, 0)),
		"conv over all":                  ending(Size{5, 5, 3}, conv(4, 5, 1, 0)),
		"conv, stride 2":                 ending(Size{9, 8, 3}, conv(17, 3, 2, 1)),
		"conv, stride over kernel":       ending(Size{9, 8, 3}, conv(17, 2, 3, 0)),
		"conv, padding 2":                ending(Size{5, 5, 3}, conv(6, 3, 1, 2)),
		"conv, stride 2, padding 2":      ending(Size{6, 7, 3}, conv(6, 5, 2, 2), pool(2, 2)),
		"conv 1x1":                       ending(Size{5, 3, 3}, conv(35, 1, 1, 0), bare(conv(7, 1, 1, 0)), normed),
		"conv 1x1, stride 2":             ending(Size{5, 3, 3}, conv(35, 1, 2, 0)),
		"conv 1x1, pool":                 ending(Size{5, 4, 3}, conv(35, 1, 1, 0), pool(2, 2)),
		"conv, pool":                     ending(Size{8, 6, 1}, conv(32, 3, 1, 1), pool(2, 2)),
		"conv, pool leaves rows":         ending(Size{9, 7, 2}, conv(3, 3, 1, 1), pool(2, 2)),
		"conv, pool 2 with stride 3":     ending(Size{11, 12, 2}, conv(3, 3, 1, 0), pool(2, 3)),
		"conv, pool 3 with stride 2":     ending(Size{11, 12, 2}, conv(3, 3, 1, 1), pool(3, 2)),
		"conv, norm, pool":               ending(Size{8, 8, 2}, bare(conv(9, 3, 1, 1)), normed, pool(2, 2), drop, hidden),
		"pool first":                     ending(Size{8, 8, 3}, pool(2, 2), conv(4, 3, 1, 1)),
		"depthwise":                      ending(Size{6, 7, 19}, depthwise, normed),
		"depthwise, stride 2":            ending(Size{7, 6, 19}, strided, pool(2, 2)),
		"depthwise, no padding":          ending(Size{7, 6, 3}, Layer{Kind: Depthwise, Kernel: 2, Stride: 1}),
		"mean":                           ending(Size{7, 6, 19}, Layer{Kind: MeanPool}, hidden),
		"one pixel":                      ending(Size{1, 1, 3}, conv(4, 3, 1, 1), conv(4, 1, 1, 0), Layer{Kind: MeanPool}),
		"a line":                         ending(Size{1, 40, 2}, conv(4, 3, 1, 2), pool(2, 2)),
		"cnn":                            CNN(Size{12, 12, 1}, CNNOptions{Filters: []int{8, 20}, Convs: 2, Dense: []int{24}, BatchNorm: true, Dropout: 0.3}, 10),
		"cnn at full size":               CNN(Size{28, 28, 1}, CNNOptions{}, 10),
		"mobilenet":                      MobileNet(Size{16, 16, 3}, 0.25, 7),
		"rows of several segments' size": ending(Size{40, 40, 3}, conv(24, 3, 2, 1), pool(2, 2), conv(40, 1, 1, 0), Layer{Kind: MeanPool}, hidden),
	}
}

func normal(n int, rng *rand.Rand) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// difference is the norm of got-want relative to that of want.
func difference(got []float32, want []float64) float64 {
	var off, all float64
	for i, v := range want {
		off += (float64(got[i]) - v) * (float64(got[i]) - v)
		all += v * v
	}
	if off == 0 {
		return 0 // nothing but zeros, perhaps
	}
	return math.Sqrt(off / all)
}

func onEveryPath(t *testing.T, f func(t *testing.T)) {
	for _, path := range kernel.Paths() {
		t.Run(path.String(), func(t *testing.T) {
			defer kernel.Force(path)()
			f(t)
		})
	}
}

func setThreads(n int) (restore func()) {
	was := runtime.GOMAXPROCS(n)
	return func() { runtime.GOMAXPROCS(was) }
}
