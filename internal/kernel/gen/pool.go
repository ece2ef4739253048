package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// pools writes the kernels of max pooling, 2x2 with stride 2.
func pools(v vector) {
	maxPool(v)
	maxPoolGrad(v)
}

// beside is the pixel to the right of the one at base.
func (l lane) beside(base, pixel reg.GPVirtual) operand.Mem {
	return operand.Mem{Base: base, Index: pixel, Scale: 1, Disp: l.disp}
}

func maxPool(v vector) {
	v.begin("maxPool2x2_", "func(out, in *float32, line, width, n int)",
		"writes a row of width outputs of n channels from two rows of the input, line bytes apart. NaN wins.")
	out, upper, n, width := v.arg("out"), v.arg("in"), v.arg("n"), v.arg("width")
	lower, pixel := v.arg("line"), v.copied(n)
	v.ADDQ(upper, lower)
	v.SHLQ(operand.U8(2), pixel)
	left := v.GP64()
	v.times(width, func() {
		v.MOVQ(n, left)
		v.sweep(left, 2, narrow(out, upper, lower), func(lanes []lane) {
			for _, l := range lanes {
				a, b := l.load(l.of(upper)), l.load(l.beside(upper, pixel))
				c, d := l.load(l.of(lower)), l.load(l.beside(lower, pixel))
				l.store(v.maxOfFour(a, b, c, d), l.of(out))
			}
		})
		v.partStep(left, out, upper, lower)
		v.ADDQ(pixel, upper)
		v.ADDQ(pixel, lower)
	})
	v.end()
}

// partStep moves pointers over what a sweep's partial lane did.
func (v vector) partStep(left reg.GPVirtual, pointers ...reg.GPVirtual) {
	for _, p := range pointers {
		v.LEAQ(operand.Mem{Base: p, Index: left, Scale: 4}, p)
	}
}

// maxOfFour is the largest, NaN when one of them is NaN: VMAXPS alone forgets a
// NaN in one of its operands.
func (v vector) maxOfFour(a, b, c, d reg.VecVirtual) reg.VecVirtual {
	top, other := v.vec(), v.vec()
	v.VMAXPS(b, a, top)
	v.VMAXPS(d, c, other)
	v.VMAXPS(other, top, top)
	if v.width == 16 {
		k, also := v.K(), v.K()
		v.VCMPPS(unordered, b, a, k)
		v.VCMPPS(unordered, d, c, also)
		v.KORW(k, also, k)
		v.VPTERNLOGD(operand.U8(0xff), top, top, k, top) // all ones: a NaN
		return top
	}
	m, also := v.YMM(), v.YMM()
	v.VCMPPS(unordered, b, a, m)
	v.VCMPPS(unordered, d, c, also)
	v.VORPS(m, top, top)
	v.VORPS(also, top, top)
	return top
}

func maxPoolGrad(v vector) {
	v.begin("maxPoolGrad2x2_", "func(dx, dout, in, out *float32, line, width, n int)",
		"writes two rows of the gradient, line bytes apart: that of an output goes to the first of its four inputs that equals it.")
	dx, dout, in, out := v.arg("dx"), v.arg("dout"), v.arg("in"), v.arg("out")
	n, width := v.arg("n"), v.arg("width")
	lowerDx, lower, pixel := v.copied(dx), v.copied(in), v.copied(n)
	v.ADDQ(v.address("line"), lowerDx)
	v.ADDQ(v.address("line"), lower)
	v.SHLQ(operand.U8(2), pixel)
	left := v.GP64()
	v.times(width, func() {
		v.MOVQ(n, left)
		v.sweep(left, 1, narrow(dx, lowerDx, dout, in, lower, out), func(lanes []lane) {
			l := lanes[0]
			g, top := l.load(l.of(dout)), l.load(l.of(out))
			from := []operand.Mem{l.of(in), l.beside(in, pixel), l.of(lower), l.beside(lower, pixel)}
			to := []operand.Mem{l.of(dx), l.beside(dx, pixel), l.of(lowerDx), l.beside(lowerDx, pixel)}
			for i := range from {
				part := v.vec()
				v.VMOVAPS(g, part)
				v.keepOrTake(part, g, l.load(from[i]), top)
				l.store(part, to[i])
			}
		})
		v.partStep(left, dx, lowerDx, dout, in, lower, out)
		for _, p := range []reg.GPVirtual{dx, lowerDx, in, lower} {
			v.ADDQ(pixel, p)
		}
	})
	v.end()
}

// keepOrTake splits the lanes of part and rest, which are equal: part keeps
// those where a equals b, rest the others.
func (v vector) keepOrTake(part, rest, a, b reg.VecVirtual) {
	if v.width == 16 {
		k := v.K()
		v.VCMPPS(equal, a, b, k)
		v.VMOVAPS_Z(part, k, part)
		v.VPXORD(part, rest, rest)
		return
	}
	m := v.YMM()
	v.VCMPPS(equal, a, b, m)
	v.VANDPS(part, m, part)
	v.VANDNPS(rest, m, rest)
}
