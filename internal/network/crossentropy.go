package network

import (
	"fmt"
	"hash"
	"hash/fnv"
	"math"

	"github.com/chewxy/hm"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// crossEntropy is the loss -sum(target * log softmax(logits)) as one operator.
//
// It is ours because Gorgonia v0.9.18 cannot be trusted with it: its softmax
// subtracts the first logit of the whole batch instead of each row's largest,
// so a confident network gets a loss of infinity, and SoftMax and LogSoftMax of
// one node are taken for the same. Targets carry the sample weights, need not
// add up to 1, and are zero for padding.
type crossEntropy struct{ rows, classes int }

// newCrossEntropy applies the operator to two batch x classes matrices.
func newCrossEntropy(logits, target *G.Node) (*G.Node, error) {
	return G.ApplyOp(crossEntropy{logits.Shape()[0], logits.Shape()[1]}, logits, target)
}

func (o crossEntropy) Arity() int { return 2 }

func (o crossEntropy) Type() hm.Type {
	a := hm.TypeVariable('a')
	m := G.TensorType{Dims: 2, Of: a}
	return hm.NewFnType(m, m, a)
}

func (o crossEntropy) InferShape(...G.DimSizer) (tensor.Shape, error) {
	return tensor.ScalarShape(), nil
}

// Do sums in float64: a batch's losses differ by orders of magnitude.
func (o crossEntropy) Do(v ...G.Value) (G.Value, error) {
	if len(v) != 2 {
		return nil, fmt.Errorf("network: %s of %d values, want 2", o, len(v))
	}
	logits, target := data(v[0]), data(v[1])
	var sum float64
	for r := range o.rows {
		x, t := logits[r*o.classes:][:o.classes], target[r*o.classes:][:o.classes]
		top, z := x[0], 0.0
		for _, v := range x[1:] {
			top = max(top, v)
		}
		for _, v := range x {
			z += math.Exp(float64(v - top))
		}
		logZ := math.Log(z)
		for j, w := range t {
			if w != 0 {
				sum += float64(w) * (logZ - float64(x[j]-top))
			}
		}
	}
	return G.NewF32(float32(sum)), nil
}

// DiffWRT: by the logits, not by the target.
func (o crossEntropy) DiffWRT(int) []bool { return []bool{true, false} }

// SymDiff adds the node of the gradient.
func (o crossEntropy) SymDiff(in G.Nodes, _, grad *G.Node) (G.Nodes, error) {
	d, err := G.ApplyOp(crossEntropyGrad{o}, in[0], in[1], grad)
	return G.Nodes{d, nil}, err
}

func (o crossEntropy) ReturnsPtr() bool      { return false }
func (o crossEntropy) CallsExtern() bool     { return false }
func (o crossEntropy) OverwritesInput() int  { return -1 }
func (o crossEntropy) WriteHash(h hash.Hash) { fmt.Fprint(h, o.String()) }
func (o crossEntropy) Hashcode() uint32      { return hashOf(o) }
func (o crossEntropy) String() string {
	return fmt.Sprintf("driftgateCrossEntropy{%d,%d}", o.rows, o.classes)
}

// crossEntropyGrad is softmax(logits) * sum(target) - target, times the
// gradient from above.
type crossEntropyGrad struct{ crossEntropy }

func (o crossEntropyGrad) Arity() int { return 3 }

func (o crossEntropyGrad) Type() hm.Type {
	a := hm.TypeVariable('a')
	m := G.TensorType{Dims: 2, Of: a}
	return hm.NewFnType(m, m, a, m)
}

func (o crossEntropyGrad) InferShape(...G.DimSizer) (tensor.Shape, error) {
	return tensor.Shape{o.rows, o.classes}, nil
}

func (o crossEntropyGrad) Do(v ...G.Value) (G.Value, error) {
	if len(v) != 3 {
		return nil, fmt.Errorf("network: %s of %d values, want 3", o, len(v))
	}
	scale, ok := v[2].Data().(float32)
	if !ok {
		return nil, fmt.Errorf("network: %s: gradient of type %T, want float32", o, v[2].Data())
	}
	logits, target := data(v[0]), data(v[1])
	// A buffer of its own each time: stock operators may write over their
	// inputs, and this one is small.
	out := make([]float32, o.rows*o.classes)
	for r := range o.rows {
		x, t, d := logits[r*o.classes:][:o.classes], target[r*o.classes:][:o.classes], out[r*o.classes:][:o.classes]
		var weight, z float64
		for _, w := range t {
			weight += float64(w)
		}
		if weight == 0 {
			continue
		}
		top := x[0]
		for _, v := range x[1:] {
			top = max(top, v)
		}
		for _, v := range x {
			z += math.Exp(float64(v - top))
		}
		for j, v := range x {
			d[j] = scale * float32(math.Exp(float64(v-top))/z*weight-float64(t[j]))
		}
	}
	return tensor.New(tensor.WithShape(o.rows, o.classes), tensor.WithBacking(out)), nil
}

// DiffWRT: second derivatives are not offered.
func (o crossEntropyGrad) DiffWRT(int) []bool    { return []bool{false, false, false} }
func (o crossEntropyGrad) WriteHash(h hash.Hash) { fmt.Fprint(h, o.String()) }
func (o crossEntropyGrad) Hashcode() uint32      { return hashOf(o) }
func (o crossEntropyGrad) String() string {
	return fmt.Sprintf("driftgateCrossEntropyGrad{%d,%d}", o.rows, o.classes)
}

func hashOf(o G.Op) uint32 {
	h := fnv.New32a()
	o.WriteHash(h)
	return h.Sum32()
}
