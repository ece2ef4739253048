package operator

import (
	"driftgate/internal/kernel"
)

// blocks is into how many blocks of rows work is split, at most: enough for
// eight cores, few enough that a gradient buffer for each costs little.
const blocks = 8

// worthwhile is how many values are worth another goroutine.
const worthwhile = 1 << 15

// Workspace is what the operators of one graph share: the rows in use, the
// seed, and memory that none of them needs for long. Graphs that run at the
// same time need one each.
type Workspace struct {
	batch     int
	rows      int
	seed      uint64
	operators int
	norms     []*batchNorm
	links     []link // in the order in which they were applied

	// Gradients of activations: a layer reads one and writes the other, so two
	// are enough for a chain of any length.
	gradients [2][]float32
	sizes     [2]int

	scratch  int // float32s of a block's scratch
	free     chan []float32
	partial  int // float32s of a block's own weight gradient
	partials [blocks][]float32
	wide     int // float64s of a block's own sums
	wides    [blocks][]float64
}

// NewWorkspace is for graphs of batch rows.
func NewWorkspace(batch int) *Workspace {
	return &Workspace{batch: batch, rows: batch, free: make(chan []float32, kernel.Threads())}
}

// Begin says how many rows the next run has, at most the batch, and the seed of
// its dropout.
func (w *Workspace) Begin(rows int, seed uint64) { w.rows, w.seed = rows, seed }

// Commit moves the running statistics of batch norm by those of the last run.
// Without it a run leaves no trace.
func (w *Workspace) Commit() {
	for _, n := range w.norms {
		n.commit()
	}
}

func (w *Workspace) gradient(slot int) []float32 {
	if len(w.gradients[slot]) < w.sizes[slot] {
		w.gradients[slot] = make([]float32, w.sizes[slot])
	}
	return w.gradients[slot]
}

// reserve asks for scratch, and for a weight gradient and sums of each block.
func (w *Workspace) reserve(scratch, partial, wide int) {
	w.scratch, w.partial, w.wide = max(w.scratch, scratch), max(w.partial, partial), max(w.wide, wide)
}

// borrow lends scratch that stays warm in the cache of whoever works.
func (w *Workspace) borrow() []float32 {
	select {
	case s := <-w.free:
		return s
	default:
		return make([]float32, w.scratch)
	}
}

func (w *Workspace) giveBack(s []float32) {
	select {
	case w.free <- s:
	default:
	}
}

// each calls f for every block of rows, from a to before b. When the values are
// few, one after the other.
func (w *Workspace) each(values int, f func(block, a, b int)) {
	n := min(w.rows, blocks)
	work := func(k int) { f(k, k*w.rows/n, (k+1)*w.rows/n) }
	if values < worthwhile {
		for k := range n {
			work(k)
		}
		return
	}
	kernel.Parallel(n, work)
}

// part is where block k adds up its share of sum: in sum itself for the first,
// in a buffer of the workspace, from at, for others. It is cleared.
func (w *Workspace) part(k int, sum []float32, at int) []float32 {
	if k > 0 {
		if len(w.partials[k]) < w.partial {
			w.partials[k] = make([]float32, w.partial)
		}
		sum = w.partials[k][at:][:len(sum)]
	}
	clear(sum)
	return sum
}

// reduce adds the blocks' shares to the first one's, in their order.
func (w *Workspace) reduce(sum []float32, at int) {
	const chunk = 1 << 13
	n := min(w.rows, blocks)
	work := func(c int) {
		a, b := c*chunk, min((c+1)*chunk, len(sum))
		for k := 1; k < n; k++ {
			kernel.AddScaled(sum[a:b], w.partials[k][at+a:at+b], 1)
		}
	}
	kernel.Parallel((len(sum)+chunk-1)/chunk, work)
}

// sums is the part of block k for n sums in float64, cleared.
func (w *Workspace) sums(k, n int) []float64 {
	if len(w.wides[k]) < w.wide {
		w.wides[k] = make([]float64, w.wide)
	}
	s := w.wides[k][:n]
	clear(s)
	return s
}

// total adds the blocks' sums to those of the first, in their order.
func (w *Workspace) total(n int) []float64 {
	s := w.wides[0][:n]
	for k := 1; k < min(w.rows, blocks); k++ {
		for i, v := range w.wides[k][:n] {
			s[i] += v
		}
	}
	return s
}
