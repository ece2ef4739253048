package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// depthwises writes the 3x3 depthwise convolutions with strides 1 and 2.
func depthwises(v vector) {
	for _, stride := range []int{1, 2} {
		depthwise(v, stride)
		depthwiseGradWeights(v, stride)
	}
	depthwiseGradInput(v)
}

// together is how many neighbouring outputs are worked on at once: each value
// of the input that is read serves all of them.
const together = 4

// across writes the body for together outputs, as often as they go into width,
// then for the rest one by one. pixels counts them down.
func (v vector) across(width string, body func(outputs int)) {
	pixels := v.arg(width)
	for _, outputs := range []int{together, 1} {
		loop, after := v.label("outputs"), v.label("after")
		v.Label(loop)
		v.CMPQ(pixels, operand.I32(int32(outputs)))
		v.JLT(operand.LabelRef(after))
		body(outputs)
		v.SUBQ(operand.I32(int32(outputs)), pixels)
		v.JMP(operand.LabelRef(loop))
		v.Label(after)
	}
}

// taps calls use for each value under the windows of neighbouring outputs, with
// the row and column of the window it has for each of them; it moves p from the
// first column to that of the output after the last.
func (l lane) taps(p, line, pixel reg.GPVirtual, outputs, stride int, use func(m operand.Mem, output, tap int, again bool)) {
	columns := (outputs-1)*stride + 3
	for column := range columns {
		for row := range 3 {
			m := operand.Mem{Base: p}
			if row > 0 {
				m.Index, m.Scale = line, uint8(row)
			}
			again := false
			for o := range outputs {
				if x := column - o*stride; x >= 0 && x < 3 {
					use(m, o, 3*row+x, again)
					again = true
				}
			}
		}
		if column < columns-1 {
			l.ADDQ(pixel, p)
		}
	}
	for range columns - 1 - outputs*stride {
		l.SUBQ(pixel, p)
	}
	for range outputs*stride - columns + 1 {
		l.ADDQ(pixel, p)
	}
}

// nine are the weights of a channel's window, or sums for them.
func (l lane) nine(from, pixel reg.GPVirtual) []reg.VecVirtual {
	r := make([]reg.VecVirtual, 9)
	p := l.copied(from)
	for i := range r {
		r[i] = l.load(at(p, 0))
		l.ADDQ(pixel, p)
	}
	return r
}

func depthwise(v vector, stride int) {
	v.begin(fmt.Sprintf("depthwise3x%d_", stride), "func(out, in, weights, bias *float32, line, rows, width, n int, floor float32)",
		"convolves n channels of a padded image, whose rows are line bytes apart, into rows of width outputs; bias may be nil.")
	out, in, weights, bias := v.arg("out"), v.arg("in"), v.arg("weights"), v.arg("bias")
	n, line := v.arg("n"), v.arg("line")
	pixel := v.copied(n)
	v.SHLQ(operand.U8(2), pixel)
	var start operand.Op = v.vec() // the bias; AVX2 has no register left for it
	if v.width == 8 {
		start = v.AllocLocal(4 * v.width)
	}
	v.sweep(n, 1, narrow(out, in, weights, bias), func(lanes []lane) {
		l := lanes[0]
		w := l.nine(weights, pixel)
		first := v.zero()
		none := v.label("nobias")
		v.CMPQ(v.address("bias"), operand.I32(0))
		v.JEQ(operand.LabelRef(none))
		l.loadInto(l.of(bias), first)
		v.Label(none)
		v.VMOVUPS(first, start)
		to, from, left := v.copied(out), v.copied(in), v.arg("rows")
		v.times(left, func() {
			p := v.copied(from)
			v.across("width", func(outputs int) {
				l.convolve(w, start, p, line, pixel, to, outputs, stride)
			})
			for range stride {
				v.ADDQ(line, from)
			}
		})
	})
	v.end()
}

// convolve writes outputs at to and moves p and to past them.
func (l lane) convolve(w []reg.VecVirtual, start operand.Op, p, line, pixel, to reg.GPVirtual, outputs, stride int) {
	sums := make([]reg.VecVirtual, outputs)
	for i := range sums {
		sums[i] = l.vec()
		l.VMOVUPS(start, sums[i])
	}
	var x reg.VecVirtual
	l.taps(p, line, pixel, outputs, stride, func(m operand.Mem, output, tap int, again bool) {
		if !again {
			x = l.load(m)
		}
		l.VFMADD231PS(x, w[tap], sums[output])
	})
	floor := l.spread("floor")
	for _, s := range sums {
		l.VMAXPS(s, floor, s) // the operand named first is the answer when one is NaN
		l.store(s, at(to, 0))
		l.ADDQ(pixel, to)
	}
}

func depthwiseGradWeights(v vector, stride int) {
	v.begin(fmt.Sprintf("depthwiseGradWeights3x%d_", stride), "func(dw, in, dz *float32, line, rows, width, n int)",
		"adds the gradient of the weights of n channels.")
	dw, in, dz, n, line := v.arg("dw"), v.arg("in"), v.arg("dz"), v.arg("n"), v.arg("line")
	pixel := v.copied(n)
	v.SHLQ(operand.U8(2), pixel)
	v.sweep(n, 1, narrow(dw, in, dz), func(lanes []lane) {
		l := lanes[0]
		sums := make([]reg.VecVirtual, 9)
		for i := range sums {
			sums[i] = v.zero()
		}
		grads, from, left := v.copied(dz), v.copied(in), v.arg("rows")
		v.times(left, func() {
			p := v.copied(from)
			v.across("width", func(outputs int) {
				g := make([]reg.VecVirtual, outputs)
				for i := range g {
					g[i] = l.load(at(grads, 0))
					v.ADDQ(pixel, grads)
				}
				var x reg.VecVirtual
				l.taps(p, line, pixel, outputs, stride, func(m operand.Mem, output, tap int, again bool) {
					if !again {
						x = l.load(m)
					}
					v.VFMADD231PS(x, g[output], sums[tap])
				})
			})
			for range stride {
				v.ADDQ(line, from)
			}
		})
		to := v.copied(dw)
		for _, s := range sums {
			v.VADDPS(l.operand(at(to, 0)), s, s)
			l.store(s, at(to, 0))
			v.ADDQ(pixel, to)
		}
	})
	v.end()
}

// depthwiseGradInput is for stride 2 and padding 1. A gradient dz[i][j] was made
// by inputs 2i-1 to 2i+1 by 2j-1 to 2j+1, so the four inputs from (2i, 2j) on
// see one, two, two and four gradients, from dz[i][j] on: nine products for four
// inputs, none of them with a zero.
func depthwiseGradInput(v vector) {
	v.begin("depthwiseGradInput3x2_", "func(dx, dz, weights *float32, dxLine, dzLine, rows, pairs, n int)",
		"writes pairs of rows and columns of the gradient of the input; dz has one row and column of zeros more.")
	dx, dz, weights, n, dzLine := v.arg("dx"), v.arg("dz"), v.arg("weights"), v.arg("n"), v.arg("dzLine")
	pixel := v.copied(n)
	v.SHLQ(operand.U8(2), pixel)
	v.sweep(n, 1, narrow(dx, dz, weights), func(lanes []lane) {
		l := lanes[0]
		w := l.nine(weights, pixel)
		to, from, left := v.copied(dx), v.copied(dz), v.arg("rows")
		v.times(left, func() {
			upper, lower, p, pairs := v.copied(to), v.copied(to), v.copied(from), v.arg("pairs")
			v.ADDQ(v.address("dxLine"), lower)
			v.times(pairs, func() { l.fourInputs(w, p, dzLine, pixel, upper, lower) })
			v.ADDQ(dzLine, from)
			v.ADDQ(v.address("dxLine"), to)
			v.ADDQ(v.address("dxLine"), to)
		})
	})
	v.end()
}

// fourInputs writes two pixels at upper and two at lower, and moves on by a pair.
func (l lane) fourInputs(w []reg.VecVirtual, p, line, pixel, upper, lower reg.GPVirtual) {
	a, c := l.load(at(p, 0)), l.load(operand.Mem{Base: p, Index: line, Scale: 1})
	l.ADDQ(pixel, p)
	b, d := l.load(at(p, 0)), l.load(operand.Mem{Base: p, Index: line, Scale: 1})
	sum := l.vec()
	l.VMULPS(w[4], a, sum)
	l.store(sum, at(upper, 0))
	l.VMULPS(w[5], a, sum)
	l.VFMADD231PS(w[3], b, sum)
	l.store(sum, l.beside(upper, pixel))
	l.VMULPS(w[7], a, sum)
	l.VFMADD231PS(w[1], c, sum)
	l.store(sum, at(lower, 0))
	l.VMULPS(w[8], a, sum)
	l.VFMADD231PS(w[6], b, sum)
	l.VFMADD231PS(w[2], c, sum)
	l.VFMADD231PS(w[0], d, sum)
	l.store(sum, l.beside(lower, pixel))
	for _, to := range []reg.GPVirtual{upper, lower} {
		l.LEAQ(operand.Mem{Base: to, Index: pixel, Scale: 2}, to)
	}
}
