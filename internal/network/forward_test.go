package network

import (
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/kernel"
)

func TestNetworksAnswerAsTheirLayersAreDefined(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		for name, s := range networks() {
			if err := s.Validate(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			rng := rand.New(rand.NewPCG(3, 4))
			w, n := trained(s, rng), 5
			x := normal(n*s.Inputs(), rng)
			logits, features := make([]float32, n*s.Classes), make([]float32, n*s.Features())
			newPlan(s, w).run(samples{x: x}, n, logits, features)
			for i := range n {
				want, seen := defined(s, w, x[i*s.Inputs():][:s.Inputs()])
				if d := difference(logits[i*s.Classes:], want); !(d < 1e-5) {
					t.Errorf("%s: sample %d: logits %v, want %v: off by %.2g", name, i, logits[i*s.Classes:][:s.Classes], want, d)
				}
				if d := difference(features[i*s.Features():], seen); !(d < 1e-5) {
					t.Errorf("%s: sample %d: what the last layer sees is off by %.2g", name, i, d)
				}
			}
		}
	})
}

// A fuzzed network is drawn from its seed: any layers in any order that pass
// Validate.
func FuzzNetworks(f *testing.F) {
	for seed := range uint64(60) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 7))
		s := drawn(rng)
		if s.Validate() != nil || s.Work() > 1<<20 {
			t.Skip()
		}
		w, n := trained(s, rng), 1+rng.IntN(4)
		x := normal(n*s.Inputs(), rng)
		for _, path := range kernel.Paths() {
			restore := kernel.Force(path)
			got, err := Infer(s, w, x)
			restore()
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				want, _ := defined(s, w, x[i*s.Inputs():][:s.Inputs()])
				if d := difference(got[i*s.Classes:], want); !(d < 2e-5) {
					t.Fatalf("%v, %v: sample %d is off by %.2g", path, s, i, d)
				}
			}
		}
	})
}

// drawn is a network of random layers; it may not be a valid one.
func drawn(rng *rand.Rand) Spec {
	in := Size{1 + rng.IntN(14), 1 + rng.IntN(14), 1 + rng.IntN(20)}
	var layers []Layer
	for range rng.IntN(6) {
		kernel := 1 + rng.IntN(4)
		l := Layer{Kind: []string{Conv, Conv, Depthwise, BatchNorm, MaxPool, MeanPool, Dropout, Dense}[rng.IntN(8)]}
		switch l.Kind {
		case Conv, Depthwise:
			l.Kernel, l.Stride, l.Padding = kernel, 1+rng.IntN(3), rng.IntN(kernel)
			l.Bias, l.ReLU = rng.IntN(2) == 0, rng.IntN(2) == 0
		case MaxPool:
			l.Kernel, l.Stride = kernel, 1+rng.IntN(3)
		case Dropout:
			l.Rate = 0.25
		case BatchNorm:
			l.ReLU = rng.IntN(2) == 0
		case Dense:
			l.Bias, l.ReLU = rng.IntN(2) == 0, rng.IntN(2) == 0
		}
		if l.Kind == Conv || l.Kind == Dense {
			l.Units = 1 + rng.IntN(40)
		}
		if l.Kind == Conv && rng.IntN(3) == 0 { // as Winograd's tiles want it, if two follow each other
			l.Units, l.Kernel, l.Stride, l.Padding = 16*(1+rng.IntN(2)), 3, 1, rng.IntN(3)
		}
		layers = append(layers, l)
	}
	return ending(in, layers...)
}

// A sample's answer does not depend on who else is in the batch, on how many
// there are, or on the number of threads.
func TestASampleGetsTheSameBitsInEveryCompany(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		for name, s := range networks() {
			rng := rand.New(rand.NewPCG(5, 6))
			w := trained(s, rng)
			p, n := newPlan(s, w), 67
			if s.Work() > 1<<20 {
				n = 5
			}
			x := normal(n*s.Inputs(), rng)
			answers := func(threads, from, to int) (logits, features []float32) {
				defer setThreads(threads)()
				logits, features = make([]float32, (to-from)*s.Classes), make([]float32, (to-from)*s.Features())
				p.run(samples{x: x[from*s.Inputs() : to*s.Inputs()]}, to-from, logits, features)
				return logits, features
			}
			all, seen := answers(1, 0, n)
			same := func(threads, from, to int) {
				logits, features := answers(threads, from, to)
				if !slices.Equal(logits, all[from*s.Classes:to*s.Classes]) || !slices.Equal(features, seen[from*s.Features():to*s.Features()]) {
					t.Errorf("%s: samples %d to %d on %d threads get other bits than with all %d on one", name, from, to, threads, n)
				}
			}
			for _, threads := range []int{1, 2, 3} {
				same(threads, 0, n)
				same(threads, 1, 4)
				for i := range min(n, 6) {
					same(threads, i, i+1)
				}
			}
		}
	})
}

// trainedOn is a network as it comes out of a training graph that has seen one
// batch, with the batch's own moments as the running ones: in inference it must
// answer as the graph did.
func trainedOn(t *testing.T, s Spec, n int, w Weights, x []float32) (_ Weights, logits []float32) {
	t.Helper()
	w = w.Clone()
	for _, st := range s.Stages() {
		if st.Kind == BatchNorm {
			clear(w[st.Tensors[2]].Data)
			clear(w[st.Tensors[3]].Data)
		}
	}
	l, err := NewLearner(s, n, w, SGD, OptimiserState{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Step(Batch{Inputs: x, Labels: make([]int, n)}, Optimiser{Kind: SGD, LearningRate: 1e-9}); err != nil {
		t.Fatal(err)
	}
	running := l.Weights()
	for _, st := range s.Stages() {
		if st.Kind != BatchNorm {
			continue
		}
		// Running values are a tenth of the batch's after one step; the variance
		// of a batch is divided by the number of values, the running one by one less.
		values := float64(n * st.In.Height * st.In.Width)
		for k, scale := range map[int]float64{2: 10, 3: 10 * (values - 1) / values} {
			for j, v := range running[st.Tensors[k]].Data {
				w[st.Tensors[k]].Data[j] = float32(float64(v) * scale)
			}
		}
	}
	return w, l.graph.logits[:n*s.Classes]
}

func TestInferenceAnswersAsTheTrainingGraph(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		for name, s := range networks() {
			dropped := slices.ContainsFunc(s.Layers, func(l Layer) bool { return l.Kind == Dropout })
			if dropped { // its graph draws who is dropped
				continue
			}
			rng, n := rand.New(rand.NewPCG(8, 9)), 16
			x := normal(n*s.Inputs(), rng)
			w, logits := trainedOn(t, s, n, trained(s, rng), x)
			got, err := Infer(s, w, x)
			if err != nil {
				t.Fatal(err)
			}
			want := make([]float64, len(logits))
			for i, v := range logits {
				want[i] = float64(v)
			}
			if d := difference(got, want); !(d < 3e-5) { // each may be 1e-5 from the truth, and the moments are float32s
				t.Errorf("%s: logits are off by %.2g", name, d)
			}
		}
	})
}

func TestWhatIsNotFiniteIsFound(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		x := make([]float32, 100)
		for i := range x {
			x[i] = math.MaxFloat32
		}
		x[3] = -math.MaxFloat32
		if at := notFinite(x); at != -1 {
			t.Errorf("value %d of the largest numbers there are is refused", at)
		}
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			for _, at := range []int{0, 17, 64, 99} {
				y := slices.Clone(x)
				y[at] = float32(bad)
				if got := notFinite(y); got != at {
					t.Errorf("%v at %d is found at %d", bad, at, got)
				}
			}
		}
	})
}

// Callers and their helpers come and go: whoever does the work, the bits stay.
func TestPredictionsAtOnceGetTheirOwnAnswers(t *testing.T) {
	defer setThreads(4)()
	for _, name := range []string{"cnn at full size", "mobilenet"} {
		s := networks()[name]
		rng := rand.New(rand.NewPCG(1, 3))
		f, err := NewForward(s, trained(s, rng), nil)
		if err != nil {
			t.Fatal(err)
		}
		const n = 24
		x := normal(n*s.Inputs(), rng)
		all, err := f.Logits(x)
		if err != nil {
			t.Fatal(err)
		}
		for _, callers := range []int{1, 3, 8} {
			var wg sync.WaitGroup
			for caller := range callers {
				wg.Go(func() {
					for i := caller; i < n; i += callers {
						got, err := f.Logits(x[i*s.Inputs():][:s.Inputs()])
						if err != nil || !slices.Equal(got, all[i*s.Classes:][:s.Classes]) {
							t.Errorf("%s: sample %d of %d callers gets another answer, %v", name, i, callers, err)
						}
					}
				})
			}
			wg.Wait()
		}
	}
}

func TestAnInputThatIsNoNumberIsRefusedThoughALayerWouldSwallowIt(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		s := networks()["cnn"]
		c := &Classifier{plan: newPlan(s, trained(s, rand.New(rand.NewPCG(1, 1))))}
		x := make([]float32, 3*s.Inputs())
		x[s.Inputs()+5] = float32(math.NaN())
		_, err := c.Logits(x)
		if !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), "row 1 has the value NaN") {
			t.Errorf("error %v, want ErrInvalid and the row", err)
		}
	})
}

func TestAPredictionAllocatesItsResultAlone(t *testing.T) {
	if raceDetector {
		t.Skip("with the race detector a sync.Pool loses what it is given")
	}
	onEveryPath(t, func(t *testing.T) {
		for _, name := range []string{"mlp at full size", "cnn", "cnn at full size", "mobilenet", "conv, norm, pool", "norm between relu and pool"} {
			s := networks()[name]
			c := &Classifier{plan: newPlan(s, trained(s, rand.New(rand.NewPCG(1, 1)))), manifest: Manifest{Calibration: Calibration{Temperature: 1}}}
			c.levels = dataset.Preprocessing{Channels: 1, Mean: []float32{0.3}, Std: []float32{0.4}}.Levels()
			if s.Input.Channels != 1 {
				c.levels = dataset.PhotoPreprocessing(s.Input.Height).Levels()
			}
			px := make([]byte, s.Inputs())
			for _, threads := range []int{1, 2} {
				restore := setThreads(threads)
				got := allocations(20, func() {
					if _, err := c.Pixels(px); err != nil {
						t.Fatal(err)
					}
				})
				restore()
				if !(got < 1.5) {
					t.Errorf("%s, %d threads: %v allocations, want that of the result", name, threads, got)
				}
			}
		}
	})
}

// allocations is testing.AllocsPerRun, which would allow one thread alone: the
// least of some tries, for the collector may empty the pools of one.
func allocations(runs int, f func()) float64 {
	least := math.Inf(1)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			f()
		}
		runtime.ReadMemStats(&after)
		least = min(least, float64(after.Mallocs-before.Mallocs)/float64(runs))
	}
	return least
}
