package kernel

import (
	"runtime"
	"unsafe"
)

// The micro-kernels in Go: sums of 4 columns stay in registers. They are what
// other processors run.

// pairs says whether the sums of two rows fit into registers at once. They don't
// into the 16 of amd64, where a sum that goes through memory costs half the speed.
var pairs = runtime.GOARCH != "amd64"

func tilePortable1(t *tile) { tilePortable(t, 1) }
func tilePortable2(t *tile) { tilePortable(t, 2) }
func tilePortable3(t *tile) { tilePortable(t, 3) }
func tilePortable4(t *tile) { tilePortable(t, 4) }

func tilePortable(t *tile, rows int) {
	for ; t.repeats > 0; t.repeats-- {
		row := 0
		for ; pairs && row+2 <= rows; row += 2 {
			t.pair(row)
		}
		for ; row < rows; row++ {
			t.single(row)
		}
		t.aAt += t.aShift
		t.cAt += t.cShift
	}
}

func (t *tile) pair(row int) {
	var x0, x1, x2, x3, y0, y1, y2, y3 float32
	i, j := t.aAt+row*t.aRow, t.bAt
	aRow, aStep, bStep := t.aRow, t.aStep, t.bStep
	for range t.blocks {
		for range t.steps {
			b := (*[4]float32)(unsafe.Add(unsafe.Pointer(t.b), j))
			x, y := at(t.a, i), at(t.a, i+aRow)
			x0 += x * b[0]
			x1 += x * b[1]
			x2 += x * b[2]
			x3 += x * b[3]
			y0 += y * b[0]
			y1 += y * b[1]
			y2 += y * b[2]
			y3 += y * b[3]
			i += aStep
			j += bStep
		}
		i += t.aBlock
		j += t.bBlock
	}
	t.finish(row, [4]float32{x0, x1, x2, x3})
	t.finish(row+1, [4]float32{y0, y1, y2, y3})
}

func (t *tile) single(row int) {
	var x0, x1, x2, x3 float32
	i, j := t.aAt+row*t.aRow, t.bAt
	aStep, bStep := t.aStep, t.bStep
	for range t.blocks {
		for range t.steps {
			b := (*[4]float32)(unsafe.Add(unsafe.Pointer(t.b), j))
			x := at(t.a, i)
			x0 += x * b[0]
			x1 += x * b[1]
			x2 += x * b[2]
			x3 += x * b[3]
			i += aStep
			j += bStep
		}
		i += t.aBlock
		j += t.bBlock
	}
	t.finish(row, [4]float32{x0, x1, x2, x3})
}

func (t *tile) finish(row int, sums [4]float32) {
	c := unsafe.Slice((*float32)(unsafe.Add(unsafe.Pointer(t.c), t.cAt+row*t.cRow)), t.columns)
	for i := range c {
		v := sums[i]
		if t.accumulate != 0 {
			v += c[i]
		}
		if t.bias != nil {
			v += at(t.bias, t.biasAt+i*4)
		}
		if t.relu != 0 && v < 0 {
			v = 0
		}
		c[i] = v
	}
}

// at is the value that lies so many bytes behind p.
func at(p *float32, bytes int) float32 { return *(*float32)(unsafe.Add(unsafe.Pointer(p), bytes)) }
