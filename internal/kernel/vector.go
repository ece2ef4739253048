package kernel

import "math"

// AddScaled adds a*x to y.
func AddScaled(y, x []float32, a float32) {
	n := len(x)
	if n == 0 {
		return
	}
	y = y[:n]
	switch active {
	case AVX512:
		addScaled512(&y[0], &x[0], a, n)
	case AVX2:
		addScaled256(&y[0], &x[0], a, n)
	default:
		for i, v := range x {
			y[i] += a * v
		}
	}
}

// ReLUGrad writes dz = dy where y is above zero, and zero elsewhere, also where
// y is NaN. dz may be dy.
func ReLUGrad(dz, dy, y []float32) {
	n := len(y)
	if n == 0 {
		return
	}
	dz, dy = dz[:n], dy[:n]
	switch active {
	case AVX512:
		reluGrad512(&dz[0], &dy[0], &y[0], n)
	case AVX2:
		reluGrad256(&dz[0], &dy[0], &y[0], n)
	default:
		for i, v := range y {
			dz[i] = where(v, dy[i])
		}
	}
}

// where is x if v is above zero, else 0. Its branch becomes a conditional move,
// which no guess about the sign delays: v > 0 asks for bits from 1 to infinity's.
func where(v, x float32) float32 {
	bits := math.Float32bits(x)
	if math.Float32bits(v)-1 >= infinity {
		bits = 0
	}
	return math.Float32frombits(bits)
}

const infinity = 0x7f800000 // the bits of

// AddRows adds to sum the rows of rows x c values: the gradient of a bias. Rows
// are summed in blocks of 64, then the blocks, so that many rows lose few digits.
func AddRows(sum, x []float32, rows, c int) {
	if rows <= 0 || c <= 0 {
		return
	}
	sum, x = sum[:c], x[:rows*c]
	if k := fold(rows, c); k > 1 {
		var wide [widest]float32
		n := rows / k
		addRows(wide[:k*c], x, n)
		unfold(sum, wide[:k*c])
		if rows -= n * k; rows == 0 {
			return
		}
		x = x[n*k*c:]
	}
	addRows(sum, x, rows)
}

func addRows(sum, x []float32, rows int) {
	c := len(sum)
	if active == Portable {
		addRowsPortable(sum, x, rows)
		return
	}
	for step := stripe(c); rows > 0; rows -= step {
		n := min(step, rows)
		if active == AVX512 {
			addRows512(&sum[0], &x[0], n, 4*c, c)
		} else {
			addRows256(&sum[0], &x[0], n, 4*c, c)
		}
		x = x[n*c:]
	}
}

func addRowsPortable(sum, x []float32, rows int) {
	c := len(sum)
	for from := 0; from < c; from += widest {
		to := min(from+widest, c)
		for r := 0; r < rows; r += block {
			var part [widest]float32
			for i := r; i < min(r+block, rows); i++ {
				for j, v := range x[i*c+from : i*c+to] {
					part[j] += v
				}
			}
			for j := range sum[from:to] {
				sum[from+j] += part[j]
			}
		}
	}
}

const (
	block      = 64      // rows that are summed at once, see gen
	stripeSize = 1 << 14 // values that stay in the second cache, of several tables
)

// stripe is how many rows of c channels to work on at once: kernels go down the
// rows some channels at a time, and should find the others still in the cache.
func stripe(c int) int { return max(1, stripeSize/(block*c)) * block }

// widest is how many values a folded row has at most.
const widest = 256

// fold is how many neighbouring rows of c channels to take as one, so that few
// channels fill the registers too: 1 unless c is small and there are many rows.
func fold(rows, c int) int {
	registers := 64 // values that a kernel works on at once
	switch active {
	case AVX2:
		registers = 32
	case Portable:
		return 1
	}
	if c >= registers {
		return 1
	}
	k := registers
	for k > 1 && k%2 == 0 && k/2*c%registers == 0 {
		k /= 2
	}
	k = min(k, widest/c)
	if rows < 4*k {
		return 1
	}
	return k
}

// unfold adds the sums of folded rows to those of each channel.
func unfold[T float32 | float64](sum, wide []T) {
	for ; len(wide) > 0; wide = wide[len(sum):] {
		for i := range sum {
			sum[i] += wide[i]
		}
	}
}

// repeat fills folded with copies of a parameter of each channel.
func repeat(folded, parameter []float32) {
	for ; len(folded) > 0; folded = folded[len(parameter):] {
		copy(folded, parameter)
	}
}

// lines is stripe for kernels that sum nothing: many channels go row by row, so
// that what is read and what is written are not a power of two apart.
func lines(c int) int {
	if c >= widest {
		return 1
	}
	return stripe(c)
}
