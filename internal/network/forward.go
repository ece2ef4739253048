package network

import (
	"fmt"
	"math"
	"sync/atomic"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/kernel"
)

// samples are rows of numbers, or pixels that are yet to be normalised.
type samples struct {
	x      []float32
	pixels []byte
	levels dataset.Levels
}

// rows are n samples from first on; space has room for them.
func (s *samples) rows(first, n, values int, space []float32) []float32 {
	if s.pixels == nil {
		return s.x[first*values:][:n*values]
	}
	space = space[:n*values]
	s.levels.Pixels(s.pixels[first*values:][:n*values], space)
	return space
}

// run writes n rows of logits and of what the last layer sees, each where it is
// not nil. Rows are independent: a sample gets the same bits alone and in a
// batch, whatever the number of threads.
func (p *plan) run(in samples, n int, logits, features []float32) {
	if n == 0 {
		return
	}
	predictions.Add(1)
	defer predictions.Add(-1)
	threads := kernel.Threads()
	if n == 1 {
		// Of the processors, each prediction under way has one.
		threads = min(threads, 1+threads-int(predictions.Load()))
		if p.work < sharedWork || threads <= 1 {
			p.task(in, 0, 1, logits, features)
			return
		}
		p.share(in, logits, features, threads)
		return
	}
	threads = min(threads, 1+n*p.work/parallelWork)
	if threads == 1 {
		p.task(in, 0, n, logits, features)
		return
	}
	tasks := (n + p.rows - 1) / p.rows
	tasks = min(n, (tasks+threads-1)/threads*threads)
	kernel.Parallel(tasks, func(t int) { p.task(in, t*n/tasks, (t+1)*n/tasks, logits, features) })
}

// predictions is how many calls of run are under way.
var predictions atomic.Int32

// The work that is worth another thread, multiplications: of a batch, and of a
// sample by itself, whose layers have to wait for each other. To wake a thread
// takes some microseconds: with 0.7 million multiplications, 30 µs, two threads
// were no faster than one.
const (
	parallelWork = 1 << 18
	sharedWork   = 1 << 20
)

// task answers the samples from to before to, one block after the other, each
// through all layers while it is in cache.
func (p *plan) task(in samples, from, to int, logits, features []float32) {
	buffer := p.spaces.Get().(*[]float32)
	defer p.spaces.Put(buffer)
	space := *buffer
	last := len(p.segments) - 1
	for at := from; at < to; at += p.rows {
		n := min(p.rows, to-at)
		seen := space[p.features:][:n*p.width]
		if features != nil {
			seen = features[at*p.width:][:n*p.width]
		}
		if last < 0 {
			x := in.rows(at, n, p.inputs, space)
			if features != nil {
				copy(seen, x)
			}
			seen = x
		} else {
			p.fill(last, &in, at, n, seen, space)
		}
		if logits != nil {
			p.head.run(logits[at*p.classes:], seen, n, 0, p.head.parts(n), nil)
		}
	}
}

// fill computes what a segment makes of n samples from first on, by way of the
// segments before it.
func (p *plan) fill(segment int, in *samples, first, n int, out, space []float32) {
	s := &p.segments[segment]
	width := len(out) / n
	for i := 0; i < n; i += s.rows {
		m := min(s.rows, n-i)
		x := p.feed(segment, in, first+i, m, space)
		if segment > 0 {
			p.fill(segment-1, in, first+i, m, x, space)
		}
		for k, o := range s.ops {
			_, values, _ := o.sizes()
			y := p.between(k, m*values, space)
			if k == len(s.ops)-1 {
				y = out[i*width:][:m*width]
			}
			o.run(y, x, m, 0, o.parts(m), space[p.scratch:])
			x = y
		}
	}
}

// feed is the input of a segment for n samples: the first one's is there
// already, that of the others is room to be filled.
func (p *plan) feed(segment int, in *samples, first, n int, space []float32) []float32 {
	s := &p.segments[segment]
	if segment == 0 {
		return in.rows(first, n, p.inputs, space)
	}
	values, _, _ := s.ops[0].sizes()
	return space[s.in:][:n*values]
}

// between is one of the two buffers between the layers of a segment, in turns.
func (p *plan) between(layer, values int, space []float32) []float32 {
	if layer%2 == 0 {
		return space[p.a:][:values]
	}
	return space[p.b:][:values]
}

// Forward answers with weights under training: what a [Classifier] is without an
// artifact. Any number of goroutines may use it at once.
type Forward struct {
	plan   *plan
	levels dataset.Levels
}

// NewForward lays a network out for inference; the weights are copied. levels
// normalise the pixels that [Forward.Pixels] takes; nil where it is not used.
// The error is [dg.ErrInvalid] when weights and spec do not fit.
func NewForward(s Spec, w Weights, levels dataset.Levels) (*Forward, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if err := w.Check(s); err != nil {
		return nil, err
	}
	return &Forward{newPlan(s, w), levels}, nil
}

// Logits maps n rows of Spec.Inputs normalised values to n rows of logits. They
// may be infinite or no numbers, as those of weights that diverged. The error is
// [dg.ErrInvalid]: not whole rows.
func (f *Forward) Logits(x []float32) ([]float32, error) {
	return f.logits(samples{x: x}, len(x))
}

// Pixels is Logits for images given as uint8 HWC, one after the other.
func (f *Forward) Pixels(px []byte) ([]float32, error) {
	return f.logits(samples{pixels: px, levels: f.levels}, len(px))
}

func (f *Forward) logits(in samples, values int) ([]float32, error) {
	n := values / f.plan.inputs
	if values != n*f.plan.inputs {
		return nil, fmt.Errorf("network: infer: %d values, want a multiple of %d: %w", values, f.plan.inputs, dg.ErrInvalid)
	}
	out := make([]float32, n*f.plan.classes)
	f.plan.run(in, n, out, nil)
	return out, nil
}

// Features writes what the last layer sees, after the ReLU, of n rows of
// Spec.Inputs values: n*[Spec.Features] values into dst, which must have that
// length. A sample gets the same bits alone and in a batch. The error is
// [dg.ErrInvalid]: rows that do not fit.
func (f *Forward) Features(x, dst []float32) error {
	p := f.plan
	n := len(x) / p.inputs
	if len(x) != n*p.inputs || len(dst) != n*p.width {
		return fmt.Errorf("network: features: %d values into %d, want rows of %d into rows of %d: %w", len(x), len(dst), p.inputs, p.width, dg.ErrInvalid)
	}
	p.run(samples{x: x}, n, nil, dst)
	return nil
}

// Infer is [Forward.Logits] once.
func Infer(s Spec, w Weights, x []float32) ([]float32, error) {
	f, err := NewForward(s, w, nil)
	if err != nil {
		return nil, err
	}
	return f.Logits(x)
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
