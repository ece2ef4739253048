package network

import (
	"fmt"
	"math"
	"runtime"
	"sync"

	dg "driftgate"
)

// plan is a network laid out for inference: plain Go over the weights, no
// graph, no reflection, no allocation but the scratch buffers it is given.
type plan struct {
	layers  []dense
	inputs  int
	classes int
	widest  int // of the hidden layers
	work    int // multiplications a sample
}

// dense computes y = w.x + b, with the weights as [out][in].
type dense struct {
	in, out int
	w, b    []float32
	relu    bool
}

// newPlan expects weights that passed Check. It keeps references to them.
func newPlan(s Spec, w Weights) (*plan, error) {
	p := &plan{inputs: s.Inputs(), classes: s.Classes}
	widths, err := s.widths()
	if err != nil {
		return nil, err
	}
	for i := range len(widths) - 1 {
		last := i == len(widths)-2
		p.layers = append(p.layers, dense{widths[i], widths[i+1], w[2*i].Data, w[2*i+1].Data, !last})
		if !last {
			p.widest = max(p.widest, widths[i+1])
		}
		p.work += widths[i] * widths[i+1]
	}
	return p, nil
}

// widths are the sizes of input, hidden layers and output of a network that is
// nothing but dense layers, as [MLP] makes it.
func (s Spec) widths() ([]int, error) {
	out := []int{s.Inputs()}
	for i, l := range s.Layers {
		if l.Kind != Dense || !l.Bias || l.ReLU != (i < len(s.Layers)-1) {
			return nil, fmt.Errorf("network: layers[%d] %v: not built yet: %w", i, l, dg.ErrInvalid)
		}
		out = append(out, l.Units)
	}
	return out, nil
}

// features is the width of what the last layer sees.
func (p *plan) features() int { return p.layers[len(p.layers)-1].in }

// parallelWork is how many multiplications are worth another goroutine.
const parallelWork = 4 << 20

// logits writes n*classes values for n*inputs values. Rows are independent: a
// sample gets the same bits alone and in a batch.
func (p *plan) logits(x []float32, n int, dst []float32) {
	parts := min(n, runtime.GOMAXPROCS(0), 1+n*p.work/parallelWork)
	if parts <= 1 {
		p.rows(x, n, dst, nil)
		return
	}
	var wg sync.WaitGroup
	for k := range parts {
		a, b := k*n/parts, (k+1)*n/parts
		wg.Go(func() { p.rows(x[a*p.inputs:b*p.inputs], b-a, dst[a*p.classes:b*p.classes], nil) })
	}
	wg.Wait()
}

// rows works on n rows of x one after the other. When features is not nil, it
// gets what the last layer sees of each row: p.features() values a row.
func (p *plan) rows(x []float32, n int, dst, features []float32) {
	scratch := make([]float32, 2*p.widest)
	a, b := scratch[:p.widest], scratch[p.widest:]
	for i := range n {
		h := x[i*p.inputs:][:p.inputs]
		for k := range p.layers {
			l := &p.layers[k]
			var out []float32
			if k == len(p.layers)-1 {
				out = dst[i*p.classes:][:p.classes]
				if features != nil {
					copy(features[i*l.in:][:l.in], h)
				}
			} else {
				out = a[:l.out]
			}
			l.apply(h, out)
			h, a, b = out, b, a
		}
	}
}

// apply works on four outputs at a time: four sums in flight hide the latency
// of addition, and each input is loaded once for all four.
func (l *dense) apply(x, y []float32) {
	x = x[:l.in]
	o := 0
	for ; o+4 <= l.out; o += 4 {
		w0 := l.w[o*l.in:][:len(x)]
		w1 := l.w[(o+1)*l.in:][:len(x)]
		w2 := l.w[(o+2)*l.in:][:len(x)]
		w3 := l.w[(o+3)*l.in:][:len(x)]
		s0, s1, s2, s3 := l.b[o], l.b[o+1], l.b[o+2], l.b[o+3]
		for i, v := range x {
			s0 += v * w0[i]
			s1 += v * w1[i]
			s2 += v * w2[i]
			s3 += v * w3[i]
		}
		y[o], y[o+1], y[o+2], y[o+3] = s0, s1, s2, s3
	}
	for ; o < l.out; o++ {
		w, s := l.w[o*l.in:][:len(x)], l.b[o]
		for i, v := range x {
			s += v * w[i]
		}
		y[o] = s
	}
	if l.relu {
		for i, v := range y {
			if v < 0 {
				y[i] = 0
			}
		}
	}
}

// Infer computes the logits of weights under training: n*Classes values for
// n*Inputs. The error is [dg.ErrInvalid] when weights or rows do not fit.
func Infer(s Spec, w Weights, x []float32) ([]float32, error) {
	if err := w.Check(s); err != nil {
		return nil, err
	}
	p, err := newPlan(s, w)
	if err != nil {
		return nil, err
	}
	if len(x)%p.inputs != 0 {
		return nil, fmt.Errorf("network: infer: %d values, want a multiple of %d: %w", len(x), p.inputs, dg.ErrInvalid)
	}
	n := len(x) / p.inputs
	out := make([]float32, n*s.Classes)
	p.logits(x, n, out)
	return out, nil
}

// softmax turns each row of logits into probabilities, dividing by the
// temperature first; the largest logit is subtracted, so nothing overflows.
func softmax(logits []float32, classes int, temperature float64) {
	for at := 0; at+classes <= len(logits); at += classes {
		row := logits[at:][:classes]
		top := row[0]
		for _, v := range row[1:] {
			top = max(top, v)
		}
		var sum float64
		for _, v := range row {
			sum += math.Exp(float64(v-top) / temperature)
		}
		for i, v := range row {
			row[i] = float32(math.Exp(float64(v-top)/temperature) / sum)
		}
	}
}
