package operator

import (
	"testing"

	G "gorgonia.org/gorgonia"

	naive "driftgate/internal/network/operator/operatortest"
)

// Windows that kernel.Window.Winograd takes: the other trials are too narrow.
func TestWideConvolutionsMatchFiniteDifferences(t *testing.T) {
	for seed, pool := range []bool{false, true} {
		o := ConvOptions{Kernel: 3, Stride: 1, Padding: 1, ReLU: true, Pool: pool}
		tr := trial{batch: 1, rows: 1, in: []int{5 - seed, 4, 16}, params: [][]int{{9 * 16, 16}, {16}}}
		tr.build = func(ws *Workspace, x *G.Node, p []*G.Node) (*G.Node, error) { return Conv(ws, x, p[0], p[1], o) }
		tr.naive = func(x naive.Images, p [][]float64) naive.Images {
			y := naive.Conv(x, p[0], p[1], 3, 1, 1, true)
			if pool {
				y = naive.MaxPool(y, 2, 2)
			}
			return y
		}
		tr.check(t, uint64(seed), 1e-5)
	}
}
