package network

import (
	"compress/gzip"
	"encoding/json"
	"math"
	"os"
	"testing"

	"driftgate/internal/kernel"
	naive "driftgate/internal/network/operator/operatortest"
)

// expected is testdata/pytorch.json.gz: what PyTorch 1.13.1 computes in float64
// on one thread. Weights, inputs and sample weights are random multiples of
// 1/1024, 1/64 and 1/4, so that float32 holds them exactly. A network is its
// layers in order as calls of torch.nn.functional (linear, conv2d, batch_norm
// in training with momentum 0.1, max_pool2d, mean over the pixels, relu);
// images are flattened in the order height, width, channels. The loss is the
// mean of the smoothed cross-entropies weighted by the samples. An optimiser is
// torch.optim.SGD or AdamW, with decay for tensors of more than one dimension,
// after six steps over the three batches in turn.
type expected struct {
	Smoothing  float64
	Optimisers map[string]struct {
		LearningRate float64 `json:"learning_rate"`
		Momentum     float64
		Beta2        float64
		WeightDecay  float64 `json:"weight_decay"`
	}
	Cases map[string]struct {
		Spec    Spec
		Weights map[string][]float32
		Batches []struct {
			Inputs  []float32
			Labels  []int
			Weights []float32
		}
		Loss       float64
		Logits     []float64
		Gradients  map[string][]float64
		Optimisers map[string]struct {
			Losses  []float64
			Weights map[string][]float64
		}
	}
}

func readExpected(t *testing.T) expected {
	t.Helper()
	f, err := os.Open("testdata/pytorch.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var e expected
	if err := json.NewDecoder(z).Decode(&e); err != nil {
		t.Fatal(err)
	}
	if len(e.Cases) < 5 || len(e.Optimisers) < 2 {
		t.Fatalf("%d cases, %d optimisers: the test would prove nothing", len(e.Cases), len(e.Optimisers))
	}
	return e
}

func TestLossGradientsAndStepsAreThoseOfPyTorch(t *testing.T) {
	e := readExpected(t)
	for name, c := range e.Cases {
		var w Weights
		for _, shape := range c.Spec.Layout() {
			w = append(w, Tensor{shape.Name, shape.Dims, c.Weights[shape.Name]})
		}
		batch := func(i int) Batch {
			b := c.Batches[i%len(c.Batches)]
			return Batch{Inputs: b.Inputs, Labels: b.Labels, Weights: b.Weights, Smoothing: e.Smoothing}
		}
		for _, path := range kernel.Paths() {
			t.Run(name+" "+path.String(), func(t *testing.T) {
				defer kernel.Force(path)()
				l := learner(t, c.Spec, len(c.Batches[0].Labels), w, SGD, OptimiserState{})
				st, err := l.gradients(batch(0))
				if err != nil {
					t.Fatal(err)
				}
				if math.Abs(st.Loss/c.Loss-1) > 1e-5 {
					t.Errorf("loss %v, PyTorch says %v", st.Loss, c.Loss)
				}
				if off := naive.Apart(l.graph.logits, c.Logits); !(off <= 1e-5) {
					t.Errorf("the logits are %.2g of their norm off", off)
				}
				for _, p := range l.graph.params {
					if !p.Learned {
						continue
					}
					got := p.stage.fromKernel(p.Shape, p.gradient)
					if off := naive.Apart(got.Data, c.Gradients[p.Name]); !(off <= 1e-5) {
						t.Errorf("the gradient of %s is %.2g of its norm off", p.Name, off)
					}
				}
				for kind, want := range c.Optimisers {
					p := e.Optimisers[kind]
					o := Optimiser{Kind: kind, LearningRate: p.LearningRate, Momentum: p.Momentum, Beta2: p.Beta2, WeightDecay: p.WeightDecay}
					l := learner(t, c.Spec, len(c.Batches[0].Labels), w, kind, OptimiserState{})
					for i, loss := range want.Losses {
						st, err := l.Step(batch(i), o)
						if err != nil {
							t.Fatal(err)
						}
						if math.Abs(st.Loss/loss-1) > 1e-5 {
							t.Errorf("%s, step %d: loss %v, PyTorch says %v", kind, i, st.Loss, loss)
						}
					}
					for _, got := range l.Weights() {
						if off := naive.Apart(got.Data, want.Weights[got.Name]); !(off <= 1e-5) {
							t.Errorf("%s: after %d steps %s is %.2g of its norm off", kind, len(want.Losses), got.Name, off)
						}
					}
				}
			})
		}
	}
}
