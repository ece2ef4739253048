package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// norms writes the kernels of batch norm.
func norms(v vector) {
	moments(v)
	affine(v)
	for _, relu := range []bool{false, true} {
		affineGradSums(v, relu)
		affineGrad(v, relu)
	}
}

func moments(v vector) {
	v.begin("moments", "func(sum, squares *float64, x, shift *float32, rows, stride, n int)",
		"adds the sums over the rows of x-shift and of its square, for n channels; rows are stride bytes apart.")
	sum, squares, x, shift := v.arg("sum"), v.arg("squares"), v.arg("x"), v.arg("shift")
	n, stride := v.arg("n"), v.arg("stride")
	v.sweep(n, 4, []pointer{{sum, true}, {squares, true}, {x, false}, {shift, false}}, func(lanes []lane) {
		row, left, sums, sqs := v.copied(x), v.arg("rows"), zeros(lanes), zeros(lanes)
		shifts := v.resident(lanes, true, shift)[0]
		v.rows(left, func() {
			for i := range lanes {
				v.clear(sums[i])
				v.clear(sqs[i])
			}
		}, func() {
			for i, l := range lanes {
				t := l.load(l.of(row))
				v.VSUBPS(shifts(i, l), t, t)
				v.VADDPS(t, sums[i], sums[i])
				v.VFMADD231PS(t, t, sqs[i])
			}
			v.ADDQ(stride, row)
		}, func() {
			for i, l := range lanes {
				l.addDoubles(sums[i], sum)
				l.addDoubles(sqs[i], squares)
			}
		})
	})
	v.end()
}

func affine(v vector) {
	v.begin("affine", "func(y, x, scale, offset *float32, rows, stride, n int, floor float32)",
		"writes y = max(x*scale + offset, floor), NaN where that is NaN; rows are stride bytes apart.")
	y, x, scale, offset := v.arg("y"), v.arg("x"), v.arg("scale"), v.arg("offset")
	n, stride, floor := v.arg("n"), v.arg("stride"), v.spread("floor")
	v.sweep(n, 4, narrow(y, x, scale, offset), func(lanes []lane) {
		from, to, left := v.copied(x), v.copied(y), v.arg("rows")
		p := v.resident(lanes, true, scale, offset)
		v.times(left, func() {
			for i, l := range lanes {
				t := l.load(l.of(from))
				v.VFMADD213PS(p[1](i, l), p[0](i, l), t)
				v.VMAXPS(t, floor, t) // the operand named first is the answer when one is NaN
				l.store(t, l.of(to))
			}
			v.ADDQ(stride, from)
			v.ADDQ(stride, to)
		})
	})
	v.end()
}

func affineGradSums(v vector, relu bool) {
	name, signature := "affineGradSums", "func(sum, sumX *float64, dy, x, mean *float32, rows, stride, n int)"
	if relu {
		name, signature = "affineReLUGradSums", "func(sum, sumX *float64, dy, x, mean, scale, offset *float32, rows, stride, n int)"
	}
	v.begin(name, signature, "adds the sums over the rows of g and of g*(x-mean), for n channels; rows are stride bytes apart.")
	sum, sumX, dy, x, mean := v.arg("sum"), v.arg("sumX"), v.arg("dy"), v.arg("x"), v.arg("mean")
	n, stride := v.arg("n"), v.arg("stride")
	pointers := []pointer{{sum, true}, {sumX, true}, {dy, false}, {x, false}, {mean, false}}
	var scale, offset reg.GPVirtual
	var zero reg.VecVirtual
	if relu {
		scale, offset, zero = v.arg("scale"), v.arg("offset"), v.zero()
		pointers = append(pointers, narrow(scale, offset)...)
	}
	v.sweep(n, 4, pointers, func(lanes []lane) {
		grads, values, left := v.copied(dy), v.copied(x), v.arg("rows")
		sums, sumsX := zeros(lanes), zeros(lanes)
		parameters := []reg.GPVirtual{mean}
		if relu {
			parameters = append(parameters, scale, offset)
		}
		p := v.resident(lanes, v.width == 16, parameters...)
		v.rows(left, func() {
			for i := range lanes {
				v.clear(sums[i])
				v.clear(sumsX[i])
			}
		}, func() {
			for i, l := range lanes {
				g, t := l.load(l.of(grads)), l.load(l.of(values))
				if relu {
					l.relu(g, t, p[1](i, l), p[2](i, l), zero)
				}
				v.VSUBPS(p[0](i, l), t, t)
				v.VADDPS(g, sums[i], sums[i])
				v.VFMADD231PS(g, t, sumsX[i])
			}
			v.ADDQ(stride, grads)
			v.ADDQ(stride, values)
		}, func() {
			for i, l := range lanes {
				l.addDoubles(sums[i], sum)
				l.addDoubles(sumsX[i], sumX)
			}
		})
	})
	v.end()
}

func affineGrad(v vector, relu bool) {
	name, signature := "affineGrad", "func(dx, dy, x, a, b, d *float32, rows, stride, n int)"
	if relu {
		name, signature = "affineReLUGrad", "func(dx, dy, x, a, b, d, scale, offset *float32, rows, stride, n int)"
	}
	v.begin(name, signature, "writes dx = a*g + b*x + d; rows are stride bytes apart.")
	dx, dy, x, a, b, d := v.arg("dx"), v.arg("dy"), v.arg("x"), v.arg("a"), v.arg("b"), v.arg("d")
	n, pointers := v.arg("n"), narrow(dx, dy, x, a, b, d)
	var scale, offset reg.GPVirtual
	var zero reg.VecVirtual
	if relu {
		scale, offset, zero = v.arg("scale"), v.arg("offset"), v.zero()
		pointers = append(pointers, narrow(scale, offset)...)
	}
	v.sweep(n, 4, pointers, func(lanes []lane) {
		// One index for all three walks: there are no registers for three.
		down, left := v.GP64(), v.arg("rows")
		v.XORQ(down, down)
		row := func(l lane, base reg.GPVirtual) operand.Mem {
			return operand.Mem{Base: base, Index: down, Scale: 1, Disp: l.disp}
		}
		parameters := []reg.GPVirtual{a, b, d}
		if relu {
			parameters = append(parameters, scale, offset)
		}
		p := v.resident(lanes, v.width == 16, parameters...)
		v.times(left, func() {
			for i, l := range lanes {
				g, t := l.load(row(l, dy)), l.load(row(l, x))
				if relu {
					l.relu(g, t, p[3](i, l), p[4](i, l), zero)
				}
				u := l.vec()
				v.VMOVUPS(p[2](i, l), u)
				v.VFMADD231PS(p[1](i, l), t, u)
				v.VFMADD231PS(p[0](i, l), g, u)
				l.store(u, row(l, dx))
			}
			v.ADDQ(v.address("stride"), down)
		})
	})
	v.end()
}

// relu clears g where x*scale + offset is not above zero.
func (l lane) relu(g, x reg.VecVirtual, scale, offset operand.Op, zero reg.VecVirtual) {
	u := l.vec()
	l.VMOVUPS(offset, u)
	l.VFMADD231PS(scale, x, u)
	l.keep(g, notLessOrEqual, u, zero)
}

// resident returns, for each parameter of a channel, what lane i uses: a
// register loaded here, before the rows, when keep, else the memory.
func (v vector) resident(lanes []lane, keep bool, parameters ...reg.GPVirtual) []func(i int, l lane) operand.Op {
	uses := make([]func(i int, l lane) operand.Op, len(parameters))
	for k, base := range parameters {
		registers := make([]reg.VecVirtual, len(lanes))
		if keep {
			for i, l := range lanes {
				registers[i] = l.load(l.of(base))
			}
		}
		uses[k] = func(i int, l lane) operand.Op {
			if keep {
				return registers[i]
			}
			return l.operand(l.of(base))
		}
	}
	return uses
}
