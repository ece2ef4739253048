package operator

import (
	"fmt"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	dg "driftgate"
	"driftgate/internal/kernel"
)

// CrossEntropy is the loss -sum(target * log softmax(logits)) over the rows in
// use, a scalar. Targets carry the weight of a row and its smoothing: they need
// not add up to 1.
//
// It is ours for more than speed: Gorgonia v0.9.18's softmax subtracts the first
// logit of the whole batch instead of each row's largest, so that a confident
// network gets a loss of infinity, and SoftMax and LogSoftMax of one node are
// taken for the same.
func CrossEntropy(ws *Workspace, logits, target *G.Node) (*G.Node, error) {
	if err := ws.rowsOf("cross entropy", logits); err != nil {
		return nil, err
	}
	if logits.Dims() != 2 || !target.Shape().Eq(logits.Shape()) {
		return nil, fmt.Errorf("operator: cross entropy: logits of shape %v, target of %v, want two matrices of one shape: %w", logits.Shape(), target.Shape(), dg.ErrInvalid)
	}
	c := logits.Shape()[1]
	d := make([]float32, ws.batch*c) // the gradient comes with the loss
	o := ws.own("crossEntropy", tensor.ScalarShape(), make([]float32, 1), func(loss []float32, v [][]float32) {
		var sum float64
		for i := range ws.rows {
			sum += kernel.SoftmaxCrossEntropy(d[i*c:][:c], v[0][i*c:][:c], v[1][i*c:][:c])
		}
		loss[0] = float32(sum)
	})
	o.diff = func(_ G.Nodes, loss, grad *G.Node) (G.Nodes, error) {
		g, err := ws.inSlot("crossEntropyGrad", logits.Shape().Clone(), 0, func(out []float32, v [][]float32) {
			for i, x := range d[:ws.rows*c] {
				out[i] = x * v[1][0]
			}
		}).apply(loss, grad)
		return G.Nodes{g, nil}, err
	}
	n, err := o.layer(logits, target)
	if err == nil {
		o.wrt[1] = false
	}
	return n, err
}
