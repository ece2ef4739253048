package network

import "sync"

// plan is a network laid out for inference: batch normalisation folded into the
// layer before it, dropout gone, weights packed, pooling joined to its
// convolution, every buffer's place known. Any number of goroutines may use it.
type plan struct {
	inputs   int // values of a sample
	width    int // values that the last layer sees
	classes  int
	segments []segment // all layers but the last
	head     *product  // the last
	rows     int       // samples that the last layer takes at a time
	work     int       // multiplications a sample

	space                   int       // float32s that a task needs
	features, a, b, scratch int       // where in it they begin
	spaces                  sync.Pool // of *[]float32 with that length
	crews                   sync.Pool // of *crew
}

// segment is a run of layers that take the same number of samples at a time, as
// many as stay in cache: the activations of early layers are large and their
// weights few; late layers' weights are many, and are read once for all samples.
type segment struct {
	ops  []op
	rows int // samples at a time, at most those of the next segment
	in   int // where its input begins in a task's space; the first one's is the samples themselves
}

// op is a layer that can be run, on any samples and on a part of the work.
type op interface {
	// sizes are the values of a sample before and after, and those of scratch.
	sizes() (in, out, scratch int)
	// work is the number of multiplications a sample.
	work() int
	// parts is into how many parts the output of n samples can be divided.
	parts(n int) int
	// run computes the parts from to before to of the output of n samples.
	run(out, in []float32, n, from, to int, scratch []float32)
}

// What a task works on is bounded by these, in float32s; measured on a core with
// 32 KiB of L1 and 1 MiB of L2 cache.
const (
	mostRows   = 64       // samples: more bring little and balance worse
	imageSpace = 64 << 10 // input and output of a layer on images
	denseSpace = 1 << 20  // those of a dense layer, which reads its input in blocks
)

// newPlan expects weights that passed Check, and copies what it needs of them.
func newPlan(s Spec, w Weights) *plan {
	ops := newOps(s, w)
	last := len(ops) - 1
	p := &plan{inputs: s.Inputs(), width: s.Features(), classes: s.Classes, head: ops[last].(*product)}
	for _, o := range ops {
		p.work += o.work()
	}
	rows := rowsOf(ops)
	p.rows = rows[last]
	for i, o := range ops[:last] {
		if i == 0 || rows[i] != rows[i-1] {
			p.segments = append(p.segments, segment{rows: rows[i]})
		}
		s := &p.segments[len(p.segments)-1]
		s.ops = append(s.ops, o)
	}
	p.place()
	return p
}

// rowsOf is how many samples each layer takes at a time. It never falls from one
// layer to the next, so that each is fed by whole runs of those before it.
func rowsOf(ops []op) []int {
	out, least := make([]int, len(ops)), mostRows
	for i := len(ops) - 1; i >= 0; i-- {
		space := imageSpace
		if p, ok := ops[i].(*product); ok && p.pixels == 1 {
			space = denseSpace
		}
		in, values, _ := ops[i].sizes()
		n := 1
		for 2*n <= least && 2*n*(in+values) <= space {
			n *= 2
		}
		least = n
		out[i] = least
	}
	return out
}

// place gives every buffer its place in a task's space: the pixels of samples as
// numbers, what the last layer sees, the input of each segment but the first;
// then two buffers and scratch, which all segments share.
func (p *plan) place() {
	first := p.rows
	if len(p.segments) > 0 {
		first = p.segments[0].rows
	}
	p.features = first * p.inputs
	at := p.features + p.rows*p.width
	widest := 0
	_, _, scratch := p.head.sizes()
	for i := range p.segments {
		s := &p.segments[i]
		if i > 0 {
			in, _, _ := s.ops[0].sizes()
			s.in = at
			at += s.rows * in
		}
		for _, o := range s.ops {
			_, out, need := o.sizes()
			scratch, widest = max(scratch, need), max(widest, s.rows*out)
		}
	}
	p.a, p.b, p.scratch = at, at+widest, at+2*widest
	p.space = p.scratch + scratch
	p.spaces.New = func() any {
		space := make([]float32, p.space)
		return &space
	}
	p.crews.New = func() any {
		c := &crew{plan: p}
		c.helper = c.help
		return c
	}
}
