package operator

import (
	"cmp"
	"fmt"
	"math"

	G "gorgonia.org/gorgonia"

	dg "driftgate"
	"driftgate/internal/kernel"
)

// Epsilon is added to the variance in batch norm. It and momentum, the share of
// the way to the batch's that a running statistic moves, are PyTorch's.
const (
	Epsilon  = 1e-5
	momentum = .1
)

// BatchNormOptions are the statistics that a batch norm keeps, and its ReLU.
type BatchNormOptions struct {
	Mean, Variance []float32 // running, by channel; [Workspace.Commit] moves them
	ReLU           bool
}

// batchNorm normalises by channel (Ioffe & Szegedy, 2015). Moments are taken
// about the running mean, which keeps the digits of the variance.
type batchNorm struct {
	ws       *Workspace
	in       *op // what x comes from; nil when that is no operator
	o        BatchNormOptions
	c        int
	row      int       // values of a row
	given    bool      // the layer before adds up the moments
	putOff   bool      // the layer after applies it
	values   int       // that each channel of the last run had
	mean     []float64 // of the last run, and its biased variance
	variance []float64

	scale, offset, centre []float32 // y = scale*x + offset; centre is the mean
	a, b, d               []float32 // of the gradient
	dgamma, dbeta         []float32
}

// BatchNorm normalises each channel of images, or each value of rows, by the
// moments of the rows in use, multiplies with gamma, adds beta, and cuts at zero
// when o.ReLU. A channel with one value has no variance: it gives beta, and
// leaves the running variance as it is.
func BatchNorm(ws *Workspace, x, gamma, beta *G.Node, o BatchNormOptions) (*G.Node, error) {
	if err := ws.rowsOf("batch norm", x); err != nil {
		return nil, err
	}
	shape := x.Shape()
	c := shape[len(shape)-1]
	if err := cmp.Or(shaped("batch norm", "gamma", gamma, c), shaped("batch norm", "beta", beta, c)); err != nil {
		return nil, err
	}
	if len(o.Mean) != c || len(o.Variance) != c {
		return nil, fmt.Errorf("operator: batch norm: running statistics of %d and %d channels, want %d: %w", len(o.Mean), len(o.Variance), c, dg.ErrInvalid)
	}
	n := &batchNorm{ws: ws, o: o, c: c, row: shape.TotalSize() / ws.batch, mean: make([]float64, c), variance: make([]float64, c)}
	for _, s := range []*[]float32{&n.scale, &n.offset, &n.centre, &n.a, &n.b, &n.d} {
		*s = make([]float32, c)
	}
	if before, ok := x.Op().(*op); ok && before.conv != nil && !before.conv.o.Pool && !before.fed {
		before.conv.after, n.given = n, true
	}
	ws.reserve(0, 0, 2*c)
	ws.norms = append(ws.norms, n)
	out := ws.own("batchNorm", shape.Clone(), make([]float32, shape.TotalSize()), n.forward)
	out.diff = n.backward
	out.norm = n
	n.in, _ = x.Op().(*op)
	return out.layer(x, gamma, beta)
}

// putOff is the batch norm whose result x is, if that need not be written out:
// whoever reads it image by image applies the batch norm to each while it is in
// the cache ([batchNorm.apply]), forward and backward, and is given the values
// before it in place of x. Of a batch's images this saves a copy, and the time
// to write and read it.
func putOff(x *G.Node) *batchNorm {
	before, ok := x.Op().(*op)
	if !ok || before.norm == nil || before.norm.in == nil || before.fed {
		return nil
	}
	n := before.norm
	n.putOff, before.data = true, n.in.data
	return n
}

// apply normalises pixels by the moments of the run.
func (n *batchNorm) apply(dst, src []float32) {
	kernel.Affine(dst, src, n.scale, n.offset, len(src)/n.c, n.c, n.o.ReLU)
}

// begin clears the sums of block k; nil has none.
func (n *batchNorm) begin(k int) []float64 {
	if n == nil {
		return nil
	}
	return n.ws.sums(k, 2*n.c)
}

// add adds the moments of some pixels.
func (n *batchNorm) add(sums []float64, x []float32) {
	if n != nil {
		kernel.Moments(sums[:n.c], sums[n.c:], x, n.o.Mean, len(x)/n.c, n.c)
	}
}

func (n *batchNorm) forward(out []float32, in [][]float32) {
	x, gamma, beta := in[0], in[1], in[2]
	values := n.ws.rows * n.row
	if !n.given {
		n.ws.each(values, func(k, a, b int) { n.add(n.begin(k), x[a*n.row:b*n.row]) })
	}
	n.values = values / n.c
	sums := n.ws.total(2 * n.c)
	for i := range n.c {
		off := sums[i] / float64(n.values)
		n.mean[i] = float64(n.o.Mean[i]) + off
		n.variance[i] = max(0, sums[n.c+i]/float64(n.values)-off*off)
		scale := float64(gamma[i]) / math.Sqrt(n.variance[i]+Epsilon)
		n.scale[i], n.centre[i] = float32(scale), float32(n.mean[i])
		n.offset[i] = float32(float64(beta[i]) - n.mean[i]*float64(n.scale[i]))
	}
	if n.putOff {
		return
	}
	n.ws.each(values, func(_, a, b int) { n.apply(out[a*n.row:b*n.row], x[a*n.row:b*n.row]) })
}

// commit moves the running statistics: by the mean and the unbiased variance.
func (n *batchNorm) commit() {
	if n.values == 0 {
		return
	}
	for i := range n.c {
		n.o.Mean[i] = float32((1-momentum)*float64(n.o.Mean[i]) + momentum*n.mean[i])
		if n.values > 1 {
			unbiased := n.variance[i] * float64(n.values) / float64(n.values-1)
			n.o.Variance[i] = float32((1-momentum)*float64(n.o.Variance[i]) + momentum*unbiased)
		}
	}
}

// backward adds an operator whose value is the gradient of gamma. That of the
// input is written over the gradient from above.
func (n *batchNorm) backward(in G.Nodes, _, grad *G.Node) (G.Nodes, error) {
	n.dgamma, n.dbeta = make([]float32, n.c), make([]float32, n.c)
	slot := noSlot
	if in[0].Op() != nil {
		slot = slotOf(grad)
	}
	dgamma, err := n.ws.own("batchNormGrad", in[1].Shape().Clone(), n.dgamma, func(_ []float32, v [][]float32) {
		n.gradients(v[0], v[1], v[2], slot != noSlot)
	}).apply(in[0], in[1], grad)
	if err != nil {
		return nil, err
	}
	return n.ws.hand(dgamma, in, slot, n.dbeta)
}

// gradients: with N values a channel, s = 1/sqrt(variance+epsilon) and g the
// gradient of the normalised value after ReLU,
// dx = gamma s (g - sum(g)/N - (x-mean) s^2 sum(g (x-mean))/N).
func (n *batchNorm) gradients(x, gamma, dy []float32, input bool) {
	values := n.ws.rows * n.row
	n.ws.each(values, func(k, a, b int) {
		s := n.begin(k)
		kernel.AffineGradSums(s[:n.c], s[n.c:], dy[a*n.row:b*n.row], x[a*n.row:b*n.row], n.centre, n.scale, n.offset, (b-a)*n.row/n.c, n.c, n.o.ReLU)
	})
	sums, count := n.ws.total(2*n.c), float64(n.values)
	for i := range n.c {
		sum, sumX := sums[i], sums[n.c+i]
		s := 1 / math.Sqrt(n.variance[i]+Epsilon)
		n.dgamma[i], n.dbeta[i] = float32(sumX*s), float32(sum)
		a := float64(gamma[i]) * s
		b := -a * s * s * sumX / count
		n.a[i], n.b[i] = float32(a), float32(b)
		n.d[i] = float32(-a*sum/count - float64(n.b[i])*n.mean[i])
	}
	if !input {
		return
	}
	n.ws.each(values, func(_, a, b int) {
		part := dy[a*n.row : b*n.row]
		kernel.AffineGrad(part, part, x[a*n.row:b*n.row], n.scale, n.offset, n.a, n.b, n.d, (b-a)*n.row/n.c, n.c, n.o.ReLU)
	})
}
