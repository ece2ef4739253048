package kernel

// A patch is a tile in the image: n channels of 4x4 pixels of the input or 2x2
// of the output. Patches lie two pixels apart. row and col are the distances of
// rows and columns, row3 and col3 where the last of four begin; value k of a
// tile lies k*plane behind the first.

// patchesIn writes B'dB of count patches.
func patchesIn(d []float32, plane int, src []float32, row, row3, col, col3, n, count int) {
	_, _ = d[(places-1)*plane+count*n-1], src[row3+(count-1)*2*col+col3+n-1]
	switch active {
	case AVX512:
		winogradIn512(&d[0], plane*4, &src[0], row*4, row3*4, col*4, col3*4, n, count, (2*col-n)*4)
		return
	case AVX2:
		winogradIn256(&d[0], plane*4, &src[0], row*4, row3*4, col*4, col3*4, n, count, (2*col-n)*4)
		return
	}
	rows, cols := [4]int{0, row, 2 * row, row3}, [4]int{0, col, 2 * col, col3}
	for k := range count * n {
		at := k/n*2*col + k%n
		var half [4][4]float32
		for j, c := range cols {
			one, two := src[at+row+c], src[at+2*row+c]
			half[0][j], half[1][j], half[2][j], half[3][j] = src[at+rows[0]+c]-two, one+two, two-one, one-src[at+rows[3]+c]
		}
		for i, h := range half {
			to := d[4*i*plane+k:]
			to[0], to[plane], to[2*plane], to[3*plane] = h[0]-h[2], h[1]+h[2], h[2]-h[1], h[1]-h[3]
		}
	}
}

// patchesOut writes A'mA of count patches, plus bias, no less than floor. A row
// or col of 0 leaves the second one out.
func patchesOut(out []float32, row, col int, m []float32, plane int, bias []float32, floor float32, n, count int) {
	_, _, _ = m[(places-1)*plane+count*n-1], out[row+(count-1)*2*col+col+n-1], bias[n-1]
	switch active {
	case AVX512:
		winogradOut512(&out[0], row*4, col*4, &m[0], plane*4, &bias[0], floor, n, count, (2*col-n)*4)
		return
	case AVX2:
		winogradOut256(&out[0], row*4, col*4, &m[0], plane*4, &bias[0], floor, n, count, (2*col-n)*4)
		return
	}
	for k := range count * n {
		var half [2][4]float32
		for j := range 4 {
			from := m[j*plane+k:]
			one, two := from[4*plane], from[8*plane]
			half[0][j], half[1][j] = from[0]+one+two, one-two-from[12*plane]
		}
		at, b := k/n*2*col+k%n, bias[k%n]
		for i := 1; i >= 0; i-- { // the last first: what is left out is written over
			h := half[i]
			out[at+i*row+col] = max(h[1]-h[2]-h[3]+b, floor)
			out[at+i*row] = max(h[0]+h[1]+h[2]+b, floor)
		}
	}
}

// patchesPool writes of count patches the largest value of A'mA, plus bias, no
// less than floor; NaN where there is one.
func patchesPool(out, m []float32, plane int, bias []float32, floor float32, n, count int) {
	_, _, _ = m[(places-1)*plane+count*n-1], out[count*n-1], bias[n-1]
	switch active {
	case AVX512:
		winogradPool512(&out[0], &m[0], plane*4, &bias[0], floor, n, count)
		return
	case AVX2:
		winogradPool256(&out[0], &m[0], plane*4, &bias[0], floor, n, count)
		return
	}
	var pixels [4]float32
	for k := range count * n {
		patchesOut(pixels[:], 2, 1, m[k:], plane, bias[k%n:], floor, 1, 1)
		out[k] = max(pixels[0], pixels[1], pixels[2], pixels[3])
	}
}

// patchesGrad writes A dz A' of count patches.
func patchesGrad(m []float32, plane int, dz []float32, row, col, n, count int) {
	_, _ = m[(places-1)*plane+count*n-1], dz[row+(count-1)*2*col+col+n-1]
	switch active {
	case AVX512:
		winogradGrad512(&m[0], plane*4, &dz[0], row*4, col*4, n, count, (2*col-n)*4)
		return
	case AVX2:
		winogradGrad256(&m[0], plane*4, &dz[0], row*4, col*4, n, count, (2*col-n)*4)
		return
	}
	for k := range count * n {
		at := k/n*2*col + k%n
		var half [4][2]float32
		for j := range 2 {
			a, b := dz[at+j*col], dz[at+row+j*col]
			half[0][j], half[1][j], half[2][j], half[3][j] = a, a+b, a-b, -b
		}
		for i, h := range half {
			to := m[4*i*plane+k:]
			to[0], to[plane], to[2*plane], to[3*plane] = h[0], h[0]+h[1], h[0]-h[1], -h[1]
		}
	}
}
