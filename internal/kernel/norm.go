package kernel

import "math"

// Moments adds, for rows x c values, to sum and squares the sums over the rows
// of x-shift and of its square, for each of c channels. A shift near the mean
// keeps the digits of the variance; nil is none. At most 64 values are summed in
// float32, the rest in float64.
func Moments(sum, squares []float64, x, shift []float32, rows, c int) {
	if rows <= 0 || c <= 0 {
		return
	}
	sum, squares, x = sum[:c], squares[:c], x[:rows*c]
	if active == Portable {
		momentsPortable(sum, squares, x, shift, rows)
		return
	}
	if k := fold(rows, c); k > 1 {
		var wideSum, wideSquares [widest]float64
		var folded [widest]float32
		if shift != nil {
			repeat(folded[:k*c], shift[:c])
		}
		n := rows / k
		moments(wideSum[:k*c], wideSquares[:k*c], x, folded[:k*c], n, k*c)
		unfold(sum, wideSum[:k*c])
		unfold(squares, wideSquares[:k*c])
		if rows -= n * k; rows == 0 {
			return
		}
		x = x[n*k*c:]
	}
	if shift != nil {
		moments(sum, squares, x, shift[:c], rows, c)
		return
	}
	var none [widest]float32
	for from := 0; from < c; from += widest {
		to := min(from+widest, c)
		moments(sum[from:to], squares[from:to], x[from:], none[:to-from], rows, c)
	}
}

// moments works on len(sum) channels of rows that are c apart.
func moments(sum, squares []float64, x, shift []float32, rows, c int) {
	for step := stripe(c); rows > 0; rows -= step {
		n := min(step, rows)
		if active == AVX512 {
			moments512(&sum[0], &squares[0], &x[0], &shift[0], n, 4*c, len(sum))
		} else {
			moments256(&sum[0], &squares[0], &x[0], &shift[0], n, 4*c, len(sum))
		}
		x = x[min(n*c, len(x)):]
	}
}

func momentsPortable(sum, squares []float64, x, shift []float32, rows int) {
	c := len(sum)
	for r := range rows {
		for i, v := range x[r*c:][:c] {
			if shift != nil {
				v -= shift[i]
			}
			sum[i] += float64(v)
			squares[i] += float64(v) * float64(v)
		}
	}
}

// Affine writes y = x*scale + offset by channel, cut at zero when relu; NaN stays
// NaN. y may be x.
func Affine(y, x, scale, offset []float32, rows, c int, relu bool) {
	if rows <= 0 || c <= 0 {
		return
	}
	y, x, scale, offset = y[:rows*c], x[:rows*c], scale[:c], offset[:c]
	if active == Portable {
		affinePortable(y, x, scale, offset, rows, relu)
		return
	}
	if k := fold(rows, c); k > 1 {
		var a, b [widest]float32
		repeat(a[:k*c], scale)
		repeat(b[:k*c], offset)
		n := rows / k
		affine(y, x, a[:k*c], b[:k*c], n, relu)
		if rows -= n * k; rows == 0 {
			return
		}
		y, x = y[n*k*c:], x[n*k*c:]
	}
	affine(y, x, scale, offset, rows, relu)
}

func affine(y, x, scale, offset []float32, rows int, relu bool) {
	floor, c := lowest(relu), len(scale)
	for step := lines(c); rows > 0; rows -= step {
		n := min(step, rows)
		if active == AVX512 {
			affine512(&y[0], &x[0], &scale[0], &offset[0], n, 4*c, c, floor)
		} else {
			affine256(&y[0], &x[0], &scale[0], &offset[0], n, 4*c, c, floor)
		}
		y, x = y[n*c:], x[n*c:]
	}
}

// lowest is where kernels cut their output.
func lowest(relu bool) float32 {
	if relu {
		return 0
	}
	return float32(math.Inf(-1))
}

func affinePortable(y, x, scale, offset []float32, rows int, relu bool) {
	c := len(scale)
	for r := range rows {
		to := y[r*c:][:c]
		for i, v := range x[r*c:][:c] {
			v = v*scale[i] + offset[i]
			if relu {
				v = max(v, 0)
			}
			to[i] = v
		}
	}
}

// AffineGradSums adds, by channel, the sums over the rows of g and of g*(x-mean),
// where g is dy, or, with relu, dy where x*scale+offset is above zero or NaN. At
// most 64 values are summed in float32, the rest in float64.
func AffineGradSums(sum, sumX []float64, dy, x, mean, scale, offset []float32, rows, c int, relu bool) {
	if rows <= 0 || c <= 0 {
		return
	}
	sum, sumX, dy, x, mean = sum[:c], sumX[:c], dy[:rows*c], x[:rows*c], mean[:c]
	if relu {
		scale, offset = scale[:c], offset[:c]
	}
	if active == Portable {
		affineGradSumsPortable(sum, sumX, dy, x, mean, scale, offset, rows, relu)
		return
	}
	if k := fold(rows, c); k > 1 {
		var wideSum, wideX [widest]float64
		var m, a, b [widest]float32
		repeat(m[:k*c], mean)
		if relu {
			repeat(a[:k*c], scale)
			repeat(b[:k*c], offset)
		}
		n := rows / k
		affineGradSums(wideSum[:k*c], wideX[:k*c], dy, x, m[:], a[:], b[:], n, relu)
		unfold(sum, wideSum[:k*c])
		unfold(sumX, wideX[:k*c])
		if rows -= n * k; rows == 0 {
			return
		}
		dy, x = dy[n*k*c:], x[n*k*c:]
	}
	affineGradSums(sum, sumX, dy, x, mean, scale, offset, rows, relu)
}

func affineGradSums(sum, sumX []float64, dy, x, mean, scale, offset []float32, rows int, relu bool) {
	c := len(sum)
	for step := stripe(c); rows > 0; rows -= step {
		n := min(step, rows)
		switch {
		case active == AVX512 && relu:
			affineReLUGradSums512(&sum[0], &sumX[0], &dy[0], &x[0], &mean[0], &scale[0], &offset[0], n, 4*c, c)
		case active == AVX512:
			affineGradSums512(&sum[0], &sumX[0], &dy[0], &x[0], &mean[0], n, 4*c, c)
		case relu:
			affineReLUGradSums256(&sum[0], &sumX[0], &dy[0], &x[0], &mean[0], &scale[0], &offset[0], n, 4*c, c)
		default:
			affineGradSums256(&sum[0], &sumX[0], &dy[0], &x[0], &mean[0], n, 4*c, c)
		}
		dy, x = dy[n*c:], x[n*c:]
	}
}

func affineGradSumsPortable(sum, sumX []float64, dy, x, mean, scale, offset []float32, rows int, relu bool) {
	c := len(sum)
	for r := range rows {
		grads := dy[r*c:][:c]
		for i, v := range x[r*c:][:c] {
			gradient := grads[i]
			if relu {
				gradient = unless(v*scale[i]+offset[i], gradient)
			}
			sum[i] += float64(gradient)
			sumX[i] += float64(gradient) * float64(v-mean[i])
		}
	}
}

// AffineGrad writes dx = a*g + b*x + d by channel, with g as in
// [AffineGradSums]. dx may be dy.
func AffineGrad(dx, dy, x, scale, offset, a, b, d []float32, rows, c int, relu bool) {
	if rows <= 0 || c <= 0 {
		return
	}
	dx, dy, x, a, b, d = dx[:rows*c], dy[:rows*c], x[:rows*c], a[:c], b[:c], d[:c]
	if relu {
		scale, offset = scale[:c], offset[:c]
	}
	if active == Portable {
		affineGradPortable(dx, dy, x, scale, offset, a, b, d, rows, relu)
		return
	}
	if k := fold(rows, c); k > 1 {
		var s, o, wideA, wideB, wideD [widest]float32
		repeat(wideA[:k*c], a)
		repeat(wideB[:k*c], b)
		repeat(wideD[:k*c], d)
		if relu {
			repeat(s[:k*c], scale)
			repeat(o[:k*c], offset)
		}
		n := rows / k
		affineGrad(dx, dy, x, s[:], o[:], wideA[:k*c], wideB[:], wideD[:], n, relu)
		if rows -= n * k; rows == 0 {
			return
		}
		dx, dy, x = dx[n*k*c:], dy[n*k*c:], x[n*k*c:]
	}
	affineGrad(dx, dy, x, scale, offset, a, b, d, rows, relu)
}

func affineGrad(dx, dy, x, scale, offset, a, b, d []float32, rows int, relu bool) {
	c := len(a)
	for step := lines(c); rows > 0; rows -= step {
		n := min(step, rows)
		switch {
		case active == AVX512 && relu:
			affineReLUGrad512(&dx[0], &dy[0], &x[0], &a[0], &b[0], &d[0], &scale[0], &offset[0], n, 4*c, c)
		case active == AVX512:
			affineGrad512(&dx[0], &dy[0], &x[0], &a[0], &b[0], &d[0], n, 4*c, c)
		case relu:
			affineReLUGrad256(&dx[0], &dy[0], &x[0], &a[0], &b[0], &d[0], &scale[0], &offset[0], n, 4*c, c)
		default:
			affineGrad256(&dx[0], &dy[0], &x[0], &a[0], &b[0], &d[0], n, 4*c, c)
		}
		dx, dy, x = dx[n*c:], dy[n*c:], x[n*c:]
	}
}

func affineGradPortable(dx, dy, x, scale, offset, a, b, d []float32, rows int, relu bool) {
	c := len(a)
	for r := range rows {
		grads, to := dy[r*c:][:c], dx[r*c:][:c]
		for i, v := range x[r*c:][:c] {
			gradient := grads[i]
			if relu {
				gradient = unless(v*scale[i]+offset[i], gradient)
			}
			to[i] = a[i]*gradient + b[i]*v + d[i]
		}
	}
}

// unless is x, or 0 if v is not above zero; NaN counts as above. As in where, the
// branch becomes a conditional move.
func unless(v, x float32) float32 {
	bits := math.Float32bits(x)
	if math.Float32bits(max(v, 0))<<1 == 0 {
		bits = 0
	}
	return math.Float32frombits(bits)
}
