package network

import (
	"fmt"
	"math"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// graph is everything that the rest of the package sees of Gorgonia: buffers to
// fill, run, buffers to read. Parameters are [in, out] matrices and [1, out]
// biases, in the order of Spec.Layout.
type graph struct {
	x      []float32   // batch x inputs
	target []float32   // batch x classes: the sample's share of the loss at its label
	params [][]float32 // the weights themselves; changing them changes the network

	vm      G.VM
	grads   G.Nodes
	lossOut G.Value
	logit   G.Value
}

// newGraph builds the layers, the weighted cross-entropy and its gradients.
//
// Biases are added as a product with a column of ones, because Gorgonia's
// broadcasting copies its operands; the gradient is then a product too. The
// gradients are read from the nodes that Grad returns: binding dual values
// would add each into a second copy.
func newGraph(s Spec, batch int) (*graph, error) {
	b := &builder{g: G.NewGraph(), out: &graph{}}
	out := b.out
	x := b.input("x", batch, s.Inputs())
	out.x = data(x.Value())
	ones := b.input("ones", batch, 1)
	for i := range data(ones.Value()) {
		data(ones.Value())[i] = 1
	}
	target := b.input("target", batch, s.Classes)
	out.target = data(target.Value())

	var params G.Nodes
	h := x
	widths, err := s.widths()
	if err != nil {
		return nil, err
	}
	for i := range len(widths) - 1 {
		w := b.input(fmt.Sprintf("w%d", i), widths[i], widths[i+1])
		c := b.input(fmt.Sprintf("b%d", i), 1, widths[i+1])
		params = append(params, w, c)
		out.params = append(out.params, data(w.Value()), data(c.Value()))
		h = b.do(G.Add(b.do(G.Mul(h, w)), b.do(G.Mul(ones, c))))
		if i < len(widths)-2 {
			h = b.do(G.Rectify(h))
		}
	}
	readLogits := G.Read(h, &out.logit)
	loss := b.do(newCrossEntropy(h, target))
	if b.err != nil {
		return nil, b.err
	}
	readLoss := G.Read(loss, &out.lossOut)
	grads, err := G.Grad(loss, params...)
	if err != nil {
		return nil, err
	}
	out.grads = grads
	// Compiled for these outputs only: the whole graph would also compute the
	// gradient of the images, a fifth of the work.
	prog, locations, err := G.CompileFunction(b.g, append(G.Nodes{x, ones, target}, params...), append(G.Nodes{readLoss, readLogits}, grads...))
	if err != nil {
		return nil, err
	}
	out.vm = G.NewTapeMachine(b.g, G.WithPrecompiled(prog, locations))
	return out, nil
}

// builder keeps the first error, so that a graph reads as its formula.
type builder struct {
	g   *G.ExprGraph
	out *graph
	err error
}

func (b *builder) do(n *G.Node, err error) *G.Node {
	if b.err == nil {
		b.err = err
	}
	return n
}

func (b *builder) input(name string, rows, cols int) *G.Node {
	t := tensor.New(tensor.WithShape(rows, cols), tensor.Of(tensor.Float32))
	return G.NewMatrix(b.g, tensor.Float32, G.WithShape(rows, cols), G.WithName(name), G.WithValue(t))
}

func (g *graph) run() error {
	g.vm.Reset()
	return g.vm.RunAll()
}

func (g *graph) loss() float64            { return float64(g.lossOut.Data().(float32)) }
func (g *graph) logits() []float32        { return data(g.logit) }
func (g *graph) gradient(i int) []float32 { return data(g.grads[i].Value()) }

// norm is the 2-norm over all gradients.
func (g *graph) norm() float64 {
	var sum float64
	for i := range g.grads {
		for row := g.gradient(i); len(row) > 0; {
			part := row[:min(len(row), 256)] // short float32 sums keep their digits
			row = row[len(part):]
			var s float32
			for _, v := range part {
				s += v * v
			}
			sum += float64(s)
		}
	}
	return math.Sqrt(sum)
}

func (g *graph) close() error { return g.vm.Close() }

func data(v G.Value) []float32 { return v.Data().([]float32) }
