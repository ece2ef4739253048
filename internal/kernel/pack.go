package kernel

import "sync"

// packAll packs all panels of b: for each block of k the panels one after the
// other.
func packAll(dst []float32, u *micro, k, n int, b Operand) {
	for k0 := 0; k0 < k; k0 += depth {
		steps := min(depth, k-k0)
		for j := 0; j < n; j += u.width {
			packPanel(dst, u, b, k0, steps, j, min(u.width, n-j))
			dst = dst[steps*u.width:]
		}
	}
}

// packPanel copies the rows from k0 and the columns from j of b as
// [steps][width], with zeros behind the columns.
func packPanel(dst []float32, u *micro, b Operand, k0, steps, j, columns int) {
	src := b.Data[b.offset(k0, j):]
	_ = src[b.offset(steps-1, columns-1)]
	dst = dst[:steps*u.width]
	switch {
	case u.copyRows == nil:
		packSlowly(dst, u.width, src, b, 0, steps, columns)
	case b.Transposed:
		packTransposed(dst, u.width, src, b, steps, columns)
	case columns == u.width:
		u.copyRows(&dst[0], &src[0], b.Stride*4, steps)
	default:
		for i := 0; i < u.width; i += 8 {
			some := max(0, min(8, columns-i))
			copyEdge8(&dst[i], u.width*4, &src[min(i, columns-1)], b.Stride*4, steps, some)
		}
	}
}

// packTransposed does as many steps as it can 8 by 8, if columns are in eights.
func packTransposed(dst []float32, width int, src []float32, b Operand, steps, columns int) {
	done := 0
	if columns%8 == 0 && steps >= 8 {
		done = steps &^ 7
		const piece = 128 // steps whose part of dst stays in the first cache
		for l := 0; l < done; l += piece {
			for i := 0; i < columns; i += 8 {
				transpose8(&dst[l*width+i], width*4, &src[i*b.Stride+l], b.Stride*4, min(done-l, piece)/8)
			}
		}
		for l := 0; columns < width && l < done; l++ {
			clear(dst[l*width+columns:][:width-columns])
		}
	}
	packSlowly(dst, width, src, b, done, steps, columns)
}

// packSlowly does the steps from the first on, value by value.
func packSlowly(dst []float32, width int, src []float32, b Operand, first, steps, columns int) {
	for l := first; l < steps; l++ {
		row := dst[l*width:][:width]
		if b.Transposed {
			for i := range columns {
				row[i] = src[i*b.Stride+l]
			}
		} else {
			copy(row, src[l*b.Stride:][:columns])
		}
		clear(row[columns:])
	}
}

// transpose writes the transpose of a rows x cols matrix.
func transpose(dst, src []float32, rows, cols int) {
	if active != Portable && rows%8 == 0 && cols%8 == 0 && cols > 0 {
		_, _ = dst[rows*cols-1], src[rows*cols-1]
		for i := 0; i < rows; i += 8 {
			transpose8(&dst[i], rows*4, &src[i*cols], cols*4, cols/8)
		}
		return
	}
	for i := range rows {
		for j, v := range src[i*cols:][:cols] {
			dst[j*rows+i] = v
		}
	}
}

// scratch is what a task works with: the call of the micro-kernels, which
// would otherwise be allocated each time, and room for packed panels.
type scratch struct {
	tile   tile
	values []float32
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func borrow() *scratch { return scratches.Get().(*scratch) }

// floats is room for n values.
func (s *scratch) floats(n int) []float32 {
	if cap(s.values) < n {
		s.values = make([]float32, n)
	}
	return s.values[:n]
}

func (s *scratch) giveBack() {
	s.tile = tile{} // holds on to no slice
	scratches.Put(s)
}
