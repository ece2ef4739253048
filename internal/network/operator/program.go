package operator

import (
	"fmt"

	G "gorgonia.org/gorgonia"

	dg "driftgate"
)

// Program runs the operators of a workspace: Gorgonia's graph without its tape
// machine. That one starts a goroutine on a locked thread for each run, and
// changing threads twice a step, with workers awake on the other processors,
// cost more than a small step itself. The operators know their buffers, so that
// nothing is left for it to do.
type Program struct {
	size  int // of the input, values
	steps []step
}

// step is an operator with its arguments. Those that are the program's input
// change with each run.
type step struct {
	op   *op
	args [][]float32
	x    []int
}

// link is an operator with its place in the graph.
type link struct {
	op *op
	in G.Nodes
}

// NewProgram makes one of everything that was applied in the workspace; x is
// the input that changes from run to run, all others have values. Operators run
// in the order in which they were applied: none can be applied before what it
// reads.
func NewProgram(ws *Workspace, x *G.Node) (*Program, error) {
	p := &Program{size: x.Shape().TotalSize()}
	for _, l := range ws.links {
		if l.op.slot != noSlot {
			l.op.data = ws.gradient(l.op.slot)[:l.op.shape.TotalSize()]
		}
		if l.op.run == nil { // a side node: another operator fills its buffer
			continue
		}
		s := step{op: l.op, args: make([][]float32, len(l.in))}
		for i, n := range l.in {
			if n == x {
				s.x = append(s.x, i)
				continue
			}
			arg, err := Result(n)
			if err == nil && len(arg) != l.op.sizes[i] {
				err = fmt.Errorf("operator: %s: input %d has %d values, want %d: %w", l.op, i, len(arg), l.op.sizes[i], dg.ErrInvalid)
			}
			if err != nil {
				return nil, err
			}
			s.args[i] = arg
		}
		p.steps = append(p.steps, s)
	}
	return p, nil
}

// Run computes everything for an input, of which the rows that the workspace
// has begun with are looked at.
func (p *Program) Run(x []float32) error {
	if len(x) != p.size {
		return fmt.Errorf("operator: run: an input of %d values, want %d: %w", len(x), p.size, dg.ErrInvalid)
	}
	for i := range p.steps {
		s := &p.steps[i]
		for _, at := range s.x {
			s.args[at] = x
		}
		s.op.run(s.op.data, s.args)
		for _, at := range s.x {
			s.args[at] = nil // the program keeps nobody's input
		}
	}
	return nil
}

// Result is where the value of a node lies after a run: that of an operator of
// this package, or of a node with a value.
func Result(n *G.Node) ([]float32, error) {
	if o, ok := n.Op().(*op); ok {
		return o.data, nil
	}
	if v := n.Value(); v != nil {
		if f, ok := floats(v); ok {
			return f, nil
		}
	}
	return nil, fmt.Errorf("operator: %v has no float32 value, and is no operator of this package: %w", n, dg.ErrInvalid)
}
