//go:build unix

package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// winogradWindows have every edge: odd and even sides, with and without padding.
func winogradWindows(r *rand.Rand) []Window {
	ws := []Window{{14, 14, 32, 64, 3, 1, 1}, {7, 7, 16, 48, 3, 1, 1}, {28, 28, 32, 32, 3, 1, 1}, {6, 33, 16, 16, 3, 1, 0}, {40, 5, 48, 16, 3, 1, 2}}
	for range 12 {
		ws = append(ws, Window{4 + r.IntN(9), 4 + r.IntN(9), 16 * (1 + r.IntN(3)), 16 * (1 + r.IntN(5)), 3, 1, r.IntN(3)})
	}
	return ws
}

func TestWinogradIsTheConvolution(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(21, 22))
		for _, w := range winogradWindows(r) {
			if !w.Winograd() {
				continue
			}
			image, weights, bias, dz := random(r, w.In()), random(r, 9*w.Channels*w.Filters), random(r, w.Filters), random(r, w.Output())
			padded := random(r, w.Padded())
			w.Pad(padded, image)
			u, scratch := random(r, w.TileWeights()), random(r, w.TileScratch())
			w.TransformWeights(u, weights)
			out, dw := random(r, w.Output()), make([]float64, len(weights))
			want, du := make([]float64, len(out)), make([]float32, w.TileWeights())
			for i := range want {
				want[i] = float64(bias[i%w.Filters])
			}
			dx := make([]float64, w.In())
			naiveConv(w, func(in, weight, o int) {
				want[o] += float64(image[in]) * float64(weights[weight])
				dx[in] += float64(weights[weight]) * float64(dz[o])
				dw[weight] += float64(image[in]) * float64(dz[o])
			})
			for i := range want {
				want[i] = max(want[i], 0)
			}
			height, _ := w.Out()
			cut := r.IntN(height/2+1) * 2
			w.ConvTiles(out, padded, u, Epilogue{Bias: bias, ReLU: true}, cut, height, scratch)
			w.ConvTiles(out, padded, u, Epilogue{Bias: bias, ReLU: true}, 0, cut, scratch)
			within(t, w, "the output", out, want)

			_, width := w.Out()
			pool := Window{Height: height, Width: width, Channels: w.Filters, Filters: w.Filters, Kernel: 2, Stride: 2}
			pooled, wanted := random(r, pool.Output()), random(r, pool.Output())
			pool.MaxPool(wanted, out)
			w.ConvTilesPool(pooled, padded, u, Epilogue{Bias: bias, ReLU: true}, 0, cut, scratch)
			w.ConvTilesPool(pooled, padded, u, Epilogue{Bias: bias, ReLU: true}, cut, height/2*2, scratch)
			for i, v := range wanted {
				if pooled[i] != v {
					t.Fatalf("%+v: pooled value %d is %g, want %g", w, i, pooled[i], v)
				}
			}

			w.TilesGradWeights(du, padded, dz, scratch)
			got := random(r, len(weights))
			w.ReturnWeights(got, du)
			within(t, w, "the gradient of the weights", got, dw)

			turned, back := random(r, len(u)), random(r, w.In())
			w.TurnTiles(turned, u)
			w.TilesGradInput(back, dz, turned, random(r, w.TileGradScratch()))
			within(t, w, "the gradient of the input", back, dx)
		}
	})
}

// within asks for a relative error of at most 3e-6 in the 2-norm.
func within(t *testing.T, w Window, what string, got []float32, want []float64) {
	t.Helper()
	var off, all float64
	for i, v := range got {
		off += (float64(v) - want[i]) * (float64(v) - want[i])
		all += want[i] * want[i]
	}
	if !(math.Sqrt(off/all) <= 3e-6) {
		t.Fatalf("%+v: %s is off by %.3g of its norm", w, what, math.Sqrt(off/all))
	}
}

func TestWinogradGivesTheSameBitsWhereverItIsCut(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(23, 24))
		w := Window{29, 30, 32, 32, 3, 1, 1}
		padded, u, scratch := random(r, w.Padded()), random(r, w.TileWeights()), random(r, w.TileScratch())
		whole, parts := random(r, w.Output()), random(r, w.Output())
		w.ConvTiles(whole, padded, u, Epilogue{}, 0, 29, scratch)
		for y := 0; y < 29; y += 2 {
			w.ConvTiles(parts, padded, u, Epilogue{}, y, min(29, y+2), scratch)
		}
		for i, v := range whole {
			if v != parts[i] {
				t.Fatalf("at %d %g in whole, %g in parts", i, v, parts[i])
			}
		}
	})
}

func TestWinogradStaysWithinItsSlices(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(25, 26))
		for i, w := range winogradWindows(r) {
			if !w.Winograd() {
				continue
			}
			func() {
				defer noFault(t, w)()
				behind := i%2 == 0
				height, _ := w.Out()
				padded, u := guarded(t, r, w.Padded(), behind), guarded(t, r, w.TileWeights(), behind)
				out, scratch := guarded(t, r, w.Output(), behind), guarded(t, r, w.TileScratch(), behind)
				w.ConvTiles(out, padded, u, Epilogue{Bias: guarded(t, r, w.Filters, behind)}, 0, height, scratch)
				w.TilesGradWeights(u, padded, out, scratch)
				w.TilesGradInput(guarded(t, r, w.In(), behind), out, guarded(t, r, w.TileWeights(), behind), guarded(t, r, w.TileGradScratch(), behind))
				_, width := w.Out()
				w.ConvTilesPool(guarded(t, r, height/2*(width/2)*w.Filters, behind), padded, u, Epilogue{}, 0, height/2*2, scratch)
			}()
		}
	})
}

func BenchmarkConvolutionWays(b *testing.B) {
	for _, w := range []Window{{14, 14, 32, 64, 3, 1, 1}, {28, 28, 32, 32, 3, 1, 1}, {7, 7, 128, 128, 3, 1, 1}, {64, 64, 16, 16, 3, 1, 1}} {
		r := rand.New(rand.NewPCG(1, 2))
		padded, weights, out := random(r, w.Padded()), random(r, 9*w.Channels*w.Filters), random(r, w.Output())
		u, scratch, dw := random(r, w.TileWeights()), random(r, w.TileScratch()), random(r, 9*w.Channels*w.Filters)
		height, width := w.Out()
		flops := float64(2 * 9 * w.Channels * w.Filters * height * width)
		for name, f := range map[string]func(){
			"direct":        func() { w.Conv(out, padded, weights, Epilogue{}, 0, height) },
			"tiles":         func() { w.ConvTiles(out, padded, u, Epilogue{}, 0, height, scratch) },
			"direct/weight": func() { w.ConvGradWeights(dw, padded, out) },
			"tiles/weight":  func() { w.TilesGradWeights(u, padded, out, scratch) },
		} {
			b.Run(fmt.Sprintf("%s/%dx%dx%d-%d", name, w.Height, w.Width, w.Channels, w.Filters), func(b *testing.B) {
				for b.Loop() {
					f()
				}
				b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}
