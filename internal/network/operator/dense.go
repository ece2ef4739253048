package operator

import (
	"fmt"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	dg "driftgate"
	"driftgate/internal/kernel"
)

type dense struct {
	ws         *Workspace
	in, out    int
	bias, relu bool
	dw, db     []float32
}

// Dense is x w + b for every row, cut at zero when relu. Images are read as
// rows, in the order of their memory. b may be nil.
func Dense(ws *Workspace, x, w, b *G.Node, relu bool) (*G.Node, error) {
	if err := ws.rowsOf("dense", x); err != nil {
		return nil, err
	}
	d := &dense{ws: ws, in: x.Shape().TotalSize() / ws.batch, bias: b != nil, relu: relu}
	if w.Dims() != 2 || w.Shape()[0] != d.in {
		return nil, fmt.Errorf("operator: dense: weights of shape %v, want [%d out]: %w", w.Shape(), d.in, dg.ErrInvalid)
	}
	d.out = w.Shape()[1]
	in := G.Nodes{x, w}
	if b != nil {
		if err := shaped("dense", "bias", b, d.out); err != nil {
			return nil, err
		}
		in = append(in, b)
	}
	o := ws.own("dense", tensor.Shape{ws.batch, d.out}, make([]float32, ws.batch*d.out), d.forward)
	o.diff = d.backward
	return o.layer(in...)
}

func (d *dense) forward(out []float32, in [][]float32) {
	e := kernel.Epilogue{ReLU: d.relu}
	if d.bias {
		e.Bias = in[2]
	}
	kernel.Gemm(d.ws.rows, d.out, d.in, kernel.Operand{Data: in[0], Stride: d.in}, kernel.Operand{Data: in[1], Stride: d.out}, out, d.out, e)
}

// backward adds an operator whose value is the gradient of the weights.
func (d *dense) backward(in G.Nodes, out, grad *G.Node) (G.Nodes, error) {
	ws, slot := d.ws, noSlot
	d.dw, d.db = make([]float32, d.in*d.out), make([]float32, d.out)
	if in[0].Op() != nil {
		slot = 1 - slotOf(grad)
		ws.sizes[slot] = max(ws.sizes[slot], ws.batch*d.in)
	}
	ws.reserve(0, d.out, 0)
	dw, err := ws.own("denseGrad", in[1].Shape().Clone(), d.dw, func(dw []float32, v [][]float32) {
		d.gradients(dw, v[0], v[1], v[2], v[3], slot)
	}).apply(in[0], in[1], out, grad)
	if err != nil {
		return nil, err
	}
	return ws.hand(dw, in, slot, d.db)
}

// hand gives a layer's gradients in the order of its inputs: of the images when
// there is a slot for it, of the weights (whose node computes them all), and of
// the bias when there is one.
func (w *Workspace) hand(dw *G.Node, in G.Nodes, slot int, db []float32) (G.Nodes, error) {
	grads := G.Nodes{nil, dw}
	if slot != noSlot {
		dx, err := w.sideSlot("gradInput", dw, in[0].Shape().Clone(), slot)
		if err != nil {
			return nil, err
		}
		grads[0] = dx
	}
	if len(in) > 2 {
		db, err := w.side("gradBias", dw, in[2].Shape().Clone(), db)
		if err != nil {
			return nil, err
		}
		grads = append(grads, db)
	}
	return grads, nil
}

func (d *dense) gradients(dw, x, w, y, dz []float32, slot int) {
	n := d.ws.rows
	if d.relu || d.bias {
		d.ws.each(n*d.out, func(k, a, b int) {
			dz, y := dz[a*d.out:b*d.out], y[a*d.out:b*d.out]
			if d.relu {
				kernel.ReLUGrad(dz, dz, y)
			}
			if d.bias {
				kernel.AddRows(d.ws.part(k, d.db, 0), dz, b-a, d.out)
			}
		})
	}
	if d.bias {
		d.ws.reduce(d.db, 0)
	}
	matrix := kernel.Operand{Data: dz, Stride: d.out}
	kernel.Gemm(d.in, d.out, n, kernel.Operand{Data: x, Stride: d.in, Transposed: true}, matrix, dw, d.out, kernel.Epilogue{})
	if slot != noSlot {
		kernel.Gemm(n, d.in, d.out, matrix, kernel.Operand{Data: w, Stride: d.out, Transposed: true}, d.ws.gradient(slot), d.in, kernel.Epilogue{})
	}
}
