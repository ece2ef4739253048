package network

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	dg "driftgate"
)

// reference is the same network in float64, written for reading: nothing of it
// is shared with the code under test.
type reference struct {
	spec   Spec
	params [][]float64 // in the order and orientation of Weights
}

func newReference(s Spec, w Weights) *reference {
	r := &reference{spec: s}
	for _, t := range w {
		p := make([]float64, len(t.Data))
		for i, v := range t.Data {
			p[i] = float64(v)
		}
		r.params = append(r.params, p)
	}
	return r
}

func (r *reference) logits(x []float32) []float64 {
	h := make([]float64, len(x))
	for i, v := range x {
		h[i] = float64(v)
	}
	for k := 0; k < len(r.params); k += 2 {
		w, b := r.params[k], r.params[k+1]
		y := make([]float64, len(b))
		for o := range y {
			y[o] = b[o]
			for i, v := range h {
				y[o] += w[o*len(h)+i] * v
			}
			if k < len(r.params)-2 {
				y[o] = max(0, y[o])
			}
		}
		h = y
	}
	return h
}

// loss is the weighted mean cross-entropy.
func (r *reference) loss(x []float32, labels []int, weights []float32) float64 {
	var sum, total float64
	for i, label := range labels {
		l := r.logits(x[i*r.spec.Inputs():][:r.spec.Inputs()])
		var z float64
		for _, v := range l {
			z += math.Exp(v - l[label])
		}
		sum += float64(weights[i]) * math.Log(z)
		total += float64(weights[i])
	}
	return sum / total
}

var small = MLP(Flat(7), []int{6, 5}, 4)

// batchOf draws n rows; some weights are 0, some large.
func batchOf(s Spec, n int, rng *rand.Rand) (x []float32, labels []int, weights []float32) {
	for range n * s.Inputs() {
		x = append(x, float32(rng.NormFloat64()))
	}
	for i := range n {
		labels = append(labels, rng.IntN(s.Classes))
		weights = append(weights, []float32{1, 0.3, 0, 2.5}[i%4])
	}
	return x, labels, weights
}

func learner(t testing.TB, s Spec, batch int, w, velocity Weights) *Learner {
	t.Helper()
	l, err := NewLearner(s, batch, w, velocity)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestGradientsMatchFiniteDifferencesOfTheWholeModel(t *testing.T) {
	for _, s := range []Spec{small, MLP(Flat(3), nil, 2), MLP(Flat(5), []int{3}, 3), MLP(Flat(9), []int{8}, 10)} {
		rng := rand.New(rand.NewPCG(7, uint64(s.Inputs())))
		w := NewWeights(s, rng)
		for i := range w { // biases too, so that no gradient is trivially zero
			for j := range w[i].Data {
				w[i].Data[j] += float32(rng.NormFloat64() * 0.3)
			}
		}
		x, labels, weights := batchOf(s, 6, rng)
		l := learner(t, s, 8, w, nil) // two rows of padding
		for round := range 3 {        // the machine must give the same each time
			copy(l.Input(), x)
			st, err := l.gradients(labels, weights)
			if err != nil {
				t.Fatal(err)
			}
			ref := newReference(s, w)
			if want := ref.loss(x, labels, weights); math.Abs(st.Loss-want) > 1e-5*math.Max(1, want) {
				t.Fatalf("%v: loss %v, reference %v", s, st.Loss, want)
			}
			checkGradients(t, ref, l, x, labels, weights, round)
		}
	}
}

func checkGradients(t *testing.T, ref *reference, l *Learner, x []float32, labels []int, weights []float32, round int) {
	t.Helper()
	const h = 1e-5
	for k, p := range ref.params {
		var diff, norm float64
		shape := l.spec.Layout()[k]
		for j := range p {
			old := p[j]
			p[j] = old + h
			up := ref.loss(x, labels, weights)
			p[j] = old - h
			down := ref.loss(x, labels, weights)
			p[j] = old
			want := (up - down) / (2 * h)
			at := j
			if len(shape.Dims) == 2 { // the graph holds [in, out]
				at = j%shape.Dims[1]*shape.Dims[0] + j/shape.Dims[1]
			}
			got := float64(l.graph.gradient(k)[at])
			diff += (got - want) * (got - want)
			norm += want * want
		}
		if rel := math.Sqrt(diff / norm); !(rel < 1e-5) {
			t.Errorf("%v, round %d, %s: gradient differs from finite differences by %.2g of its norm, want at most 1e-5", l.spec, round, shape.Name, rel)
		}
	}
}

func TestPaddingAndWeightZeroChangeNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	w := NewWeights(small, rng)
	x, labels, _ := batchOf(small, 3, rng)
	step := func(batch int, x []float32, labels []int, weights []float32) (Stats, Weights) {
		l := learner(t, small, batch, w, nil)
		for i := range l.Input() {
			l.Input()[i] = 1e30 // what an earlier batch left must not count
		}
		copy(l.Input(), x)
		st, err := l.Step(labels, weights, SGD{LearningRate: 0.1})
		if err != nil {
			t.Fatal(err)
		}
		return st, l.Weights()
	}
	a, wa := step(3, x, labels, nil)
	b, wb := step(9, x, labels, nil)
	junk := append(slices.Clone(x), make([]float32, 2*small.Inputs())...)
	for i := len(x); i < len(junk); i++ {
		junk[i] = 5
	}
	c, wc := step(9, junk, append(slices.Clone(labels), 0, 1), []float32{2, 2, 2, 0, 0})
	for name, got := range map[string]struct {
		Stats
		Weights
	}{"padded": {b, wb}, "weight zero": {c, wc}} {
		if math.Abs(got.Loss-a.Loss) > 1e-6 {
			t.Errorf("%s: loss %v, alone %v", name, got.Loss, a.Loss)
		}
		if d := distance(got.Weights, wa); d > 1e-6 {
			t.Errorf("%s: weights differ from the full batch's by %g", name, d)
		}
	}
}

func distance(a, b Weights) float64 {
	var d float64
	for i := range a {
		for j := range a[i].Data {
			d = math.Max(d, math.Abs(float64(a[i].Data[j]-b[i].Data[j])))
		}
	}
	return d
}

func TestLossIsFiniteForLogitsFarApart(t *testing.T) {
	// Gorgonia's own softmax takes the batch's first logit for every row's
	// largest: here that gives infinity.
	s := MLP(Flat(1), nil, 2)
	w := Weights{{"layers.0.weight", []int{2, 1}, []float32{1, -1}}, {"layers.0.bias", []int{2}, []float32{0, 0}}}
	l := learner(t, s, 2, w, nil)
	copy(l.Input(), []float32{-500, 500})
	st, err := l.Step([]int{1, 1}, nil, SGD{})
	if err != nil || math.Abs(st.Loss-500) > 1e-3 || st.Correct != 1 {
		t.Errorf("logits (-500,500),(500,-500), labels 1,1: %+v, %v; want a loss of 500 and one correct", st, err)
	}
}

func TestDivergenceIsAnErrorAndKeepsTheWeights(t *testing.T) {
	w := NewWeights(small, rand.New(rand.NewPCG(1, 1)))
	l := learner(t, small, 1, w, nil)
	l.Input()[0] = float32(math.NaN())
	if _, err := l.Step([]int{0}, nil, SGD{LearningRate: 1}); !errors.Is(err, ErrDiverged) {
		t.Errorf("error %v, want ErrDiverged", err)
	}
	if d := distance(l.Weights(), w); d != 0 {
		t.Errorf("weights moved by %g", d)
	}
}

func TestStepRefusesBadLabelsAndWeights(t *testing.T) {
	l := learner(t, small, 2, NewWeights(small, rand.New(rand.NewPCG(1, 1))), nil)
	for name, f := range map[string]func() error{
		"label out of range":  func() error { _, err := l.Step([]int{4}, nil, SGD{}); return err },
		"negative label":      func() error { _, err := l.Step([]int{-1}, nil, SGD{}); return err },
		"negative weight":     func() error { _, err := l.Step([]int{0}, []float32{-1}, SGD{}); return err },
		"weight not a number": func() error { _, err := l.Step([]int{0}, []float32{float32(math.NaN())}, SGD{}); return err },
		"too many rows":       func() error { _, err := l.Step([]int{0, 0, 0}, nil, SGD{}); return err },
		"too few weights":     func() error { _, err := l.Step([]int{0, 0}, []float32{1}, SGD{}); return err },
	} {
		if err := f(); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%s: error %v, want ErrInvalid", name, err)
		}
	}
}

func TestSameSeedGivesTheSameWeightsAndResumeIsExact(t *testing.T) {
	train := func(stopAt int) Weights {
		rng := rand.New(rand.NewPCG(5, 5))
		s := MLP(Flat(20), []int{16, 8}, 4)
		w, velocity := NewWeights(s, rng), Weights(nil)
		l := learner(t, s, 16, w, velocity)
		for step := range 40 {
			if step == stopAt { // through copies, as a checkpoint does
				l = learner(t, s, 16, l.Weights(), l.Velocity())
			}
			x, labels, weights := batchOf(s, 16, rng)
			copy(l.Input(), x)
			if _, err := l.Step(labels, weights, SGD{LearningRate: 0.05, Momentum: 0.9, WeightDecay: 1e-3}); err != nil {
				t.Fatal(err)
			}
		}
		return l.Weights()
	}
	a, b, c := train(-1), train(-1), train(17)
	if d := distance(a, b); d != 0 {
		t.Errorf("two runs of one seed differ by %g, want 0", d)
	}
	if d := distance(a, c); d != 0 {
		t.Errorf("a resumed run differs by %g, want 0", d)
	}
	if err := a.Check(MLP(Flat(20), []int{16, 8}, 4)); err != nil {
		t.Error(err)
	}
}

func TestSGDFollowsItsFormula(t *testing.T) {
	w, g, v := []float32{1, -2}, []float32{0.5, 0.25}, []float32{0.1, 0}
	SGD{LearningRate: 0.1, Momentum: 0.9, WeightDecay: 0.01}.step(w, g, v, 1, true)
	// v0 = .9*.1 + .5 + .01*1 = .6; v1 = .25 - .02 = .23
	want := []float64{1 - 0.06, -2 - 0.023}
	for i := range w {
		if math.Abs(float64(w[i])-want[i]) > 1e-6 {
			t.Errorf("w[%d] = %v, want %v", i, w[i], want[i])
		}
	}
	SGD{LearningRate: 1, WeightDecay: 1}.step(w, []float32{0, 0}, []float32{0, 0}, 1, false)
	if math.Abs(float64(w[0])-want[0]) > 1e-6 {
		t.Errorf("a bias decayed to %v", w[0])
	}
}

func TestLongGradientsAreCutToMaxNorm(t *testing.T) {
	w := NewWeights(small, rand.New(rand.NewPCG(2, 2)))
	x, labels, _ := batchOf(small, 4, rand.New(rand.NewPCG(4, 4)))
	moved := func(maxNorm float64) (length float64) {
		l := learner(t, small, 4, w, nil)
		copy(l.Input(), x)
		if _, err := l.Step(labels, nil, SGD{LearningRate: 1, MaxNorm: maxNorm}); err != nil {
			t.Fatal(err)
		}
		for i, after := range l.Weights() {
			for j, v := range after.Data {
				length += math.Pow(float64(v-w[i].Data[j]), 2)
			}
		}
		return math.Sqrt(length)
	}
	free := moved(0)
	for _, limit := range []float64{free / 3, free / 50} {
		if got := moved(limit); math.Abs(got/limit-1) > 1e-3 {
			t.Errorf("max norm %g: the weights moved by %g", limit, got)
		}
	}
	if got := moved(2 * free); math.Abs(got-free) > 1e-9 {
		t.Errorf("a gradient of length %g was changed to %g by a limit of %g", free, got, 2*free)
	}
}
