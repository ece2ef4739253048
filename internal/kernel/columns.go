package kernel

// Panel is the number of columns at whose multiples [Packed.Columns] divides a
// product.
func (b *Packed) Panel() int { return micros[b.path].width * stripPanels }

// Columns is [Gemm] with a packed right factor, for the columns from to before to
// alone, in the caller's goroutine alone, for callers that divide the work
// themselves: c and the bias are indexed as there, and the bits are the same.
// from is a multiple of Panel, and so is to, unless it is the number of columns.
func (b *Packed) Columns(m int, a Operand, c []float32, stride int, e Epilogue, from, to int) {
	if m <= 0 || from >= to {
		return
	}
	p := product{m: m, n: b.n, k: b.k, a: a, packed: b.data, c: c, stride: stride, e: e, path: b.path}
	p.check()
	u := &micros[b.path]
	p.part(u, 0, m, from/u.width, (to+u.width-1)/u.width)
}
