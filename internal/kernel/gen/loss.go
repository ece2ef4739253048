package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// losses writes the kernels of softmax.
func losses(v vector) {
	exps(v)
	scaleSubtract(v)
}

// The exponential: x = n ln 2 + r with |r| <= ln 2 / 2, exp(r) by the polynomial
// of Cephes (Moshier, expf.c), times 2^n. ln 2 comes in two parts, the first
// short enough that its product with n is exact.
const (
	log2e    = 1.44269504088896341
	ln2High  = 0.693359375
	ln2Low   = -2.12194440e-4
	expFloor = -104 // exp of less is nearer to 0 than to the smallest float32
	expRoof  = 89   // exp of more is infinite
)

var expPolynomial = []float32{1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1, 1, 1}

func exps(v vector) {
	v.begin("exps", "func(dst, src *float32, n int, shift float32) (sum float64)", "writes exp(src-shift), n values, and returns their sum.")
	dst, src, n := v.arg("dst"), v.arg("src"), v.arg("n")
	shift := v.vec()
	v.VBROADCASTSS(v.address("shift"), shift)
	e := v.exponential()
	low, high := v.zero(), v.zero()
	v.sweep(n, 1, narrow(dst, src), func(lanes []lane) {
		l := lanes[0]
		x := l.load(l.of(src))
		v.VSUBPS(shift, x, x)
		y := e.of(x)
		l.store(y, l.of(dst))
		l.drop(y)
		l.sumDoubles(y, low, high)
	})
	v.Store(v.total(low, high).AsX(), v.ReturnIndex(0))
	v.end()
}

// sumDoubles adds the lower half of r to low and the upper to high, as float64.
func (l lane) sumDoubles(r, low, high reg.VecVirtual) {
	a, b := l.vec(), l.vec()
	l.halves(r, a, b)
	l.VADDPD(a, low, low)
	l.VADDPD(b, high, high)
}

// total adds all float64 lanes of two registers into lane 0 of the first.
func (v vector) total(low, high reg.VecVirtual) reg.VecVirtual {
	v.VADDPD(high, low, low)
	if v.width == 16 {
		half := v.YMM()
		v.VEXTRACTF64X4(operand.U8(1), low, half)
		v.VADDPD(half, low.AsY(), low.AsY())
	}
	quarter := v.XMM()
	v.VEXTRACTF128(operand.U8(1), low.AsY(), quarter)
	v.VADDPD(quarter, low.AsX(), low.AsX())
	v.VPERMILPD(operand.U8(1), low.AsX(), quarter)
	v.VADDPD(quarter, low.AsX(), low.AsX())
	return low
}

// exponential holds the constants of exp.
type exponential struct {
	vector
	floor, roof, log2e, ln2High, ln2Low reg.VecVirtual
	polynomial                          []operand.Mem
	bias                                operand.Mem // of a float32's exponent
}

func (v vector) exponential() exponential {
	e := exponential{
		vector: v,
		floor:  v.constant("expFloor", expFloor), roof: v.constant("expRoof", expRoof),
		log2e: v.constant("log2e", log2e), ln2High: v.constant("ln2High", ln2High), ln2Low: v.constant("ln2Low", ln2Low),
	}
	if v.width == 8 {
		e.bias = v.ConstData("exponentBias", operand.U32(127))
	}
	table := v.StaticGlobal(fmt.Sprintf("expPolynomial%d", v.width*32))
	v.DataAttributes(attr.RODATA | attr.NOPTR)
	for i, c := range expPolynomial {
		for range v.width {
			v.AppendDatum(float(c))
		}
		e.polynomial = append(e.polynomial, table.Offset(4*i*v.width))
	}
	return e
}

// of is exp of x, which it uses up; NaN of NaN.
func (e exponential) of(x reg.VecVirtual) reg.VecVirtual {
	v := e.vector
	v.VMAXPS(x, e.floor, x) // the operand named first is the answer when one is NaN
	v.VMINPS(x, e.roof, x)
	n, y := v.vec(), v.vec()
	v.VMULPS(e.log2e, x, n)
	if v.width == 16 {
		v.VRNDSCALEPS(operand.U8(0), n, n)
	} else {
		v.VROUNDPS(operand.U8(0), n, n)
	}
	v.VFNMADD231PS(e.ln2High, n, x)
	v.VFNMADD231PS(e.ln2Low, n, x)
	for i, c := range e.polynomial {
		if i == 0 {
			v.VMOVUPS(c, y)
			continue
		}
		v.VFMADD213PS(c, x, y)
	}
	if v.width == 16 {
		v.VSCALEFPS(n, y, y)
		return y
	}
	e.timesPowerOfTwo(y, n)
	return y
}

// timesPowerOfTwo multiplies y by 2^n in two steps, since 2^n itself need not
// be a float32 when the product is.
func (e exponential) timesPowerOfTwo(y, n reg.VecVirtual) {
	v, whole, half, bias := e.vector, e.YMM(), e.YMM(), e.YMM()
	v.VCVTPS2DQ(n, whole)
	v.VPSRAD(operand.U8(1), whole, half)
	v.VPSUBD(half, whole, whole)
	v.VPBROADCASTD(e.bias, bias)
	for _, p := range []reg.VecVirtual{half, whole} {
		v.VPADDD(bias, p, p)
		v.VPSLLD(operand.U8(23), p, p)
		v.VMULPS(p, y, y)
	}
}

func scaleSubtract(v vector) {
	v.begin("scaleSubtract", "func(y, x *float32, a float32, n int)", "writes y = a*y - x, n values.")
	y, x, n, a := v.arg("y"), v.arg("x"), v.arg("n"), v.spread("a")
	v.sweep(n, 1, narrow(y, x), func(lanes []lane) {
		l := lanes[0]
		t := l.load(l.of(y))
		v.VFMSUB213PS(l.operand(l.of(x)), a, t)
		l.store(t, l.of(y))
	})
	v.end()
}
