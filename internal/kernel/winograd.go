package kernel

import "math"

// Winograd's minimal filtering F(2x2, 3x3) (Lavin & Gray, 2016, "Fast Algorithms
// for Convolutional Neural Networks") makes 2x2 pixels of a convolution of 3x3
// from a tile of 4x4 with 16 products instead of 36:
//
//	Y = A' [(G w G') * (B' d B)] A
//
// summed over the channels between the transforms. So a convolution is 16
// products of matrices, one for each place in the tile, over all tiles and
// channels. The gradients follow from the same formula. The error is that of
// the sums, some 1e-7 of the largest, not of the algorithm.

// Winograd tells whether [Window.ConvTiles] and its gradients can take the
// window, and are the faster way.
func (w Window) Winograd() bool {
	h, x := w.Out()
	return w.Kernel == 3 && w.Stride == 1 && w.Padding <= 2 && w.Channels%16 == 0 && w.Filters%16 == 0 && h >= 4 && x >= 4
}

// places is how many values a tile has.
const places = 16

// tileSpace bounds the transformed tiles that are worked on at a time, in
// float32s, so that they stay in the second-level cache.
const tileSpace = 80 << 10

// tileRows is how many rows of tiles are worked on at a time.
func (w Window) tileRows() int {
	h, x := w.Out()
	line := places * ((x + 1) / 2) * (w.Channels + w.Filters)
	return max(1, min((h+1)/2, tileSpace/line))
}

// TileWeights is the length of the weights as ConvTiles wants them.
func (w Window) TileWeights() int { return places * w.Channels * w.Filters }

// TileScratch is how many values ConvTiles and TilesGradWeights need.
func (w Window) TileScratch() int {
	_, x := w.Out()
	return places*w.tileRows()*((x+1)/2)*(w.Channels+w.Filters) + 4*w.Filters
}

// TransformWeights writes G w G' of weights shaped as Conv's: for each place in
// the tile a matrix [Channels][Filters].
func (w Window) TransformWeights(dst, weights []float32) {
	n := w.Channels * w.Filters
	Parallel((n+transformed-1)/transformed, func(task int) {
		for i := task * transformed; i < min(n, (task+1)*transformed); i++ {
			var half [4][3]float32
			for c := range 3 {
				half[0][c], half[1][c], half[2][c], half[3][c] = filtered(weights[c*n+i], weights[(3+c)*n+i], weights[(6+c)*n+i])
			}
			for r, h := range half {
				at := 4*r*n + i
				dst[at], dst[at+n], dst[at+2*n], dst[at+3*n] = filtered(h[0], h[1], h[2])
			}
		}
	})
}

// transformed is how many weights a task transforms.
const transformed = 1 << 11

// filtered is G applied to three values.
func filtered(a, b, c float32) (float32, float32, float32, float32) {
	return a, (a + c + b) / 2, (a + c - b) / 2, c
}

// ConvTiles is [Window.Conv] with weights that TransformWeights wrote. y0 is
// even, y1 too or the height of the output. It does not accumulate.
func (w Window) ConvTiles(out, padded, weights []float32, e Epilogue, y0, y1 int, scratch []float32) {
	if y0 >= y1 {
		return
	}
	_, width := w.Out()
	_ = out[y1*width*w.Filters-1]
	w.convTiles(padded, weights, e, y0, y1, scratch, func(m, bias []float32, floor float32, y, tiles int) {
		w.tilesOut(out, m, bias, floor, y, y1, tiles)
	})
}

// ConvTilesPool is ConvTiles and then the largest of each 2x2 pixels, of which
// those between are not stored. y0 and y1, rows before the pooling, are even.
func (w Window) ConvTilesPool(out, padded, weights []float32, e Epilogue, y0, y1 int, scratch []float32) {
	if y0 >= y1 {
		return
	}
	_, width := w.Out()
	row := width / 2 * w.Filters
	_ = out[y1/2*row-1]
	w.convTiles(padded, weights, e, y0, y1, scratch, func(m, bias []float32, floor float32, y, tiles int) {
		patchesPool(out[y/2*row:], m, tiles*w.Filters, bias, floor, w.Filters, width/2)
	})
}

// convTiles calls store for each row of tiles, which lie in the planes of so
// many.
func (w Window) convTiles(padded, weights []float32, e Epilogue, y0, y1 int, scratch []float32, store func(m, bias []float32, floor float32, y, tiles int)) {
	_, width := w.Out()
	_ = padded[(y1+2)*w.line()-1]
	_ = weights[w.TileWeights()-1]
	bias, scratch := scratch[:w.Filters], scratch[w.Filters:]
	if clear(bias); e.Bias != nil {
		copy(bias, e.Bias[:w.Filters])
	}
	floor := float32(math.Inf(-1))
	if e.ReLU {
		floor = 0
	}
	across := (width + 1) / 2
	for y := y0; y < y1; y += 2 * w.tileRows() {
		rows := min(w.tileRows(), (y1-y+1)/2)
		tiles := rows * across
		d, m := scratch[:places*tiles*w.Channels], scratch[places*tiles*w.Channels:][:places*tiles*w.Filters]
		for r := range rows {
			w.tilesIn(d[r*across*w.Channels:], padded, y+2*r, y1, tiles)
		}
		tileProducts(m, d, weights, tiles, w.Channels, w.Filters)
		for r := range rows {
			store(m[r*across*w.Filters:], bias, floor, y+2*r, tiles)
		}
	}
}

// tilesIn transforms the tiles whose first output row is y. Where only one row
// or column of their output is wanted, the last of the four of the input may lie
// outside: the one before it is read instead, for what it makes is not used.
func (w Window) tilesIn(d, padded []float32, y, y1, tiles int) {
	_, width := w.Out()
	line := w.line()
	row3 := 3 * line
	if y+1 == y1 {
		row3 = 2 * line
	}
	src := padded[y*line:]
	if whole := width / 2; whole > 0 {
		patchesIn(d, tiles*w.Channels, src, line, row3, w.Channels, 3*w.Channels, w.Channels, whole)
	}
	if width%2 == 1 {
		x := width - 1
		patchesIn(d[x/2*w.Channels:], tiles*w.Channels, src[x*w.Channels:], line, row3, w.Channels, 2*w.Channels, w.Channels, 1)
	}
}

// tilesOut writes the outputs of the tiles whose first output row is y.
func (w Window) tilesOut(out, m, bias []float32, floor float32, y, y1, tiles int) {
	_, width := w.Out()
	row := width * w.Filters
	to := out[y*row:]
	if y+1 == y1 {
		row = 0
	}
	if whole := width / 2; whole > 0 {
		patchesOut(to, row, w.Filters, m, tiles*w.Filters, bias, floor, w.Filters, whole)
	}
	if width%2 == 1 {
		x := width - 1
		patchesOut(to[x*w.Filters:], row, 0, m[x/2*w.Filters:], tiles*w.Filters, bias, floor, w.Filters, 1)
	}
}

// tileProducts is m = d u for each place: [tiles][channels] by [channels][filters].
func tileProducts(m, d, u []float32, tiles, channels, filters int) {
	_, _, _ = m[places*tiles*filters-1], d[places*tiles*channels-1], u[places*channels*filters-1]
	s := borrow()
	defer s.giveBack()
	t := &s.tile
	t.a, t.aRow, t.aStep = &d[0], channels*4, 4
	t.b, t.bStep = &u[0], filters*4
	t.c, t.cRow = &m[0], filters*4
	t.steps, t.blocks = channels, 1
	eachPlace(t, tiles, filters, tiles*channels*4, channels*filters*4, tiles*filters*4)
}

// eachPlace computes the products of all places, rows x columns each, which lie
// aPlane, bPlane and cPlane bytes apart.
func eachPlace(t *tile, rows, columns, aPlane, bPlane, cPlane int) {
	u := &micros[active]
	tallest := u.rows
	if t.aRow%2048 == 0 {
		tallest = min(tallest, shortTile)
	}
	for place := range places {
		for j := 0; j < columns; j += t.columns {
			t.columns = u.take(columns - j)
			t.aAt, t.bAt, t.cAt = place*aPlane, place*bPlane+j*4, place*cPlane+j*4
			u.run(t, rows, tallest)
		}
	}
}

// TurnTiles writes transformed weights as TilesGradInput wants them. A window
// turned by half a circle changes its first and last places only, and G leaves
// those as they are: turning is exchanging them, and channels with filters.
func (w Window) TurnTiles(turned, weights []float32) {
	n := w.Channels * w.Filters
	other := [4]int{3, 1, 2, 0}
	Parallel(places, func(p int) {
		to := 4*other[p/4] + other[p%4]
		transpose(turned[to*n:][:n], weights[p*n:][:n], w.Channels, w.Filters)
	})
}

// TileGradScratch is how many values TilesGradInput needs.
func (w Window) TileGradScratch() int {
	b, _ := w.back()
	return b.Padded() + b.TileScratch()
}

// TilesGradInput writes into dx, of In values, the gradient of one image. turned
// is what TurnTiles wrote.
func (w Window) TilesGradInput(dx, dz, turned, scratch []float32) {
	b, _ := w.back()
	padded := scratch[:b.Padded()]
	b.Pad(padded, dz)
	b.ConvTiles(dx, padded, turned, Epilogue{}, 0, w.Height, scratch[len(padded):])
}

// TilesGradWeights adds to du, of TileWeights, the gradient of one image by the
// transformed weights: B'dB of each tile times A dz A'. ReturnWeights makes it
// the gradient by the weights.
func (w Window) TilesGradWeights(du, padded, dz, scratch []float32) {
	height, width := w.Out()
	_, _, _ = du[w.TileWeights()-1], padded[w.Padded()-1], dz[w.Output()-1]
	patch, scratch := scratch[:4*w.Filters], scratch[4*w.Filters:]
	across := (width + 1) / 2
	for y := 0; y < height; y += 2 * w.tileRows() {
		rows := min(w.tileRows(), (height-y+1)/2)
		tiles := rows * across
		d, m := scratch[:places*tiles*w.Channels], scratch[places*tiles*w.Channels:][:places*tiles*w.Filters]
		for r := range rows {
			w.tilesIn(d[r*across*w.Channels:], padded, y+2*r, height, tiles)
			w.tilesGrad(m[r*across*w.Filters:], dz, patch, y+2*r, tiles)
		}
		s := borrow()
		t := &s.tile
		t.a, t.aRow, t.aStep = &d[0], 4, w.Channels*4
		t.b, t.bStep = &m[0], w.Filters*4
		t.c, t.cRow = &du[0], w.Filters*4
		t.steps, t.blocks, t.accumulate = tiles, 1, 1
		eachPlace(t, w.Channels, w.Filters, tiles*w.Channels*4, tiles*w.Filters*4, w.Channels*w.Filters*4)
		s.giveBack()
	}
}

// tilesGrad transforms the tiles of dz from row y on. Of those that reach over
// the edge, what lies outside is zero.
func (w Window) tilesGrad(m, dz, patch []float32, y, tiles int) {
	height, width := w.Out()
	row, n := width*w.Filters, w.Filters
	edge := y+1 == height
	for x := 0; x < width; {
		if !edge && x+1 < width {
			patchesGrad(m[x/2*n:], tiles*n, dz[y*row+x*n:], row, n, n, width/2)
			x = width / 2 * 2
			continue
		}
		clear(patch)
		for i := range min(2, height-y) {
			copy(patch[2*i*n:], dz[(y+i)*row+x*n:][:min(2, width-x)*n])
		}
		patchesGrad(m[x/2*n:], tiles*n, patch, 2*n, n, n, 1)
		x += 2
	}
}

// ReturnWeights writes dw = G' du G, shaped as Conv's weights.
func (w Window) ReturnWeights(dw, du []float32) {
	n := w.Channels * w.Filters
	Parallel((n+transformed-1)/transformed, func(task int) {
		for i := task * transformed; i < min(n, (task+1)*transformed); i++ {
			var half [3][4]float32
			for c := range 4 {
				half[0][c], half[1][c], half[2][c] = unfiltered(du[c*n+i], du[(4+c)*n+i], du[(8+c)*n+i], du[(12+c)*n+i])
			}
			for r, h := range half {
				at := 3*r*n + i
				dw[at], dw[at+n], dw[at+2*n] = unfiltered(h[0], h[1], h[2], h[3])
			}
		}
	})
}

// unfiltered is G' applied to four values.
func unfiltered(a, b, c, d float32) (float32, float32, float32) {
	return a + (b+c)/2, (b - c) / 2, (b+c)/2 + d
}
