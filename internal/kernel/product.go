package kernel

// depth is how many values of k are summed in registers before the sum goes to
// memory. Its places are fixed, for the bits of a sum depend on them.
const depth = 256

// product is a call of Gemm: c = a b, with b as it lies or packed.
type product struct {
	m, n, k int
	a, b    Operand
	packed  []float32
	c       []float32
	stride  int
	e       Epilogue
	path    Path
}

// run divides the product into tasks of rows times panels.
func (p *product) run() {
	if p.m <= 0 || p.n <= 0 {
		return
	}
	p.check()
	if p.k == 0 {
		p.nothing()
		return
	}
	u := &micros[p.path]
	panels := (p.n + u.width - 1) / u.width
	threads := p.threads()
	if threads == 1 {
		p.part(u, 0, p.m, 0, panels)
		return
	}
	columns := min(panels, 2*threads)
	Parallel(columns, func(task int) {
		p.part(u, 0, p.m, task*panels/columns, (task+1)*panels/columns)
	})
}

// threadWork is how much work a thread is worth waking for, multiply-adds.
const threadWork = 1 << 16

func (p *product) threads() int {
	return max(1, min(Threads(), p.m*p.n/threadWork*p.k))
}

// check panics when a slice is too short, before assembly reads behind its end.
func (p *product) check() {
	if p.k > 0 {
		_ = p.a.Data[p.a.offset(p.m-1, p.k-1)]
		if p.packed == nil {
			_ = p.b.Data[p.b.offset(p.k-1, p.n-1)]
		}
	}
	_ = p.c[(p.m-1)*p.stride+p.n-1]
	if p.e.Bias != nil {
		_ = p.e.Bias[p.n-1]
	}
}

// nothing is a product over no k: zeros.
func (p *product) nothing() {
	for i := range p.m {
		for j := range p.n {
			p.e.store(&p.c[i*p.stride+j], 0, j)
		}
	}
}

// part computes the rows from i0 and the panels from j0 to before i1 and j1.
func (p *product) part(u *micro, i0, i1, j0, j1 int) {
	panels := (p.n + u.width - 1) / u.width
	t := tile{c: &p.c[0], cRow: p.stride * 4, blocks: 1, a: &p.a.Data[0]}
	t.aRow, t.aStep = p.a.steps()
	if p.e.ReLU {
		t.relu = 1
	}
	var scratch *[]float32
	for k0 := 0; k0 < p.k; k0 += depth {
		t.steps = min(depth, p.k-k0)
		last := k0+t.steps == p.k
		t.accumulate, t.relu = 0, 0
		if k0 > 0 || p.e.Accumulate {
			t.accumulate = 1
		}
		if last {
			if p.e.ReLU {
				t.relu = 1
			}
			if p.e.Bias != nil {
				t.bias = &p.e.Bias[0]
			}
		}
		for j := j0; j < j1; j++ {
			t.columns = min(u.width, p.n-j*u.width)
			if p.packed != nil {
				t.b, t.bAt, t.bStep = &p.packed[0], (k0*panels+j*t.steps)*u.width*4, u.width*4
			} else {
				if scratch == nil {
					scratch = borrow(depth * u.width)
					defer giveBack(scratch)
				}
				packPanel(*scratch, u, p.b, k0, t.steps, j*u.width, t.columns)
				t.b, t.bAt, t.bStep = &(*scratch)[0], 0, u.width*4
			}
			t.biasAt = j * u.width * 4
			t.aAt = p.a.offset(i0, k0) * 4
			t.cAt = (i0*p.stride + j*u.width) * 4
			u.run(&t, i1-i0, u.rows)
		}
	}
}
