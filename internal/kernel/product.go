package kernel

// depth is how many values of k a product of matrices sums in registers before
// the sum goes to memory (convolutions sum all of theirs). Its places are fixed,
// for the bits of a sum depend on them.
const depth = 512

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

// run divides the product into tasks of rows times panels. How it does has no
// bearing on the bits.
func (p *product) run() {
	if p.m <= 0 || p.n <= 0 {
		return
	}
	p.check()
	if p.k <= 0 {
		p.nothing()
		return
	}
	u := &micros[p.path]
	panels := (p.n + u.width - 1) / u.width
	tasks := p.tasks()
	if tasks == 1 {
		p.part(u, 0, p.m, 0, panels)
		return
	}
	p.divide(u, panels, tasks)
}

// divide gives parts to the workers. It takes a copy of the product, so that only
// one that is divided is allocated.
func (p product) divide(u *micro, panels, tasks int) {
	if p.m >= manyRows*u.rows {
		s := borrow()
		defer s.giveBack()
		p.packed = s.floats(panels * u.width * p.k)
		packAll(p.packed, u, p.k, p.n, p.b)
	}
	columns, rows := p.grid(u, panels, tasks)
	Parallel(columns*rows, func(task int) {
		i, j := task%rows, task/rows
		p.part(u, i*p.m/rows, (i+1)*p.m/rows, j*panels/columns, (j+1)*panels/columns)
	})
}

const (
	// manyRows is from how many tiles in a column on b is packed once for all
	// tasks, which then share out rows.
	manyRows = 64
	// directRows is up to how many rows b is read where it lies: packing would take
	// longer than it saves.
	directRows = 140
	// shortTile is the tallest tile where the rows of a lie apart by a multiple of
	// 2 KiB: more would fall on the same lines of the first cache.
	shortTile = 7
)

// tasks is into how many parts the work is worth dividing: some for each thread,
// so that one that comes late takes fewer.
func (p *product) tasks() int {
	threads := Threads()
	if threads == 1 {
		return 1
	}
	worth := 1 << 20 // multiply-adds that take longer than waking a worker
	if busy.Load() > 0 {
		worth = 1 << 17
	}
	return max(1, min(4*threads, p.m*p.n/64*p.k/(worth/64)))
}

// grid is how many parts the panels and the rows are cut into.
func (p *product) grid(u *micro, panels, tasks int) (columns, rows int) {
	tiles := (p.m + u.rows - 1) / u.rows
	if p.m >= manyRows*u.rows {
		return 1, min(tiles, tasks)
	}
	columns = panels
	if p.m == 1 {
		columns = (panels + stripPanels - 1) / stripPanels
	}
	columns = min(columns, tasks)
	return columns, min(tiles, (tasks+columns-1)/columns)
}

// check panics when a slice is too short, before assembly reads behind its end.
// It does not read c, of which others may write their part.
func (p *product) check() {
	if p.k > 0 {
		_ = p.a.Data[p.a.offset(p.m-1, p.k-1)]
		if p.packed == nil {
			_ = p.b.Data[p.b.offset(p.k-1, p.n-1)]
		}
	}
	_ = p.c[(p.m-1)*p.stride+p.n:]
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
	s := borrow()
	defer s.giveBack()
	t := &s.tile
	t.a, t.c, t.cRow, t.blocks = &p.a.Data[0], &p.c[0], p.stride*4, 1
	t.aRow, t.aStep = p.a.steps()
	tallest := u.rows
	if t.aRow%2048 == 0 {
		tallest = min(tallest, shortTile)
	}
	source := factor{product: p, micro: u, scratch: s, direct: p.direct(u, i1-i0)}
	for k0 := 0; k0 < p.k; k0 += depth {
		t.steps = min(depth, p.k-k0)
		t.accumulate = 0
		if k0 > 0 || p.e.Accumulate {
			t.accumulate = 1
		}
		if k0+t.steps == p.k {
			t.finishWith(Epilogue{Bias: p.e.Bias, ReLU: p.e.ReLU}, p.n)
		}
		for j := j0; j < j1; {
			source.panel(t, k0, j)
			t.biasAt = j * u.width * 4
			t.aAt, t.cAt = p.a.offset(i0, k0)*4, (i0*p.stride+j*u.width)*4
			if i1-i0 == 1 && t.bPanel > 0 && u.strip != nil && (j+stripPanels)*u.width <= p.n && j+stripPanels <= j1 {
				t.repeats = 1
				u.strip(t)
				j += stripPanels
				continue
			}
			u.panel(t, i1-i0, tallest, min(u.width, p.n-j*u.width))
			j++
		}
	}
}

// direct says whether b is read where it lies for so many rows.
func (p *product) direct(u *micro, rows int) bool {
	if p.b.Stride%1024 == 0 { // all steps of a panel fall on the same lines of the first cache
		return !p.b.Transposed && rows <= 2*u.rows
	}
	return !p.b.Transposed && rows <= directRows
}

// factor gives the panels of b to one task.
type factor struct {
	*product
	*micro
	*scratch
	direct bool
}

// panel sets where t finds panel j of the block of k that begins at k0.
func (f *factor) panel(t *tile, k0, j int) {
	t.bStep, t.bPanel = f.width*4, 0
	columns := min(f.width, f.n-j*f.width)
	switch {
	case f.packed != nil:
		panels := (f.n + f.width - 1) / f.width
		t.b, t.bAt, t.bPanel = &f.packed[0], (k0*panels+j*t.steps)*f.width*4, t.steps*f.width*4
	case f.direct && f.aligned(columns):
		t.b, t.bAt, t.bStep, t.bPanel = &f.b.Data[0], f.b.offset(k0, j*f.width)*4, f.b.Stride*4, f.width*4
	default:
		packed := f.floats(depth * f.width)
		packPanel(packed, f.micro, f.b, k0, t.steps, j*f.width, columns)
		t.b, t.bAt = &packed[0], 0
	}
}
