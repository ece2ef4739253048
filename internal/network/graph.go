package network

import (
	"fmt"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"driftgate/internal/network/operator"
)

// graph is a network with its loss and gradients: everything that the rest of
// the package sees of Gorgonia.
type graph struct {
	spec   Spec
	batch  int
	ws     *operator.Workspace
	params []*parameter // in the order of Spec.Layout
	target []float32    // batch x classes: the sample's share of the loss

	x       *G.Node
	program *operator.Program
	loss    []float32 // one value
	logits  []float32 // batch x classes
	whole   []float32 // a batch with room for all rows, for inputs that have none
}

// parameter is a tensor of the network as the kernels want it. Changing data
// changes the network.
type parameter struct {
	Shape
	stage    Stage
	data     []float32
	decays   bool
	node     *G.Node   // nil for running statistics
	gradient []float32 // of the last run
}

// newGraph builds the layers, the weighted cross-entropy and its gradients. The
// weights are copied. Gorgonia differentiates; the operators are run without its
// tape machine ([operator.Program] says why).
func newGraph(s Spec, batch int, w Weights) (*graph, error) {
	b := &builder{g: G.NewGraph(), graph: &graph{spec: s, batch: batch, ws: operator.NewWorkspace(batch)}}
	out := b.graph
	out.x = b.input("x", nil, batch, s.Input.Height, s.Input.Width, s.Input.Channels)
	out.target = make([]float32, batch*s.Classes)
	target := b.input("target", out.target, batch, s.Classes)
	stages := s.Stages()
	h := out.x
	for i := 0; i < len(stages) && b.err == nil; i++ {
		params := b.parameters(stages[i], w)
		pools := i+1 < len(stages) && fuses(stages[i].Layer, stages[i+1].Layer)
		h = b.do(b.layer(stages[i], h, params, pools))
		if pools {
			i++
		}
	}
	if b.err != nil {
		return nil, b.err
	}
	loss := b.do(operator.CrossEntropy(out.ws, h, target))
	if b.err != nil {
		return nil, b.err
	}
	return out, b.compile(h, loss)
}

// compile adds the gradients and makes the program.
func (b *builder) compile(logits, loss *G.Node) error {
	out := b.graph
	var learned G.Nodes
	for _, p := range out.params {
		if p.node != nil {
			learned = append(learned, p.node)
		}
	}
	grads, err := G.Grad(loss, learned...)
	if err != nil {
		return err
	}
	if out.program, err = operator.NewProgram(out.ws, out.x); err != nil {
		return err
	}
	for _, p := range out.params {
		if p.node != nil {
			p.gradient, grads = b.result(grads[0]), grads[1:]
		}
	}
	out.logits, out.loss = b.result(logits), b.result(loss)
	return b.err
}

// result is where the value of a node lies after a run.
func (b *builder) result(n *G.Node) []float32 {
	v, err := operator.Result(n)
	if b.err == nil {
		b.err = err
	}
	return v
}

// fuses reports whether a convolution pools what it makes in one go: the next
// layer takes the largest of each 2x2 pixels. A convolution with windows of one
// pixel is a matrix product, which ends in a whole image.
func fuses(l, next Layer) bool {
	return l.Kind == Conv && l.Kernel > 1 && next.Kind == MaxPool && next.Kernel == 2 && next.Stride == 2
}

// builder keeps the first error, so that a graph reads as its formula.
type builder struct {
	g     *G.ExprGraph
	graph *graph
	err   error
}

func (b *builder) do(n *G.Node, err error) *G.Node {
	if b.err == nil {
		b.err = err
	}
	return n
}

// input is a node with a value; nil gets one with each step.
func (b *builder) input(name string, v []float32, dims ...int) *G.Node {
	o := []G.NodeConsOpt{G.WithShape(dims...), G.WithName(name)}
	if v != nil {
		o = append(o, G.WithValue(tensor.New(tensor.WithShape(dims...), tensor.WithBacking(v))))
	}
	return G.NewTensor(b.g, tensor.Float32, len(dims), o...)
}

// parameters adds the tensors of a stage.
func (b *builder) parameters(st Stage, w Weights) []*parameter {
	from := len(b.graph.params)
	for _, shape := range st.tensors(st.Name, st.In) {
		p := &parameter{Shape: shape, stage: st, data: st.toKernel(w[len(b.graph.params)])}
		if dims := shape.Dims; len(dims) > 1 {
			p.decays = true
			rows := shape.Size() / dims[0]
			p.node = b.input(shape.Name, p.data, rows, dims[0])
		} else if shape.Learned {
			p.node = b.input(shape.Name, p.data, dims...)
		}
		b.graph.params = append(b.graph.params, p)
	}
	return b.graph.params[from:]
}

// layer adds the operator of a stage, with the pooling after it when pools.
func (b *builder) layer(st Stage, x *G.Node, p []*parameter, pools bool) (*G.Node, error) {
	ws := b.graph.ws
	var weight, bias *G.Node
	if len(p) > 0 {
		weight = p[0].node
	}
	if len(p) > 1 {
		bias = p[1].node
	}
	o := operator.ConvOptions{Kernel: st.Kernel, Stride: st.Stride, Padding: st.Padding, ReLU: st.ReLU, Pool: pools}
	switch st.Kind {
	case Dense:
		return operator.Dense(ws, x, weight, bias, st.ReLU)
	case Conv:
		return operator.Conv(ws, x, weight, bias, o)
	case Depthwise:
		return operator.Depthwise(ws, x, weight, bias, o)
	case BatchNorm:
		return operator.BatchNorm(ws, x, weight, bias, operator.BatchNormOptions{Mean: p[2].data, Variance: p[3].data, ReLU: st.ReLU})
	case MaxPool:
		return operator.MaxPool(ws, x, st.Kernel, st.Stride)
	case MeanPool:
		return operator.MeanPool(ws, x)
	case Dropout:
		return operator.Dropout(ws, x, st.Rate)
	}
	return nil, fmt.Errorf("a layer of kind %q has no operator", st.Kind)
}

// run computes loss and gradients of the first rows of inputs and of target.
func (g *graph) run(inputs []float32, rows int, seed uint64) error {
	size := g.spec.Inputs()
	all := g.batch * size
	switch {
	case cap(inputs) >= all: // rows beyond those in use are not looked at
		inputs = inputs[:all]
	default:
		if g.whole == nil {
			g.whole = make([]float32, all)
		}
		copy(g.whole, inputs[:rows*size])
		inputs = g.whole
	}
	g.ws.Begin(rows, seed)
	return g.program.Run(inputs)
}
