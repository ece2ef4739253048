package kernel

// Moments adds, for rows x c values, to sum and squares the sums over the rows
// of x-shift and of its square, for each of c channels. A shift near the mean
// keeps the digits of the variance; nil is none.
func Moments(sum, squares []float64, x, shift []float32, rows, c int) {
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

// Affine writes y = x*scale + offset by channel, cut at zero when relu. y may be x.
func Affine(y, x, scale, offset []float32, rows, c int, relu bool) {
	for r := range rows {
		for i, v := range x[r*c:][:c] {
			v = v*scale[i] + offset[i]
			if relu && v < 0 {
				v = 0
			}
			y[r*c+i] = v
		}
	}
}

// AffineGradSums adds, by channel, the sums over the rows of g and of g*(x-mean),
// where g is dy, or, with relu, dy where x*scale+offset is above zero.
func AffineGradSums(sum, sumX []float64, dy, x, mean, scale, offset []float32, rows, c int, relu bool) {
	for r := range rows {
		for i, v := range x[r*c:][:c] {
			g := dy[r*c+i]
			if relu && v*scale[i]+offset[i] <= 0 {
				continue
			}
			sum[i] += float64(g)
			sumX[i] += float64(g) * float64(v-mean[i])
		}
	}
}

// AffineGrad writes dx = a*g + b*x + d by channel, with g as in
// [AffineGradSums]. dx may be dy.
func AffineGrad(dx, dy, x, scale, offset, a, b, d []float32, rows, c int, relu bool) {
	for r := range rows {
		for i, v := range x[r*c:][:c] {
			g := dy[r*c+i]
			if relu && v*scale[i]+offset[i] <= 0 {
				g = 0
			}
			dx[r*c+i] = a[i]*g + b[i]*v + d[i]
		}
	}
}
