package kernel

// Peak does nothing but multiply-adds in registers, at least flops of them on
// this goroutine, and returns how many it did (an add and a multiply each count):
// what a benchmark divides by. On the portable path it does none.
func Peak(flops int) int {
	const chains = 12 // of the generated loop
	switch active {
	case AVX512:
		n := flops/(chains*32) + 1
		peak512(n)
		return n * chains * 32
	case AVX2:
		n := flops/(chains*16) + 1
		peak256(n)
		return n * chains * 16
	}
	return 0
}
