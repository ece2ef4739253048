//go:build unix

package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// ulp is the distance from the float32 nearest to x to its neighbour, and that
// of the smallest float32 for what is smaller.
func ulp(x float64) float64 {
	v := float32(math.Abs(x))
	return max(float64(math.Nextafter32(v, float32(math.Inf(1)))-v), math.SmallestNonzeroFloat32)
}

func TestExpIsWithinTwoUnitsInTheLastPlace(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		const n = 4096
		x, y := make([]float32, n), make([]float32, n)
		worst := 0.0
		check := func() {
			exps(y, x, 0)
			for i, v := range x {
				want := math.Exp(float64(v))
				if float32(want) == float32(math.Inf(1)) && math.IsInf(float64(y[i]), 1) {
					continue
				}
				off := math.Abs(float64(y[i])-want) / ulp(want)
				if worst = max(worst, off); !(off <= 2) {
					t.Fatalf("exp(%g) = %g, want %g: off by %.1f", v, y[i], want, off)
				}
			}
		}
		// Every 97th float32 from the smallest below zero to where the answer
		// is zero, and from the smallest above to where it is infinite.
		for _, sign := range []uint32{0, 1 << 31} {
			bits := uint32(0)
			for end := math.Float32bits(110); bits < end; {
				for i := range x {
					x[i] = math.Float32frombits(sign | bits)
					bits += 9973
				}
				check()
			}
		}
		// Closely where it matters: the arguments of a softmax, and around the
		// edges of the range.
		for _, span := range [][2]float64{{-20, 0}, {-1, 1}, {88.5, 89}, {-88, -87}, {-104, -103}} {
			for part := range 32 {
				for i := range x {
					x[i] = float32(span[0] + (span[1]-span[0])*(float64(part*n+i)/(32*n)))
				}
				check()
			}
		}
		t.Logf("largest error: %.3f units in the last place", worst)
	})
}

func TestExpOfExtremes(t *testing.T) {
	inf := float32(math.Inf(1))
	eachPath(t, func(t *testing.T) {
		x := []float32{0, float32(math.Copysign(0, -1)), inf, -inf, math.MaxFloat32, -math.MaxFloat32, 89, -104, 88.722, 1e-45}
		want := []float32{1, 1, inf, 0, inf, 0, inf, 0, float32(math.Exp(float64(float32(88.722)))), 1}
		y := make([]float32, len(x))
		exps(y, x, 0)
		for i := range x {
			if math.Abs(float64(y[i]-want[i])) > 2*ulp(float64(want[i])) && y[i] != want[i] {
				t.Errorf("exp(%g) = %g, want %g", x[i], y[i], want[i])
			}
		}
		nan := []float32{float32(math.NaN())}
		if exps(nan, nan, 0); nan[0] == nan[0] {
			t.Errorf("exp(NaN) = %g, want NaN", nan[0])
		}
	})
}

// naiveLoss is the loss and its gradient in float64.
func naiveLoss(logits, target []float32) (loss float64, gradient []float64) {
	top, z, weight := math.Inf(-1), 0.0, 0.0
	for _, v := range logits {
		top = max(top, float64(v))
	}
	for i, v := range logits {
		z += math.Exp(float64(v) - top)
		weight += float64(target[i])
	}
	gradient = make([]float64, len(logits))
	for i, v := range logits {
		if target[i] != 0 {
			loss -= float64(target[i]) * (float64(v) - top - math.Log(z))
		}
		gradient[i] = math.Exp(float64(v)-top)/z*weight - float64(target[i])
	}
	return loss, gradient
}

func TestSoftmaxCrossEntropy(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		r, m := rand.New(rand.NewPCG(41, 42)), newMemory(t)
		for _, n := range append([]int{10, 10, 10, 101}, lengths...) {
			for _, spread := range []float32{0, 1, 30, 1000} {
				logits, target, d := m.random(r, n), m.random(r, n), m.dirty(n)
				var weight float64
				for i := range logits {
					logits[i] *= spread
					if target[i] = max(0, target[i]); r.IntN(3) == 0 {
						target[i] = 0
					}
					weight += float64(target[i])
				}
				wantLoss, want := naiveLoss(logits, target)
				loss := SoftmaxCrossEntropy(d, logits, target)
				what := fmt.Sprintf("%d classes, logits of size %g", n, spread)
				if math.Abs(loss-wantLoss) > 1e-6*(wantLoss+weight) {
					t.Fatalf("%s: loss %g, want %g", what, loss, wantLoss)
				}
				size := make([]float64, n)
				for i := range size {
					size[i] = weight
				}
				expect(t, what, d, want, size, 1e-6)
				SoftmaxCrossEntropy(logits, logits, target)
				expect(t, what+", in place", logits, want, size, 1e-6)
				m.check()
			}
		}
	})
}

func TestSoftmaxCrossEntropyOfExtremes(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	eachPath(t, func(t *testing.T) {
		d := make([]float32, 3)
		for _, tt := range []struct {
			name           string
			logits, target []float32
			loss           float64 // NaN: must be NaN
			gradient       []float32
		}{
			{"the largest floats", []float32{math.MaxFloat32, -math.MaxFloat32, 0}, []float32{1, 0, 0}, 0, []float32{0, 0, 0}},
			{"an impossible class that is not wanted", []float32{0, -inf, 0}, []float32{1, 0, 0}, math.Ln2, []float32{-0.5, 0, 0.5}},
			{"an impossible class that is wanted", []float32{0, -inf, 0}, []float32{0, 1, 0}, math.Inf(1), []float32{0.5, -1, 0.5}},
			{"no weight", []float32{1, 2, 3}, []float32{0, 0, 0}, 0, []float32{0, 0, 0}},
			{"NaN", []float32{0, nan, 0}, []float32{1, 0, 0}, math.NaN(), nil},
			{"NaN without weight", []float32{nan, 0, 0}, []float32{0, 0, 0}, math.NaN(), nil},
			{"infinity", []float32{inf, 0, 0}, []float32{1, 0, 0}, math.NaN(), nil},
		} {
			loss := SoftmaxCrossEntropy(d, tt.logits, tt.target)
			if math.IsNaN(tt.loss) != math.IsNaN(loss) || math.Abs(loss-tt.loss) > 1e-7 {
				t.Errorf("%s: loss %g, want %g", tt.name, loss, tt.loss)
			}
			for i, w := range tt.gradient {
				if math.Abs(float64(d[i]-w)) > 1e-7 {
					t.Errorf("%s: gradient %v, want %v", tt.name, d, tt.gradient)
					break
				}
			}
		}
	})
}
