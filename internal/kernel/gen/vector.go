package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// vectors writes the kernels over whole slices and over rows.
func vectors(v vector) {
	addScaled(v)
	reluGrad(v)
	addRows(v)
}

func addScaled(v vector) {
	v.begin("addScaled", "func(y, x *float32, a float32, n int)", "adds a*x to y, n values.")
	y, x, n, a := v.arg("y"), v.arg("x"), v.arg("n"), v.spread("a")
	v.sweep(n, 4, narrow(y, x), func(lanes []lane) {
		for _, l := range lanes {
			t := l.load(l.of(y))
			l.VFMADD231PS(l.operand(l.of(x)), a, t)
			l.store(t, l.of(y))
		}
	})
	v.end()
}

func reluGrad(v vector) {
	v.begin("reluGrad", "func(dz, dy, y *float32, n int)", "writes dz = dy where y is above zero, else zero.")
	dz, dy, y, n := v.arg("dz"), v.arg("dy"), v.arg("y"), v.arg("n")
	zero := v.zero()
	v.sweep(n, 4, narrow(dz, dy, y), func(lanes []lane) {
		for _, l := range lanes {
			d, t := l.load(l.of(dy)), l.load(l.of(y))
			l.keep(d, greater, t, zero)
			l.store(d, l.of(dz))
		}
	})
	v.end()
}

// block is how many rows are summed in float32 before the sum is added to the
// total: the error grows with the block and with the number of blocks, not with
// their product.
const block = 64

// rows repeats body for each row, flush after every block of rows and at the
// end. count, at least 1, is used up; start comes before each block.
func (v vector) rows(count reg.GPVirtual, start, body, flush func()) {
	loop := v.label("rows")
	v.Label(loop)
	now := v.GP64()
	v.MOVQ(operand.I32(block), now)
	v.CMPQ(count, now)
	v.CMOVQLT(count, now)
	v.SUBQ(now, count)
	start()
	v.times(now, body)
	flush()
	v.TESTQ(count, count)
	v.JNZ(operand.LabelRef(loop))
}

// zeros is a cleared register for each lane.
func zeros(lanes []lane) []reg.VecVirtual {
	r := make([]reg.VecVirtual, len(lanes))
	for i, l := range lanes {
		r[i] = l.vec()
	}
	return r
}

// copied is a pointer of its own, to walk down the rows.
func (v vector) copied(from reg.GPVirtual) reg.GPVirtual {
	r := v.GP64()
	v.MOVQ(from, r)
	return r
}

func addRows(v vector) {
	v.begin("addRows", "func(sum, x *float32, rows, stride, n int)", "adds to sum the rows of n values, stride bytes apart.")
	sum, x, n, stride := v.arg("sum"), v.arg("x"), v.arg("n"), v.arg("stride")
	v.sweep(n, 4, narrow(sum, x), func(lanes []lane) {
		row, left, sums := v.copied(x), v.arg("rows"), zeros(lanes)
		v.rows(left, func() {
			for _, s := range sums {
				v.clear(s)
			}
		}, func() {
			for i, l := range lanes {
				v.VADDPS(l.operand(l.of(row)), sums[i], sums[i])
			}
			v.ADDQ(stride, row)
		}, func() {
			for i, l := range lanes {
				v.VADDPS(l.operand(l.of(sum)), sums[i], sums[i])
				l.store(sums[i], l.of(sum))
			}
		})
	})
	v.end()
}
