package network

import (
	"fmt"
	"math"

	dg "driftgate"
)

// Learner trains one network: a Gorgonia graph of fixed batch size with its
// gradients, and the optimiser's state. It is not safe for concurrent use.
//
// Nothing in it is random, and matrix products sum in a fixed order, so that
// the same weights and batches give the same weights.
type Learner struct {
	spec     Spec
	batch    int
	graph    *graph
	velocity [][]float32 // a tensor of the graph, its orientation
}

// Stats is what one step saw.
type Stats struct {
	Loss    float64 // weighted mean cross-entropy
	Weight  float64 // sum of the sample weights
	Correct float64 // weight of the samples that were classified right
}

// NewLearner builds the graph for batches of up to batch samples, starting from
// w (copied) and, when resuming, from the velocities that State gave.
func NewLearner(s Spec, batch int, w, velocity Weights) (*Learner, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if batch < 1 || batch > 1<<16 {
		return nil, fmt.Errorf("network: learner: batch %d, want 1 to %d: %w", batch, 1<<16, dg.ErrInvalid)
	}
	if err := w.Check(s); err != nil {
		return nil, err
	}
	g, err := newGraph(s, batch)
	if err != nil {
		return nil, fmt.Errorf("network: build graph: %w", err)
	}
	l := &Learner{spec: s, batch: batch, graph: g}
	for i, p := range g.params {
		transpose(w[i], p)
		l.velocity = append(l.velocity, make([]float32, len(p)))
	}
	if velocity != nil {
		if err := velocity.Check(s); err != nil {
			return nil, fmt.Errorf("network: optimiser state: %w", err)
		}
		for i, v := range l.velocity {
			transpose(velocity[i], v)
		}
	}
	return l, nil
}

// Batch is the largest number of samples a step takes.
func (l *Learner) Batch() int { return l.batch }

// Input is where the rows of the next step go: batch x inputs. Its contents
// stay between steps.
func (l *Learner) Input() []float32 { return l.graph.x }

// Step runs the first len(labels) rows of Input forward and backward and moves
// the weights. The loss is the mean cross-entropy weighted by weights (nil for
// even ones), so a row of weight 0 changes nothing; rows beyond len(labels)
// have weight 0. When the loss is not finite the weights stay as they were, and
// the error says so.
func (l *Learner) Step(labels []int, weights []float32, o SGD) (Stats, error) {
	st, err := l.gradients(labels, weights)
	if err != nil || st.Weight == 0 {
		return st, err
	}
	scale := float32(1)
	if o.MaxNorm > 0 {
		scale = o.scale(l.graph.norm())
	}
	for i, w := range l.graph.params {
		o.step(w, l.graph.gradient(i), l.velocity[i], scale, i%2 == 0)
	}
	return st, nil
}

// gradients runs the graph; the gradients are then in l.graph.
func (l *Learner) gradients(labels []int, weights []float32) (Stats, error) {
	g, classes := l.graph, l.spec.Classes
	if len(labels) > l.batch || (weights != nil && len(weights) != len(labels)) {
		return Stats{}, fmt.Errorf("network: step: %d labels, %d weights, want at most %d of each: %w", len(labels), len(weights), l.batch, dg.ErrInvalid)
	}
	var st Stats
	weight := func(i int) float64 {
		if weights == nil {
			return 1
		}
		return float64(weights[i])
	}
	for i, label := range labels {
		if label < 0 || label >= classes || !(weight(i) >= 0) {
			return st, fmt.Errorf("network: step: row %d has label %d and weight %g, want 0 to %d and at least 0: %w", i, label, weight(i), classes-1, dg.ErrInvalid)
		}
		st.Weight += weight(i)
	}
	if st.Weight == 0 {
		return st, nil
	}
	clear(g.target)
	for i, label := range labels {
		g.target[i*classes+label] = float32(weight(i) / st.Weight)
	}
	clear(g.x[len(labels)*l.spec.Inputs():])
	if err := g.run(); err != nil {
		return st, fmt.Errorf("network: step: %w", err)
	}
	st.Loss = g.loss()
	if math.IsNaN(st.Loss) || math.IsInf(st.Loss, 0) {
		return st, fmt.Errorf("network: step: loss is %v: %w", st.Loss, ErrDiverged)
	}
	logits := g.logits()
	for i, label := range labels {
		if Argmax(logits[i*classes:][:classes]) == label {
			st.Correct += weight(i)
		}
	}
	return st, nil
}

// ErrDiverged means that the loss is not a finite number any more.
var ErrDiverged = fmt.Errorf("training diverged")

// Weights copies the weights out.
func (l *Learner) Weights() Weights { return l.export(l.graph.params) }

// Velocity copies the optimiser's state out, for a checkpoint.
func (l *Learner) Velocity() Weights { return l.export(l.velocity) }

// Close frees the graph's machine.
func (l *Learner) Close() error { return l.graph.close() }

func (l *Learner) export(from [][]float32) Weights {
	layout := l.spec.Layout()
	out := make(Weights, len(layout))
	for i, shape := range layout {
		out[i] = Tensor{shape.Name, shape.Dims, make([]float32, shape.Size())}
		back := shape.Dims
		if len(back) == 2 {
			back = []int{back[1], back[0]}
		}
		transpose(Tensor{Shape: back, Data: from[i]}, out[i].Data)
	}
	return out
}

// transpose copies src into dst, rows becoming columns: the graph multiplies by
// [in, out], files and inference use [out, in]. Vectors are copied as they are.
func transpose(src Tensor, dst []float32) {
	if len(src.Shape) != 2 {
		copy(dst, src.Data)
		return
	}
	rows, cols := src.Shape[0], src.Shape[1]
	for r := range rows {
		for c, v := range src.Data[r*cols:][:cols] {
			dst[c*rows+r] = v
		}
	}
}
