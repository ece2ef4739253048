package network

import (
	"fmt"
	"math"

	dg "driftgate"
	"driftgate/internal/kernel"
)

// Learner trains one network: a Gorgonia graph of fixed batch size with its
// gradients, and the optimiser. It is not safe for concurrent use.
//
// Nothing in it is random but dropout, which follows from the seed of each
// batch, and sums are taken in a fixed order: the same weights and batches give
// the same weights.
type Learner struct {
	spec    Spec
	batch   int
	graph   *graph
	descent *descent
}

// Batch is what one step learns from.
type Batch struct {
	Inputs    []float32 // a row of Spec.Inputs() values a sample; capacity for a whole batch saves a copy
	Labels    []int     // a class a sample; their number is that of the samples
	Weights   []float32 // of each sample in the loss, at least 0; nil is 1 each
	Smoothing float64   // share of a target spread over all classes (Szegedy et al., 2016), 0 to below 1
	Seed      uint64    // of dropout
}

// Stats is what one step saw.
type Stats struct {
	Loss    float64 // weighted mean cross-entropy
	Weight  float64 // sum of the sample weights
	Correct float64 // weight of the samples that were classified right
}

// ErrDiverged means that the loss or a gradient is not a finite number any more.
var ErrDiverged = fmt.Errorf("training diverged")

// maxBatchValues bounds the values between the layers of a batch: 8 GiB, and
// their gradients need as much again.
const maxBatchValues = 2 << 30

// NewLearner builds the graph for batches of up to batch samples, starting from
// w (copied) with an optimiser of a kind, [SGD] or [Adam], which goes on from
// state; the zero state begins anew.
func NewLearner(s Spec, batch int, w Weights, kind string, state OptimiserState) (*Learner, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if batch < 1 || batch > 1<<16 {
		return nil, fmt.Errorf("network: learner: batch %d, want 1 to %d: %w", batch, 1<<16, dg.ErrInvalid)
	}
	if most := maxBatchValues / s.Values(); batch > most {
		return nil, fmt.Errorf("network: learner: batch %d with %d values between the layers for each sample, want at most %d samples: %w", batch, s.Values(), most, dg.ErrInvalid)
	}
	if err := w.Check(s); err != nil {
		return nil, err
	}
	if err := state.check(s, kind); err != nil {
		return nil, err
	}
	g, err := newGraph(s, batch, w)
	if err != nil {
		return nil, fmt.Errorf("network: build graph: %w", err)
	}
	return &Learner{spec: s, batch: batch, graph: g, descent: newDescent(kind, g.params, state)}, nil
}

// Step runs the samples forward and backward and moves the weights, and the
// running statistics of batch normalisation. The loss is the mean cross-entropy
// weighted by the samples' weights, so one of weight 0 changes nothing (but what
// batch normalisation sees). When loss or gradients are not finite all stays as
// it was, and the error, [ErrDiverged], says what was not.
func (l *Learner) Step(b Batch, o Optimiser) (Stats, error) {
	if err := o.validate(l.descent.kind); err != nil {
		return Stats{}, err
	}
	defer kernel.Busy()()
	st, err := l.gradients(b)
	if err != nil || st.Weight == 0 {
		return st, err
	}
	if err := l.descent.step(o); err != nil {
		return st, err
	}
	l.graph.ws.Commit()
	return st, nil
}

// gradients runs the graph; the gradients are then in its parameters.
func (l *Learner) gradients(b Batch) (Stats, error) {
	st, err := l.check(b)
	if err != nil || st.Weight == 0 {
		return st, err
	}
	g, classes := l.graph, l.spec.Classes
	for i, label := range b.Labels {
		row, share := g.target[i*classes:][:classes], b.weight(i)/st.Weight
		for j := range row {
			row[j] = float32(share * b.Smoothing / float64(classes))
		}
		row[label] = float32(share * (1 - b.Smoothing + b.Smoothing/float64(classes)))
	}
	if err := g.run(b.Inputs, len(b.Labels), b.Seed); err != nil {
		return st, fmt.Errorf("network: step: %w", err)
	}
	st.Loss = float64(g.loss[0])
	if math.IsNaN(st.Loss) || math.IsInf(st.Loss, 0) {
		return st, fmt.Errorf("network: step: loss is %v: %s: %w", st.Loss, l.blame(b), ErrDiverged)
	}
	logits := g.logits
	for i, label := range b.Labels {
		if Argmax(logits[i*classes:][:classes]) == label {
			st.Correct += b.weight(i)
		}
	}
	return st, nil
}

func (b Batch) weight(i int) float64 {
	if b.Weights == nil {
		return 1
	}
	return float64(b.Weights[i])
}

// check refuses a batch that does not fit, and adds up its weights.
func (l *Learner) check(b Batch) (Stats, error) {
	var st Stats
	n := len(b.Labels)
	if n > l.batch || b.Weights != nil && len(b.Weights) != n {
		return st, fmt.Errorf("network: step: %d labels, %d weights, want at most %d of each: %w", n, len(b.Weights), l.batch, dg.ErrInvalid)
	}
	if len(b.Inputs) < n*l.spec.Inputs() {
		return st, fmt.Errorf("network: step: %d values for %d samples, want %d each: %w", len(b.Inputs), n, l.spec.Inputs(), dg.ErrInvalid)
	}
	if !(b.Smoothing >= 0 && b.Smoothing < 1) {
		return st, fmt.Errorf("network: step: smoothing %g, want 0 to below 1: %w", b.Smoothing, dg.ErrInvalid)
	}
	for i, label := range b.Labels {
		if w := b.weight(i); label < 0 || label >= l.spec.Classes || !(w >= 0 && w <= math.MaxFloat32) {
			return st, fmt.Errorf("network: step: row %d has label %d and weight %g, want 0 to %d and a finite number of at least 0: %w", i, label, w, l.spec.Classes-1, dg.ErrInvalid)
		}
		st.Weight += b.weight(i)
	}
	return st, nil
}

// blame says where a loss that is not finite comes from.
func (l *Learner) blame(b Batch) string {
	size := l.spec.Inputs()
	if i := notFinite(b.Inputs[:len(b.Labels)*size]); i >= 0 {
		return fmt.Sprintf("row %d of the inputs has the value %v", i/size, b.Inputs[i])
	}
	largest, name := float32(0), ""
	for _, p := range l.graph.params {
		if i := notFinite(p.data); i >= 0 {
			return fmt.Sprintf("%s has the value %v", p.Name, p.data[i])
		}
		for _, v := range p.data {
			if v = max(v, -v); v > largest {
				largest, name = v, p.Name
			}
		}
	}
	return fmt.Sprintf("the logits are not finite, and the largest weight is %.3g, in %s", largest, name)
}

// Weights copies the weights out.
func (l *Learner) Weights() Weights {
	out := make(Weights, 0, len(l.graph.params))
	for _, p := range l.graph.params {
		out = append(out, p.stage.fromKernel(p.Shape, p.data))
	}
	return out
}

// State copies the optimiser's state out, for a checkpoint.
func (l *Learner) State() OptimiserState { return l.descent.state() }
