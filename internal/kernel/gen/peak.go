package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// peakFMAs is how many multiply-adds a turn of the peak kernels' loop has: more
// than latency times throughput of any processor so far.
const peakFMAs = 12

// peak writes loops of nothing but multiply-adds, which need no memory: the
// measure of what the processor can do.
func peak(a *asm) {
	for _, k := range []struct {
		name string
		doc  string
		new  func() reg.VecVirtual
	}{
		{"peak512", "peak512 does n times 12 multiply-adds of 16 lanes.", a.ZMM},
		{"peak256", "peak256 does n times 12 multiply-adds of 8 lanes.", a.YMM},
	} {
		a.function(k.name, "func(n int)", k.doc)
		n := a.Load(a.Param("n"), a.GP64())
		x := k.new()
		a.VXORPS(x, x, x)
		var sums [peakFMAs]reg.VecVirtual
		for i := range sums {
			sums[i] = k.new()
			a.VXORPS(sums[i], sums[i], sums[i])
		}
		a.Label("loop")
		for i := range sums {
			a.VFMADD231PS(x, x, sums[i])
		}
		a.DECQ(n)
		a.JNZ(operand.LabelRef("loop"))
		a.VZEROUPPER()
		a.RET()
	}
}
