package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// isa is what a micro-kernel is written with.
type isa struct {
	name   string
	bytes  int   // of a vector
	rows   int   // of the largest tile
	widths []int // of tiles, vectors
	new    func(*asm) reg.VecVirtual
}

// A tile of one AVX-512 vector would be slower than two of AVX2: each value of b
// would meet too few values of a.
var (
	avx512 = isa{"512", 64, 14, []int{2}, func(a *asm) reg.VecVirtual { return a.ZMM() }}
	avx2   = isa{"256", 32, 6, []int{1, 2}, func(a *asm) reg.VecVirtual { return a.YMM() }}
)

// tiles writes the micro-kernels of products: rows x vectors, and one row by 8
// vectors of several panels, for products that wait for memory.
func tiles(a *asm) {
	mask := edge(a, "edge")
	for _, s := range []isa{avx512, avx2} {
		for _, vectors := range s.widths {
			for rows := 1; rows <= s.rows; rows++ {
				(&tileKernel{asm: a, isa: s, rows: rows, vectors: vectors, mask: mask}).write()
			}
		}
		(&tileKernel{asm: a, isa: s, rows: 1, vectors: 8, mask: mask}).write()
	}
}

// edge is 16 lanes of ones and 16 of zeros: a mask for n lanes begins n before
// the zeros.
func edge(a *asm, name string) operand.Mem {
	m := a.StaticGlobal(name)
	a.DataAttributes(attr.RODATA | attr.NOPTR)
	for i := range 32 {
		v := operand.U32(0)
		if i < 16 {
			v = ^operand.U32(0)
		}
		a.AddDatum(i*4, v)
	}
	return m
}

type tileKernel struct {
	*asm
	isa
	rows, vectors int
	mask          operand.Mem

	t    reg.Register
	sums [][]reg.VecVirtual
}

// panel is how many vectors of one panel of b a kernel reads.
const panel = 2

func (k *tileKernel) write() {
	k.function(fmt.Sprintf("tile%s_%dx%d", k.name, k.rows, k.vectors), "func(t *tile)",
		fmt.Sprintf("tile%s_%dx%d computes %d x %d values of a product.", k.name, k.rows, k.vectors, k.rows, k.vectors*k.bytes/4))
	k.t = k.Load(k.Param("t"), k.GP64())
	k.Label("repeat")
	k.multiply()
	k.epilogue()
	k.next()
	k.VZEROUPPER()
	k.RET()
}

func (k *tileKernel) field(name string) operand.Mem {
	return operand.Mem{Base: k.t, Disp: k.offset("tile", name)}
}

func (k *tileKernel) load(name string) reg.GPVirtual {
	r := k.GP64()
	k.MOVQ(k.field(name), r)
	return r
}

// pointer is where a slice is read or written from.
func (k *tileKernel) pointer(name string) reg.GPVirtual {
	r := k.load(name)
	k.ADDQ(k.field(name+"At"), r)
	return r
}

// rowsAt gives the addresses of rows that are step apart: a pointer for each 4.
type rowsAt struct {
	at          []reg.GPVirtual
	step, step3 reg.GPVirtual
}

func (r rowsAt) mem(row int) operand.Mem {
	m := operand.Mem{Base: r.at[row/4]}
	switch row % 4 {
	case 1:
		m.Index, m.Scale = r.step, 1
	case 2:
		m.Index, m.Scale = r.step, 2
	case 3:
		m.Index, m.Scale = r.step3, 1
	}
	return m
}

func (k *tileKernel) rowsFrom(base reg.GPVirtual, step string) rowsAt {
	r := rowsAt{at: []reg.GPVirtual{base}}
	if k.rows == 1 {
		return r
	}
	r.step, r.step3 = k.load(step), k.GP64()
	k.LEAQ(operand.Mem{Base: r.step, Index: r.step, Scale: 2}, r.step3)
	for len(r.at)*4 < k.rows {
		p := k.GP64()
		k.LEAQ(operand.Mem{Base: r.at[len(r.at)-1], Index: r.step, Scale: 4}, p)
		r.at = append(r.at, p)
	}
	return r
}

// multiply leaves the sums over k in registers.
func (k *tileKernel) multiply() {
	k.sums = make([][]reg.VecVirtual, k.rows)
	for i := range k.sums {
		for range k.vectors {
			v := k.new(k.asm)
			k.VXORPS(v, v, v)
			k.sums[i] = append(k.sums[i], v)
		}
	}
	a, b, blocks := k.pointer("a"), k.pointer("b"), k.load("blocks")
	aStep, bStep := k.load("aStep"), k.load("bStep")
	rows := k.rowsFrom(a, "aRow")
	panels := k.panelsFrom(b)
	steps := k.GP64()
	k.Label("blocks")
	k.MOVQ(k.field("steps"), steps)
	k.Label("steps")
	k.step(rows, panels)
	for _, p := range rows.at {
		k.ADDQ(aStep, p)
	}
	for _, p := range panels {
		k.ADDQ(bStep, p)
	}
	k.DECQ(steps)
	k.JNZ(operand.LabelRef("steps"))
	// aBlock and bBlock are counted from the end of the steps.
	for _, p := range rows.at {
		k.ADDQ(k.field("aBlock"), p)
	}
	for _, p := range panels {
		k.ADDQ(k.field("bBlock"), p)
	}
	k.DECQ(blocks)
	k.JNZ(operand.LabelRef("blocks"))
}

func (k *tileKernel) panelsFrom(b reg.GPVirtual) []reg.GPVirtual {
	panels := []reg.GPVirtual{b}
	for len(panels)*panel < k.vectors {
		p := k.GP64()
		k.MOVQ(panels[len(panels)-1], p)
		k.ADDQ(k.field("bPanel"), p)
		panels = append(panels, p)
	}
	return panels
}

// step adds the products for one value of k.
func (k *tileKernel) step(rows rowsAt, panels []reg.GPVirtual) {
	at := func(j int) operand.Mem {
		return operand.Mem{Base: panels[j/panel], Disp: j % panel * k.bytes}
	}
	if k.rows == 1 { // every value of b is used once: from memory
		x := k.new(k.asm)
		k.VBROADCASTSS(rows.mem(0), x)
		for j := range k.vectors {
			k.VFMADD231PS(at(j), x, k.sums[0][j])
		}
		return
	}
	b := make([]reg.VecVirtual, k.vectors)
	for j := range b {
		b[j] = k.new(k.asm)
		k.VMOVUPS(at(j), b[j])
	}
	x := [2]reg.VecVirtual{k.new(k.asm), k.new(k.asm)}
	for i := range k.rows {
		k.VBROADCASTSS(rows.mem(i), x[i%2])
		for j := range b {
			k.VFMADD231PS(b[j], x[i%2], k.sums[i][j])
		}
	}
}

// epilogue finishes the sums and stores them, whole or with a mask.
func (k *tileKernel) epilogue() {
	width := k.vectors * k.bytes / 4
	whole := func(m operand.Mem, _ int, v reg.VecVirtual) { k.VMOVUPS(m, v) }
	store := func(v reg.VecVirtual, _ int, m operand.Mem) { k.VMOVUPS(v, m) }
	if k.vectors > 2 { // has no edge
		k.finish("", whole, store)
		return
	}
	columns := k.load("columns")
	k.CMPQ(columns, operand.Imm(uint64(width)))
	k.JNE(operand.LabelRef("edge"))
	k.finish("", whole, store)
	k.JMP(operand.LabelRef("next"))
	k.Label("edge")
	if k.bytes == 64 {
		k.edge512(columns)
	} else {
		k.edge256(columns)
	}
}

func (k *tileKernel) edge512(columns reg.GPVirtual) {
	masks := make([]reg.OpmaskVirtual, k.vectors)
	bits := k.GP64()
	k.MOVQ(operand.I32(-1), bits)
	k.BZHIQ(columns, bits, bits)
	for j := range masks {
		masks[j] = k.K()
		k.KMOVW(bits.As32(), masks[j])
		k.SHRQ(operand.Imm(16), bits)
	}
	k.finish("edge", func(m operand.Mem, j int, v reg.VecVirtual) { k.VMOVUPS_Z(m, masks[j], v) },
		func(v reg.VecVirtual, j int, m operand.Mem) { k.VMOVUPS(v, masks[j], m) })
}

func (k *tileKernel) edge256(columns reg.GPVirtual) {
	at := k.GP64()
	k.LEAQ(k.mask, at)
	k.NEGQ(columns)
	masks := make([]reg.VecVirtual, k.vectors)
	for j := range masks {
		masks[j] = k.YMM()
		k.VMOVUPS(operand.Mem{Base: at, Index: columns, Scale: 4, Disp: 64 + j*32}, masks[j])
	}
	k.finish("edge", func(m operand.Mem, j int, v reg.VecVirtual) { k.VMASKMOVPS(m, masks[j], v) },
		func(v reg.VecVirtual, j int, m operand.Mem) { k.VMASKMOVPS(v, masks[j], m) })
}

func (k *tileKernel) finish(label string, load func(operand.Mem, int, reg.VecVirtual), store func(reg.VecVirtual, int, operand.Mem)) {
	c := k.rowsFrom(k.pointer("c"), "cRow")
	at := func(i, j int) operand.Mem {
		m := c.mem(i)
		m.Disp = j * k.bytes
		return m
	}
	k.CMPQ(k.field("accumulate"), operand.Imm(0))
	k.JE(operand.LabelRef(label + "fresh"))
	for i := range k.rows {
		for j, sum := range k.sums[i] {
			v := k.new(k.asm)
			load(at(i, j), j, v)
			k.VADDPS(v, sum, sum)
		}
	}
	k.Label(label + "fresh")
	bias := k.load("bias")
	k.TESTQ(bias, bias)
	k.JE(operand.LabelRef(label + "plain"))
	k.ADDQ(k.field("biasAt"), bias)
	for j := range k.vectors {
		v := k.new(k.asm)
		load(operand.Mem{Base: bias, Disp: j * k.bytes}, j, v)
		for i := range k.rows {
			k.VADDPS(v, k.sums[i][j], k.sums[i][j])
		}
	}
	k.Label(label + "plain")
	k.CMPQ(k.field("relu"), operand.Imm(0))
	k.JE(operand.LabelRef(label + "store"))
	zero := k.new(k.asm)
	k.VXORPS(zero, zero, zero)
	for i := range k.rows {
		for _, sum := range k.sums[i] {
			k.VMAXPS(sum, zero, sum) // in this order a NaN stays one
		}
	}
	k.Label(label + "store")
	for i := range k.rows {
		for j, sum := range k.sums[i] {
			store(sum, j, at(i, j))
		}
	}
}

// next goes to the tile below.
func (k *tileKernel) next() {
	k.Label("next")
	for _, f := range []string{"a", "c"} {
		by := k.load(f + "Shift")
		k.ADDQ(by, k.field(f+"At"))
	}
	k.DECQ(k.field("repeats"))
	k.JNZ(operand.LabelRef("repeat"))
}
