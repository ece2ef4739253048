package operator

import (
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	dg "driftgate"
	naive "driftgate/internal/network/operator/operatortest"
)

// draws are trials of one kind of layer with shapes drawn from a seed. The
// shapes stay small: finite differences evaluate the naive form twice a value.
var draws = map[string]func(rng *rand.Rand) trial{
	"dense":      denseTrial,
	"conv":       func(rng *rand.Rand) trial { return convTrial(rng, false, false) },
	"conv+pool":  func(rng *rand.Rand) trial { return convTrial(rng, true, false) },
	"pointwise":  func(rng *rand.Rand) trial { return convTrial(rng, false, true) },
	"depthwise":  depthwiseTrial,
	"batch norm": normTrial,
	"max pool":   maxTrial,
	"mean pool":  meanTrial,
	"conv+norm":  convNormTrial,
}

func between(rng *rand.Rand, low, high int) int { return low + rng.IntN(high-low+1) }

func coin(rng *rand.Rand) bool { return rng.IntN(2) == 0 }

func optional(b bool, p [][]float64) []float64 {
	if !b {
		return nil
	}
	return p[len(p)-1]
}

func denseTrial(rng *rand.Rand) trial {
	batch, out, relu, bias := between(rng, 1, 12), between(rng, 1, 40), coin(rng), coin(rng)
	tr := trial{batch: batch, rows: between(rng, 1, batch), in: []int{between(rng, 1, 20)}}
	if coin(rng) { // an image is read as a row
		tr.in = []int{between(rng, 1, 3), between(rng, 1, 3), between(rng, 1, 3)}
	}
	tr.params = [][]int{{tensor.Shape(tr.in).TotalSize(), out}}
	if bias {
		tr.params = append(tr.params, []int{out})
	}
	tr.build = func(ws *Workspace, x *G.Node, p []*G.Node) (*G.Node, error) {
		return Dense(ws, x, p[0], last(bias, p), relu)
	}
	tr.naive = func(x naive.Images, p [][]float64) naive.Images {
		return naive.Dense(x, p[0], optional(bias, p), relu)
	}
	return tr
}

func last(b bool, p []*G.Node) *G.Node {
	if !b {
		return nil
	}
	return p[len(p)-1]
}

// geometry draws a window that fits an image of in.
func geometry(rng *rand.Rand, in []int, smallest int) ConvOptions {
	for {
		k := between(rng, 1, 4)
		o := ConvOptions{Kernel: k, Stride: between(rng, 1, 3), Padding: between(rng, 0, min(2, k-1)), ReLU: coin(rng)}
		outside := func(n int) int { return (n+2*o.Padding-k)/o.Stride + 1 }
		if min(in[0], in[1])+2*o.Padding >= k && min(outside(in[0]), outside(in[1])) >= smallest {
			return o
		}
	}
}

func convTrial(rng *rand.Rand, pool, pointwise bool) trial {
	batch, bias, filters := between(rng, 1, 9), coin(rng), between(rng, 1, 35)
	tr := trial{batch: batch, rows: between(rng, 1, batch), in: []int{between(rng, 2, 5), between(rng, 2, 5), between(rng, 1, 3)}}
	o := geometry(rng, tr.in, map[bool]int{true: 2, false: 1}[pool])
	if pointwise {
		o = ConvOptions{Kernel: 1, Stride: 1, ReLU: o.ReLU}
	}
	o.Pool = pool
	tr.params = [][]int{{o.Kernel * o.Kernel * tr.in[2], filters}}
	if bias {
		tr.params = append(tr.params, []int{filters})
	}
	tr.build = func(ws *Workspace, x *G.Node, p []*G.Node) (*G.Node, error) {
		return Conv(ws, x, p[0], last(bias, p), o)
	}
	tr.naive = func(x naive.Images, p [][]float64) naive.Images {
		y := naive.Conv(x, p[0], optional(bias, p), o.Kernel, o.Stride, o.Padding, o.ReLU)
		if pool {
			y = naive.MaxPool(y, 2, 2)
		}
		return y
	}
	return tr
}

func depthwiseTrial(rng *rand.Rand) trial {
	batch, bias := between(rng, 1, 10), coin(rng)
	tr := trial{batch: batch, rows: between(rng, 1, batch), in: []int{between(rng, 2, 5), between(rng, 2, 5), between(rng, 1, 18)}}
	o := geometry(rng, tr.in, 1)
	tr.params = [][]int{{o.Kernel * o.Kernel, tr.in[2]}}
	if bias {
		tr.params = append(tr.params, []int{tr.in[2]})
	}
	tr.build = func(ws *Workspace, x *G.Node, p []*G.Node) (*G.Node, error) {
		return Depthwise(ws, x, p[0], last(bias, p), o)
	}
	tr.naive = func(x naive.Images, p [][]float64) naive.Images {
		return naive.Depthwise(x, p[0], optional(bias, p), o.Kernel, o.Stride, o.Padding, o.ReLU)
	}
	return tr
}

// running statistics to begin with.
func running(c int) BatchNormOptions {
	return BatchNormOptions{Mean: slices.Repeat([]float32{.25}, c), Variance: slices.Repeat([]float32{1}, c)}
}

func normTrial(rng *rand.Rand) trial {
	batch, relu := between(rng, 4, 20), coin(rng)
	tr := trial{batch: batch, rows: between(rng, 4, batch), in: []int{between(rng, 1, 20)}}
	if coin(rng) {
		tr.in = []int{between(rng, 1, 4), between(rng, 1, 4), between(rng, 1, 18)}
	}
	c := tr.in[len(tr.in)-1]
	tr.params = [][]int{{c}, {c}}
	tr.build = func(ws *Workspace, x *G.Node, p []*G.Node) (*G.Node, error) {
		o := running(c)
		o.ReLU = relu
		return BatchNorm(ws, x, p[0], p[1], o)
	}
	tr.naive = func(x naive.Images, p [][]float64) naive.Images {
		y, _, _ := naive.BatchNorm(x, p[0], p[1], Epsilon, relu)
		return y
	}
	return tr
}

// convNormTrial: the convolution adds up the moments for the batch norm.
// Each of its filters has several weights, and no bias: of a bias, and of the
// size of a filter, the normalised result does not depend.
func convNormTrial(rng *rand.Rand) trial {
	var tr trial
	for tr.params == nil || len(tr.params) > 1 || tr.params[0][0] < 3 {
		if coin(rng) {
			tr = convTrial(rng, false, coin(rng))
		} else {
			tr = depthwiseTrial(rng)
		}
	}
	tr.batch = between(rng, 6, 10)
	tr.rows = between(rng, 5, tr.batch)
	before, naiveBefore, n := tr.build, tr.naive, len(tr.params)
	c := tr.params[0][1]
	tr.params = append(tr.params, []int{c}, []int{c})
	tr.build = func(ws *Workspace, x *G.Node, p []*G.Node) (*G.Node, error) {
		y, err := before(ws, x, p[:n])
		if err != nil {
			return nil, err
		}
		o := running(c)
		o.ReLU = true
		return BatchNorm(ws, y, p[n], p[n+1], o)
	}
	tr.naive = func(x naive.Images, p [][]float64) naive.Images {
		y, _, _ := naive.BatchNorm(naiveBefore(x, p[:n]), p[n], p[n+1], Epsilon, true)
		return y
	}
	return tr
}

func maxTrial(rng *rand.Rand) trial {
	batch := between(rng, 1, 10)
	tr := trial{batch: batch, rows: between(rng, 1, batch), in: []int{between(rng, 2, 7), between(rng, 2, 7), between(rng, 1, 18)}}
	k, stride := between(rng, 1, min(3, tr.in[0], tr.in[1])), between(rng, 1, 3)
	tr.build = func(ws *Workspace, x *G.Node, _ []*G.Node) (*G.Node, error) { return MaxPool(ws, x, k, stride) }
	tr.naive = func(x naive.Images, _ [][]float64) naive.Images { return naive.MaxPool(x, k, stride) }
	return tr
}

func meanTrial(rng *rand.Rand) trial {
	batch := between(rng, 1, 10)
	tr := trial{batch: batch, rows: between(rng, 1, batch), in: []int{between(rng, 1, 7), between(rng, 1, 7), between(rng, 1, 18)}}
	tr.build = func(ws *Workspace, x *G.Node, _ []*G.Node) (*G.Node, error) { return MeanPool(ws, x) }
	tr.naive = func(x naive.Images, _ [][]float64) naive.Images { return naive.MeanPool(x) }
	return tr
}

func TestOperatorsMatchTheNaiveFormAndItsFiniteDifferences(t *testing.T) {
	for name, draw := range draws {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(6) {
				draw(rand.New(rand.NewPCG(seed, 1))).check(t, seed, 1e-5)
			}
		})
	}
}

func FuzzOperators(f *testing.F) {
	names := slices.Sorted(maps.Keys(draws))
	for i := range names {
		f.Add(uint8(i), uint64(1000+i))
	}
	f.Fuzz(func(t *testing.T, kind uint8, seed uint64) {
		draws[names[int(kind)%len(names)]](rand.New(rand.NewPCG(seed, 1))).check(t, seed, 1e-4) // batch norm of nearly equal values cancels digits
	})
}

func TestRunningStatisticsMoveATenthOfTheWayOnCommitOnly(t *testing.T) {
	const batch, c = 6, 3
	o := running(c)
	tr := trial{batch: batch, in: []int{2, 2, c}, params: [][]int{{c}, {c}}}
	tr.build = func(ws *Workspace, x *G.Node, p []*G.Node) (*G.Node, error) { return BatchNorm(ws, x, p[0], p[1], o) }
	b := newBench(t, tr, rand.New(rand.NewPCG(1, 1)))
	b.run(t, 5)
	if o.Mean[0] != .25 || o.Variance[0] != 1 {
		t.Fatalf("a run alone moved the statistics to %v, %v", o.Mean, o.Variance)
	}
	b.ws.Commit()
	const n = 5 * 4
	_, mean, variance := naive.BatchNorm(naive.Images{N: 5, H: 2, W: 2, C: c, V: naive.Wide(b.inX[:n*c])}, make([]float64, c), make([]float64, c), Epsilon, false)
	for i := range c {
		wantMean, wantVar := .9*.25+.1*mean[i], .9*1+.1*variance[i]*n/(n-1)
		if math.Abs(float64(o.Mean[i])-wantMean) > 1e-6 || math.Abs(float64(o.Variance[i])-wantVar) > 1e-6 {
			t.Errorf("channel %d: running %v, %v; want %v, %v", i, o.Mean[i], o.Variance[i], wantMean, wantVar)
		}
	}
}

func TestBatchNormOfOneValueGivesBetaAndKeepsTheVariance(t *testing.T) {
	o := running(2)
	tr := trial{batch: 3, in: []int{2}, params: [][]int{{2}, {2}}}
	tr.build = func(ws *Workspace, x *G.Node, p []*G.Node) (*G.Node, error) { return BatchNorm(ws, x, p[0], p[1], o) }
	b := newBench(t, tr, rand.New(rand.NewPCG(1, 1)))
	b.run(t, 1)
	b.ws.Commit()
	for i, want := range values(b.params[1]) {
		if got := values(b.out)[i]; math.Abs(float64(got-want)) > 1e-4 {
			t.Errorf("value %d is %v, want beta %v", i, got, want)
		}
		if o.Variance[i] != 1 {
			t.Errorf("the running variance of channel %d moved to %v", i, o.Variance[i])
		}
	}
}

func TestDropoutKeepsItsShareAndScalesItAndItsGradient(t *testing.T) {
	for _, rate := range []float64{.1, .5, .9} {
		const batch, size = 20, 501
		tr := trial{batch: batch, in: []int{size}}
		tr.build = func(ws *Workspace, x *G.Node, _ []*G.Node) (*G.Node, error) { return Dropout(ws, x, rate) }
		b := newBench(t, tr, rand.New(rand.NewPCG(1, 1)))
		b.run(t, batch)
		y, dx, dropped := slices.Clone(values(b.out)), values(b.grads[0]), 0
		scale := float32(1 / (1 - rate))
		for i, v := range y {
			switch {
			case v == 0 && dx[i] == 0:
				dropped++
			case v != b.inX[i]*scale || dx[i] != b.factors[i]*scale:
				t.Fatalf("rate %g, value %d: %v becomes %v, gradient %v becomes %v; want both times %v", rate, i, b.inX[i], v, b.factors[i], dx[i], scale)
			}
		}
		// five standard deviations of a binomial share
		if share := float64(dropped) / (batch * size); math.Abs(share-rate) > 5*math.Sqrt(rate*(1-rate)/(batch*size)) {
			t.Errorf("rate %g dropped a share of %g", rate, share)
		}
		b.run(t, batch)
		if !slices.Equal(y, values(b.out)) {
			t.Errorf("rate %g: the same seed dropped others", rate)
		}
		b.ws.Begin(batch, 2)
		b.vm.Reset()
		if err := b.vm.RunAll(); err != nil {
			t.Fatal(err)
		}
		if slices.Equal(y, values(b.out)) {
			t.Errorf("rate %g: another seed dropped the same", rate)
		}
	}
}

func TestTwoDropoutsOfOneGraphDropDifferently(t *testing.T) {
	tr := trial{batch: 4, in: []int{400}}
	var first *G.Node
	tr.build = func(ws *Workspace, x *G.Node, _ []*G.Node) (*G.Node, error) {
		var err error
		if first, err = Dropout(ws, x, .5); err != nil {
			return nil, err
		}
		return Dropout(ws, first, .5)
	}
	b := newBench(t, tr, rand.New(rand.NewPCG(1, 1)))
	b.run(t, 4)
	kept, both := 0, 0
	for i, v := range values(first) {
		if v != 0 {
			kept++
			if values(b.out)[i] != 0 {
				both++
			}
		}
	}
	if share := float64(both) / float64(kept); math.Abs(share-.5) > .1 {
		t.Errorf("of what the first kept the second kept %g, want about a half", share)
	}
}

func TestCrossEntropyMatchesTheNaiveFormWithWeightsAndSmoothing(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 5))
		batch, c := between(rng, 1, 9), between(rng, 2, 12)
		rows := between(rng, 1, batch)
		ws, g := NewWorkspace(batch), G.NewGraph()
		x, target := input(g, "x", fill(rng, batch, c)), input(g, "target", fill(rng, batch, c))
		for i := range values(target) { // any weights that are not negative
			values(target)[i] = max(0, values(target)[i])
			values(x)[i] *= 20
		}
		id := identity(t, ws, x)
		loss, err := CrossEntropy(ws, id, target)
		if err != nil {
			t.Fatal(err)
		}
		grads, err := G.Grad(loss, x)
		if err != nil {
			t.Fatal(err)
		}
		vm := G.NewTapeMachine(g)
		ws.Begin(rows, 0)
		if err := vm.RunAll(); err != nil {
			t.Fatal(err)
		}
		wide := naive.Images{N: rows, H: 1, W: 1, C: c, V: naive.Wide(values(x)[:rows*c])}
		f := func() float64 { return naive.CrossEntropy(wide, naive.Wide(values(target))) }
		if got, want := loss.Value().Data().(float32), f(); math.Abs(float64(got)-want) > 1e-5*math.Abs(want) {
			t.Errorf("seed %d: loss %v, want %v", seed, got, want)
		}
		if d := naive.Apart(values(grads[0])[:rows*c], naive.Differences(wide.V, f)); !(d <= 1e-5) {
			t.Errorf("seed %d: the gradient is %.2g of its norm off", seed, d)
		}
	}
}

func TestConstructorsRefuseWhatTheyDoNotSupport(t *testing.T) {
	ws, g := NewWorkspace(4), G.NewGraph()
	rng := rand.New(rand.NewPCG(1, 1))
	node := func(shape ...int) *G.Node { return input(g, "n", fill(rng, shape...)) }
	wide := G.NewMatrix(g, tensor.Float64, G.WithShape(4, 6), G.WithName("wide"))
	img, row, c2 := node(4, 5, 5, 2), node(4, 6), node(2)
	used, err := Dropout(ws, row, .5)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = Dropout(ws, used, .5); err != nil {
		t.Fatal(err)
	}
	w3 := ConvOptions{Kernel: 3, Stride: 1}
	for name, f := range map[string]func() (*G.Node, error){
		"float64 input":            func() (*G.Node, error) { return Dense(ws, wide, node(6, 3), nil, false) },
		"another batch":            func() (*G.Node, error) { return Dense(ws, node(3, 6), node(6, 3), nil, false) },
		"weights of another width": func() (*G.Node, error) { return Dense(ws, row, node(5, 3), nil, false) },
		"a bias of another length": func() (*G.Node, error) { return Dense(ws, row, node(6, 3), c2, false) },
		"a row that is no image":   func() (*G.Node, error) { return Conv(ws, row, node(9, 2), nil, w3) },
		"conv weights of 4 axes":   func() (*G.Node, error) { return Conv(ws, img, node(3, 3, 2, 2), nil, w3) },
		"a window over its input":  func() (*G.Node, error) { return Conv(ws, img, node(72, 2), nil, ConvOptions{Kernel: 6, Stride: 1}) },
		"stride 0":                 func() (*G.Node, error) { return Conv(ws, img, node(18, 2), nil, ConvOptions{Kernel: 3}) },
		"padding of a whole window": func() (*G.Node, error) {
			return Conv(ws, img, node(18, 2), nil, ConvOptions{Kernel: 3, Stride: 1, Padding: 3})
		},
		"pooling a single pixel": func() (*G.Node, error) {
			return Conv(ws, img, node(50, 2), nil, ConvOptions{Kernel: 5, Stride: 1, Pool: true})
		},
		"depthwise with pooling": func() (*G.Node, error) {
			return Depthwise(ws, img, node(9, 2), nil, ConvOptions{Kernel: 3, Stride: 1, Pool: true})
		},
		"depthwise weights of conv": func() (*G.Node, error) { return Depthwise(ws, img, node(18, 2), nil, w3) },
		"norm without statistics":   func() (*G.Node, error) { return BatchNorm(ws, img, c2, c2, BatchNormOptions{}) },
		"norm of other channels":    func() (*G.Node, error) { return BatchNorm(ws, row, c2, c2, running(2)) },
		"a pool over its input":     func() (*G.Node, error) { return MaxPool(ws, img, 6, 1) },
		"the mean of a row":         func() (*G.Node, error) { return MeanPool(ws, row) },
		"dropout of everything":     func() (*G.Node, error) { return Dropout(ws, row, 1) },
		"dropout of a share of NaN": func() (*G.Node, error) { return Dropout(ws, row, math.NaN()) },
		"targets of another shape":  func() (*G.Node, error) { return CrossEntropy(ws, row, node(4, 5)) },
		"a second use of a result":  func() (*G.Node, error) { return Dense(ws, used, node(6, 3), nil, false) },
	} {
		if _, err := f(); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%s: error %v, want ErrInvalid", name, err)
		}
	}
}
