//go:build unix

package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// lengths are sizes around those of registers and of the blocks of loops.
var lengths = []int{1, 2, 3, 7, 8, 9, 15, 16, 17, 23, 31, 32, 33, 47, 48, 63, 64, 65, 79, 100, 127, 128, 129, 1000}

func eachLength(t *testing.T, check func(t *testing.T, m *memory, r *rand.Rand, n int)) {
	eachPath(t, func(t *testing.T) {
		r, m := rand.New(rand.NewPCG(11, 12)), newMemory(t)
		for _, n := range lengths {
			check(t, m, r, n)
			m.check()
		}
	})
}

func TestAddScaledAddsAMultiple(t *testing.T) {
	eachLength(t, func(t *testing.T, m *memory, r *rand.Rand, n int) {
		y, x := m.random(r, n), m.random(r, n)
		want, size := wide(y), make([]float64, n)
		for i, v := range x {
			want[i] += -1.7 * float64(v)
			size[i] = 1.7 * math.Abs(float64(v))
		}
		AddScaled(y, x, -1.7)
		expect(t, fmt.Sprint(n, " values"), y, want, size, 2e-7)
	})
}

func TestReLUGradGoesWhereTheOutputIsAboveZero(t *testing.T) {
	nan := float32(math.NaN())
	eachLength(t, func(t *testing.T, m *memory, r *rand.Rand, n int) {
		y, dy, dz := m.random(r, n), m.random(r, n), m.dirty(n)
		for i := range y {
			switch r.IntN(6) {
			case 0:
				y[i] = 0
			case 1:
				y[i] = float32(math.Copysign(0, -1))
			case 2:
				y[i] = nan
			case 3:
				y[i] = math.SmallestNonzeroFloat32
			}
		}
		want := make([]float64, n)
		for i, v := range y {
			if v > 0 {
				want[i] = float64(dy[i])
			}
		}
		ReLUGrad(dz, dy, y)
		expect(t, fmt.Sprint(n, " values"), dz, want, nil, 0)
		ReLUGrad(dy, dy, y)
		expect(t, fmt.Sprint(n, " values in place"), dy, want, nil, 0)
	})
}

// tables are rows by channels: few and many of each, and such that rows are
// taken together in registers with some left over.
var tables = [][2]int{
	{1, 1}, {3, 1}, {64, 1}, {300, 1}, {1000, 3}, {257, 8}, {130, 10}, {1, 16}, {5, 16}, {64, 16}, {65, 16},
	{200, 24}, {31, 31}, {129, 32}, {63, 40}, {7, 48}, {90, 48}, {128, 64}, {66, 65}, {20, 72}, {3, 100}, {70, 128}, {2, 257}, {67, 300}, {1, 1000},
}

func eachTable(t *testing.T, check func(t *testing.T, m *memory, r *rand.Rand, rows, c int)) {
	eachPath(t, func(t *testing.T) {
		r, m := rand.New(rand.NewPCG(13, 14)), newMemory(t)
		for _, s := range tables {
			check(t, m, r, s[0], s[1])
			m.check()
		}
		for range 30 {
			check(t, m, r, 1+r.IntN(200), 1+r.IntN(200))
			m.check()
		}
	})
}

func TestAddRowsSumsEachColumn(t *testing.T) {
	eachTable(t, func(t *testing.T, m *memory, r *rand.Rand, rows, c int) {
		sum, x := m.random(r, c), m.random(r, rows*c)
		want, size := wide(sum), make([]float64, c)
		for i, v := range x {
			want[i%c] += float64(v)
			size[i%c] += math.Abs(float64(v))
		}
		AddRows(sum, x, rows, c)
		expect(t, fmt.Sprintf("%d x %d", rows, c), sum, want, size, 4e-7)
	})
}

// A plain sum in float32 of so many values is off by hundreds.
func TestAddRowsKeepsDigitsOverManyRows(t *testing.T) {
	const rows = 1 << 19
	x := make([]float32, 2*rows)
	for i := range x {
		x[i] = 0.1
	}
	eachPath(t, func(t *testing.T) {
		sum := make([]float32, 2)
		AddRows(sum, x, rows, 2)
		if want := 0.1 * rows; math.Abs(float64(sum[0])/want-1) > 1e-4 || sum[0] != sum[1] {
			t.Errorf("the sum of %d tenths is %g and %g, want %g", rows, sum[0], sum[1], want)
		}
	})
}

func TestNothingIsDoneToNothing(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		AddScaled(nil, nil, 1)
		ReLUGrad(nil, nil, nil)
		AddRows(nil, nil, 0, 5)
		AddRows(nil, nil, 5, 0)
		Moments(nil, nil, nil, nil, 0, 4)
		Affine(nil, nil, nil, nil, 3, 0, true)
		AffineGradSums(nil, nil, nil, nil, nil, nil, nil, 0, 1, true)
		AffineGrad(nil, nil, nil, nil, nil, nil, nil, nil, 0, 1, true)
		SGD(nil, nil, nil, 1, 1, 1, 1)
		Adam(nil, nil, nil, nil, 1, 1, 1, 1, 1, 1, 1, 1)
		if SumSquares(nil) != 0 || SoftmaxCrossEntropy(nil, nil, nil) != 0 {
			t.Error("a sum over nothing is not 0")
		}
	})
}

func TestShortSlicesPanic(t *testing.T) {
	x, d := make([]float32, 64), make([]float64, 64)
	short, shortDoubles := x[:31:31], d[:3:3]
	w := Window{Height: 4, Width: 4, Channels: 4, Filters: 4, Kernel: 2, Stride: 2}
	nine := Window{Height: 2, Width: 4, Channels: 4, Filters: 4, Kernel: 3, Stride: 1, Padding: 1}
	for name, f := range map[string]func(){
		"AddScaled":            func() { AddScaled(short, x[:32], 1) },
		"ReLUGrad":             func() { ReLUGrad(x, short, x) },
		"AddRows":              func() { AddRows(x, short, 8, 4) },
		"AddRows sum":          func() { AddRows(short, x, 1, 32) },
		"Moments":              func() { Moments(d, d, short, x, 8, 4) },
		"Moments sum":          func() { Moments(shortDoubles, d, x, x, 8, 4) },
		"Moments shift":        func() { Moments(d, d, x, x[:3:3], 8, 4) },
		"Affine":               func() { Affine(short, x, x, x, 8, 4, true) },
		"Affine scale":         func() { Affine(x, x, x[:3:3], x, 8, 4, true) },
		"AffineGradSums":       func() { AffineGradSums(d, d, short, x, x, x, x, 8, 4, true) },
		"AffineGradSums mean":  func() { AffineGradSums(d, d, x, x, x[:3:3], x, x, 8, 4, true) },
		"AffineGrad":           func() { AffineGrad(x, x, short, x, x, x, x, x, 8, 4, true) },
		"AffineGrad offset":    func() { AffineGrad(x, x, x, x, x[:3:3], x, x, x, 8, 4, true) },
		"SGD":                  func() { SGD(x, x, short, 1, 1, 1, 1) },
		"Adam":                 func() { Adam(x, x, short, x, 1, 1, 1, 1, 1, 1, 1, 1) },
		"SoftmaxCrossEntropy":  func() { SoftmaxCrossEntropy(x, x, short) },
		"MaxPool":              func() { w.MaxPool(x[:15:15], x) },
		"MaxPool in":           func() { w.MaxPool(x, x[:63:63]) },
		"MaxPoolGrad":          func() { w.MaxPoolGrad(x, x[:15:15], x, x) },
		"Depthwise":            func() { nine.Depthwise(short, make([]float32, 96), x, Epilogue{}, 0, 2) },
		"Depthwise in":         func() { nine.Depthwise(x, make([]float32, 95), x, Epilogue{}, 0, 2) },
		"Depthwise weights":    func() { nine.Depthwise(x, make([]float32, 96), x[:35:35], Epilogue{}, 0, 2) },
		"Depthwise bias":       func() { nine.Depthwise(x, make([]float32, 96), x, Epilogue{Bias: x[:3:3]}, 0, 2) },
		"DepthwiseGradWeights": func() { nine.DepthwiseGradWeights(x[:35:35], make([]float32, 96), x) },
		"DepthwiseGradInput":   func() { nine.DepthwiseGradInput(short, x, x, make([]float32, nine.DepthwiseScratch())) },
	} {
		eachPath(t, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Errorf("%s of a slice that is too short by one: no panic", name)
				}
			}()
			f()
		})
	}
}
