package kernel

// The types in this file are read by assembly too: the generator in gen parses
// it for the offsets. It must not import anything.

// tile is one call of a micro-kernel. Steps between rows and between values of
// k are in bytes; the sum over k runs over blocks times steps values.
type tile struct {
	a                   *float32
	aRow, aStep, aBlock int // to the next row, the next of steps, the next of blocks
	b                   *float32
	bStep, bBlock       int
	steps, blocks       int
	c                   *float32
	cRow                int
	columns             int // of c that are written, at most the kernel's width
	bias                *float32
	accumulate, relu    int
}
