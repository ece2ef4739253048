package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// winograds writes the transforms of Winograd's minimal filtering F(2x2, 3x3):
// between tiles of an image and 16 planes, of which each holds one value of
// every tile. n, the channels, is a multiple of the width.
func winograds(v vector) {
	winogradIn(v)
	winogradOut(v)
	winogradPool(v)
	winogradGrad(v)
}

// planes is where the kernels write or read the 16 values of a tile.
type planes struct {
	vector
	base, plane, plane3 reg.GPVirtual
}

func (v vector) planes(base reg.GPVirtual) planes {
	p := planes{v, base, v.arg("plane"), v.GP64()}
	v.LEAQ(operand.Mem{Base: p.plane, Index: p.plane, Scale: 2}, p.plane3)
	return p
}

// at is value j of the row of four that row points to.
func (p planes) at(row reg.GPVirtual, j int) operand.Mem {
	switch j {
	case 0:
		return operand.Mem{Base: row}
	case 1, 2:
		return operand.Mem{Base: row, Index: p.plane, Scale: uint8(j)}
	default:
		return operand.Mem{Base: row, Index: p.plane3, Scale: 1}
	}
}

// rows visits the four rows of four values.
func (p planes) rows(visit func(i int, row reg.GPVirtual)) {
	row := p.copied(p.base)
	for i := range 4 {
		visit(i, row)
		if i < 3 {
			p.LEAQ(operand.Mem{Base: row, Index: p.plane, Scale: 4}, row)
		}
	}
}

// channels repeats body for each register of n channels and moves the pointers.
func (v vector) channels(body func(), pointers ...reg.GPVirtual) {
	left := v.arg("n")
	loop := v.label("channels")
	v.Label(loop)
	body()
	for _, p := range pointers {
		v.ADDQ(operand.I32(int32(4*v.width)), p)
	}
	v.SUBQ(operand.I32(int32(v.width)), left)
	v.JNZ(operand.LabelRef(loop))
}

// minus, plus are a-b and a+b.
func (v vector) minus(a, b reg.VecVirtual) reg.VecVirtual {
	r := v.vec()
	v.VSUBPS(b, a, r)
	return r
}

func (v vector) plus(a, b reg.VecVirtual) reg.VecVirtual {
	r := v.vec()
	v.VADDPS(b, a, r)
	return r
}

func winogradIn(v vector) {
	v.begin("winogradIn", "func(dst *float32, plane int, src *float32, row, row3, col, col3, n, tiles, step int)",
		"writes B'dB of tiles of 4x4 pixels, each step bytes behind the last channel of the one before; row3 and col3 are where the last row and column begin.")
	p, src, col, col3, tiles := v.planes(v.arg("dst")), v.arg("src"), v.arg("col"), v.arg("col3"), v.arg("tiles")
	rows := [4]reg.GPVirtual{src, v.copied(src), v.copied(src), v.copied(src)}
	v.ADDQ(v.address("row"), rows[1])
	v.ADDQ(v.address("row"), rows[2])
	v.ADDQ(v.address("row"), rows[2])
	v.ADDQ(v.address("row3"), rows[3])
	v.times(tiles, func() {
		v.channels(func() {
			// The rows of the tile are combined first: one column after the other.
			var combined [4][4]reg.VecVirtual
			d := func(i, j int) operand.Mem {
				m := operand.Mem{Base: rows[i]}
				switch j {
				case 1, 2:
					m.Index, m.Scale = col, uint8(j)
				case 3:
					m.Index, m.Scale = col3, 1
				}
				return m
			}
			load := func(i, j int) reg.VecVirtual {
				r := v.vec()
				v.VMOVUPS(d(i, j), r)
				return r
			}
			column := func(j int) (c [4]reg.VecVirtual) {
				one, two := load(1, j), load(2, j)
				first, last := load(0, j), v.vec()
				v.VSUBPS(two, first, first)
				v.VSUBPS(d(3, j), one, last)
				return [4]reg.VecVirtual{first, v.plus(one, two), v.minus(two, one), last}
			}
			if v.width == 16 {
				for j := range 4 {
					combined[j] = column(j)
				}
				p.rows(func(i int, row reg.GPVirtual) {
					a, b, c, e := combined[0][i], combined[1][i], combined[2][i], combined[3][i]
					v.VMOVUPS(v.minus(a, c), p.at(row, 0))
					v.VMOVUPS(v.plus(b, c), p.at(row, 1))
					v.VMOVUPS(v.minus(c, b), p.at(row, 2))
					v.VMOVUPS(v.minus(b, e), p.at(row, 3))
				})
				return
			}
			// Sixteen registers hold three columns at a time.
			b, c := column(1), column(2)
			p.rows(func(i int, row reg.GPVirtual) {
				v.VMOVUPS(v.plus(b[i], c[i]), p.at(row, 1))
				v.VMOVUPS(v.minus(c[i], b[i]), p.at(row, 2))
			})
			a := column(0)
			p.rows(func(i int, row reg.GPVirtual) { v.VMOVUPS(v.minus(a[i], c[i]), p.at(row, 0)) })
			e := column(3)
			p.rows(func(i int, row reg.GPVirtual) { v.VMOVUPS(v.minus(b[i], e[i]), p.at(row, 3)) })
		}, p.base, rows[0], rows[1], rows[2], rows[3])
		for _, r := range rows {
			v.ADDQ(v.address("step"), r)
		}
	})
	v.end()
}

// outputs is A'mA: of each row of the tile the two columns of the output, then of
// those the two rows.
func (p planes) outputs() (upper, under [2]reg.VecVirtual) {
	p.rows(func(i int, row reg.GPVirtual) {
		m := func(j int) reg.VecVirtual {
			r := p.vec()
			p.VMOVUPS(p.at(row, j), r)
			return r
		}
		one, two := m(1), m(2)
		left, right := p.plus(one, two), p.minus(one, two)
		p.VADDPS(p.at(row, 0), left, left)
		p.VSUBPS(p.at(row, 3), right, right)
		for side, x := range []reg.VecVirtual{left, right} {
			switch i {
			case 0:
				upper[side] = x
			case 1:
				p.VADDPS(x, upper[side], upper[side])
				under[side] = x
			case 2:
				p.VADDPS(x, upper[side], upper[side])
				p.VSUBPS(x, under[side], under[side])
			case 3:
				p.VSUBPS(x, under[side], under[side])
			}
		}
	})
	return upper, under
}

func winogradPool(v vector) {
	v.begin("winogradPool", "func(out *float32, src *float32, plane int, bias *float32, floor float32, n, tiles int)",
		"writes of tiles the largest value of A'mA, plus bias, no less than floor. NaN wins.")
	p, out, bias, tiles, floor := v.planes(v.arg("src")), v.arg("out"), v.arg("bias"), v.arg("tiles"), v.spread("floor")
	v.times(tiles, func() {
		v.channels(func() {
			upper, under := p.outputs()
			top := v.maxOfFour(upper[0], upper[1], under[0], under[1])
			v.VADDPS(operand.Mem{Base: bias}, top, top)
			v.VMAXPS(top, floor, top)
			v.VMOVUPS(top, operand.Mem{Base: out})
		}, p.base, out, bias)
		back := v.arg("n")
		v.SHLQ(operand.U8(2), back)
		v.SUBQ(back, bias)
	})
	v.end()
}

func winogradOut(v vector) {
	v.begin("winogradOut", "func(out *float32, row, col int, src *float32, plane int, bias *float32, floor float32, n, tiles, step int)",
		"writes A'mA of tiles, plus bias, no less than floor, to 2x2 pixels. A row or col of 0 leaves the second one out.")
	p, out, row, col, bias, tiles := v.planes(v.arg("src")), v.arg("out"), v.arg("row"), v.arg("col"), v.arg("bias"), v.arg("tiles")
	floor, lower := v.spread("floor"), v.copied(out)
	v.ADDQ(row, lower)
	v.times(tiles, func() {
		v.channels(func() {
			upper, under := p.outputs()
			add := v.vec()
			v.VMOVUPS(operand.Mem{Base: bias}, add)
			finish := func(x reg.VecVirtual, to operand.Mem) {
				v.VADDPS(add, x, x)
				v.VMAXPS(x, floor, x) // in this order a NaN stays one
				v.VMOVUPS(x, to)
			}
			// The last one first: where a row or column is left out, what belongs to
			// its place comes later.
			finish(under[1], operand.Mem{Base: lower, Index: col, Scale: 1})
			finish(under[0], operand.Mem{Base: lower})
			finish(upper[1], operand.Mem{Base: out, Index: col, Scale: 1})
			finish(upper[0], operand.Mem{Base: out})
		}, p.base, out, lower, bias)
		back := v.arg("n")
		v.SHLQ(operand.U8(2), back)
		v.SUBQ(back, bias)
		v.ADDQ(v.address("step"), out)
		v.ADDQ(v.address("step"), lower)
	})
	v.end()
}

func winogradGrad(v vector) {
	v.begin("winogradGrad", "func(dst *float32, plane int, dz *float32, row, col, n, tiles, step int)",
		"writes A dz A' of tiles of 2x2 pixels.")
	p, dz, col, tiles := v.planes(v.arg("dst")), v.arg("dz"), v.arg("col"), v.arg("tiles")
	lower := v.copied(dz)
	v.ADDQ(v.address("row"), lower)
	v.times(tiles, func() {
		v.channels(func() {
			var sides [2][2]reg.VecVirtual // row, column
			for i, base := range []reg.GPVirtual{dz, lower} {
				for j := range 2 {
					sides[i][j] = v.vec()
					m := operand.Mem{Base: base}
					if j == 1 {
						m.Index, m.Scale = col, 1
					}
					v.VMOVUPS(m, sides[i][j])
				}
			}
			zero := v.zero()
			p.rows(func(i int, row reg.GPVirtual) {
				var x [2]reg.VecVirtual
				for j := range 2 {
					switch i {
					case 0:
						x[j] = sides[0][j]
					case 1:
						x[j] = v.plus(sides[0][j], sides[1][j])
					case 2:
						x[j] = v.minus(sides[0][j], sides[1][j])
					case 3:
						x[j] = v.minus(zero, sides[1][j])
					}
				}
				v.VMOVUPS(x[0], p.at(row, 0))
				v.VMOVUPS(v.plus(x[0], x[1]), p.at(row, 1))
				v.VMOVUPS(v.minus(x[0], x[1]), p.at(row, 2))
				v.VMOVUPS(v.minus(zero, x[1]), p.at(row, 3))
			})
		}, p.base, dz, lower)
		v.ADDQ(v.address("step"), dz)
		v.ADDQ(v.address("step"), lower)
	})
	v.end()
}
