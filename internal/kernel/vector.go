package kernel

// AddScaled adds a*x to y.
func AddScaled(y, x []float32, a float32) {
	for i, v := range x {
		y[i] += a * v
	}
}

// ReLUGrad writes dz = dy where y is above zero, and zero elsewhere. dz may be dy.
func ReLUGrad(dz, dy, y []float32) {
	for i, v := range y {
		if v > 0 {
			dz[i] = dy[i]
		} else {
			dz[i] = 0
		}
	}
}

// AddRows adds to sum the rows of rows x c values: the gradient of a bias.
func AddRows(sum, x []float32, rows, c int) {
	for r := range rows {
		for i, v := range x[r*c:][:c] {
			sum[i] += v
		}
	}
}
