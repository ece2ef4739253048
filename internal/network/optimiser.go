package network

import (
	"cmp"
	"fmt"
	"math"

	dg "driftgate"
	"driftgate/internal/kernel"
)

// The kinds of an optimiser.
const (
	SGD  = "sgd"  // with momentum, in PyTorch's form: v = momentum*v + gradient + decay*w; w -= rate*v
	Adam = "adam" // Kingma & Ba (2015), with decoupled decay (Loshchilov & Hutter, 2019): PyTorch's AdamW
)

// adamEpsilon and adamBeta2 are PyTorch's.
const (
	adamEpsilon = 1e-8
	adamBeta2   = .999
)

// longest is the length of a gradient at which training has diverged: its
// square still is a float32.
const longest = 1e18

// Optimiser moves the weights by their gradients.
type Optimiser struct {
	Kind         string  // SGD or Adam; empty is SGD
	LearningRate float64 // at least 0
	Momentum     float64 // 0 to below 1; beta1 of Adam
	Beta2        float64 // of Adam, 0 to below 1; 0 is .999
	WeightDecay  float64 // of the weights of dense layers and convolutions, and of nothing else
	MaxNorm      float64 // longer gradients are cut to this length (Pascanu et al., 2013); 0 is no limit
}

// validate also refuses NaN.
func (o Optimiser) validate(kind string) error {
	switch {
	case cmp.Or(o.Kind, SGD) != kind:
		return fmt.Errorf("network: step: optimiser %q, the learner was made for %q: %w", o.Kind, kind, dg.ErrInvalid)
	case !(o.LearningRate >= 0 && o.LearningRate <= 1e6), !(o.Momentum >= 0 && float32(o.Momentum) < 1), !(o.Beta2 >= 0 && float32(o.Beta2) < 1),
		!(o.WeightDecay >= 0 && o.WeightDecay <= 1e6), !(o.MaxNorm >= 0 && !math.IsInf(o.MaxNorm, 0)):
		return fmt.Errorf("network: step: %+v: want a learning rate and a decay of 0 to 1e6, momentum and beta2 of 0 to below 1, a norm of at least 0: %w", o, dg.ErrInvalid)
	}
	return nil
}

// scale is what gradients of this length (2-norm over all tensors) are
// multiplied with.
func (o Optimiser) scale(norm float64) float64 {
	if o.MaxNorm <= 0 || norm <= o.MaxNorm {
		return 1
	}
	return o.MaxNorm / norm
}

// OptimiserState is what an optimiser remembers between steps. The zero value
// begins anew.
type OptimiserState struct {
	Steps   int       // taken so far
	Moments []Weights // of [Spec.Learned]: the velocity of SGD; mean and uncentred variance of Adam
}

// moments is how many sets a kind keeps.
func moments(kind string) (int, error) {
	switch kind {
	case SGD:
		return 1, nil
	case Adam:
		return 2, nil
	}
	return 0, fmt.Errorf("network: optimiser %.80q: want %s or %s: %w", kind, SGD, Adam, dg.ErrInvalid)
}

// check reports whether the state fits a network and a kind.
func (o OptimiserState) check(s Spec, kind string) error {
	n, err := moments(kind)
	if err != nil || len(o.Moments) == 0 && o.Steps == 0 {
		return err
	}
	if o.Steps < 0 || len(o.Moments) != n {
		return fmt.Errorf("network: optimiser state: %d moments after %d steps, want %d of %s: %w", len(o.Moments), o.Steps, n, kind, dg.ErrInvalid)
	}
	for _, m := range o.Moments {
		if err := m.CheckLearned(s); err != nil {
			return fmt.Errorf("network: optimiser state: %w", err)
		}
	}
	if kind == Adam {
		for _, t := range o.Moments[1] {
			for i, v := range t.Data {
				if v < 0 {
					return fmt.Errorf("network: optimiser state: the variance of %s[%d] is %v, want at least 0: %w", t.Name, i, v, dg.ErrInvalid)
				}
			}
		}
	}
	return nil
}

// descent is an optimiser at work on the parameters of a graph.
type descent struct {
	kind    string
	steps   int
	learned []*parameter
	moments [][][]float32 // by moment, then by learned parameter, as the parameter lies
	chunks  []chunk
	squares []float64 // of the gradient, by chunk
}

// chunk is a piece of a learned parameter, small enough for the cache.
type chunk struct{ param, from, to int }

const chunkSize = 1 << 13

func newDescent(kind string, params []*parameter, state OptimiserState) *descent {
	d := &descent{kind: kind, steps: state.Steps}
	for _, p := range params {
		if !p.Learned {
			continue
		}
		for at := 0; at < len(p.data); at += chunkSize {
			d.chunks = append(d.chunks, chunk{len(d.learned), at, min(at+chunkSize, len(p.data))})
		}
		d.learned = append(d.learned, p)
	}
	d.squares = make([]float64, len(d.chunks))
	n, _ := moments(kind)
	for k := range n {
		var set [][]float32
		for i, p := range d.learned {
			if len(state.Moments) > 0 {
				set = append(set, p.stage.toKernel(state.Moments[k][i]))
			} else {
				set = append(set, make([]float32, len(p.data)))
			}
		}
		d.moments = append(d.moments, set)
	}
	return d
}

// norm is the 2-norm over all gradients. When it is not a number that float32s
// can be squared to, the error names the tensor.
func (d *descent) norm() (float64, error) {
	kernel.Parallel(len(d.chunks), func(i int) {
		c := d.chunks[i]
		d.squares[i] = kernel.SumSquares(d.learned[c.param].gradient[c.from:c.to])
	})
	var sum float64
	for i, s := range d.squares {
		sum += s
		if math.IsNaN(s) || math.IsInf(s, 0) {
			return 0, fmt.Errorf("network: step: the gradient of %s is not finite: %w", d.learned[d.chunks[i].param].Name, ErrDiverged)
		}
	}
	return math.Sqrt(sum), nil
}

// step moves the parameters. The error is [ErrDiverged], and nothing moved.
func (d *descent) step(o Optimiser) error {
	norm, err := d.norm()
	if err != nil {
		return err
	}
	scale := o.scale(norm)
	if norm*scale > longest {
		return fmt.Errorf("network: step: a gradient of length %.3g, want at most %g: %w", norm*scale, longest, ErrDiverged)
	}
	d.steps++
	beta2 := cmp.Or(o.Beta2, adamBeta2)
	size := o.LearningRate / (1 - math.Pow(o.Momentum, float64(d.steps)))
	correct := 1 / math.Sqrt(1-math.Pow(beta2, float64(d.steps)))
	kernel.Parallel(len(d.chunks), func(i int) {
		c := d.chunks[i]
		p := d.learned[c.param]
		w, g := p.data[c.from:c.to], p.gradient[c.from:c.to]
		var decay float32
		if p.decays {
			decay = float32(o.WeightDecay)
		}
		m := d.moments[0][c.param][c.from:c.to]
		if d.kind == SGD {
			kernel.SGD(w, m, g, float32(o.LearningRate), float32(o.Momentum), decay, float32(scale))
			return
		}
		s := d.moments[1][c.param][c.from:c.to]
		kernel.Adam(w, m, s, g, float32(o.LearningRate), float32(1-o.Momentum), float32(1-beta2), adamEpsilon, decay, float32(scale), float32(size), float32(correct))
	})
	return nil
}

// state copies what the optimiser remembers.
func (d *descent) state() OptimiserState {
	out := OptimiserState{Steps: d.steps}
	for _, set := range d.moments {
		var w Weights
		for i, p := range d.learned {
			w = append(w, p.stage.fromKernel(p.Shape, set[i]))
		}
		out.Moments = append(out.Moments, w)
	}
	return out
}
