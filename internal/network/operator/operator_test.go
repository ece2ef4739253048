package operator

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"driftgate/internal/kernel"
	naive "driftgate/internal/network/operator/operatortest"
)

// trial is an operator on random input: its result and gradients are compared
// with the naive form and its finite differences.
type trial struct {
	batch, rows int
	in          []int // shape of a row
	params      [][]int
	build       func(ws *Workspace, x *G.Node, p []*G.Node) (*G.Node, error)
	naive       func(x naive.Images, p [][]float64) naive.Images
}

// bench is a trial's graph: x and the parameters, random; the loss is the sum of
// the result times random numbers, so that every gradient differs.
type bench struct {
	ws           *Workspace
	vm           G.VM
	x, out       *G.Node
	params       []*G.Node
	grads        G.Nodes // of x, then the parameters
	factors, inX []float32
}

func fill(rng *rand.Rand, shape ...int) *tensor.Dense {
	v := make([]float32, tensor.Shape(shape).TotalSize())
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(v))
}

func input(g *G.ExprGraph, name string, v *tensor.Dense) *G.Node {
	return G.NewTensor(g, tensor.Float32, v.Dims(), G.WithShape(v.Shape()...), G.WithName(name), G.WithValue(v))
}

// identity stands before the operator, so that its input has a gradient.
func identity(t *testing.T, ws *Workspace, x *G.Node) *G.Node {
	t.Helper()
	o := ws.own("identity", x.Shape().Clone(), make([]float32, x.Shape().TotalSize()), func(out []float32, in [][]float32) { copy(out, in[0]) })
	o.diff = func(in G.Nodes, _, grad *G.Node) (G.Nodes, error) {
		n, err := ws.own("identityGrad", in[0].Shape().Clone(), make([]float32, in[0].Shape().TotalSize()), func(out []float32, v [][]float32) { copy(out, v[0]) }).apply(grad)
		return G.Nodes{n}, err
	}
	o.wrt = []bool{true}
	n, err := o.apply(x)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// dot is the sum of y times the factors, over the rows in use.
func dot(ws *Workspace, y, factors *G.Node) (*G.Node, error) {
	size := y.Shape().TotalSize() / ws.batch
	o := ws.own("dot", tensor.ScalarShape(), make([]float32, 1), func(out []float32, in [][]float32) {
		var sum float64
		for i := range ws.rows * size {
			sum += float64(in[0][i]) * float64(in[1][i])
		}
		out[0] = float32(sum)
	})
	o.diff = func(in G.Nodes, _, grad *G.Node) (G.Nodes, error) {
		n, err := ws.inSlot("dotGrad", y.Shape().Clone(), 1, func(out []float32, v [][]float32) {
			for i := range out {
				out[i] = float32(math.NaN()) // rows that are not in use must not count
			}
			copy(out, v[0][:ws.rows*size])
		}).apply(in[1], grad)
		return G.Nodes{n, nil}, err
	}
	n, err := o.layer(y, factors)
	o.wrt = []bool{true, false}
	return n, err
}

func newBench(t *testing.T, tr trial, rng *rand.Rand) *bench {
	t.Helper()
	g := G.NewGraph()
	b := &bench{ws: NewWorkspace(tr.batch)}
	x := fill(rng, append([]int{tr.batch}, tr.in...)...)
	b.inX = x.Data().([]float32)
	b.x = input(g, "x", x)
	for i, shape := range tr.params {
		b.params = append(b.params, input(g, fmt.Sprintf("p%d", i), fill(rng, shape...)))
	}
	var err error
	if b.out, err = tr.build(b.ws, identity(t, b.ws, b.x), b.params); err != nil {
		t.Fatal(err)
	}
	f := fill(rng, b.out.Shape()...)
	b.factors = f.Data().([]float32)
	loss, err := dot(b.ws, b.out, input(g, "factors", f))
	if err != nil {
		t.Fatal(err)
	}
	if b.grads, err = G.Grad(loss, append(G.Nodes{b.x}, b.params...)...); err != nil {
		t.Fatal(err)
	}
	b.vm = G.NewTapeMachine(g)
	t.Cleanup(func() { b.vm.Close() })
	return b
}

func (b *bench) run(t *testing.T, rows int) {
	t.Helper()
	b.ws.Begin(rows, 1)
	b.vm.Reset()
	if err := b.vm.RunAll(); err != nil {
		t.Fatal(err)
	}
}

func values(n *G.Node) []float32 { return n.Value().Data().([]float32) }

// check compares runs of the trial on every path that this machine has. Off is
// how far they may be off, in parts of the norm.
func (tr trial) check(t *testing.T, seed uint64, off float64) {
	t.Helper()
	expected := map[int]expectation{} // by rows; the same random numbers on every path
	for _, path := range kernel.Paths() {
		func() {
			defer kernel.Force(path)()
			b := newBench(t, tr, rand.New(rand.NewPCG(seed, 77)))
			for _, rows := range []int{tr.rows, tr.batch, tr.rows} { // what the run before left must not count
				b.run(t, rows)
				if _, ok := expected[rows]; !ok {
					expected[rows] = tr.expect(b, rows)
				}
				b.compare(t, expected[rows], off, fmt.Sprintf("seed %d, %v, %d of %d rows", seed, path, rows, tr.batch))
			}
		}()
	}
}

// expectation is what the naive form and its finite differences say.
type expectation struct {
	out   []float64
	grads [][]float64 // of the input, then the parameters
	kink  func() bool // whether one is so near that differences are no gradient
}

func (tr trial) expect(b *bench, rows int) expectation {
	x := naive.Images{N: rows, H: 1, W: 1, C: tr.in[0]}
	if len(tr.in) == 3 {
		x.H, x.W, x.C = tr.in[0], tr.in[1], tr.in[2]
	}
	x.V = naive.Wide(b.inX[:rows*x.H*x.W*x.C])
	var params [][]float64
	for _, p := range b.params {
		params = append(params, naive.Wide(values(p)))
	}
	loss := func() float64 {
		var sum float64
		for i, v := range tr.naive(x, params).V {
			sum += v * float64(b.factors[i])
		}
		return sum
	}
	e := expectation{out: tr.naive(x, params).V}
	all := append([][]float64{x.V}, params...)
	for _, of := range all {
		e.grads = append(e.grads, naive.Differences(of, loss))
	}
	e.kink = func() bool {
		return slices.ContainsFunc(all, func(of []float64) bool { return naive.Kinked(of, loss) })
	}
	return e
}

func (b *bench) compare(t *testing.T, want expectation, most float64, what string) {
	t.Helper()
	if shape := b.out.Shape(); shape[0] != b.ws.batch || shape.TotalSize()*b.ws.rows != len(want.out)*b.ws.batch {
		t.Fatalf("%s: shape %v for %d values", what, shape, len(want.out))
	}
	if off := naive.Apart(values(b.out)[:len(want.out)], want.out); !(off <= most) {
		t.Errorf("%s: the result is %.2g of its norm off", what, off)
	}
	for i, grad := range want.grads {
		if off := naive.Apart(values(b.grads[i])[:len(grad)], grad); !(off <= most) {
			if want.kink() {
				t.Skipf("%s: a kink next to the input: differences prove nothing", what)
			}
			t.Errorf("%s: gradient %d (0: of the input, others: of parameters) is %.2g of its norm off", what, i, off)
		}
	}
}
