// Package operator holds the layers of a network as operators of a Gorgonia
// graph: forward and backward, over the kernels of internal/kernel.
//
// An operator fuses what belongs together (bias, ReLU, pooling), so that an
// image passes through memory once, and owns the buffer of its result. The backward pass of a layer is one operator too: it
// computes all gradients at once, and side nodes hand out those that are not its
// value. Only the rows that [Workspace.Begin] names are computed.
//
// Work is split into blocks of rows whose number depends on the rows alone, and
// what they add up is added in their order: the same input gives the same bits
// on any number of threads.
//
// Images are [batch, height, width, channels], other values [batch, n], all
// float32. Dense weights are [in, out], those of a convolution
// [kernel*kernel*channels, filters], of a depthwise convolution
// [kernel*kernel, channels]; biases are vectors. A constructor given anything
// else returns a [driftgate.ErrInvalid] that says what would be right.
//
// Networks are chains: the result of an operator feeds one other operator,
// which may write over its gradient. A second use is refused.
package operator

import (
	"fmt"
	"hash"
	"hash/fnv"

	"github.com/chewxy/hm"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	dg "driftgate"
)

// op is an operator of a graph. Its result lies in data or, for the gradient of
// a layer's input, in a slot of the workspace.
type op struct {
	ws    *Workspace
	name  string
	id    int
	in    []tensor.Shape
	sizes []int       // of in, values
	args  [][]float32 // of a run
	shape tensor.Shape
	data  []float32
	slot  int // of ws.gradients; noSlot when data is used
	value *tensor.Dense
	fed   bool  // feeds another operator
	conv  *conv // of a convolution: batch norm asks it for moments
	norm  *batchNorm

	run  func(out []float32, in [][]float32)
	wrt  []bool
	diff func(in G.Nodes, out, grad *G.Node) (G.Nodes, error)
}

const noSlot = -1

// own makes an operator with a buffer of its own.
func (w *Workspace) own(name string, shape tensor.Shape, data []float32, run func([]float32, [][]float32)) *op {
	w.operators++
	return &op{ws: w, name: name, id: w.operators, shape: shape, data: data, slot: noSlot, run: run}
}

// inSlot makes an operator whose result is a gradient in a shared buffer.
func (w *Workspace) inSlot(name string, shape tensor.Shape, slot int, run func([]float32, [][]float32)) *op {
	w.sizes[slot] = max(w.sizes[slot], shape.TotalSize())
	o := w.own(name, shape, nil, run)
	o.slot = slot
	return o
}

// apply adds the operator to the graph.
func (o *op) apply(in ...*G.Node) (*G.Node, error) {
	for i, n := range in {
		if n.Dtype() != tensor.Float32 {
			return nil, fmt.Errorf("operator: %s: input %d is %v, want float32: %w", o.name, i, n.Dtype(), dg.ErrInvalid)
		}
		o.in, o.sizes = append(o.in, n.Shape().Clone()), append(o.sizes, n.Shape().TotalSize())
	}
	if o.wrt == nil {
		o.wrt = make([]bool, len(in))
	}
	n, err := G.ApplyOp(o, in...)
	if err != nil {
		return nil, fmt.Errorf("operator: %s: %w", o.name, err)
	}
	o.ws.links = append(o.ws.links, link{o, in})
	return n, nil
}

// layer adds the operator of a layer, whose first input is the layer's.
func (o *op) layer(in ...*G.Node) (*G.Node, error) {
	if before, ok := in[0].Op().(*op); ok {
		if before.fed {
			return nil, fmt.Errorf("operator: %s: its input %s feeds another layer already, want a chain: %w", o.name, before, dg.ErrInvalid)
		}
		before.fed = true
	}
	o.wrt = make([]bool, len(in))
	for i := range in {
		o.wrt[i] = i > 0 || in[0].Op() != nil // images have no gradient
	}
	return o.apply(in...)
}

func (o *op) Arity() int { return len(o.in) }

func (o *op) Type() hm.Type {
	types := make([]hm.Type, 0, len(o.in)+1)
	for _, s := range o.in {
		types = append(types, typeOf(s))
	}
	return hm.NewFnType(append(types, typeOf(o.shape))...)
}

func typeOf(s tensor.Shape) hm.Type {
	if s.IsScalar() {
		return tensor.Float32
	}
	return G.TensorType{Dims: s.Dims(), Of: tensor.Float32}
}

// InferShape is the shape of the result for the inputs the operator was made
// for; others are refused.
func (o *op) InferShape(in ...G.DimSizer) (tensor.Shape, error) {
	if len(in) != len(o.in) {
		return nil, fmt.Errorf("operator: %s: %d inputs, want %d: %w", o, len(in), len(o.in), dg.ErrInvalid)
	}
	for i, want := range o.in {
		for d, n := range want {
			if got, err := in[i].DimSize(d); err != nil || got != n {
				return nil, fmt.Errorf("operator: %s: input %d has %d at axis %d, want %v: %w", o, i, got, d, want, dg.ErrInvalid)
			}
		}
	}
	return o.shape.Clone(), nil
}

// Do runs the operator on the rows in use.
func (o *op) Do(v ...G.Value) (G.Value, error) {
	if len(v) != len(o.in) {
		return nil, fmt.Errorf("operator: %s: %d values, want %d: %w", o, len(v), len(o.in), dg.ErrInvalid)
	}
	if o.value == nil {
		if o.slot != noSlot {
			o.data = o.ws.gradient(o.slot)[:o.shape.TotalSize()]
		}
		if !o.shape.IsScalar() {
			o.value = tensor.New(tensor.WithShape(o.shape...), tensor.WithBacking(o.data))
		}
	}
	if o.run == nil { // a side node: another operator filled its buffer
		return o.value, nil
	}
	o.args = o.args[:0]
	for i, x := range v {
		in, ok := floats(x)
		if !ok || len(in) != o.sizes[i] {
			return nil, fmt.Errorf("operator: %s: input %d is a %T of shape %v, want float32s of shape %v: %w", o, i, x.Data(), x.Shape(), o.in[i], dg.ErrInvalid)
		}
		o.args = append(o.args, in)
	}
	o.run(o.data, o.args)
	if o.shape.IsScalar() {
		return G.NewF32(o.data[0]), nil
	}
	return o.value, nil
}

func floats(v G.Value) ([]float32, bool) {
	switch x := v.Data().(type) {
	case []float32:
		return x, true
	case float32:
		return []float32{x}, true
	}
	return nil, false
}

// DiffWRT says by which inputs the operator can be differentiated.
func (o *op) DiffWRT(int) []bool { return o.wrt }

// SymDiff adds the backward pass to the graph.
func (o *op) SymDiff(in G.Nodes, out, grad *G.Node) (G.Nodes, error) {
	if o.diff == nil {
		return nil, fmt.Errorf("operator: %s: has no derivative: %w", o, dg.ErrInvalid)
	}
	grad, err := o.ws.adopt(grad)
	if err != nil {
		return nil, err
	}
	return o.diff(in, out, grad)
}

func (o *op) ReturnsPtr() bool      { return false }
func (o *op) CallsExtern() bool     { return false }
func (o *op) OverwritesInput() int  { return -1 }
func (o *op) WriteHash(h hash.Hash) { fmt.Fprint(h, o.String()) }
func (o *op) String() string        { return fmt.Sprintf("%s#%d", o.name, o.id) }

// Hashcode differs between any two operators of a workspace, so that the graph
// never takes two for one.
func (o *op) Hashcode() uint32 {
	h := fnv.New32a()
	o.WriteHash(h)
	return h.Sum32()
}

// side hands out a buffer that the operator of after fills.
func (w *Workspace) side(name string, after *G.Node, shape tensor.Shape, data []float32) (*G.Node, error) {
	return w.own(name, shape, data, nil).apply(after)
}

// sideSlot is side for a slot of the workspace.
func (w *Workspace) sideSlot(name string, after *G.Node, shape tensor.Shape, slot int) (*G.Node, error) {
	return w.inSlot(name, shape, slot, nil).apply(after)
}

// adopt copies a gradient that another library's operator owns: ours are
// written over. The gradient of the loss, a scalar, is only read.
func (w *Workspace) adopt(grad *G.Node) (*G.Node, error) {
	if o, ok := grad.Op().(*op); (ok && o.slot != noSlot) || grad.Shape().IsScalar() {
		return grad, nil
	}
	return w.inSlot("adopt", grad.Shape().Clone(), 0, func(out []float32, in [][]float32) { copy(out, in[0]) }).apply(grad)
}

// slotOf is where an adopted gradient lies.
func slotOf(grad *G.Node) int { return grad.Op().(*op).slot }

// image checks that x is a batch of images.
func image(name string, x *G.Node) (height, width, channels int, err error) {
	s := x.Shape()
	if len(s) != 4 {
		return 0, 0, 0, fmt.Errorf("operator: %s: input of shape %v, want [batch height width channels]: %w", name, s, dg.ErrInvalid)
	}
	return s[1], s[2], s[3], nil
}

// shaped checks the shape of a parameter.
func shaped(name, what string, n *G.Node, want ...int) error {
	if !n.Shape().Eq(tensor.Shape(want)) {
		return fmt.Errorf("operator: %s: %s of shape %v, want %v: %w", name, what, n.Shape(), want, dg.ErrInvalid)
	}
	return nil
}

// rowsOf checks that a node has as many rows as the workspace.
func (w *Workspace) rowsOf(name string, x *G.Node) error {
	if x.Dims() < 2 || x.Shape()[0] != w.batch {
		return fmt.Errorf("operator: %s: input of shape %v, want %d rows and at least one more axis: %w", name, x.Shape(), w.batch, dg.ErrInvalid)
	}
	return nil
}
