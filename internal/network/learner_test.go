package network

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	dg "driftgate"
	"driftgate/internal/kernel"
	naive "driftgate/internal/network/operator/operatortest"
)

func TestGradientsMatchFiniteDifferencesOfTheWholeModel(t *testing.T) {
	specs := map[string]Spec{"linear": MLP(Flat(3), nil, 2), "narrow": MLP(Flat(5), []int{3}, 3), "many classes": MLP(Flat(9), []int{8}, 10)}
	for name, s := range smallNetworks {
		specs[name] = s
	}
	for name, s := range specs {
		rng := rand.New(rand.NewPCG(7, uint64(s.Inputs())))
		w := moved(s, rng)
		b := batchOf(s, 6, rng)
		b.Smoothing = .1
		ref := newReference(s, w)
		wantLoss := ref.loss(b)
		var want [][]float64
		for i, shape := range s.Layout() {
			var d []float64
			if shape.Learned {
				d = naive.Differences(ref.params[i], func() float64 { return ref.loss(b) })
			}
			want = append(want, d)
		}
		for _, path := range kernel.Paths() {
			func() {
				defer kernel.Force(path)()
				l := learner(t, s, 8, w, SGD, OptimiserState{}) // two rows of room
				for round := range 3 {                          // the machine must give the same each time
					st, err := l.gradients(b)
					if err != nil {
						t.Fatal(err)
					}
					if math.Abs(st.Loss-wantLoss) > 1e-5*math.Max(1, wantLoss) {
						t.Fatalf("%s, %v: loss %v, reference %v", name, path, st.Loss, wantLoss)
					}
					for i, p := range l.graph.params {
						if !p.Learned {
							continue
						}
						if off := naive.Apart(p.gradient, want[i]); !(off <= 1e-5) {
							t.Errorf("%s, %v, round %d, %s: the gradient is %.2g of its norm off finite differences, want at most 1e-5", name, path, round, p.Name, off)
						}
					}
				}
			}()
		}
	}
}

func TestRowsBeyondTheBatchAndWeightZeroChangeNothing(t *testing.T) {
	for name, s := range smallNetworks {
		rng := rand.New(rand.NewPCG(3, 3))
		w := moved(s, rng)
		b := batchOf(s, 5, rng)
		b.Weights = nil
		step := func(batch int, b Batch) (Stats, Weights) {
			l := learner(t, s, batch, w, SGD, OptimiserState{})
			full := batchOf(s, batch, rand.New(rand.NewPCG(8, 8))) // what an earlier batch left must not count
			if _, err := l.Step(full, Optimiser{}); err != nil {
				t.Fatal(err)
			}
			for _, st := range s.Stages() { // but running statistics, which it moves
				if st.Kind == BatchNorm {
					for _, at := range st.Tensors[2:] {
						copy(l.graph.params[at].data, w[at].Data)
					}
				}
			}
			st, err := l.Step(b, Optimiser{LearningRate: 0.1})
			if err != nil {
				t.Fatal(err)
			}
			return st, l.Weights()
		}
		a, wa := step(5, b)
		roomy := b
		roomy.Inputs = append(slices.Clone(b.Inputs), slices.Repeat([]float32{float32(math.NaN())}, 4*s.Inputs())...)[:len(b.Inputs)]
		got := map[string]Batch{"fewer rows": b, "a buffer with room": roomy}
		if !slices.ContainsFunc(s.Layers, func(l Layer) bool { return l.Kind == BatchNorm }) {
			junk := b
			junk.Inputs = append(slices.Clone(b.Inputs), slices.Repeat([]float32{5}, 2*s.Inputs())...)
			junk.Labels = append(slices.Clone(b.Labels), 0, 1)
			junk.Weights = []float32{2, 2, 2, 2, 2, 0, 0}
			got["weight zero"] = junk
		}
		for what, b := range got {
			st, weights := step(9, b)
			if math.Abs(st.Loss-a.Loss) > 1e-6 {
				t.Errorf("%s, %s: loss %v, alone %v", name, what, st.Loss, a.Loss)
			}
			if d := distance(weights, wa); d > 1e-6 {
				t.Errorf("%s, %s: weights differ from the full batch's by %g", name, what, d)
			}
		}
	}
}

func TestRunningStatisticsFollowTheBatches(t *testing.T) {
	for name, s := range smallNetworks {
		rng := rand.New(rand.NewPCG(4, 4))
		w := moved(s, rng)
		l := learner(t, s, 8, w, SGD, OptimiserState{})
		want := newReference(s, w).params
		for range 3 {
			b := batchOf(s, 8, rng)
			_, means, variances := newReference(s, w).logits(naive.Wide(b.Inputs))
			k := 0
			for _, st := range s.Stages() {
				if st.Kind != BatchNorm {
					continue
				}
				values := 8 * st.In.Height * st.In.Width
				for c := range means[k] {
					mean, variance := &want[st.Tensors[2]][c], &want[st.Tensors[3]][c]
					*mean = .9**mean + .1*means[k][c]
					*variance = .9**variance + .1*variances[k][c]*float64(values)/float64(values-1)
				}
				k++
			}
			if _, err := l.Step(b, Optimiser{}); err != nil { // rate 0: the weights stay
				t.Fatal(err)
			}
		}
		for i, got := range l.Weights() {
			if strings.Contains(got.Name, "running") && naive.Apart(got.Data, want[i]) > 1e-5 {
				t.Errorf("%s: %s is %.2g of its norm off", name, got.Name, naive.Apart(got.Data, want[i]))
			}
		}
	}
}

func TestLossIsFiniteForLogitsFarApart(t *testing.T) {
	// Gorgonia's own softmax takes the batch's first logit for every row's
	// largest: here that gives infinity.
	s := MLP(Flat(1), nil, 2)
	w := Weights{{"layers.0.weight", []int{2, 1}, []float32{1, -1}}, {"layers.0.bias", []int{2}, []float32{0, 0}}}
	l := learner(t, s, 2, w, SGD, OptimiserState{})
	st, err := l.Step(Batch{Inputs: []float32{-500, 500}, Labels: []int{1, 1}}, Optimiser{})
	if err != nil || math.Abs(st.Loss-500) > 1e-3 || st.Correct != 1 {
		t.Errorf("logits (-500,500),(500,-500), labels 1,1: %+v, %v; want a loss of 500 and one correct", st, err)
	}
}

func TestDivergenceIsAnErrorThatNamesItsPlaceAndKeepsEverything(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(w Weights, b *Batch)
		want   string
	}{
		"an input that is no number": {func(_ Weights, b *Batch) { b.Inputs[1] = float32(math.NaN()) }, "row 0 of the inputs"},
		"logits that overflow":       {func(w Weights, _ *Batch) { scale(w[2].Data, 1e30); scale(w[4].Data, 1e30) }, "largest weight"},
		"a gradient too long":        {func(w Weights, _ *Batch) { scale(w[4].Data, 1e37) }, "of length"},
		"a gradient that overflows": {func(w Weights, b *Batch) {
			scale(b.Inputs, 1e4)
			scale(w[0].Data, 1e-4)
			scale(w[4].Data, 1e36)
		}, "gradient of layers.0.weight"},
	} {
		rng := rand.New(rand.NewPCG(1, 1))
		w := NewWeights(smallNorm, rng)
		s := smallNorm
		if name != "an input that is no number" {
			s = smallMLP
			w = NewWeights(s, rng)
		}
		b := batchOf(s, 3, rng)
		tt.change(w, &b)
		for _, kind := range []string{SGD, Adam} {
			l := learner(t, s, 3, w, kind, OptimiserState{})
			before := l.State()
			_, err := l.Step(b, Optimiser{Kind: kind, LearningRate: 1})
			if !errors.Is(err, ErrDiverged) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: error %v, want ErrDiverged with %q", name, err, tt.want)
			}
			if d := distance(l.Weights(), w); d != 0 {
				t.Errorf("%s: weights moved by %g", name, d)
			}
			if after := l.State(); after.Steps != before.Steps || distance(after.Moments[0], before.Moments[0]) != 0 {
				t.Errorf("%s: the optimiser moved", name)
			}
		}
	}
}

func scale(x []float32, by float32) {
	for i := range x {
		x[i] *= by
	}
}

func TestStepRefusesWhatDoesNotFit(t *testing.T) {
	l := learner(t, smallMLP, 2, NewWeights(smallMLP, rand.New(rand.NewPCG(1, 1))), SGD, OptimiserState{})
	x := make([]float32, 3*7)
	nan := math.NaN()
	for name, tt := range map[string]struct {
		b Batch
		o Optimiser
	}{
		"label out of range":      {Batch{Inputs: x, Labels: []int{4}}, Optimiser{}},
		"negative label":          {Batch{Inputs: x, Labels: []int{-1}}, Optimiser{}},
		"negative weight":         {Batch{Inputs: x, Labels: []int{0}, Weights: []float32{-1}}, Optimiser{}},
		"weight not a number":     {Batch{Inputs: x, Labels: []int{0}, Weights: []float32{float32(nan)}}, Optimiser{}},
		"infinite weight":         {Batch{Inputs: x, Labels: []int{0}, Weights: []float32{float32(math.Inf(1))}}, Optimiser{}},
		"too many rows":           {Batch{Inputs: x, Labels: []int{0, 0, 0}}, Optimiser{}},
		"too few weights":         {Batch{Inputs: x, Labels: []int{0, 0}, Weights: []float32{1}}, Optimiser{}},
		"too few values":          {Batch{Inputs: x[:13], Labels: []int{0, 0}}, Optimiser{}},
		"smoothing of everything": {Batch{Inputs: x, Labels: []int{0}, Smoothing: 1}, Optimiser{}},
		"smoothing not a number":  {Batch{Inputs: x, Labels: []int{0}, Smoothing: nan}, Optimiser{}},
		"another optimiser":       {Batch{Inputs: x, Labels: []int{0}}, Optimiser{Kind: Adam}},
		"rate not a number":       {Batch{Inputs: x, Labels: []int{0}}, Optimiser{LearningRate: nan}},
		"momentum 1":              {Batch{Inputs: x, Labels: []int{0}}, Optimiser{Momentum: 1}},
		"negative decay":          {Batch{Inputs: x, Labels: []int{0}}, Optimiser{WeightDecay: -1}},
		"infinite norm":           {Batch{Inputs: x, Labels: []int{0}}, Optimiser{MaxNorm: math.Inf(1)}},
	} {
		if _, err := l.Step(tt.b, tt.o); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%s: error %v, want ErrInvalid", name, err)
		}
	}
}

func TestNewLearnerRefusesWhatDoesNotFit(t *testing.T) {
	w := NewWeights(smallMLP, rand.New(rand.NewPCG(1, 1)))
	learned := w.Clone()
	for name, f := range map[string]func() (*Learner, error){
		"no batch":             func() (*Learner, error) { return NewLearner(smallMLP, 0, w, SGD, OptimiserState{}) },
		"an unknown optimiser": func() (*Learner, error) { return NewLearner(smallMLP, 1, w, "rmsprop", OptimiserState{}) },
		"weights of another":   func() (*Learner, error) { return NewLearner(smallCNN, 1, w, SGD, OptimiserState{}) },
		"moments of another":   func() (*Learner, error) { return NewLearner(smallMLP, 1, w, SGD, OptimiserState{1, []Weights{w[:2]}}) },
		"too few moments": func() (*Learner, error) {
			return NewLearner(smallMLP, 1, w, Adam, OptimiserState{1, []Weights{learned}})
		},
		"steps without a moment": func() (*Learner, error) { return NewLearner(smallMLP, 1, w, SGD, OptimiserState{Steps: 3}) },
	} {
		if _, err := f(); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%s: error %v, want ErrInvalid", name, err)
		}
	}
}

func TestABatchThatMemoryCannotHoldIsRefusedBeforeItIsMade(t *testing.T) {
	s := MobileNet(Size{224, 224, 3}, 1, 11)
	_, err := NewLearner(s, 210, nil, SGD, OptimiserState{})
	if want := "batch 210 with 10236939 values between the layers for each sample, want at most 209 samples"; !errors.Is(err, dg.ErrInvalid) || !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("error %v, want ErrInvalid with %q", err, want)
	}
}

// dropped is a network in which everything that must resume is at work.
var dropped = Spec{Architecture: "dropped", Input: Size{10, 10, 3}, Classes: 4, Layers: []Layer{
	{Kind: Conv, Units: 8, Kernel: 3, Stride: 1, Padding: 1}, {Kind: BatchNorm, ReLU: true}, {Kind: Dropout, Rate: .2},
	{Kind: Conv, Units: 6, Kernel: 3, Stride: 1, Padding: 1, Bias: true, ReLU: true}, {Kind: MaxPool, Kernel: 2, Stride: 2},
	{Kind: Conv, Units: 7, Kernel: 1, Stride: 1, Bias: true, ReLU: true},
	{Kind: Depthwise, Kernel: 3, Stride: 1, Padding: 1}, {Kind: BatchNorm, ReLU: true},
	{Kind: Dense, Units: 16, Bias: true, ReLU: true}, {Kind: Dropout, Rate: .5}, {Kind: Dense, Units: 4, Bias: true},
}}

func TestSameSeedGivesTheSameWeightsOnAnyThreadsAndResumeIsExact(t *testing.T) {
	for _, o := range []Optimiser{
		{Kind: SGD, LearningRate: 0.02, Momentum: 0.9, WeightDecay: 1e-3, MaxNorm: 1},
		{Kind: Adam, LearningRate: 1e-3, Momentum: 0.9, WeightDecay: 1e-2},
	} {
		train := func(threads, stopAt int) Weights {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(threads))
			rng := rand.New(rand.NewPCG(5, 5))
			l := learner(t, dropped, 16, NewWeights(dropped, rng), o.Kind, OptimiserState{})
			for step := range 12 {
				if step == stopAt { // through copies, as a checkpoint does
					l = learner(t, dropped, 16, l.Weights(), o.Kind, l.State())
				}
				if _, err := l.Step(batchOf(dropped, 16-step%3, rng), o); err != nil {
					t.Fatal(err)
				}
			}
			return l.Weights()
		}
		a := train(1, -1)
		for name, b := range map[string]Weights{"a second run": train(1, -1), "two threads": train(2, -1), "five threads": train(5, -1), "a resumed run": train(1, 7)} {
			if d := distance(a, b); d != 0 {
				t.Errorf("%s: %s differs by %g, want 0", o.Kind, name, d)
			}
		}
		if err := a.Check(dropped); err != nil {
			t.Error(err)
		}
	}
}

func TestWeightsComeOutAsTheyWentIn(t *testing.T) {
	for name, s := range smallNetworks {
		w := moved(s, rand.New(rand.NewPCG(2, 2)))
		if d := distance(learner(t, s, 2, w, SGD, OptimiserState{}).Weights(), w); d != 0 {
			t.Errorf("%s: weights changed by %g", name, d)
		}
	}
}
