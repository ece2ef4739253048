// Package operatortest computes the layers of a network in float64, written for
// reading: tests compare operators and whole networks with it. It shares
// nothing with the code under test.
//
// Images are in NHWC order; weights lie as in internal/network/operator.
package operatortest

import (
	"math"
)

// Images are n images of h x w pixels with c channels.
type Images struct {
	N, H, W, C int
	V          []float64
}

// At is one value; outside the image it is zero.
func (m Images) At(n, y, x, c int) float64 {
	if y < 0 || y >= m.H || x < 0 || x >= m.W {
		return 0
	}
	return m.V[((n*m.H+y)*m.W+x)*m.C+c]
}

// Row is image n as a row of values.
func (m Images) Row(n int) []float64 { return m.V[n*m.H*m.W*m.C:][:m.H*m.W*m.C] }

// build makes an image value by value.
func build(n, h, w, c int, value func(n, y, x, c int) float64) Images {
	out := Images{n, h, w, c, make([]float64, 0, n*h*w*c)}
	for i := range n {
		for y := range h {
			for x := range w {
				for o := range c {
					out.V = append(out.V, value(i, y, x, o))
				}
			}
		}
	}
	return out
}

func relu(v float64, on bool) float64 {
	if on {
		return math.Max(0, v)
	}
	return v
}

func bias(b []float64, i int) float64 {
	if b == nil {
		return 0
	}
	return b[i]
}

// Dense is x w + b for every row; w is [in, out].
func Dense(x Images, w, b []float64, on bool) Images {
	in := x.H * x.W * x.C
	out := len(w) / in
	return build(x.N, 1, 1, out, func(n, _, _, o int) float64 {
		sum := bias(b, o)
		for i, v := range x.Row(n) {
			sum += v * w[i*out+o]
		}
		return relu(sum, on)
	})
}

func outside(size, k, stride, padding int) int { return (size+2*padding-k)/stride + 1 }

// Conv is a convolution with a window of side k; w is [k, k, channels, filters].
func Conv(m Images, w, b []float64, k, stride, padding int, on bool) Images {
	filters := len(w) / (k * k * m.C)
	return build(m.N, outside(m.H, k, stride, padding), outside(m.W, k, stride, padding), filters, func(n, y, x, o int) float64 {
		sum := bias(b, o)
		for ky := range k {
			for kx := range k {
				for c := range m.C {
					sum += m.At(n, y*stride+ky-padding, x*stride+kx-padding, c) * w[((ky*k+kx)*m.C+c)*filters+o]
				}
			}
		}
		return relu(sum, on)
	})
}

// Depthwise is a convolution of each channel by itself; w is [k, k, channels].
func Depthwise(m Images, w, b []float64, k, stride, padding int, on bool) Images {
	return build(m.N, outside(m.H, k, stride, padding), outside(m.W, k, stride, padding), m.C, func(n, y, x, c int) float64 {
		sum := bias(b, c)
		for ky := range k {
			for kx := range k {
				sum += m.At(n, y*stride+ky-padding, x*stride+kx-padding, c) * w[(ky*k+kx)*m.C+c]
			}
		}
		return relu(sum, on)
	})
}

// BatchNorm normalises each channel by its mean and biased variance, which it
// returns.
func BatchNorm(m Images, gamma, beta []float64, epsilon float64, on bool) (out Images, mean, variance []float64) {
	mean, variance = make([]float64, m.C), make([]float64, m.C)
	count := float64(len(m.V) / m.C)
	for i, v := range m.V {
		mean[i%m.C] += v / count
	}
	for i, v := range m.V {
		variance[i%m.C] += (v - mean[i%m.C]) * (v - mean[i%m.C]) / count
	}
	return Affine(m, gamma, beta, mean, variance, epsilon, on), mean, variance
}

// Affine normalises each channel by a mean and a variance.
func Affine(m Images, gamma, beta, mean, variance []float64, epsilon float64, on bool) Images {
	return build(m.N, m.H, m.W, m.C, func(n, y, x, c int) float64 {
		return relu((m.At(n, y, x, c)-mean[c])/math.Sqrt(variance[c]+epsilon)*gamma[c]+beta[c], on)
	})
}

// MaxPool is the largest value of each window of side k.
func MaxPool(m Images, k, stride int) Images {
	return build(m.N, outside(m.H, k, stride, 0), outside(m.W, k, stride, 0), m.C, func(n, y, x, c int) float64 {
		top := math.Inf(-1)
		for ky := range k {
			for kx := range k {
				top = math.Max(top, m.At(n, y*stride+ky, x*stride+kx, c))
			}
		}
		return top
	})
}

// MeanPool is the mean over the pixels.
func MeanPool(m Images) Images {
	return build(m.N, 1, 1, m.C, func(n, _, _, c int) float64 {
		var sum float64
		for y := range m.H {
			for x := range m.W {
				sum += m.At(n, y, x, c)
			}
		}
		return sum / float64(m.H*m.W)
	})
}

// CrossEntropy is -sum(target * log softmax(logits)).
func CrossEntropy(logits Images, target []float64) float64 {
	var sum float64
	for n := range logits.N {
		row := logits.Row(n)
		top, z := math.Inf(-1), 0.0
		for _, v := range row {
			top = math.Max(top, v)
		}
		for _, v := range row {
			z += math.Exp(v - top)
		}
		for i, v := range row {
			sum -= target[n*len(row)+i] * (v - top - math.Log(z))
		}
	}
	return sum
}

// Wide turns float32s into float64s.
func Wide(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

// Differences is the gradient of f by p, by central differences.
func Differences(p []float64, f func() float64) []float64 { return differences(p, f, 1e-5) }

// Kinked reports whether f has a kink next to p, where differences are no
// gradient: a shorter step gives others.
func Kinked(p []float64, f func() float64) bool {
	a, b := differences(p, f, 1e-5), differences(p, f, 2e-6)
	var diff, norm float64
	for i, v := range a {
		diff += (v - b[i]) * (v - b[i])
		norm += v * v
	}
	return diff > 1e-12*norm
}

func differences(p []float64, f func() float64, h float64) []float64 {
	out := make([]float64, len(p))
	for i, v := range p {
		p[i] = v + h
		up := f()
		p[i] = v - h
		down := f()
		p[i] = v
		out[i] = (up - down) / (2 * h)
	}
	return out
}

// Apart is the 2-norm of got-want over that of want; of nothing from nothing it
// is zero.
func Apart(got []float32, want []float64) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	var diff, norm float64
	for i, v := range want {
		diff += (float64(got[i]) - v) * (float64(got[i]) - v)
		norm += v * v
	}
	if diff == 0 {
		return 0
	}
	return math.Sqrt(diff / norm)
}
