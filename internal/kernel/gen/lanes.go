package main

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Predicates of VCMPPS; the Q forms raise nothing on NaN.
const (
	equal          = operand.U8(0x00) // false on NaN
	unordered      = operand.U8(0x03) // either is NaN
	notLessOrEqual = operand.U8(0x16) // true on NaN
	greater        = operand.U8(0x1e) // false on NaN
)

// vector builds functions with registers of one width: 16 lanes of AVX-512 or 8
// of AVX2. The file's kernels are written once and built with each.
type vector struct {
	*asm
	width  int          // lanes of float32
	masks  *operand.Mem // AVX2: 8 lanes of ones, then 8 of zeros; made when first needed
	labels *int         // numbers the labels of a function
}

// both builds a file's functions for each width.
func both(write func(v vector)) func(a *asm) {
	return func(a *asm) {
		var masks operand.Mem
		for _, width := range []int{16, 8} {
			write(vector{a, width, &masks, new(int)})
		}
	}
}

// begin starts the function NAME512 or NAME256.
func (v vector) begin(name, signature, doc string) {
	full := fmt.Sprintf("%s%d", name, v.width*32)
	v.function(full, signature, full+" "+doc)
}

func (v vector) label(name string) string {
	*v.labels++
	return fmt.Sprintf("%s%d", name, *v.labels)
}

func (v vector) end() {
	v.VZEROUPPER()
	v.RET()
}

func (v vector) vec() reg.VecVirtual {
	if v.width == 16 {
		return v.ZMM()
	}
	return v.YMM()
}

func (v vector) zero() reg.VecVirtual {
	r := v.vec()
	v.clear(r)
	return r
}

func (v vector) clear(r reg.VecVirtual) { v.VXORPS(r, r, r) }

// spread is an argument in every lane.
func (v vector) spread(param string) reg.VecVirtual {
	r := v.vec()
	v.VBROADCASTSS(v.address(param), r)
	return r
}

// constant is a number in every lane.
func (v vector) constant(name string, x float32) reg.VecVirtual {
	r := v.vec()
	v.VBROADCASTSS(v.ConstData(fmt.Sprintf("%s%d", name, v.width*32), float(x)), r)
	return r
}

// float is a number as the assembler must see it: a whole number in the form
// that avo prints would be taken for an integer.
func float(x float32) operand.Constant { return operand.U32(math.Float32bits(x)) }

func (v vector) address(param string) operand.Mem {
	b, err := v.Param(param).Resolve()
	if err != nil {
		panic(fmt.Errorf("%s: %w", param, err))
	}
	return b.Addr
}

func (v vector) arg(param string) reg.GPVirtual {
	r := v.GP64()
	v.Load(v.Param(param), r)
	return r
}

func at(base reg.GPVirtual, disp int) operand.Mem { return operand.Mem{Base: base, Disp: disp} }

// keep clears the lanes of r where "a predicate b" is false.
func (v vector) keep(r reg.VecVirtual, predicate operand.Constant, a, b reg.VecVirtual) {
	if v.width == 16 {
		k := v.K()
		v.VCMPPS(predicate, b, a, k)
		v.VMOVAPS_Z(r, k, r)
		return
	}
	m := v.YMM()
	v.VCMPPS(predicate, b, a, m)
	v.VANDPS(r, m, r)
}

// lane is one register's worth of elements. Of a partial one only the lanes in
// its mask are read and written; the others hold zeros when loaded.
type lane struct {
	vector
	disp int          // bytes from the pointers of the loop
	mask reg.Register // nil: all
}

func (l lane) of(base reg.GPVirtual) operand.Mem { return at(base, l.disp) }

func (l lane) load(m operand.Mem) reg.VecVirtual {
	r := l.vec()
	l.loadInto(m, r)
	return r
}

func (l lane) loadInto(m operand.Mem, r reg.VecVirtual) {
	switch {
	case l.mask == nil:
		l.VMOVUPS(m, r)
	case l.width == 16:
		l.VMOVUPS_Z(m, l.mask, r)
	default:
		l.VMASKMOVPS(m, l.mask, r)
	}
}

// operand is memory that an instruction may read itself.
func (l lane) operand(m operand.Mem) operand.Op {
	if l.mask == nil {
		return m
	}
	return l.load(m)
}

func (l lane) store(r reg.VecVirtual, m operand.Mem) {
	switch {
	case l.mask == nil:
		l.VMOVUPS(r, m)
	case l.width == 16:
		l.VMOVUPS(r, l.mask, m)
	default:
		l.VMASKMOVPS(r, l.mask, m)
	}
}

// drop clears the lanes of r that are not in the mask.
func (l lane) drop(r reg.VecVirtual) {
	switch {
	case l.mask == nil:
	case l.width == 16:
		l.VMOVAPS_Z(r, l.mask, r)
	default:
		l.VANDPS(r, l.mask, r)
	}
}

// halves widens r to float64: the lower half to low, the upper to high.
func (v vector) halves(r, low, high reg.VecVirtual) {
	if v.width == 16 {
		upper := v.YMM()
		v.VEXTRACTF64X4(operand.U8(1), r, upper)
		v.VCVTPS2PD(r.AsY(), low)
		v.VCVTPS2PD(upper, high)
		return
	}
	upper := v.XMM()
	v.VEXTRACTF128(operand.U8(1), r, upper)
	v.VCVTPS2PD(r.AsX(), low)
	v.VCVTPS2PD(upper, high)
}

// addDoubles adds r to float64 values at base, 2 bytes there for one of disp.
func (l lane) addDoubles(r reg.VecVirtual, base reg.GPVirtual) {
	low, high := l.vec(), l.vec()
	l.halves(r, low, high)
	to := at(base, 2*l.disp)
	if l.mask == nil {
		for i, sum := range []reg.VecVirtual{low, high} {
			m := to.Offset(4 * l.width * i)
			l.VADDPD(m, sum, sum)
			l.VMOVUPD(sum, m)
		}
		return
	}
	old := l.vec()
	if l.width == 16 {
		upper := l.K()
		l.KSHIFTRW(operand.U8(8), l.mask, upper)
		for i, sum := range []reg.VecVirtual{low, high} {
			m, k := to.Offset(64*i), []reg.Register{l.mask, upper}[i]
			l.VMOVUPD_Z(m, k, old)
			l.VADDPD(old, sum, sum)
			l.VMOVUPD(sum, k, m)
		}
		return
	}
	mask, wide, upper := l.mask.(reg.VecVirtual), l.YMM(), l.XMM()
	l.VEXTRACTF128(operand.U8(1), mask, upper)
	for i, sum := range []reg.VecVirtual{low, high} {
		m, half := to.Offset(32*i), []reg.Register{mask.AsX(), upper}[i]
		l.VPMOVSXDQ(half, wide)
		l.VMASKMOVPD(m, wide, old)
		l.VADDPD(old, sum, sum)
		l.VMASKMOVPD(sum, wide, m)
	}
}

// partial is a lane of the first n elements, n below the width.
func (v vector) partial(n reg.GPVirtual) lane {
	if v.width == 16 {
		bits, k := v.GP64(), v.K()
		v.MOVQ(operand.I64(-1), bits)
		v.BZHIQ(n, bits, bits)
		v.KMOVW(bits.As32(), k)
		return lane{v, 0, k}
	}
	if v.masks.Base == nil {
		*v.masks = v.StaticGlobal("masks")
		v.DataAttributes(attr.RODATA | attr.NOPTR)
		for i := range 16 {
			var m uint32
			if i < 8 {
				m = ^m
			}
			v.AddDatum(4*i, operand.U32(m))
		}
	}
	from, m := v.GP64(), v.YMM()
	v.LEAQ(v.masks.Offset(32), from)
	v.NEGQ(n)
	v.VMOVUPS(operand.Mem{Base: from, Index: n, Scale: 4}, m)
	v.NEGQ(n)
	return lane{v, 0, m}
}

// pointer walks along the elements of a loop; wide ones point to float64.
type pointer struct {
	reg.GPVirtual
	wide bool
}

func narrow(pointers ...reg.GPVirtual) []pointer {
	p := make([]pointer, len(pointers))
	for i, r := range pointers {
		p[i].GPVirtual = r
	}
	return p
}

func (v vector) advance(pointers []pointer, elements int) {
	for _, p := range pointers {
		bytes := 4 * elements
		if p.wide {
			bytes *= 2
		}
		v.ADDQ(operand.I32(int32(bytes)), p)
	}
}

// sweep writes a loop over n elements: blocks of as many registers as asked,
// then single ones, then a partial one. n and the pointers are used up.
func (v vector) sweep(n reg.GPVirtual, block int, pointers []pointer, body func(lanes []lane)) {
	for _, registers := range []int{block, 1} {
		elements := registers * v.width
		loop, after := v.label("block"), v.label("after")
		v.Label(loop)
		v.CMPQ(n, operand.I32(int32(elements)))
		v.JLT(operand.LabelRef(after))
		lanes := make([]lane, registers)
		for i := range lanes {
			lanes[i] = lane{v, 4 * i * v.width, nil}
		}
		body(lanes)
		v.advance(pointers, elements)
		v.SUBQ(operand.I32(int32(elements)), n)
		v.JMP(operand.LabelRef(loop))
		v.Label(after)
		if block == 1 {
			break
		}
	}
	done := v.label("done")
	v.TESTQ(n, n)
	v.JZ(operand.LabelRef(done))
	body([]lane{v.partial(n)})
	v.Label(done)
}

// times repeats body until count, at least 1, is used up.
func (v vector) times(count reg.GPVirtual, body func()) {
	loop := v.label("loop")
	v.Label(loop)
	body()
	v.DECQ(count)
	v.JNZ(operand.LabelRef(loop))
}
