package kernel

// Operand is a factor of a product: a row-major matrix whose rows are Stride
// elements apart, or its transpose.
type Operand struct {
	Data       []float32
	Stride     int
	Transposed bool
}

// offset is where an element lies in Data.
func (o Operand) offset(row, col int) int {
	if o.Transposed {
		row, col = col, row
	}
	return row*o.Stride + col
}

// steps are the distances to the next row and the next column, bytes.
func (o Operand) steps() (row, col int) {
	if o.Transposed {
		return 4, o.Stride * 4
	}
	return o.Stride * 4, 4
}

// Epilogue is what happens to a product on its way to memory, in this order.
// The zero value stores it as it is.
type Epilogue struct {
	Accumulate bool      // add to what is there
	Bias       []float32 // then add to each row; nil adds nothing
	ReLU       bool      // then cut at zero
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

// Gemm computes c = a b for an m x k and a k x n operand; c has rows of n,
// stride elements apart. It uses all threads when the product is large enough.
// A row of c has the same bits whatever m and the number of threads are.
func Gemm(m, n, k int, a, b Operand, c []float32, stride int, e Epilogue) {
	p := product{m: m, n: n, k: k, a: a, b: b, c: c, stride: stride, e: e, path: active}
	p.run()
}

// Packed is a right factor laid out for [Packed.Columns], worth making when many
// products share it: the weights of a layer that serves. Products with it take
// the path on which it was packed.
type Packed struct {
	k, n int
	path Path
	data []float32 // for each block of k the panels, each [k of the block][width]
}

// Pack copies a k x n operand.
func Pack(k, n int, b Operand) *Packed {
	p := &Packed{k: k, n: n, path: active}
	u := &micros[active]
	panels := (n + u.width - 1) / u.width
	p.data = make([]float32, panels*u.width*k)
	packAll(p.data, u, k, n, b)
	return p
}
