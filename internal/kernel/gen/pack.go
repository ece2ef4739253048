package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// packs writes what lays panels out: copying rows, and transposing 8 x 8.
func packs(a *asm) {
	copyRows(a, "copyRows512", "copyRows512 copies rows of 32 values, from rows srcStep bytes apart to rows of 128.", a.ZMM)
	copyRows(a, "copyRows256", "copyRows256 copies rows of 16 values, from rows srcStep bytes apart to rows of 64.", a.YMM)
	copyEdge(a)
	transpose8(a)
}

// copyEdge copies rows of up to 8 values, with zeros behind them.
func copyEdge(a *asm) {
	mask := edge(a, "copyEdgeMask")
	a.function("copyEdge8", "func(dst *float32, dstStep int, src *float32, srcStep, rows, columns int)",
		"copyEdge8 copies rows of up to 8 values to rows of 8 that end with zeros; steps between rows in bytes.")
	dst, dstStep := a.Load(a.Param("dst"), a.GP64()), a.Load(a.Param("dstStep"), a.GP64())
	src, srcStep := a.Load(a.Param("src"), a.GP64()), a.Load(a.Param("srcStep"), a.GP64())
	rows, columns := a.Load(a.Param("rows"), a.GP64()), a.Load(a.Param("columns"), a.GP64())
	at := a.GP64()
	a.LEAQ(mask, at)
	a.NEGQ(columns)
	m, x := a.YMM(), a.YMM()
	a.VMOVUPS(operand.Mem{Base: at, Index: columns, Scale: 4, Disp: 64}, m)
	a.Label("row")
	a.VMASKMOVPS(operand.Mem{Base: src}, m, x)
	a.VMOVUPS(x, operand.Mem{Base: dst})
	a.ADDQ(srcStep, src)
	a.ADDQ(dstStep, dst)
	a.DECQ(rows)
	a.JNZ(operand.LabelRef("row"))
	a.VZEROUPPER()
	a.RET()
}

// copyRows copies two vectors a row, rows at least 1.
func copyRows(a *asm, name, doc string, vector func() reg.VecVirtual) {
	a.function(name, "func(dst, src *float32, srcStep, rows int)", doc)
	dst, src := a.Load(a.Param("dst"), a.GP64()), a.Load(a.Param("src"), a.GP64())
	step, rows := a.Load(a.Param("srcStep"), a.GP64()), a.Load(a.Param("rows"), a.GP64())
	x, y := vector(), vector()
	size := int(x.Size())
	a.Label("row")
	a.VMOVUPS(operand.Mem{Base: src}, x)
	a.VMOVUPS(operand.Mem{Base: src, Disp: size}, y)
	a.VMOVUPS(x, operand.Mem{Base: dst})
	a.VMOVUPS(y, operand.Mem{Base: dst, Disp: size})
	a.ADDQ(step, src)
	a.ADDQ(operand.Imm(uint64(2*size)), dst)
	a.DECQ(rows)
	a.JNZ(operand.LabelRef("row"))
	a.VZEROUPPER()
	a.RET()
}

// transpose8 writes the loop over 8 x 8 blocks along the rows of the source.
func transpose8(a *asm) {
	a.function("transpose8", "func(dst *float32, dstStep int, src *float32, srcStep, blocks int)",
		"transpose8 transposes 8 rows of 8*blocks values to 8*blocks rows of 8; steps between rows in bytes.")
	dst, dstStep := a.Load(a.Param("dst"), a.GP64()), a.Load(a.Param("dstStep"), a.GP64())
	src, srcStep := a.Load(a.Param("src"), a.GP64()), a.Load(a.Param("srcStep"), a.GP64())
	blocks := a.Load(a.Param("blocks"), a.GP64())
	src3, dst3, low, lowDst := a.GP64(), a.GP64(), a.GP64(), a.GP64()
	a.LEAQ(operand.Mem{Base: srcStep, Index: srcStep, Scale: 2}, src3)
	a.LEAQ(operand.Mem{Base: dstStep, Index: dstStep, Scale: 2}, dst3)
	row := func(high, low, step, step3 reg.Register, i int) operand.Mem {
		m := operand.Mem{Base: high}
		if i >= 4 {
			m.Base = low
		}
		switch i % 4 {
		case 1:
			m.Index, m.Scale = step, 1
		case 2:
			m.Index, m.Scale = step, 2
		case 3:
			m.Index, m.Scale = step3, 1
		}
		return m
	}
	a.Label("block")
	a.LEAQ(operand.Mem{Base: src, Index: srcStep, Scale: 4}, low)
	a.LEAQ(operand.Mem{Base: dst, Index: dstStep, Scale: 4}, lowDst)
	for h := 0; h < 8; h += 4 { // columns h to h+3: row i and row i+4 side by side
		var in [4]reg.VecVirtual
		for i := range in {
			in[i] = a.YMM()
			up, down := row(src, low, srcStep, src3, i), row(src, low, srcStep, src3, i+4)
			up.Disp, down.Disp = h*4, h*4
			a.VMOVUPS(up, in[i].AsX())
			a.VINSERTF128(operand.Imm(1), down, in[i], in[i])
		}
		var r [4]reg.VecVirtual
		shuffle4(a, in, r[:])
		for i := range r { // at once: all eight need more registers than AVX2 has
			a.VMOVUPS(r[i], row(dst, lowDst, dstStep, dst3, h+i))
		}
	}
	a.ADDQ(operand.Imm(32), src)
	a.LEAQ(operand.Mem{Base: dst, Index: dstStep, Scale: 8}, dst)
	a.DECQ(blocks)
	a.JNZ(operand.LabelRef("block"))
	a.VZEROUPPER()
	a.RET()
}

// shuffle4 transposes 4 x 4 values in each half of 4 vectors.
func shuffle4(a *asm, in [4]reg.VecVirtual, out []reg.VecVirtual) {
	var pairs [4]reg.VecVirtual
	for i := range pairs {
		pairs[i] = a.YMM()
	}
	for i := 0; i < 4; i += 2 {
		a.VUNPCKLPS(in[i+1], in[i], pairs[i])
		a.VUNPCKHPS(in[i+1], in[i], pairs[i+1])
	}
	for i := range 4 {
		out[i] = a.YMM()
		a.VSHUFPS(operand.Imm([]uint64{0x44, 0xee}[i%2]), pairs[2+i/2], pairs[i/2], out[i])
	}
}
