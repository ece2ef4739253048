package kernel

// The types in this file are read by assembly too: the generator in gen parses
// it for the offsets. It must not import anything.

// tile is a call of a micro-kernel: a product of some rows of a with a panel of
// b, both where they lie. The sum over k runs over blocks of steps: a matrix has
// one block, and a convolution one for each line of the window. All distances
// are in bytes; that to the next block is from where the steps ended. The kernel
// repeats for as many tiles below each other as repeats says, and counts that
// down. The pointers are to the beginning of each slice, and what the kernel
// moves are offsets, so that no pointer to behind a slice is ever kept.
type tile struct {
	a                                *float32
	aAt, aRow, aStep, aBlock, aShift int // aShift: from one repeat to the next
	b                                *float32
	bAt, bStep, bBlock, bPanel       int // bPanel: to the next panel, for kernels of several
	steps, blocks, repeats           int
	c                                *float32
	cAt, cRow, cShift                int
	columns                          int // of c that are written, at most the kernel's width
	bias                             *float32
	biasAt                           int
	accumulate, relu                 int // 0 or 1
}
