package kernel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestColumnsOfAProductAreThoseOfTheWhole(t *testing.T) {
	for _, path := range Paths() {
		t.Run(path.String(), func(t *testing.T) {
			defer Force(path)()
			rng := rand.New(rand.NewPCG(1, 2))
			for _, shape := range [][3]int{{1, 10, 7}, {1, 128, 300}, {3, 517, 260}, {15, 130, 1}, {1, 33, 512}} {
				m, n, k := shape[0], shape[1], shape[2]
				a, b, bias := drawn(m*k, rng), drawn(k*n, rng), drawn(n, rng)
				packed, e := Pack(k, n, Operand{Data: b, Stride: n}), Epilogue{Bias: bias, ReLU: true}
				want, got := make([]float32, m*n), make([]float32, m*n)
				Gemm(m, n, k, Operand{Data: a, Stride: k}, Operand{Data: b, Stride: n}, want, n, e)
				for from := 0; from < n; from += packed.Panel() {
					packed.Columns(m, Operand{Data: a, Stride: k}, got, n, e, from, min(n, from+packed.Panel()))
				}
				if !slices.Equal(got, want) {
					t.Error(fmt.Sprint(shape), ": panel by panel with the packed factor gives other bits than at once without")
				}
				for i := range m {
					row := make([]float32, n)
					packed.Columns(1, Operand{Data: a[i*k:], Stride: k}, row, n, e, 0, n)
					if !slices.Equal(row, want[i*n:(i+1)*n]) {
						t.Error(fmt.Sprint(shape), ": a row alone has other bits than among others")
					}
				}
			}
		})
	}
}

func drawn(n int, rng *rand.Rand) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(rng.NormFloat64())
	}
	return out
}
