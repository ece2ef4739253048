//go:build unix

package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func TestMomentsAreSumsAroundTheShift(t *testing.T) {
	eachTable(t, func(t *testing.T, m *memory, r *rand.Rand, rows, c int) {
		sum, squares := m.doubles(r, c), m.doubles(r, c)
		x, shift := m.random(r, rows*c), m.random(r, c)
		for _, s := range [][]float32{shift, nil} {
			wantSum, wantSquares := append([]float64(nil), sum...), append([]float64(nil), squares...)
			size, sizeSquares := make([]float64, c), make([]float64, c)
			for i, v := range x {
				d := float64(v)
				if s != nil {
					d -= float64(s[i%c])
				}
				wantSum[i%c] += d
				wantSquares[i%c] += d * d
				size[i%c] += math.Abs(d)
				sizeSquares[i%c] += d * d
			}
			Moments(sum, squares, x, s, rows, c)
			what := fmt.Sprintf("%d x %d, shift %v", rows, c, s != nil)
			expect(t, what, sum, wantSum, size, 6e-7)
			expect(t, what+", squares", squares, wantSquares, sizeSquares, 6e-7)
		}
	})
}

// With a shift near the mean the variance of values far from zero keeps its
// digits over as many rows as a batch of images has.
func TestMomentsOfManyRowsFarFromZero(t *testing.T) {
	const rows, c = 100_000, 3
	r := rand.New(rand.NewPCG(15, 16))
	x, shift := make([]float32, rows*c), []float32{1000, 1000, 1000}
	var want, squares [c]float64
	for i := range x {
		x[i] = float32(1000 + r.NormFloat64())
		d := float64(x[i]) - 1000
		want[i%c] += d
		squares[i%c] += d * d
	}
	eachPath(t, func(t *testing.T) {
		sum, sq := make([]float64, c), make([]float64, c)
		Moments(sum, sq, x, shift, rows, c)
		for i := range c {
			mean, variance := sum[i]/rows, sq[i]/rows-sum[i]/rows*sum[i]/rows
			wantMean, wantVariance := want[i]/rows, squares[i]/rows-want[i]/rows*want[i]/rows
			if math.Abs(mean-wantMean) > 1e-7 || math.Abs(variance/wantVariance-1) > 1e-6 {
				t.Errorf("channel %d: mean 1000%+g and variance %g, want 1000%+g and %g", i, mean, variance, wantMean, wantVariance)
			}
		}
	})
}

func TestAffineScalesShiftsAndCuts(t *testing.T) {
	eachTable(t, func(t *testing.T, m *memory, r *rand.Rand, rows, c int) {
		x, scale, offset := m.random(r, rows*c), m.random(r, c), m.random(r, c)
		for _, relu := range []bool{false, true} {
			want, size := make([]float64, rows*c), make([]float64, rows*c)
			for i, v := range x {
				want[i] = float64(v)*float64(scale[i%c]) + float64(offset[i%c])
				size[i] = math.Abs(float64(v)*float64(scale[i%c])) + math.Abs(float64(offset[i%c]))
				if relu {
					want[i] = max(want[i], 0)
				}
			}
			what := fmt.Sprintf("%d x %d, relu %v", rows, c, relu)
			y, inPlace := m.dirty(rows*c), m.copy(x)
			Affine(y, x, scale, offset, rows, c, relu)
			expect(t, what, y, want, size, 2e-7)
			Affine(inPlace, inPlace, scale, offset, rows, c, relu)
			expect(t, what+", in place", inPlace, want, size, 2e-7)
		}
	})
}

func TestAffineAnswersNaNToNaN(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		for _, c := range []int{1, 5, 16, 64, 70} {
			x, one, zero := make([]float32, 9*c), make([]float32, c), make([]float32, c)
			for i := range one {
				one[i] = 1
			}
			for i := range x {
				x[i] = float32(math.NaN())
			}
			Affine(x, x, one, zero, 9, c, true)
			for i, v := range x {
				if v == v {
					t.Fatalf("%d channels: value %d of NaN is %g, want NaN", c, i, v)
				}
			}
		}
	})
}

// A sample answers the same alone and in a batch.
func TestAffineOfARowHasTheSameBitsAmongOthers(t *testing.T) {
	eachTable(t, func(t *testing.T, m *memory, r *rand.Rand, rows, c int) {
		x, scale, offset := m.random(r, rows*c), m.random(r, c), m.random(r, c)
		all, one := m.dirty(rows*c), m.dirty(c)
		Affine(all, x, scale, offset, rows, c, true)
		for range 5 {
			i := r.IntN(rows)
			Affine(one, x[i*c:][:c], scale, offset, 1, c, true)
			for j, v := range one {
				if math.Float32bits(v) != math.Float32bits(all[i*c+j]) {
					t.Fatalf("%d x %d: row %d is %g at %d alone and %g among others", rows, c, i, v, j, all[i*c+j])
				}
			}
		}
	})
}

// gradients are random factors of the backward kernels, and the gradient after
// ReLU by float64. Outputs are kept away from zero, where rounding decides.
type gradients struct {
	dy, x, mean, scale, offset []float32
	g                          []float64
}

func randomGradients(m *memory, r *rand.Rand, rows, c int, relu bool) gradients {
	d := gradients{dy: m.random(r, rows*c), x: m.random(r, rows*c), mean: m.random(r, c), scale: m.random(r, c), offset: m.random(r, c)}
	d.g = wide(d.dy)
	for i := range d.x {
		z := float64(d.x[i])*float64(d.scale[i%c]) + float64(d.offset[i%c])
		if math.Abs(z) < 1e-5 {
			d.x[i], d.dy[i], d.g[i] = 0, 0, 0
		} else if relu && z <= 0 {
			d.g[i] = 0
		}
	}
	return d
}

func TestAffineGradSums(t *testing.T) {
	eachTable(t, func(t *testing.T, m *memory, r *rand.Rand, rows, c int) {
		for _, relu := range []bool{false, true} {
			m.check()
			d := randomGradients(m, r, rows, c, relu)
			sum, sumX := m.doubles(r, c), m.doubles(r, c)
			want, wantX := append([]float64(nil), sum...), append([]float64(nil), sumX...)
			size, sizeX := make([]float64, c), make([]float64, c)
			for i, v := range d.g {
				p := v * (float64(d.x[i]) - float64(d.mean[i%c]))
				want[i%c] += v
				wantX[i%c] += p
				size[i%c] += math.Abs(v)
				sizeX[i%c] += math.Abs(v) * (math.Abs(float64(d.x[i])) + math.Abs(float64(d.mean[i%c])))
			}
			scale, offset := d.scale, d.offset
			if !relu {
				scale, offset = nil, nil
			}
			AffineGradSums(sum, sumX, d.dy, d.x, d.mean, scale, offset, rows, c, relu)
			what := fmt.Sprintf("%d x %d, relu %v", rows, c, relu)
			expect(t, what, sum, want, size, 6e-7)
			expect(t, what+", with x", sumX, wantX, sizeX, 6e-7)
		}
	})
}

func TestAffineGrad(t *testing.T) {
	eachTable(t, func(t *testing.T, m *memory, r *rand.Rand, rows, c int) {
		for _, relu := range []bool{false, true} {
			m.check()
			in := randomGradients(m, r, rows, c, relu)
			a, b, d, dx := m.random(r, c), m.random(r, c), m.random(r, c), m.dirty(rows*c)
			want, size := make([]float64, rows*c), make([]float64, rows*c)
			for i, v := range in.g {
				k := i % c
				want[i] = float64(a[k])*v + float64(b[k])*float64(in.x[i]) + float64(d[k])
				size[i] = math.Abs(float64(a[k])*v) + math.Abs(float64(b[k])*float64(in.x[i])) + math.Abs(float64(d[k]))
			}
			scale, offset := in.scale, in.offset
			if !relu {
				scale, offset = nil, nil
			}
			what := fmt.Sprintf("%d x %d, relu %v", rows, c, relu)
			AffineGrad(dx, in.dy, in.x, scale, offset, a, b, d, rows, c, relu)
			expect(t, what, dx, want, size, 3e-7)
			AffineGrad(in.dy, in.dy, in.x, scale, offset, a, b, d, rows, c, relu)
			expect(t, what+", in place", in.dy, want, size, 3e-7)
		}
	})
}
