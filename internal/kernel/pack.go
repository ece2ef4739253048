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
	dst = dst[:steps*u.width]
	if columns == u.width && u.copyRows != nil {
		if !b.Transposed {
			_ = src[(steps-1)*b.Stride+columns-1]
			u.copyRows(&dst[0], &src[0], b.Stride*4, steps)
			return
		}
		whole := steps &^ 7
		_ = src[(columns-1)*b.Stride+steps-1]
		if whole > 0 {
			for i := 0; i < columns; i += 8 {
				transpose8(&dst[i], u.width*4, &src[i*b.Stride], b.Stride*4, whole/8)
			}
		}
		if whole == steps {
			return
		}
		dst, src, steps = dst[whole*u.width:], src[whole:], steps-whole
	}
	for l := range steps {
		row := dst[l*u.width:][:u.width]
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

// scratches are the buffers that tasks pack into.
var scratches = sync.Pool{New: func() any { return new([]float32) }}

func borrow(n int) *[]float32 {
	s := scratches.Get().(*[]float32)
	if cap(*s) < n {
		*s = make([]float32, n)
	}
	*s = (*s)[:n]
	return s
}

func giveBack(s *[]float32) { scratches.Put(s) }
