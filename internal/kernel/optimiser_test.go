//go:build unix

package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func TestSGDIsItsFormula(t *testing.T) {
	eachLength(t, func(t *testing.T, m *memory, r *rand.Rand, n int) {
		const rate, momentum, decay, scale = 0.05, 0.9, 0.01, 0.25
		w, v, g := m.random(r, n), m.random(r, n), m.random(r, n)
		wantW, wantV, size := wide(w), wide(v), make([]float64, n)
		for i := range w {
			wantV[i] = momentum*wantV[i] + scale*float64(g[i]) + decay*wantW[i]
			wantW[i] -= rate * wantV[i]
			size[i] = 1
		}
		SGD(w, v, g, rate, momentum, decay, scale)
		expect(t, fmt.Sprint(n, " weights"), w, wantW, size, 4e-7)
		expect(t, fmt.Sprint(n, " velocities"), v, wantV, size, 4e-7)
	})
}

func TestAdamIsItsFormula(t *testing.T) {
	eachLength(t, func(t *testing.T, m *memory, r *rand.Rand, n int) {
		const rate, beta1, beta2, epsilon, decay, scale, step, correct = 0.05, 0.9, 0.99, 1e-8, 0.1, 0.25, 0.07, 1.5
		w, first, second, g := m.random(r, n), m.random(r, n), m.random(r, n), m.random(r, n)
		for i := range second {
			second[i] *= second[i]
			if i%5 == 0 {
				first[i], second[i], g[i] = 0, 0, 0 // a weight that nothing has reached yet
			}
		}
		wantW, wantM, wantS, size := wide(w), wide(first), wide(second), make([]float64, n)
		for i := range w {
			h := scale * float64(g[i])
			wantM[i] += (1 - beta1) * (h - wantM[i])
			wantS[i] += (1 - beta2) * (h*h - wantS[i])
			move := step * wantM[i] / (math.Sqrt(wantS[i])*correct + epsilon)
			wantW[i] += -rate*decay*wantW[i] - move
			size[i] = 1 + math.Abs(move) + math.Abs(step*h/(math.Sqrt(wantS[i])*correct+epsilon))
		}
		Adam(w, first, second, g, rate, 1-beta1, 1-beta2, epsilon, decay, scale, step, correct)
		expect(t, fmt.Sprint(n, " weights"), w, wantW, size, 1e-6)
		expect(t, fmt.Sprint(n, " first moments"), first, wantM, size, 1e-6)
		expect(t, fmt.Sprint(n, " second moments"), second, wantS, size, 1e-6)
	})
}

func TestSumSquares(t *testing.T) {
	eachLength(t, func(t *testing.T, m *memory, r *rand.Rand, n int) {
		x := m.random(r, n)
		var want float64
		for _, v := range x {
			want += float64(v) * float64(v)
		}
		if got := SumSquares(x); math.Abs(got/want-1) > 1e-13 {
			t.Fatalf("%d values: %g, want %g", n, got, want)
		}
	})
}

// The norm of a gradient that grew too large is a number still, so that it can
// be clipped.
func TestSumSquaresOfLargeValuesIsFinite(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		x := []float32{1e30, -1e30, 0, math.MaxFloat32}
		want := 2*float64(x[0])*float64(x[0]) + math.MaxFloat32*math.MaxFloat32
		if got := SumSquares(x); math.Abs(got/want-1) > 1e-13 {
			t.Errorf("%g, want %g", got, want)
		}
		if got := SumSquares([]float32{1, float32(math.NaN())}); got == got {
			t.Errorf("with NaN: %g, want NaN", got)
		}
	})
}
